import "../ui/header.css";
import { plural } from "../ui/format";
import { SaveButton } from "../ui/save_button";
import type { Heatmap } from "./heatmap";

/** What was read, where, and what can be taken away from here. */
export function HeatHeader({ heatmap }: { heatmap: Heatmap }) {
  const { model, dictionary, site, origin } = heatmap.traits.facts.value;
  const tokens = heatmap.tokens.value;
  const counted = tokens.filter((token) => token.counted).length;
  const generated = tokens.filter((token) => token.generated).length;
  return (
    <header class="sw-header">
      <div class="sw--line">
        <h2>Token activations</h2>
        {model && <span class="sw-chip">{model}</span>}
        {dictionary && (
          <span class="sw-chip">
            {dictionary} · {site}
          </span>
        )}
        <span class="sw-chip sw-num" title="outlined tokens are not counted">
          {plural(tokens.length, "token")}
          {generated > 0 && ` · ${generated} generated`}
          {counted < tokens.length && ` · ${tokens.length - counted} not counted`}
        </span>
        {origin && (
          <span
            class="sw-chip"
            title="The model read the finished text as it is: activations that were pushed would show the push"
          >
            {origin}
          </span>
        )}
        <div class="sw--right">
          {heatmap.frozen ? (
            <span class="sw-chip" title="Hover, pins, scale and solo work without a kernel">
              frozen copy
            </span>
          ) : (
            <SaveButton from={heatmap} />
          )}
        </div>
      </div>
    </header>
  );
}
