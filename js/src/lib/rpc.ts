// Requests to the kernel over msg:custom. Every request ends in exactly one of result, error, cancelled.
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
  onStray?(id: string): StrayListener | undefined;
}

export class Rpc {
  readonly #pending = new Map<string, Pending>();
  readonly #finished = new Set<string>();

  readonly #model: HostModel;
  readonly #options: RpcOptions;

  constructor(model: HostModel, options: RpcOptions) {
    this.#model = model;
    this.#options = options;
    listen(model, "msg:custom", (message: Reply) => this.#receive(message), options.signal);
    options.signal.addEventListener("abort", () => this.#dispose(), { once: true });
  }

  request<T>(name: string, args: unknown, options: RequestOptions = {}): Promise<T> {
    const id = freshId();
    const answer = this.#open(id, options, false);
    options.signal?.addEventListener("abort", () => this.cancel(id, options.abandon ?? false), {
      once: true,
    });
    this.#model.send({ type: "request", id, name, args });
    return answer as Promise<T>;
  }

  /** Asks the kernel to stop; a request it has not even seen ends here and now. */
  cancel(id: string, abandon = false): void {
    const entry = this.#pending.get(id);
    if (!entry) return;
    this.#model.send({ type: "cancel", id });
    if (abandon || !entry.accepted) this.#close(id)?.reject(new Cancelled());
  }

  #open(id: string, listener: Listener, accepted: boolean): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const late = () => listener.onSlow?.(true);
      const timer = accepted ? undefined : setTimeout(late, this.#options.acceptWithin ?? 1500);
      this.#pending.set(id, { listener, next: 0, accepted, timer, resolve, reject });
    });
  }

  #close(id: string): Pending | undefined {
    const entry = this.#pending.get(id);
    if (!entry) return undefined;
    clearTimeout(entry.timer);
    this.#pending.delete(id);
    this.#finished.add(id);
    return entry;
  }

  #receive(message: Reply): void {
    const entry = this.#pending.get(message?.id) ?? this.#adopt(message);
    if (!entry) return;
    this.#markAccepted(entry);
    switch (message.type) {
      case "progress":
      case "delta":
        this.#stream(entry, message);
        break;
      case "result":
        this.#close(message.id)?.resolve(message.value);
        break;
      case "error":
        this.#close(message.id)?.reject(new KernelError(message.error.message, message.error.kind));
        break;
      case "cancelled":
        this.#close(message.id)?.reject(new Cancelled());
    }
  }

  #markAccepted(entry: Pending): void {
    if (entry.accepted) return;
    entry.accepted = true;
    clearTimeout(entry.timer);
    entry.listener.onSlow?.(false);
  }

  #stream(entry: Pending, message: StreamMessage): void {
    if (message.seq < entry.next) return;
    const gap = message.seq > entry.next;
    entry.next = message.seq + 1;
    entry.listener.onMessage?.(message);
    if (gap) entry.listener.onGap?.(message.id);
  }

  #adopt(message: Reply): Pending | undefined {
    const streaming = message?.type === "progress" || message?.type === "delta";
    if (!streaming || this.#finished.has(message.id)) return undefined;
    const listener = this.#options.onStray?.(message.id);
    if (!listener) return undefined;
    this.#open(message.id, listener, true).then(
      () => listener.onEnd(),
      (error: Error) => listener.onEnd(error),
    );
    return this.#pending.get(message.id);
  }

  #dispose(): void {
    for (const id of [...this.#pending.keys()]) this.#close(id)?.reject(new Cancelled());
  }
}

function freshId(): string {
  // crypto.randomUUID needs a secure context, which a notebook on plain http is not.
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
