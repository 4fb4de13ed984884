import "./steering_panel.css";
import { render } from "preact";
import { type HostModel, lifetime } from "../host/host";
import type { ReadonlySignal } from "../host/signals";
import { Comparison } from "../panel/comparison";
import { Panel } from "../panel/panel";
import { PositionsRegion } from "../panel/positions";
import { Prompt } from "../panel/prompt";
import { Watching } from "../panel/watching";
import type { Bench } from "../recipe_editor/bench";
import { FeatureFinder } from "../recipe_editor/feature_finder";
import { BY_LABEL, BY_PROMPT, BY_TOKEN } from "../recipe_editor/find_by";
import { Header } from "../recipe_editor/header";
import { Recipe } from "../recipe_editor/recipe_region";
import { Failure } from "../ui/failure";
import { Provenance } from "../ui/provenance";
import { createRoot } from "../ui/root";
import type { Theme } from "../ui/theme";

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
