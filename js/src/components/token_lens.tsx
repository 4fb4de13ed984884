import { renderChild } from "../lib/child";
import type { Panel } from "../lib/panel";
import { useEffect, useRef } from "./hooks";
import { Pane } from "./pane";

/** The logit lens of a generated token: a widget of its own, which the kernel made for it. */
export function TokenLens({ panel, id }: { panel: Panel; id: string }) {
  const place = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const life = new AbortController();
    renderChild(panel.model, id, place.current as HTMLElement, life.signal).catch((error) =>
      panel.fail(error),
    );
    return () => life.abort();
  }, []);
  return (
    <Pane title="Logit lens" role="region" onClose={() => panel.closeLens()}>
      <div ref={place} />
    </Pane>
  );
}
