import { Button } from "../ui/button";
import { flags, parts } from "../ui/flags";
import { formatNumber, formatPercent, visible } from "../ui/format";
import type { Bench } from "./bench";
import type { Found } from "./types";

export type Column = "select" | "add";

interface Props {
  /** Not known before its page is here. */
  feature: Found | undefined;
  /** Its dictionary's name, where there are several. */
  home: string | null;
  index: number;
  count: number;
  top: number;
  /** The value is the output score. */
  scored: boolean;
  note: string;
  /** The tab stop, if it is in this row. */
  stop: Column | null;
  bench: Bench;
}

export function FeatureRow({ feature, index, count, top, bench, ...rest }: Props) {
  const key = feature?.key ?? "";
  const { steers, selected } = bench.traits;
  const classes = flags({
    row: true,
    waiting: !feature,
    chosen: steers.value.some((steer) => steer.key === key),
    selected: key && selected.value === key,
  });
  const at = (column: Column) => ({
    "data-index": index,
    tabIndex: rest.stop === column ? 0 : -1,
  });
  return (
    <li class={classes} style={{ top: `${top}px` }} aria-setsize={count} aria-posinset={index + 1}>
      {feature ? (
        cells({ feature, bench, at, ...rest })
      ) : (
        <button type="button" class="sw--label sw--select sw--add" {...at(rest.stop ?? "add")}>
          loading row {formatNumber(index + 1, 9)}
        </button>
      )}
    </li>
  );
}

interface Cells extends Pick<Props, "home" | "scored" | "note" | "bench"> {
  feature: Found;
  at(column: Column): { "data-index": number; tabIndex: number };
}

function cells({ feature, home, scored, note, bench, at }: Cells) {
  const { kind, label, layer, index, density, histogram, at: place } = feature;
  const { max_activation: maximum, max_activation_of: source } = feature;
  const top = formatNumber(maximum);
  const where = place ? ` at token ${place.position} ${visible(place.token)}` : "";
  return (
    <>
      <span class="sw-badge sw--kind" title={`${kind} at block ${layer}`}>
        {kind}
      </span>
      <button
        type="button"
        class="sw--label sw--select"
        {...at("select")}
        aria-pressed={bench.traits.selected.value === feature.key}
        title={[label, feature.label_source].filter(Boolean).join(" · ")}
        onClick={() => bench.select(feature)}
      >
        {label}
      </button>
      {feature.verdict && (
        <span class="sw-badge" title="Your verdict on its label">
          {feature.verdict}
        </span>
      )}
      {home !== null && (
        <span class="sw--home" title={home}>
          {home}
        </span>
      )}
      <span class="sw--shape">
        {histogram && <Sparkline bars={histogram} text={`log counts of its values, 0 to ${top}`} />}
      </span>
      {number(
        "density",
        density == null ? "–" : formatPercent(density),
        "share of tokens at which it fires",
      )}
      {number("max", top, `largest value ${source ? `in ${source}` : "not known"}`)}
      {number(
        "value",
        formatNumber(scored ? feature.output_score : feature.value),
        scored ? "output score" : (feature.value_text || note) + where,
      )}
      {number("index", `${index ?? "–"}`, "index")}
      <Button
        kind="icon add end"
        {...at("add")}
        aria-label={`Add feature ${label}`}
        title="Add to the recipe"
        onClick={() => bench.add(feature)}
      >
        +
      </Button>
    </>
  );
}

function number(kind: string, text: string, title: string) {
  return (
    <span class={parts(`number ${kind}`)} title={title}>
      {text}
    </span>
  );
}

const WIDTH = 4; // px of a bar
const HEIGHT = 16;
const FULL = 64; // four steps a pixel

/** How often a feature takes which value: log counts over even steps up to its maximum. */
function Sparkline({ bars, text }: { bars: number[]; text: string }) {
  const path = bars.map((bar, at) => {
    const height = bar ? Math.max(1, (bar / FULL) * HEIGHT) : 0;
    return `M${at * WIDTH} ${HEIGHT}v${-height}h${WIDTH - 1}v${height}z`;
  });
  return (
    <svg class="sw-sparkline" viewBox={`0 0 ${bars.length * WIDTH} ${HEIGHT}`} role="img">
      <title>{text}</title>
      <path d={path.join("")} />
    </svg>
  );
}
