import "./projections.css";
import { useState } from "preact/hooks";
import { formatNumber } from "../ui/format";
import { useWidth } from "./chart";
import type { Layer, Result } from "./types";

const HEIGHT = 108;
const LEFT = 62;
const RIGHT = 12;
const ROWS = { with: 28, without: 74 };
const SPREAD = 13;
const NAMED = 4;

interface Point {
  text: string;
  positive: boolean;
  value: number;
  confused: boolean;
}

/** Where each held-out text lies on the direction; those on the wrong side are ringed and named. */
export function TrainerProjections({ result, layer }: { result: Result; layer: Layer }) {
  const { figure, width } = useWidth();
  const [pointed, setPointed] = useState<Point | null>(null);
  const threshold = layer.threshold;
  const points = pointsOf(result, layer);
  if (!points.length || threshold === null) return null;
  const values = [threshold, ...points.map(({ value }) => value)];
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const x = (value: number) =>
    LEFT + 10 + ((value - least) / (most - least || 1)) * (width - LEFT - RIGHT - 20);
  const off = points.filter(({ confused }) => confused);
  return (
    <figure ref={figure} class="sw-trainer-projections" aria-label="Held-out texts">
      <h3>Held-out texts on the direction</h3>
      <svg
        width={width}
        height={HEIGHT}
        viewBox={`0 0 ${width} ${HEIGHT}`}
        role="img"
        aria-label={`${points.length} held-out texts on the direction, ${off.length} on the wrong side of ${formatNumber(threshold)}`}
        onPointerLeave={() => setPointed(null)}
      >
        <text x={0} y={ROWS.with + 4}>
          concept
        </text>
        <text x={0} y={ROWS.without + 4}>
          other
        </text>
        <path class="sw--threshold" d={`M${x(threshold)} 6V${HEIGHT - 8}`} />
        {points.map((point, index) => (
          <circle
            key={index}
            class={`${point.positive ? "sw--with" : ""} ${point.confused ? "sw--confused" : ""}`}
            cx={x(point.value)}
            cy={ROWS[point.positive ? "with" : "without"] + jitter(index)}
            r={point.confused ? 5 : 4}
            onPointerEnter={() => setPointed(point)}
          >
            <title>{point.text}</title>
          </circle>
        ))}
      </svg>
      <figcaption class="sw-note" dir="auto">
        {pointed ? (
          <>
            {formatNumber(pointed.value)}: “{pointed.text}”
          </>
        ) : off.length ? (
          <>
            confused:{" "}
            {off
              .slice(0, NAMED)
              .map(({ text }) => `“${short(text)}”`)
              .join(" · ")}
            {off.length > NAMED && ` and ${off.length - NAMED} more`}
          </>
        ) : (
          "none is confused"
        )}
      </figcaption>
      <details class="sw-trainer-table">
        <summary>All held-out texts</summary>
        {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reachable by keys */}
        <section aria-label="Held-out texts, scrolls" class="sw--scrolls" tabIndex={0}>
          <ol class="sw-plain">
            {[...points]
              .sort((a, b) => b.value - a.value)
              .map((point, index) => (
                <li key={index} dir="auto">
                  <b class="sw-num">{formatNumber(point.value)}</b>{" "}
                  {point.positive ? "concept" : "other"}
                  {point.confused && ", confused"}: {point.text}
                </li>
              ))}
          </ol>
        </section>
      </details>
    </figure>
  );
}

function pointsOf({ tests }: Result, { projections, threshold }: Layer): Point[] {
  return tests.flatMap(({ text, positive }, index) => {
    const value = projections[index];
    if (value === null || value === undefined || threshold === null) return [];
    return [{ text, positive, value, confused: value > threshold !== positive }];
  });
}

/** The same for the same text whenever it is drawn. */
const jitter = (index: number) => (((index * 7919) % 97) / 96 - 0.5) * 2 * SPREAD;

const short = (text: string) => (text.length > 90 ? `${text.slice(0, 90)}…` : text);
