import "../styles/header.css";
import { plural } from "../lib/format";
import type { Heatmap } from "../lib/heatmap";
import { SaveButton } from "./save_button";

/** What was read, where, and what can be taken away from here. */
export function HeatHeader({ heatmap }: { heatmap: Heatmap }) {
  const { model, dictionary, site } = heatmap.traits.facts.value;
  const tokens = heatmap.tokens.value;
  const counted = tokens.filter((token) => token.counted).length;
  return (
    <header class="sw-header">
      <div class="line">
        <h2>Token activations</h2>
        {model && <span class="sw-chip">{model}</span>}
        {dictionary && (
          <span class="sw-chip">
            {dictionary} · {site}
          </span>
        )}
        <span class="sw-chip sw-num" title="outlined tokens are not counted">
          {plural(tokens.length, "token")}
          {counted < tokens.length && ` · ${tokens.length - counted} not counted`}
        </span>
        <div class="right">
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
