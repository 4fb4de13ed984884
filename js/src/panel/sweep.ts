// A sweep of one steer: what it would be and cost, and its rows as they come. One per model.

import { batch, type ReadonlySignal, type Signal, signal } from "@preact/signals";
import { Cancelled, type Rpc, type StreamMessage } from "../host/rpc";
import type { Token } from "../host/tokens";
import { applyMessage, type LiveRun, startRun } from "./run";

const PAUSE = 500; // ms without an edit before the kernel is asked how long it would take

export interface SweepPlan {
  from: number;
  to: number;
  count: number;
  tokens: number;
  /** How long it would take; null while nobody has tried. */
  seconds: number | null;
}

export interface LiveSweep extends LiveRun {
  strengths: number[];
}

export interface SweepView {
  /** The id of the steer that is to be swept. */
  readonly steer: ReadonlySignal<string>;
  readonly plan: ReadonlySignal<SweepPlan | null>;
  readonly live: ReadonlySignal<LiveSweep | null>;
  readonly error: Signal<string>;
  choose(id: string): void;
  change(plan: Partial<SweepPlan>): void;
  run(): Promise<void>;
  stop(): void;
}

export function createSweep(rpc: Rpc, inputs: () => object, until: AbortSignal): SweepView {
  const steer = signal("");
  const plan = signal<SweepPlan | null>(null);
  const live = signal<LiveSweep | null>(null);
  const error = signal("");
  let asking: AbortController | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let running: AbortController | undefined;
  const told = (thrown: unknown) => {
    if (!(thrown instanceof Cancelled)) error.value = (thrown as Error).message;
  };
  const ask = async (numbers: object): Promise<void> => {
    asking?.abort();
    asking = new AbortController();
    const args = { ...inputs(), ...numbers, steer: steer.peek() };
    const { signal } = asking;
    try {
      plan.value = await rpc.request<SweepPlan>("sweep_plan", args, { signal, abandon: true });
    } catch (thrown) {
      told(thrown);
    }
  };
  until.addEventListener("abort", () => clearTimeout(timer), { once: true });
  return {
    steer,
    plan,
    live,
    error,
    choose(id) {
      batch(() => {
        steer.value = id;
        plan.value = null;
        error.value = "";
      });
      if (id) ask({});
    },
    change(given) {
      const now = plan.peek();
      if (!now) return;
      plan.value = { ...now, ...given, seconds: null };
      clearTimeout(timer);
      timer = setTimeout(() => plan.peek() && ask({ ...plan.peek() }), PAUSE);
    },
    async run() {
      const now = plan.peek();
      if (!now || live.peek()) return;
      clearTimeout(timer);
      asking?.abort();
      running = new AbortController();
      const step = (now.to - now.from) / (now.count - 1);
      const strengths = Array.from({ length: now.count }, (_, i) => now.from + i * step);
      batch(() => {
        error.value = "";
        live.value = { ...startRun(now.tokens), strengths };
      });
      const onMessage = (message: StreamMessage) => {
        const run = live.peek();
        if (run) live.value = { ...applyMessage(run, message).run, strengths };
      };
      const { signal } = running;
      try {
        const args = { ...inputs(), ...now, steer: steer.peek() };
        await rpc.request("sweep", args, { signal, onMessage });
      } catch (thrown) {
        told(thrown);
      } finally {
        live.value = null;
        // The run went before the estimate, which nobody else asks for again.
        if (plan.peek()?.seconds === null) ask({ ...plan.peek() });
      }
    },
    stop() {
      running?.abort();
    },
  };
}

/** A text as far as it has come. */
export function textOf(tokens: Token[]): string {
  return tokens.map(({ text, fragment }) => (fragment ? "�" : text)).join("");
}
