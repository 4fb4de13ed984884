// A widget of the kernel shown inside another one. Its bundle is its own, and comes with its model.
import type { HostModel } from "./host";

/** Renders another widget, in a shadow root: two widgets' sheets must not meet. */
export async function renderChild(
  host: HostModel,
  id: string,
  el: HTMLElement,
  signal: AbortSignal,
): Promise<void> {
  const model = await host.widget_manager?.get_model(id);
  if (!model) return;
  const source = new Blob([model.get("_esm") as string], { type: "text/javascript" });
  const url = URL.createObjectURL(source);
  const { default: widget } = await import(url);
  URL.revokeObjectURL(url);
  const root = el.attachShadow({ mode: "open" });
  const [style, place] = [document.createElement("style"), document.createElement("div")];
  style.textContent = model.get("_css") as string;
  root.append(style, place);
  if (!signal.aborted) widget().render({ model, el: place, signal });
}
