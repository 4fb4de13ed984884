import { formatNumber, plural } from "../lib/format";
import type { Panel } from "../lib/panel";
import { FeatureList } from "./feature_list";

/** Search and pick. */
export function Features({ panel }: { panel: Panel }) {
  const { query, found, searching } = panel.search;
  const { features, total, more } = found.value;
  const chosen = new Set(panel.traits.steers.value.map((steer) => steer.key));
  const canSearch = panel.traits.catalogue.value.complete || !panel.frozen;
  return (
    <section class="sw-section" aria-label="Features">
      <h3>Features</h3>
      <input
        class="sw-field"
        type="search"
        aria-label="Search features"
        placeholder={`Search ${plural(panel.traits.catalogue.value.total, "label")}`}
        value={query.value}
        disabled={!canSearch}
        onInput={(event) => {
          query.value = event.currentTarget.value;
        }}
        onKeyDown={(event) => {
          if (event.key !== "ArrowDown") return;
          event.preventDefault();
          const list =
            event.currentTarget.parentElement?.querySelector<HTMLElement>(".add[tabindex='0']");
          list?.focus();
        }}
      />
      {features.length > 0 ? (
        <>
          <div class="sw-feature-head sw-num">
            <span>{searching.value ? "searching…" : count(features.length, total, more)}</span>
            <span>block</span>
            <span>max</span>
          </div>
          {/* a new query starts at the top again */}
          <FeatureList
            key={query.value}
            features={features}
            chosen={chosen}
            onAdd={(feature) => panel.add(feature)}
          />
        </>
      ) : (
        <p class="sw-empty">
          {nothing(query.value, panel.traits.catalogue.value.total, searching.value)}
        </p>
      )}
    </section>
  );
}

function count(shown: number, total: number, more?: boolean): string {
  return shown < total
    ? `${formatNumber(shown, 9)} of ${more ? "more than " : ""}${formatNumber(total, 9)}`
    : plural(total, "feature");
}

function nothing(query: string, total: number, searching: boolean): string {
  if (searching) return "Searching…";
  if (!total) return "No dictionary is attached. Pass some: SteeringPanel(lm, [sae, cavs]).";
  return `No label has every word of “${query}”. Try fewer or shorter words.`;
}
