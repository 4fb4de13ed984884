import "./token_heatmap.css";
import type { ReadonlySignal } from "@preact/signals";
import { useComputed } from "@preact/signals";
import { useMemo, useState } from "preact/hooks";
import { HeatControls } from "../heatmap/controls";
import { HeatDetail } from "../heatmap/detail";
import { HeatGrid } from "../heatmap/grid";
import { HeatHeader } from "../heatmap/header";
import { Heatmap } from "../heatmap/heatmap";
import { HeatLegend } from "../heatmap/legend";
import { Painter } from "../heatmap/painter";
import { Found, Pinned, SelectionBar } from "../heatmap/selection";
import { Failure } from "../ui/failure";
import { featureHues } from "../ui/hues";
import { type Mounted, mount } from "../ui/mount";
import { Provenance } from "../ui/provenance";
import type { Theme } from "../ui/theme";

export default mount(Heatmap, View, "sw-heat");

function View({ state: heatmap, theme, root }: Mounted<Heatmap>) {
  const [wanted, setWanted] = useState<{ token: number } | null>(null);
  const { palette } = theme.value;
  const { columns } = heatmap.matrix.value;
  const hues = useMemo(
    () => featureHues(root, palette, columns.length),
    [theme.value, columns.length],
  );
  const painter = usePainter(heatmap, hues, theme);
  const failure = heatmap.failure.value;
  return (
    <div class="sw-frame">
      <HeatHeader heatmap={heatmap} />
      <div class="sw-main">
        <HeatControls heatmap={heatmap} />
        {columns.length ? (
          <HeatLegend heatmap={heatmap} hues={hues} palette={palette} />
        ) : (
          <NothingYet heatmap={heatmap} />
        )}
        {failure && (
          <Failure
            sentence={failure}
            onDismiss={() => {
              heatmap.failure.value = "";
            }}
          />
        )}
        <HeatGrid heatmap={heatmap} painter={painter} wanted={wanted} />
        <SelectionBar heatmap={heatmap} />
        <Provenance facts={heatmap.traits.provenance.value} />
      </div>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reachable by keys */}
      <section class="sw-side" aria-label="Details" tabIndex={0}>
        <HeatDetail heatmap={heatmap} hues={hues} />
        <Pinned heatmap={heatmap} hues={hues} onGo={(token) => setWanted({ token })} />
        <Found heatmap={heatmap} />
      </section>
    </div>
  );
}

/** A new painter whenever what it paints from has changed, and only then. */
function usePainter(heatmap: Heatmap, hues: Painter["hues"], theme: ReadonlySignal<Theme>) {
  const version = useComputed(() => ({
    looks: [
      heatmap.pooled.value,
      heatmap.scales.value,
      heatmap.lit.value,
      heatmap.segments.value,
      heatmap.traits.mixing.value,
    ],
  }));
  return useMemo(
    () => new Painter(heatmap, hues, theme.value.palette),
    [heatmap, hues, theme.value, version.value],
  );
}

function NothingYet({ heatmap }: { heatmap: Heatmap }) {
  return (
    <p class="sw-empty sw--framed sw--small">
      {heatmap.canSearch
        ? "No feature is chosen yet: select some of the text and ask which features fire here, or set .features in code."
        : "No feature is chosen: in the notebook, set .features in code."}
    </p>
  );
}
