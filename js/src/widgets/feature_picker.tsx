import "./feature_picker.css";
import type { HostModel } from "../host/host";
import { Store } from "../host/store";
import { Bench } from "../recipe_editor/bench";
import { FeatureFinder } from "../recipe_editor/feature_finder";
import { FeatureSort } from "../recipe_editor/feature_sort";
import { BY_LABEL, BY_PROMPT, BY_TOKEN, SIMILAR } from "../recipe_editor/find_by";
import { Header } from "../recipe_editor/header";
import { Recipe } from "../recipe_editor/recipe_region";
import { Scores } from "../recipe_editor/scores";
import { findLocally } from "../recipe_editor/search";
import { EMPTY_BENCH } from "../recipe_editor/types";
import { Failure } from "../ui/failure";
import { type Mounted, mount } from "../ui/mount";
import { Provenance } from "../ui/provenance";

const WAYS = [BY_LABEL, BY_PROMPT, BY_TOKEN, SIMILAR];

class Picker extends Bench {
  readonly scores: Scores;

  constructor(model: HostModel, until: AbortSignal) {
    const store = new Store(model, EMPTY_BENCH, until);
    super(model, { store, findHere: findLocally }, until);
    this.scores = new Scores(this.finder, this.rpc, until);
  }
}

export default mount(Picker, View, "sw-picker");

function View({ state: picker }: Mounted<Picker>) {
  const error = picker.error.value;
  return (
    <div class="sw-frame">
      <Header bench={picker} />
      <div class="sw-main">
        {error && <Failure sentence={error} onDismiss={() => picker.dismiss()} />}
        <FeatureFinder
          bench={picker}
          ways={WAYS}
          tools={<FeatureSort bench={picker} scores={picker.scores} />}
          make="FeaturePicker(lm, [sae, cavs])"
          rows={13}
          landing="select"
        />
        <Provenance facts={picker.traits.provenance.value} />
      </div>
      <div class="sw-side">
        <Recipe bench={picker} />
      </div>
    </div>
  );
}
