import { NumberBox } from "../ui/number_box";
import type { Panel } from "./panel";

/** The rows beside baseline and steered: does it beat asking, and would a random direction have done the same? */
export function BesideThem({ panel }: { panel: Panel }) {
  const { asked, random } = panel.traits.beside.value;
  return (
    <div class="sw--beside">
      <label>
        <span>Beside them, asked in words</span>
        <input
          class="sw-field"
          dir="auto"
          aria-label="Asked in words"
          placeholder="Talk about the sea."
          value={asked}
          onInput={(event) => panel.setBeside({ asked: event.currentTarget.value })}
        />
      </label>
      <label class="sw-chip" title="Rows with random directions, as long as the recipe's changes">
        random
        <NumberBox
          label="Random rows"
          value={random}
          min={0}
          max={8}
          step={1}
          onValue={(value) => value !== null && panel.setBeside({ random: value })}
        />
      </label>
    </div>
  );
}
