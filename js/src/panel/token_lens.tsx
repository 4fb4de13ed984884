import { renderChild } from "../host/child";
import { useEffect, useRef } from "../ui/hooks";
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
  useEffect(() => {
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
