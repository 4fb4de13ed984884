// What a widget has the kernel do: one long thing at a time, how far it is, and Stop; whoever started it.
import { signal } from "@preact/signals";
import type { HostModel } from "./host";
import { Cancelled, type RequestOptions, Rpc, type StreamMessage } from "./rpc";

/** What the kernel is doing for a page. */
export interface Doing<What extends string> {
  readonly what: What;
  /** What it waits for, in a sentence: another run, or a queue elsewhere; empty where it runs. */
  readonly waiting: string;
  /** The kernel has not answered in time. */
  readonly slow: boolean;
  readonly stopping: boolean;
  readonly done: number;
  readonly total: number;
  readonly secondsLeft: number | null;
  /** How far it is, as the kernel says it; null before it has said anything. */
  readonly told: StreamMessage | null;
}

type OnDone = ((value: unknown) => void) | undefined;

/** The base of a widget's state. */
export abstract class Work<What extends string> {
  readonly doing = signal<Doing<What> | null>(null);
  readonly failure = signal("");
  protected readonly rpc: Rpc;
  /** Which of the things that were done is the one that is shown. */
  #shown = 0;
  #stop: (() => void) | null = null;

  /** `strayIs` says what a run is that another view or code has started; undefined where it is not shown. */
  constructor(
    model: HostModel,
    until: AbortSignal,
    strayIs: (message: StreamMessage) => What | undefined,
  ) {
    this.rpc = new Rpc(model, {
      signal: until,
      onStray: (message) => this.#adopt(message, strayIs(message)),
    });
  }

  stop(): void {
    this.#tell({ stopping: true });
    this.#stop?.();
  }

  exportHtml(): Promise<{ html: string; filename: string }> {
    return this.rpc.request("export_html", {});
  }

  fail(error: unknown): void {
    this.failure.value = error instanceof Error ? error.message : String(error);
  }

  /** Asks for what shows how far it is, and can be stopped; it takes the place of what was shown. */
  protected async askAndShow(
    what: What,
    args: object,
    onDone?: OnDone,
    onTold?: () => void,
  ): Promise<void> {
    const running = new AbortController();
    const end = this.#begin(what, () => running.abort());
    const follow = (message: StreamMessage) => {
      onTold?.();
      this.#follow(message);
    };
    const onSlow = (slow: boolean) => this.#tell({ slow });
    await this.#request(what, args, onDone, { signal: running.signal, onSlow, onMessage: follow });
    end();
  }

  /** Asks for what does not show. */
  protected ask(name: string, args: object, onDone?: OnDone): Promise<void> {
    return this.#request(name, args, onDone, {});
  }

  async #request(
    name: string,
    args: object,
    onDone: OnDone,
    options: RequestOptions,
  ): Promise<void> {
    this.failure.value = "";
    try {
      const value = await this.rpc.request(name, args, options);
      onDone?.(value);
    } catch (error) {
      this.#ended(error);
    }
  }

  #adopt(message: StreamMessage, what: What | undefined) {
    if (!what || this.doing.peek() || message.type !== "progress") return undefined;
    const end = this.#begin(what, () => this.rpc.cancel(message.id));
    return {
      onMessage: (each: StreamMessage) => this.#follow(each),
      onEnd: (error?: Error) => {
        end();
        if (error) this.#ended(error);
      },
    };
  }

  /** Shows something as being done; gives what ends that, unless something else has taken its place. */
  #begin(what: What, stop: () => void): () => void {
    this.#shown += 1;
    const mine = this.#shown;
    const nothing = { waiting: "", slow: false, stopping: false };
    this.doing.value = { what, ...nothing, done: 0, total: 0, secondsLeft: null, told: null };
    this.#stop = stop;
    return () => {
      if (this.#shown !== mine) return;
      this.doing.value = null;
      this.#stop = null;
    };
  }

  #ended(error: unknown): void {
    if (!(error instanceof Cancelled)) this.fail(error);
  }

  #follow(message: StreamMessage): void {
    if (message.state === "waiting") {
      this.#tell({ waiting: String(message.said ?? "") });
      return;
    }
    this.#tell({
      waiting: "",
      done: numberOf(message, "done"),
      total: numberOf(message, "total"),
      secondsLeft: typeof message.seconds_left === "number" ? message.seconds_left : null,
      told: message,
    });
  }

  #tell(changes: Partial<Doing<What>>): void {
    const doing = this.doing.peek();
    if (doing) this.doing.value = { ...doing, ...changes };
  }
}

/** A number that the kernel tells of how far it is; 0 where it tells none. */
export function numberOf(told: StreamMessage | null, name: string): number {
  const value = told?.[name];
  return typeof value === "number" ? value : 0;
}
