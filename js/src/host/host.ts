// The part of a host's model that the widgets use. Jupyter, marimo, Colab and static_host all have it.

export interface HostModel {
  get(name: string): unknown;
  set(name: string, value: unknown): void;
  save_changes(): void;
  on(event: string, callback: (...args: never[]) => void): void;
  off(event: string, callback: (...args: never[]) => void): void;
  send(content: unknown, callbacks?: unknown, buffers?: ArrayBuffer[] | ArrayBufferView[]): void;
  /** In some hosts: whether there is a kernel that knows of it. */
  readonly comm_live?: boolean;
  /** The other models of the kernel. */
  readonly widget_manager?: { get_model(id: string): Promise<HostModel> };
  /** Set by static_host only: there is no kernel and there never will be. */
  readonly frozen?: boolean;
}

/**
 * Whether there is no kernel behind a model and never will be: a page that was saved, a notebook that was opened and not
 * run. ipywidgets knows it of its models. anywidget does not pass it on, but a model's layout is one of them.
 */
export function isFrozen(model: HostModel): boolean {
  const layout = model.get("layout") as Pick<HostModel, "comm_live"> | null | undefined;
  return model.frozen ?? layout?.comm_live === false;
}

/** Subscribes until `signal` aborts. */
export function listen(
  model: HostModel,
  event: string,
  callback: (...args: never[]) => void,
  signal: AbortSignal,
): void {
  model.on(event, callback);
  signal.addEventListener("abort", () => model.off(event, callback), { once: true });
}

export interface Lifetime {
  signal: AbortSignal;
  /** For hosts that pass no signal (anywidget 0.9) and call the returned function instead. */
  end: (() => void) | undefined;
}

/** One signal whether or not the host gives one. */
export function lifetime(given: AbortSignal | undefined): Lifetime {
  if (given) return { signal: given, end: undefined };
  const controller = new AbortController();
  return { signal: controller.signal, end: () => controller.abort() };
}
