import "./feature_picker.css";
import { render } from "preact";
import { type HostModel, lifetime } from "../host/host";
import { FeatureFinder } from "../recipe_editor/feature_finder";
import { FeatureSort } from "../recipe_editor/feature_sort";
import { BY_LABEL, BY_PROMPT, BY_TOKEN } from "../recipe_editor/find_by";
import { SIMILAR } from "../recipe_editor/find_similar";
import { Header } from "../recipe_editor/header";
import { Picker } from "../recipe_editor/picker";
import { Recipe } from "../recipe_editor/recipe_region";
import { Failure } from "../ui/failure";
import { Provenance } from "../ui/provenance";
import { createRoot } from "../ui/root";

interface Props {
  model: HostModel;
  signal?: AbortSignal;
}

const WAYS = [BY_LABEL, BY_PROMPT, BY_TOKEN, SIMILAR];

/** A factory: the host makes one of these per model, so the closure holds what its views share. */
export default function featurePicker() {
  let picker: Picker | null = null;
  return {
    initialize({ model, signal }: Props) {
      const life = lifetime(signal);
      picker = new Picker(model, life.signal);
      return life.end;
    },
    render({ model, el, signal }: Props & { el: HTMLElement }) {
      const life = lifetime(signal);
      picker ??= new Picker(model, life.signal);
      const { element } = createRoot(el, "sw-picker", life.signal);
      render(<View picker={picker} />, element);
      life.signal.addEventListener("abort", () => render(null, element), { once: true });
      return life.end;
    },
  };
}

function View({ picker }: { picker: Picker }) {
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
