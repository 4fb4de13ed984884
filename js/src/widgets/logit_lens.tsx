import "./logit_lens.css";
import { render } from "preact";
import { type HostModel, lifetime } from "../host/host";
import type { ReadonlySignal } from "../host/signals";
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
import { useComputed, useMemo } from "../ui/hooks";
import { Provenance } from "../ui/provenance";
import { createRoot } from "../ui/root";
import type { Theme } from "../ui/theme";

interface Props {
  model: HostModel;
  signal?: AbortSignal;
}

/** A factory: the host makes one of these per model, so the closure holds what its views share. */
export default function logitLens() {
  let lens: Lens | null = null;
  return {
    initialize({ model, signal }: Props) {
      const life = lifetime(signal);
      lens = new Lens(model, life.signal);
      return life.end;
    },
    render({ model, el, signal }: Props & { el: HTMLElement }) {
      const life = lifetime(signal);
      lens ??= new Lens(model, life.signal);
      const { element, theme } = createRoot(el, "sw-lens", life.signal);
      render(<View lens={lens} theme={theme} />, element);
      life.signal.addEventListener("abort", () => render(null, element), { once: true });
      return life.end;
    },
  };
}

function View({ lens, theme }: { lens: Lens; theme: ReadonlySignal<Theme> }) {
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
          <p class="sw-empty framed">
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
