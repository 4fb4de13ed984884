import { useLayoutEffect, useRef } from "preact/hooks";
import type { HostModel } from "../host/host";
import { Pane } from "../ui/pane";
import type { Panel } from "./panel";

interface Props {
  panel: Panel;
  /** Of the widget's model. */
  id: string;
  /** What opens it in this view. */
  opener: { current: HTMLButtonElement | null };
}

/** The logit lens of a generated token: a widget of its own, which the kernel made for it. */
export function TokenLens({ panel, id, opener }: Props) {
  const place = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    const life = new AbortController();
    renderChild(panel.model, id, place.current as HTMLElement, life.signal).catch((error) =>
      panel.fail(error),
    );
    return () => life.abort();
  }, []);
  const close = () => {
    panel.closeLens();
    opener.current?.focus();
  };
  return (
    <Pane title="Logit lens" role="region" onClose={close}>
      <div ref={place} />
    </Pane>
  );
}

/** Another widget of the kernel: its bundle comes with its model, and its sheet stays in a shadow root of its own. */
async function renderChild(
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
