import "./watching.css";
import type { Feature } from "../recipe_editor/types";
import { isClipped } from "../ui/colour";
import { formatNumber } from "../ui/format";
import { zeroSaid } from "../ui/scale_end";
import type { Panel } from "./panel";
import type { Colouring, Shown } from "./shown";

const MOST = 200; // options of a select that people still can use

/** Which feature colours the tokens, and on what scale. */
export function Watching({ panel, shown }: { panel: Panel; shown: Shown | null }) {
  const watched = panel.traits.watched.value;
  const colouring = shown?.colouring ?? null;
  const later = shown && !shown.streaming && watched !== (colouring?.key ?? "");
  return (
    <div class="sw-watching">
      <label>
        <span>Colour by</span>
        <WatchSelect panel={panel} watched={watched} />
      </label>
      {later ? (
        <span class="sw-note">
          {colouring ? `These texts show ${colouring.label}; generate` : "Generate"} to change the
          colours.
        </span>
      ) : (
        colouring && <Legend colouring={colouring} clipped={anyClipped(shown)} />
      )}
    </div>
  );
}

function WatchSelect({ panel, watched }: { panel: Panel; watched: string }) {
  const inRecipe = unique([watched, ...panel.traits.steers.value.map(({ key }) => key)])
    .map((key) => panel.feature(key))
    .filter((feature) => feature !== undefined);
  const keys = new Set(inRecipe.map(({ key }) => key));
  const others = panel.traits.catalogue.value.features
    .filter(({ key }) => !keys.has(key))
    .slice(0, MOST);
  return (
    <select
      class="sw-select sw--quiet"
      aria-label="Watch feature"
      value={watched}
      disabled={panel.frozen}
      onChange={(event) => panel.watch(event.currentTarget.value)}
    >
      <option value="">nothing</option>
      <Group name="Recipe" features={inRecipe} />
      <Group name="Catalogue" features={others} />
    </select>
  );
}

function Group({ name, features }: { name: string; features: Feature[] }) {
  if (!features.length) return null;
  return (
    <optgroup label={name}>
      {features.map(({ key, label, kind, layer }) => (
        <option key={key} value={key}>
          {label} ({kind} {layer})
        </option>
      ))}
    </optgroup>
  );
}

/** The colour scale in words and colours: both ends, the curve, where the end comes from. */
function Legend({ colouring, clipped }: { colouring: Colouring; clipped: boolean }) {
  const { scale, source, zeroOf } = colouring;
  const zero = zeroSaid(scale.zero, zeroOf);
  const end = formatNumber(scale.domain);
  return (
    <span class="sw-legend sw-num">
      <span class="sw--ends">{scale.signed ? `−${end}` : formatNumber(scale.zero ?? 0)}</span>
      <span class={scale.signed ? "sw--ramp sw--signed" : "sw--ramp"} aria-hidden="true" />
      <span class="sw--ends">{scale.signed ? `+${end}` : end}</span>
      <span>{["linear", source, zero].filter(Boolean).join(" · ")}</span>
      {clipped && <span class="sw-word sw--clipped">beyond</span>}
    </span>
  );
}

function anyClipped(shown: Shown | null): boolean {
  const scale = shown?.colouring?.scale;
  if (!shown || !scale) return false;
  return shown.rows.some(({ values }) => values.some((value) => isClipped(value, scale)));
}

function unique(keys: string[]): string[] {
  return [...new Set(keys.filter(Boolean))];
}
