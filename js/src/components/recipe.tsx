import type { Panel } from "../lib/panel";
import { StrengthRow } from "./strength_row";

const COLOURS = 6;

export function Recipe({ panel }: { panel: Panel }) {
  const { steers, ops, readouts } = panel.traits;
  return (
    <section class="sw-section" aria-label="Recipe">
      <h3>In this recipe</h3>
      {steers.value.length === 0 && (
        <p class="sw-empty">Nothing is steered yet. Add a feature from the list above with +.</p>
      )}
      <ul class="sw-plain">
        {steers.value.map((steer, index) => (
          <StrengthRow
            key={steer.id}
            steer={steer}
            feature={panel.feature(steer.key)}
            ops={ops.value}
            readout={readouts.value[steer.id]}
            colour={`var(--f${(index % COLOURS) + 1})`}
            onOp={(op) => panel.setOp(steer, op)}
            onParameter={(name, value) => panel.setParameter(steer, name, value)}
            onHold={(held) => panel.holdRecipe(held)}
            onEnable={(enabled) => panel.enable(steer.id, enabled)}
            onRemove={() => panel.remove(steer.id)}
          />
        ))}
      </ul>
    </section>
  );
}
