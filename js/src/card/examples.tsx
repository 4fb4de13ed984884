import { type HeatScale, isSilent, ramp } from "../heatmap/colour";
import { formatNumber } from "../ui/format";
import { zeroSaid } from "../ui/scale_end";
import { Segmented } from "../ui/segmented";
import type { Card } from "./card";
import type { LinePaint } from "./line";
import { inBands } from "./lines";
import { CardLines } from "./lines_shown";
import type { Content, Tab } from "./types";

const CURVES = [
  ["linear", "linear"],
  ["log", "log"],
] as const;

interface Props {
  card: Card;
  content: Content;
  paint: LinePaint;
}

/** Where the feature fires in the corpus: the strongest places, places of every strength, or any at all. */
export function CardExamples({ card, content, paint }: Props) {
  const { tab, curve } = card.traits;
  const lines = card.lines.value;
  const bands = inBands(lines);
  const tabs: readonly (readonly [Tab, string])[] = [
    ["strongest", "strongest"],
    ["quantiles", "by quantile"],
    ["random", "random"],
  ];
  const above = (line: number) => {
    const band = bands?.find(({ from }) => from === line);
    return (
      band && (
        <p class="sw-card-band sw-num">
          {formatNumber(band.low)} – {formatNumber(band.high)}
        </p>
      )
    );
  };
  return (
    <section aria-label="Examples" class="sw-card-examples">
      <div class="sw-card-bar">
        <h3>{content.mixture ? "Contexts" : "Examples"}</h3>
        <Segmented
          label="Which examples"
          value={tab.value}
          options={tabs}
          onChoose={(value) => card.choose("tab", value)}
        />
        <span class="sw--scale">
          <Scale paint={paint} />
          <Segmented
            label="Curve"
            value={curve.value}
            options={CURVES}
            onChoose={(value) => card.choose("curve", value)}
          />
        </span>
      </div>
      {lines.length ? (
        <CardLines
          key={`${content.key} ${tab.value}`}
          card={card}
          name="Examples"
          id={tab.value}
          lines={lines}
          paint={paint}
          above={above}
        />
      ) : (
        <Missing what={content.missing[tab.value]} />
      )}
    </section>
  );
}

/** Why there is nothing to see, and how to get it. */
function Missing({ what }: { what: Content["missing"][Tab] }) {
  if (!what) return null;
  return (
    <div class="sw-empty sw--framed sw--small">
      <p>{what.said}</p>
      {what.code && <pre>{what.code}</pre>}
    </div>
  );
}

function Scale({ paint: { scale, hue, palette } }: { paint: LinePaint }) {
  if (isSilent(scale)) return null;
  const zero = zeroSaid(scale.zero, scale.zeroOf);
  const end = formatNumber(scale.end);
  return (
    <span class="sw-card-scale sw-num">
      <span>{scale.signed ? `−${end}` : formatNumber(scale.zero ?? 0)}</span>
      <span
        class="sw--ramp"
        style={{ background: ramp(scale, hue, palette.surface) }}
        aria-hidden
      />
      <span title={CURVE[scale.curve]}>
        {scale.signed ? "+" : ""}
        {end} {source(scale)}
        {zero && ` · ${zero}`}
      </span>
    </span>
  );
}

const source = ({ curve, source: what }: HeatScale) => `${curve}, ${what}`;

const CURVE = {
  linear: "colour = (value − zero) / (end − zero)",
  log: "colour = log10(1 + 9 · (value − zero) / (end − zero))",
};
