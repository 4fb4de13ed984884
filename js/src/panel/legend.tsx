import "./legend.css";
import { formatNumber } from "../ui/format";
import type { Colouring } from "./shown";

/** The colour scale in words and colours: both ends, the curve, where the end comes from. */
export function Legend({ colouring, clipped }: { colouring: Colouring; clipped: boolean }) {
  const { scale, source } = colouring;
  const end = formatNumber(scale.domain);
  return (
    <span class="sw-legend sw-num">
      <span class="ends">{scale.signed ? `−${end}` : "0"}</span>
      <span class={scale.signed ? "ramp signed" : "ramp"} aria-hidden="true" />
      <span class="ends">{scale.signed ? `+${end}` : end}</span>
      <span>{source ? `linear · ${source}` : "linear"}</span>
      {clipped && <span class="sw-word clipped">beyond</span>}
    </span>
  );
}
