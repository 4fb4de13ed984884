// Requests to the kernel over msg:custom. Every request ends in exactly one of result, error, cancelled.
import { effect, type ReadonlySignal } from "@preact/signals";
import { connectionOf, type Lost } from "./connection";
import { type HostModel, listen } from "./host";

export interface StreamMessage {
  type: "progress" | "delta";
  id: string;
  seq: number;
  [field: string]: unknown;
}

type Reply =
  | StreamMessage
  | { type: "accepted" | "cancelled"; id: string }
  | { type: "result"; id: string; value: unknown }
  | { type: "error"; id: string; error: { message: string; kind: string } };

export interface Listener {
  onMessage?(message: StreamMessage): void;
  /** A message is missing: what was streamed so far is to be asked for again. */
  onGap?(id: string): void;
  /** True when the kernel has not answered in time, false when it does after all. */
  onSlow?(slow: boolean): void;
}

export interface StrayListener extends Listener {
  onEnd(error?: Error): void;
}

export interface RequestOptions extends Listener {
  signal?: AbortSignal;
  /** On abort do not wait for the kernel's word, even once it has accepted. */
  abandon?: boolean;
}

/** An error raised in the kernel; `message` is one readable sentence. */
export class KernelError extends Error {
  readonly kind: string;
  constructor(message: string, kind: string) {
    super(message);
    this.kind = kind;
  }
}

export class Cancelled extends Error {}

interface Pending {
  listener: Listener;
  next: number;
  accepted: boolean;
  timer: ReturnType<typeof setTimeout> | undefined;
  resolve(value: unknown): void;
  reject(error: Error): void;
}

export interface RpcOptions {
  signal: AbortSignal;
  acceptWithin?: number;
  /** A stream that this page did not ask for: another view's, or one started from code. */
  onStray?(message: StreamMessage): StrayListener | undefined;
}

/** The requests of one model. */
export class Rpc {
  /** The kernel is another one now: what is asked ends here and now. */
  readonly lost: ReadonlySignal<Lost>;
  readonly request: <T>(name: string, args: unknown, options?: RequestOptions) => Promise<T>;
  /** Asks the kernel to stop; a request it has not even seen ends here and now. */
  readonly cancel: (id: string, abandon?: boolean) => void;

  constructor(model: HostModel, options: RpcOptions) {
    const connection = connectionOf(model, options.signal);
    this.lost = connection.lost;
    const pending = new Map<string, Pending>();
    const finished = new Set<string>();

    const open = (id: string, listener: Listener, accepted: boolean): Promise<unknown> =>
      new Promise((resolve, reject) => {
        const late = () => listener.onSlow?.(true);
        const timer = accepted ? undefined : setTimeout(late, options.acceptWithin ?? 1500);
        pending.set(id, { listener, next: 0, accepted, timer, resolve, reject });
      });

    const close = (id: string): Pending | undefined => {
      const entry = pending.get(id);
      if (!entry) return undefined;
      clearTimeout(entry.timer);
      pending.delete(id);
      finished.add(id);
      return entry;
    };

    const adopt = (message: Reply): Pending | undefined => {
      const streaming = message?.type === "progress" || message?.type === "delta";
      if (!streaming || finished.has(message.id)) return undefined;
      const listener = options.onStray?.(message);
      if (!listener) return undefined;
      open(message.id, listener, true).then(
        () => listener.onEnd(),
        (error: Error) => listener.onEnd(error),
      );
      return pending.get(message.id);
    };

    const receive = (message: Reply): void => {
      const entry = pending.get(message?.id) ?? adopt(message);
      if (!entry) return;
      markAccepted(entry);
      switch (message.type) {
        case "progress":
        case "delta":
          stream(entry, message);
          break;
        case "result":
          close(message.id)?.resolve(message.value);
          break;
        case "error":
          close(message.id)?.reject(new KernelError(message.error.message, message.error.kind));
          break;
        case "cancelled":
          close(message.id)?.reject(new Cancelled());
      }
    };

    const dispose = () => {
      for (const id of [...pending.keys()]) close(id)?.reject(new Cancelled());
    };
    this.cancel = (id, abandon = false) => {
      const entry = pending.get(id);
      if (!entry) return;
      connection.send({ type: "cancel", id });
      if (abandon || !entry.accepted) close(id)?.reject(new Cancelled());
    };
    this.request = <T>(name: string, args: unknown, given: RequestOptions = {}) => {
      const id = freshId();
      const answer = open(id, given, false);
      given.signal?.addEventListener("abort", () => this.cancel(id, given.abandon), { once: true });
      const answered = () => pending.get(id)?.accepted ?? true;
      connection.send({ type: "request", id, name, args }, answered);
      if (connection.lost.peek()) dispose();
      return answer as Promise<T>;
    };
    listen(model, "msg:custom", receive, options.signal);
    // Nobody will answer: the banner says why.
    const stop = effect(() => {
      if (connection.lost.value) dispose();
    });
    options.signal.addEventListener("abort", stop, { once: true });
    options.signal.addEventListener("abort", dispose, { once: true });
  }
}

function markAccepted(entry: Pending): void {
  if (entry.accepted) return;
  entry.accepted = true;
  clearTimeout(entry.timer);
  entry.listener.onSlow?.(false);
}

function stream(entry: Pending, message: StreamMessage): void {
  if (message.seq < entry.next) return;
  const gap = message.seq > entry.next;
  entry.next = message.seq + 1;
  entry.listener.onMessage?.(message);
  if (gap) entry.listener.onGap?.(message.id);
}

function freshId(): string {
  // crypto.randomUUID needs a secure context, which a notebook on plain http is not.
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
