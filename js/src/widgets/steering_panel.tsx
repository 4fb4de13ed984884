import "../styles/steering_panel.css";
import { render } from "preact";
import { Comparison } from "../components/comparison";
import { Failure } from "../components/failure";
import { FeatureFinder } from "../components/feature_finder";
import { BY_LABEL, BY_PROMPT, BY_TOKEN } from "../components/find_by";
import { Header } from "../components/header";
import { PositionsRegion } from "../components/positions";
import { Prompt } from "../components/prompt";
import { Provenance } from "../components/provenance";
import { Recipe } from "../components/recipe";
import { createRoot } from "../components/root";
import { Watching } from "../components/watching";
import type { Bench } from "../lib/bench";
import { type HostModel, lifetime } from "../lib/host";
import { Panel } from "../lib/panel";
import type { ReadonlySignal } from "../lib/signals";
import type { Theme } from "../lib/theme";

const WAYS = [BY_LABEL, BY_PROMPT, BY_TOKEN];

interface Props {
  model: HostModel;
  signal?: AbortSignal;
}

/** A factory: the host makes one of these per model, so the closure holds what its views share. */
export default function steeringPanel() {
  let panel: Panel | null = null;
  return {
    initialize({ model, signal }: Props) {
      const life = lifetime(signal);
      panel = new Panel(model, life.signal);
      return life.end;
    },
    render({ model, el, signal }: Props & { el: HTMLElement }) {
      const life = lifetime(signal);
      panel ??= new Panel(model, life.signal);
      const { element, theme } = createRoot(el, "sw-panel", life.signal);
      render(<View panel={panel} theme={theme} />, element);
      life.signal.addEventListener("abort", () => render(null, element), { once: true });
      return life.end;
    },
  };
}

function View({ panel, theme }: { panel: Panel; theme: ReadonlySignal<Theme> }) {
  const shown = panel.shown.value;
  const error = panel.error.value;
  const bench = panel as unknown as Bench;
  return (
    <div class="sw-frame">
      <Header bench={bench} />
      <div class="sw-side">
        <FeatureFinder
          bench={bench}
          ways={WAYS}
          make="SteeringPanel(lm, [sae, cavs])"
          rows={8}
          landing="add"
        />
        <Recipe bench={bench} />
        <PositionsRegion panel={panel} />
      </div>
      <div class="sw-main">
        <Prompt panel={panel} />
        {error && <Failure sentence={error} onDismiss={() => panel.dismiss()} />}
        <Watching panel={panel} shown={shown} />
        {shown ? (
          <Comparison panel={panel} shown={shown} palette={theme.value.palette} />
        ) : (
          <NothingYet panel={panel} />
        )}
        <Provenance facts={panel.traits.provenance.value} />
      </div>
    </div>
  );
}

function NothingYet({ panel }: { panel: Panel }) {
  const next = panel.traits.steers.value.length
    ? "Press Generate"
    : "Add a feature, then press Generate";
  return (
    <p class="sw-empty framed">
      {next}: the model answers twice with the same noise, once as it is and once steered, and the
      texts stand here side by side.
    </p>
  );
}
