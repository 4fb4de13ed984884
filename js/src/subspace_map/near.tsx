import "./near.css";
import { Button } from "../ui/button";
import { formatNumber } from "../ui/format";
import type { MapState } from "./map";
import type { Facts } from "./types";

/** What points nearly the same way and what is active together, side by side: splitting and absorption show there. */
export function NearFeatures({ map, facts }: { map: MapState; facts: Facts }) {
  const near = map.near.value;
  if (!near) return null;
  return (
    <>
      <section class="sw-map-near" aria-label="Near">
        <h3>
          Near {near.index} · {near.label}
        </h3>
        <table class="sw-num" aria-label="Near features">
          <thead>
            <tr>
              <th scope="col">feature</th>
              <th scope="col">cosine</th>
              <th scope="col">together</th>
            </tr>
          </thead>
          <tbody>
            {near.rows.map((row) => (
              <tr key={row.index}>
                <th scope="row">
                  <button
                    type="button"
                    aria-disabled={map.frozen}
                    onClick={() => map.look(row.index)}
                  >
                    <span class="sw-note">{row.index}</span> {row.label}
                  </button>
                </th>
                <td>{row.cosine.toFixed(2).replace("-", "−")}</td>
                <td>{row.together === null ? "–" : formatNumber(row.together, 2)}</td>
              </tr>
            ))}
          </tbody>
        </table>
        <p class="sw-note">
          Lines go to features of nearly the same direction; dashed ones are active at the same
          tokens too (n₁₁ / √(n₁·n₂)).{" "}
          {near.knows_together
            ? "A high cosine that is hardly ever active together may be a feature that was split, or one that absorbs the other: read both before you believe it."
            : "How often features are active together is not known here: build an index of a corpus and attach it (sw.corpus.build), and it stands here."}
        </p>
      </section>
      {!map.frozen && (
        <div class="sw-map-actions">
          <Button kind="primary" asks onClick={() => void map.send()}>
            Send to panel
          </Button>
        </div>
      )}
      <p class="sw-note" role="status">
        {map.sent.value}
      </p>
      <p class="sw-note">
        {facts.kind} features lie by their directions
        {map.isUnit.value ? " at unit length" : ""}; far apart on the map may still be near in all{" "}
        dimensions, which the cosine tells.
      </p>
    </>
  );
}
