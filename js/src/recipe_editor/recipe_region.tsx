import type { Bench } from "./bench";
import { StrengthRow } from "./strength_row";

const COLOURS = 6;

export function Recipe({ bench }: { bench: Bench }) {
  const { steers, ops, readouts, positions, model_info } = bench.traits;
  return (
    <section class="sw-section" aria-label="Recipe">
      <h3>In this recipe</h3>
      {steers.value.length === 0 && (
        <p class="sw-empty">Nothing is steered yet. Add a feature from the list with +.</p>
      )}
      <ul class="sw-plain">
        {steers.value.map((steer, index) => (
          <StrengthRow
            key={steer.id}
            steer={steer}
            feature={bench.feature(steer.key)}
            ops={ops.value}
            readout={readouts.value[steer.id]}
            breaks={bench.breaksOf(steer)}
            positions={positions.value}
            alike={model_info.value.lacks?.where}
            readable={bench.readableBy(steer)}
            labelOf={(key) => bench.feature(key)?.label ?? key}
            onSweep={bench.sweep && (() => bench.sweep?.(steer))}
            colour={`var(--f${(index % COLOURS) + 1})`}
            onOp={(op) => bench.setOp(steer, op)}
            onParameter={(name, value) => bench.setParameter(steer, name, value)}
            onHold={(held) => bench.holdRecipe(held)}
            onChange={(change) => bench.change(steer.id, change)}
            onPositions={(own) => bench.place(steer.id, own)}
            onRemove={() => bench.remove(steer.id)}
          />
        ))}
      </ul>
    </section>
  );
}
