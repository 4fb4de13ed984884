import "./selection.css";
import { Button } from "../ui/button";
import { formatNumber, plural, visible } from "../ui/format";
import type { Hue } from "../ui/hues";
import { toRgb } from "../ui/oklab";
import { css } from "./colour";
import type { Heatmap } from "./heatmap";
import type { FoundFeature, HeatTraits } from "./types";

const MOST = 60; // characters of a selection that are shown

/** What is pinned or selected, and what can be asked about it. */
export function SelectionBar({ heatmap }: { heatmap: Heatmap }) {
  const positions = heatmap.traits.selected.value;
  const busy = heatmap.busy.value;
  return (
    <div class="sw-heat-selection">
      <span class="sw--what" role="status" aria-live="polite">
        {busy || (positions.length ? chosen(heatmap, positions) : "Nothing pinned or selected.")}
      </span>
      {positions.length > 0 && (
        <span class="sw--actions">
          {heatmap.canSearch && (
            <Button
              kind="small"
              asks
              aria-disabled={Boolean(busy)}
              onClick={() => busy || heatmap.search()}
            >
              Which features fire here
            </Button>
          )}
          <Button kind="quiet small" onClick={() => heatmap.select([])}>
            Clear
          </Button>
        </span>
      )}
    </div>
  );
}

function chosen(heatmap: Heatmap, positions: number[]): string {
  const tokens = heatmap.tokens.value;
  let text = "";
  positions.forEach((position, at) => {
    if (text.length > MOST) return;
    const token = tokens[position];
    const gap = at > 0 && position !== (positions[at - 1] as number) + 1 ? " … " : "";
    if (token) text += gap + (token.fragment ? visible(token) : token.text.replace(/\s+/g, " "));
  });
  const cut = text.length > MOST ? `${text.slice(0, MOST)}…` : text;
  return `${plural(positions.length, "token")}: “${cut.trim()}”`;
}

interface PinnedProps {
  heatmap: Heatmap;
  hues: Hue[];
  onGo(token: number): void;
}

/** The pinned tokens side by side, once there are several. */
export function Pinned({ heatmap, hues, onGo }: PinnedProps) {
  const positions = heatmap.traits.selected.value;
  const { columns } = heatmap.matrix.value;
  if (positions.length < 2 || !columns.length) return null;
  const rows = positions.slice(0, 12);
  return (
    <section class="sw-heat-pinned" aria-label="Pinned tokens">
      <h3>
        Pinned
        <span class="sw--numbers" aria-hidden="true">
          {columns.map((column, at) => (
            <i key={column.key} style={{ background: css(toRgb((hues[at] as Hue).positive)) }} />
          ))}
        </span>
      </h3>
      <ul class="sw-plain">
        {rows.map((position) => {
          const token = heatmap.tokens.value[position];
          if (!token) return null;
          return (
            <li key={position}>
              <button type="button" onClick={() => onGo(position)} title="Go to this token">
                <span class="sw--position sw-num">{position}</span>
                <code>{visible(token)}</code>
              </button>
              <span class="sw--numbers sw-num">
                {columns.map((column, at) => (
                  <span key={column.key} title={column.label}>
                    {formatNumber(heatmap.value(position, at))}
                  </span>
                ))}
              </span>
            </li>
          );
        })}
      </ul>
      {positions.length > rows.length && (
        <p class="sw-note">and {positions.length - rows.length} more</p>
      )}
    </section>
  );
}

/** The answer to "which features fire here", the strongest first. */
export function Found({ heatmap }: { heatmap: Heatmap }) {
  const { positions, features } = heatmap.traits.found.value as Partial<HeatTraits["found"]>;
  if (!positions || !features) return null;
  const shown = new Set(heatmap.matrix.value.columns.map(({ key }) => key));
  return (
    <section class="sw-heat-found" aria-label="Features that fire here">
      <h3>
        Fire at {plural(positions.length, "token")} <small>{spanOf(positions)}</small>
      </h3>
      {features.length === 0 && <p class="sw-empty">No feature fires at these tokens.</p>}
      <ol class="sw-plain">
        {features.map((feature) => (
          <li key={feature.key}>
            <Row heatmap={heatmap} feature={feature} shown={shown.has(feature.key)} />
          </li>
        ))}
      </ol>
    </section>
  );
}

interface RowProps {
  heatmap: Heatmap;
  feature: FoundFeature;
  shown: boolean;
}

function Row({ heatmap, feature, shown }: RowProps) {
  const { label, index, value, position } = feature;
  const token = heatmap.tokens.value[position];
  return (
    <button
      type="button"
      aria-label={`Show ${label}`}
      aria-disabled={shown || !heatmap.canSearch}
      title={shown ? "Shown already" : `Colour the text by it too (feature ${index})`}
      onClick={() => shown || !heatmap.canSearch || heatmap.show(index)}
    >
      <span class="sw--label">{label}</span>
      <code>{token ? visible(token) : ""}</code>
      <span class="sw--number sw-num">{formatNumber(value)}</span>
    </button>
  );
}

function spanOf(positions: number[]): string {
  const [first, last] = [positions[0] ?? 0, positions.at(-1) ?? 0];
  return first === last ? `at ${first}` : `${first} to ${last}`;
}
