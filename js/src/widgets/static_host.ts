// A model without a kernel, so that a saved page works from disk: edits stay in the page, messages go nowhere.
import type { HostModel } from "../host/host";

type Callback = (...args: never[]) => void;

export function staticModel(state: Record<string, unknown>): HostModel {
  const values = { ...state };
  const callbacks = new Map<string, Set<Callback>>();
  return {
    frozen: true,
    get: (name) => values[name],
    set(name, value) {
      values[name] = value;
      for (const callback of callbacks.get(`change:${name}`) ?? []) callback();
    },
    on(event, callback) {
      if (!callbacks.has(event)) callbacks.set(event, new Set());
      callbacks.get(event)?.add(callback);
    },
    off: (event, callback) => void callbacks.get(event)?.delete(callback),
    save_changes() {},
    send() {},
  };
}

interface Widget {
  initialize?(props: { model: HostModel; signal: AbortSignal }): unknown;
  render?(props: { model: HostModel; el: HTMLElement; signal: AbortSignal }): unknown;
}

/** Runs a widget's module on a state; returns what takes it off the page again. */
export async function mount(
  module: { default: Widget | (() => Widget | Promise<Widget>) },
  state: Record<string, unknown>,
  el: HTMLElement,
): Promise<() => void> {
  const widget = typeof module.default === "function" ? await module.default() : module.default;
  const model = staticModel(state);
  const controller = new AbortController();
  const { signal } = controller;
  await widget.initialize?.({ model, signal });
  await widget.render?.({ model, el, signal });
  return () => controller.abort();
}
