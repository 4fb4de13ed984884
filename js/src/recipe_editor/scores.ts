// Output scores: measured on demand, a batch of features at a time.

import { signal } from "@preact/signals";
import type { Rpc, StreamMessage } from "../host/rpc";
import type { Finder } from "./finder";

const BATCH = 100; // features of one request

export interface Scoring {
  done: number;
  of: number;
  secondsLeft: number | null;
}

export class Scores {
  readonly running = signal<Scoring | null>(null);
  readonly #finder: Finder;
  readonly #rpc: Rpc;
  #stopper: AbortController | null = null;

  constructor(finder: Finder, rpc: Rpc, until: AbortSignal) {
    this.#finder = finder;
    this.#rpc = rpc;
    until.addEventListener("abort", () => this.stop(), { once: true });
  }

  /** Keys at the top of the list that have no output score yet. */
  missing(): string[] {
    const rows = this.#finder.answer.value?.rows.slice(0, BATCH) ?? [];
    return rows.filter((row) => row.output_score == null).map((row) => row.key);
  }

  /** Measures those at the top of the list, and sorts again; what a Stop leaves counts as well. */
  async start(): Promise<void> {
    const keys = this.missing();
    if (this.running.peek() || !keys.length) return;
    this.#stopper = new AbortController();
    const { signal } = this.#stopper;
    this.running.value = { done: 0, of: keys.length, secondsLeft: null };
    try {
      const onMessage = (message: StreamMessage) => this.#follow(message, keys.length);
      await this.#rpc.request("score", { keys }, { signal, onMessage });
    } catch (error) {
      if (!signal.aborted) this.#finder.error.value = (error as Error).message;
    } finally {
      this.running.value = null;
      this.#finder.again();
    }
  }

  stop(): void {
    this.#stopper?.abort();
  }

  #follow(message: StreamMessage, all: number): void {
    const number = (field: string) => (message[field] as number | null | undefined) ?? null;
    this.running.value = {
      done: number("done") ?? 0,
      of: number("of") ?? all,
      secondsLeft: number("seconds_left"),
    };
  }
}
