import "./numbers.css";
import { useState } from "preact/hooks";
import { formatNumber, formatPercent, plural } from "../ui/format";
import type { Card } from "./card";
import type { Content } from "./types";

/** How often a feature fires and how strongly, with the value under the pointer marked among all others. */
export function CardNumbers({ card, content }: { card: Card; content: Content }) {
  const { density, maximum, p995, typical, corpus, tokens, mixture } = content;
  const share = density === null ? null : `${formatPercent(density)} of tokens`;
  const rows: [string, string | null, string][] = mixture
    ? [
        [
          "share of the mixture",
          formatPercent(mixture.mixing),
          "its weight π among all components",
        ],
        ["explains best", mostly(content), "tokens with a responsibility above one half"],
      ]
    : [
        [
          content.signed ? `${content.reads} above 0 on` : "fires on",
          share,
          content.zero_of ? `zero ${content.zero_of}` : "",
        ],
        ["maximum", number(maximum), `largest ${content.reads} over the corpus`],
        ["99.5th percentile", number(p995), "of the tokens where it fires"],
        ["typical", number(typical), "median of the tokens where it fires"],
      ];
  rows.push(["corpus", tokens === null ? corpus : short(tokens), corpus ?? ""]);
  const known = rows.filter(([, value]) => value !== null);
  return (
    <section aria-label="How often, how strongly" class="sw-card-numbers">
      <h3>{mixture ? "Responsibility" : "How often, how strongly"}</h3>
      {known.length > 0 && (
        <dl>
          {known.map(([name, value, title]) => (
            <div key={name} title={title || undefined}>
              <dt>{name}</dt>
              <dd class="sw-num">{value}</dd>
            </div>
          ))}
        </dl>
      )}
      {content.histogram ? (
        <Histogram card={card} histogram={content.histogram} reads={content.reads} />
      ) : (
        content.missing.histogram && (
          <p class="sw-note sw--missing">{content.missing.histogram.said}</p>
        )
      )}
    </section>
  );
}

/** How many of the counted tokens have more than half of the largest reading there can be. */
function mostly({ histogram }: Content): string | null {
  if (!histogram) return null;
  const bars = barsOf(histogram).filter(({ low }) => low >= 0.5);
  return plural(
    bars.reduce((sum, { count }) => sum + count, 0),
    "token",
  );
}

const number = (value: number | null) => (value === null ? null : formatNumber(value));

function short(tokens: number): string {
  if (tokens >= 1e6) return `${formatNumber(tokens / 1e6, 2)} M tokens`;
  return plural(tokens, "token");
}

interface HistogramProps {
  card: Card;
  histogram: { counts: number[]; top: number };
  reads: string;
}

function Histogram({ card, histogram, reads }: HistogramProps) {
  const [bar, setBar] = useState<Bar | null>(null);
  const bars = barsOf(histogram);
  const { top } = histogram;
  const end = formatNumber(top);
  const at = card.pointed.value;
  const width = 100 / bars.length;
  return (
    <figure
      aria-label={`Histogram of the ${reads} where it fires, 0 to ${end}, by the logarithm of the number of tokens`}
    >
      <div class="sw--plot">
        <svg viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true">
          {bars.map((each, i) => (
            <g
              key={each.low}
              onPointerEnter={() => setBar(each)}
              onPointerLeave={() => setBar(null)}
            >
              <rect class="sw--field" x={i * width} y={0} width={width} height={100} />
              <rect
                class="sw--bar"
                x={i * width + width * 0.06}
                y={100 - each.height * 100}
                width={width * 0.88}
                height={each.height * 100}
              />
            </g>
          ))}
        </svg>
        {at?.counted && (
          <i class="sw--marker" style={{ left: `${placeOf(at.value, top) * 100}%` }} />
        )}
      </div>
      <figcaption class="sw-num">
        <span>0</span>
        <span class="sw--middle">{caption(at, bar)}</span>
        <span>{end}</span>
      </figcaption>
    </figure>
  );
}

function caption(at: Card["pointed"]["value"], bar: Bar | null): string {
  if (at) return at.counted ? `under the pointer ${formatNumber(at.value)}` : "not counted";
  if (bar)
    return `${plural(bar.count, "token")} at ${formatNumber(bar.low, 2)} – ${formatNumber(bar.high, 2)}`;
  return "log number of tokens";
}

interface Bar {
  /** Its height, 0 to 1: log(1 + count), of the tallest's. */
  height: number;
  count: number;
  low: number;
  high: number;
}

export function barsOf({ counts, top }: { counts: number[]; top: number }): Bar[] {
  const tallest = Math.log1p(Math.max(...counts, 1));
  const step = top / counts.length;
  return counts.map((count, i) => ({
    count,
    height: count ? Math.max(Math.log1p(count) / tallest, 0.02) : 0,
    low: i * step,
    high: (i + 1) * step,
  }));
}

/** Where a value stands between 0 and the end of the histogram, 0 to 1. */
export function placeOf(value: number, top: number): number {
  return top > 0 ? Math.min(Math.max(value / top, 0), 1) : 0;
}
