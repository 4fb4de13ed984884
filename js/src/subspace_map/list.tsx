import "./list.css";
import { formatPercent } from "../ui/format";
import type { Features, MapState } from "./map";
import type { Facts } from "./types";

interface Props {
  map: MapState;
  facts: Facts;
  features: Features;
}

/** Features by label, the heaviest first; the chosen one marked. */
export function FeatureList({ map, facts, features }: Props) {
  const listed = map.listed.value;
  const kind = facts.rank ? "components" : "features";
  const chosen = map.traits.component.value;
  const most = Math.max(Number.MIN_VALUE, ...listed.map(({ weight }) => weight ?? 0));
  const busy = map.doing.value !== null;
  const query = map.query.value.trim();
  return (
    <section class="sw-map-list" aria-label={`List of ${kind}`}>
      <input
        type="search"
        aria-label={`Search ${kind}`}
        placeholder={`Search ${kind}`}
        value={map.query.value}
        onInput={(event) => map.search(event.currentTarget.value)}
      />
      {listed.length ? (
        <ol class="sw-plain">
          {listed.map(({ index, label, weight }) => (
            <li key={index}>
              <button
                type="button"
                aria-current={index === chosen}
                aria-disabled={(map.frozen || busy) && index !== chosen}
                onClick={() => map.look(index)}
              >
                <span class="sw--index sw-num">{index}</span>
                <span class="sw--label" title={label}>
                  {label}
                </span>
                <span class="sw--share" aria-hidden="true">
                  {weight !== null && <span style={{ width: `${(100 * weight) / most}%` }} />}
                </span>
                <span class="sw--weight sw-num">
                  {weight === null ? "" : formatPercent(weight)}
                </span>
              </button>
            </li>
          ))}
        </ol>
      ) : (
        <p class="sw-empty">No label has “{query}”. Try fewer letters, or a number.</p>
      )}
      <p class="sw-note">
        {features.index.length < features.size &&
          `${features.index.length.toLocaleString("en-US")} of ${features.size.toLocaleString("en-US")} are drawn, evenly spaced; the search knows all. `}
        {listed.some(({ weight }) => weight !== null) &&
          (facts.rank ? "%: the share of the mixture." : "%: of tokens where it is active.")}
      </p>
    </section>
  );
}
