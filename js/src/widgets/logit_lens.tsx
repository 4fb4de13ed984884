import "./logit_lens.css";
import { useComputed } from "@preact/signals";
import { useMemo } from "preact/hooks";
import { LensChart } from "../lens/chart";
import { LensDetail } from "../lens/detail";
import { LensFind } from "../lens/find";
import { LensGrid } from "../lens/grid";
import { LensHeader } from "../lens/header";
import { LensLegend } from "../lens/legend";
import { Lens } from "../lens/lens";
import { painterOf } from "../lens/painter";
import { LensPrompt } from "../lens/prompt";
import { LensSteering } from "../lens/steering";
import { LensWrote } from "../lens/wrote";
import { Failure } from "../ui/failure";
import { type Mounted, mount } from "../ui/mount";
import { Provenance } from "../ui/provenance";

export default mount(Lens, View, "sw-lens");

function View({ state: lens, theme }: Mounted<Lens>) {
  const { palette } = theme.value;
  const made = useComputed(() => painterOf(lens, theme.value.palette));
  const painter = made.value;
  const failure = lens.failure.value;
  const provenance = useMemo(
    () => <Provenance facts={lens.traits.provenance.value} />,
    [lens.traits.provenance.value],
  );
  return (
    <div class="sw-frame">
      <LensHeader lens={lens} />
      <div class="sw-main">
        <LensPrompt lens={lens} />
        {failure && (
          <Failure
            sentence={failure}
            onDismiss={() => {
              lens.failure.value = "";
            }}
          />
        )}
        {painter ? (
          <>
            <LensLegend lens={lens} palette={palette} />
            <LensGrid lens={lens} painter={painter} />
            <LensFind lens={lens} />
          </>
        ) : (
          <p class="sw-empty sw--framed">
            Nothing is read yet: write a text above and press Read, to see at each token what every
            block would say next.
          </p>
        )}
        {provenance}
      </div>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reachable by keys */}
      <section class="sw-side" aria-label="Details" tabIndex={0}>
        {painter ? (
          <>
            <LensDetail lens={lens} />
            <LensChart lens={lens} />
            <LensWrote lens={lens} />
            <LensSteering lens={lens} />
          </>
        ) : (
          <p class="sw-empty">
            Point at a cell, or reach the grid with Tab and the arrow keys: here stand its likeliest
            tokens. A click or Enter pins a cell, Esc unpins it.
          </p>
        )}
      </section>
    </div>
  );
}
