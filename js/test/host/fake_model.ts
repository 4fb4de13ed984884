import type { HostModel } from "../../src/host/host";

type Callback = (...args: never[]) => void;

/** A host's model whose kernel is the test. */
export class FakeModel implements HostModel {
  readonly sent: Record<string, unknown>[] = [];
  readonly saved: Record<string, unknown>[] = [];
  readonly callbacks = new Map<string, Set<Callback>>();
  #dirty: Record<string, unknown> = {};

  constructor(readonly values: Record<string, unknown> = {}) {}

  get(name: string): unknown {
    return this.values[name];
  }
  set(name: string, value: unknown): void {
    this.#dirty[name] = value;
    this.#change(name, value);
  }
  save_changes(): void {
    this.saved.push(this.#dirty);
    this.#dirty = {};
  }
  on(event: string, callback: Callback): void {
    if (!this.callbacks.has(event)) this.callbacks.set(event, new Set());
    this.callbacks.get(event)?.add(callback);
  }
  off(event: string, callback: Callback): void {
    this.callbacks.get(event)?.delete(callback);
  }
  /** What a send ends in: JupyterLab's throws once the kernel was restarted. */
  cut = false;
  /** Tells it that the kernel has read the last message. */
  idle: ((message?: object) => void) | undefined;
  /** Likewise of every message. */
  readonly idles: ((message?: object) => void)[] = [];

  send(content: unknown, callbacks?: unknown): void {
    if (this.cut) throw new Error("Cannot send");
    const { iopub } = (callbacks ?? {}) as { iopub?: { status(message: unknown): void } };
    const idle = { parent_header: {}, content: { execution_state: "idle" } };
    this.idle = (message = idle) => iopub?.status(message);
    this.idles.push(this.idle);
    this.sent.push(content as Record<string, unknown>);
  }

  // --- the kernel's side

  says(message: Record<string, unknown>): void {
    for (const callback of this.callbacks.get("msg:custom") ?? []) callback(message as never);
  }
  emits(event: string): void {
    for (const callback of this.callbacks.get(event) ?? []) callback();
  }
  changes(name: string, value: unknown): void {
    this.#change(name, value);
  }
  get lastId(): string {
    return this.sent.at(-1)?.id as string;
  }
  get listeners(): number {
    return [...this.callbacks.values()].reduce((sum, set) => sum + set.size, 0);
  }

  #change(name: string, value: unknown): void {
    this.values[name] = value;
    for (const callback of this.callbacks.get(`change:${name}`) ?? []) callback();
  }
}
