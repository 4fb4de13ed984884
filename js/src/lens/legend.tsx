import "./legend.css";
import { type Palette, paint } from "../ui/colour";
import type { Lens } from "./lens";
import { measureOf } from "./measure";

/** What stands in the cells, and what their colour means. */
export function LensLegend({ lens, palette }: { lens: Lens; palette: Palette }) {
  const scale = lens.scale.value;
  const difference = lens.shows.value === "difference";
  const { ofToken, label } = measureOf(lens.traits.measure.value);
  const needs = ofToken && lens.chosen.value.id === null;
  return (
    <div class="sw-lens-legend">
      <p>
        {difference ? (
          <>
            each cell: the token that the steered block would say <b>next</b>, bold where steering
            changed it
          </>
        ) : (
          <>
            each cell: the token that this block would say <b>next</b>, after the column’s token
          </>
        )}
      </p>
      {needs ? (
        <span class="sw--scale">Choose the token whose {label} colours the cells below.</span>
      ) : (
        <span class="sw--scale sw-num">
          <span class="sw--ends">{scale.low}</span>
          <span
            class="sw--ramp"
            aria-hidden="true"
            style={{ background: rampOf(scale.signed, palette) }}
          />
          <span class="sw--ends">{scale.high}</span>
          <span>{scale.what}</span>
        </span>
      )}
    </div>
  );
}

function rampOf(signed: boolean, palette: Palette): string {
  const low = signed ? -1 : 0;
  const stops = Array.from({ length: 9 }, (_, i) => {
    const share = low + ((1 - low) * i) / 8;
    return paint(share, { domain: 1, signed }, palette)?.background ?? "transparent";
  });
  return `linear-gradient(90deg, ${stops.join(", ")})`;
}
