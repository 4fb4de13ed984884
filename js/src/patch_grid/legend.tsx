import "./legend.css";
import { type Palette, paint } from "../ui/colour";
import type { Patch } from "./patch";
import { measuredText } from "./words";

/** What stands in the cells, and what their colour means. */
export function PatchLegend({ patch, palette }: { patch: Patch; palette: Palette }) {
  const low = patch.least.value < -0.05 ? -1 : 0;
  const stops = Array.from({ length: 9 }, (_, i) => {
    const share = low + ((1 - low) * i) / 8;
    return paint(share, { domain: 1, signed: true }, palette)?.background ?? "transparent";
  });
  return (
    <div class="sw-patch-legend">
      <p class="sw-note">
        {measuredText(patch)}
        {patch.plan.value?.whole &&
          ". This model does not go on from the middle of its blocks, so every patch is a run of its own, and slower."}
      </p>
      <span class="sw--scale sw-num">
        <span>{low ? "−1" : "0"}</span>
        <span
          class="sw--ramp"
          aria-hidden="true"
          style={{ background: `linear-gradient(90deg, ${stops.join(", ")})` }}
        />
        <span>1</span>
      </span>
    </div>
  );
}
