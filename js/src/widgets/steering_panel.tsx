import "./steering_panel.css";
import { Comparison } from "../panel/comparison";
import { Keeping } from "../panel/keeping";
import { Panel } from "../panel/panel";
import { PositionsRegion } from "../panel/positions";
import { Prompt } from "../panel/prompt";
import { PanelTabs } from "../panel/tabs";
import { Watching } from "../panel/watching";
import { FeatureFinder } from "../recipe_editor/feature_finder";
import { BY_LABEL, BY_PROMPT, BY_TOKEN } from "../recipe_editor/find_by";
import { Header } from "../recipe_editor/header";
import { Recipe } from "../recipe_editor/recipe_region";
import { Failure } from "../ui/failure";
import { type Mounted, mount } from "../ui/mount";
import { Provenance } from "../ui/provenance";

const WAYS = [BY_LABEL, BY_PROMPT, BY_TOKEN];

export default mount(Panel, View, "sw-panel");

function View({ state: panel, theme }: Mounted<Panel>) {
  const shown = panel.shown.value;
  const error = panel.error.value;
  return (
    <div class="sw-frame">
      <Header bench={panel} keeping={!panel.frozen && <Keeping panel={panel} />} />
      {/* before what is steered, so that Generate stands in sight where the columns become one */}
      <div class="sw-ask">
        <Prompt panel={panel} />
        {error && <Failure sentence={error} onDismiss={() => panel.dismiss()} />}
      </div>
      <div class="sw-side">
        <FeatureFinder
          bench={panel}
          ways={WAYS}
          make="SteeringPanel(lm, [sae, cavs])"
          rows={8}
          landing="add"
        />
        <Recipe bench={panel} />
        <PositionsRegion panel={panel} />
      </div>
      <div class="sw-main">
        <Watching panel={panel} shown={shown} />
        {shown ? (
          <Comparison panel={panel} shown={shown} palette={theme.value.palette} />
        ) : (
          <NothingYet panel={panel} />
        )}
        <PanelTabs panel={panel} />
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
    <p class="sw-empty sw--framed">
      {next}: the model answers twice with the same noise, once as it is and once steered, and the
      texts stand here side by side.
    </p>
  );
}
