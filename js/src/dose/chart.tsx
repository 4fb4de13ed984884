import "./chart.css";
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { formatNumber } from "../ui/format";
import type { Dose } from "./dose";
import { area, doseScale, FRAME, type Place, path, placed, ticks, type Valued } from "./scales";
import type { Count, Mean, Result, Row } from "./types";
import { AXIS_TITLES, of, spoken, usefulText } from "./words";

const TOP = { top: 24, bottom: 152 };
const MIDDLE = { top: 192, bottom: 244 };
const BOTTOM = { top: 276, bottom: 318 };
const HEIGHT = 344;
const NARROWEST = 320;

/** On topic, surprise and distinct-2 against the dose; its controls and the baseline's own range in the same axes. */
export function DoseChart({ dose, result }: { dose: Dose; result: Result }) {
  const figure = useRef<HTMLElement>(null);
  const [width, setWidth] = useState(640);
  useLayoutEffect(() => follow(figure.current, setWidth), []);
  const doses = dose.doses.value;
  const x = doseScale(doses, width);
  const { rows } = result;
  const at = dose.at.value;
  const xOf = (strength: number) => {
    const index = rows.findIndex((row) => row.strength === strength);
    return x(doses[index] ?? 0);
  };
  const pick = (event: PointerEvent & { currentTarget: Element }) => {
    const left = event.clientX - event.currentTarget.getBoundingClientRect().left;
    const distance = (index: number) => Math.abs(x(doses[index] ?? 0) - left);
    const nearest = rows.reduce(
      (best, _, index) => (distance(index) < distance(best) ? index : best),
      0,
    );
    const row = rows[nearest];
    if (row && nearest !== dose.at.peek()) dose.select(row.strength);
  };
  const selected = rows[at] as Row;
  return (
    <figure ref={figure} class="sw-dose-chart" aria-label="Dose and response">
      <svg
        width={width}
        height={HEIGHT}
        viewBox={`0 0 ${width} ${HEIGHT}`}
        role="img"
        aria-label={spoken(result)}
        onPointerDown={(event) => {
          event.currentTarget.setPointerCapture?.(event.pointerId);
          pick(event);
        }}
        onPointerMove={(event) => event.buttons === 1 && pick(event)}
      >
        <Marks result={result} xOf={xOf} width={width} />
        <OnTopic rows={rows} doses={doses} x={x} width={width} result={result} />
        <Means
          rows={rows}
          doses={doses}
          x={x}
          width={width}
          box={MIDDLE}
          of={(row) => row.surprise}
          own={result.baseline.surprise}
          name="surprise"
          unit=" nats"
          colour="--f2"
        />
        <Means
          rows={rows}
          doses={doses}
          x={x}
          width={width}
          box={BOTTOM}
          of={(row) => row.distinct_2}
          own={result.baseline.distinct_2}
          most={1}
          name="distinct-2"
          unit=""
          colour="--f3"
        />
        <path class="sw--at" d={`M${x(doses[at] ?? 0)} ${TOP.top - 6}V${BOTTOM.bottom}`} />
        <g class="sw--axis">
          {ticks(doses, x, at).map((index) => (
            <text
              key={index}
              class={index === at ? "sw--on" : ""}
              x={x(doses[index] ?? 0)}
              y={BOTTOM.bottom + 17}
              text-anchor="middle"
            >
              {formatNumber(doses[index])}
            </text>
          ))}
        </g>
      </svg>
      <input
        class="sw--slider"
        type="range"
        aria-label="Strength"
        aria-valuetext={`${formatNumber(selected.strength)}, on topic ${of(selected.on_topic)}`}
        min={0}
        max={rows.length - 1}
        step={1}
        value={at}
        style={{
          marginInlineStart: `${FRAME.left}px`,
          width: `${width - FRAME.left - FRAME.right}px`,
        }}
        onInput={(event) => {
          const row = rows[Number(event.currentTarget.value)];
          if (row) dose.select(row.strength);
        }}
      />
      <figcaption class="sw-note">
        {AXIS_TITLES[dose.axis.value]}
        {dose.axis.value === "iso_kl" && ` (${formatNumber(dose.traits.iso_kl.value)})`} · bands are
        95 % intervals over answers and prompts
      </figcaption>
    </figure>
  );
}

interface Panel {
  rows: readonly Row[];
  doses: readonly number[];
  x: Place;
  width: number;
}

function OnTopic({ rows, doses, x, width, result }: Panel & { result: Result }) {
  const y = placed(0, 1, TOP);
  const share = ({ k, n }: Count) => (n ? k / n : null);
  const valued = (count: (row: Row) => Count): Valued[] =>
    rows.map((row, index) => ({
      x: x(doses[index] ?? 0),
      value: share(count(row)),
      low: count(row).interval[0],
      high: count(row).interval[1],
    }));
  const steered = valued((row) => row.on_topic);
  const random = rows.some((row) => row.random.n > 0) ? valued((row) => row.random) : null;
  const { prompted } = result;
  return (
    <g style={{ "--own": "var(--f1)" }}>
      <Frame box={TOP} width={width} top="100 %" bottom="0" />
      <text class="sw--name" x={FRAME.left + 6} y={TOP.top + 5}>
        on topic
      </text>
      {random && <path class="sw--band sw--random" d={area(random, y)} />}
      <path class="sw--band" d={area(steered, y)} />
      {prompted && prompted.n > 0 && (
        <g class="sw--asked">
          <path d={`M${FRAME.left} ${y(prompted.k / prompted.n)}H${width - FRAME.right}`} />
          <text x={FRAME.left + 6} y={y(prompted.k / prompted.n) + askedAt(prompted)}>
            asked for in the prompt {of(prompted)}
          </text>
        </g>
      )}
      {random && <path class="sw--line sw--random" d={path(random, y)} />}
      <Line points={steered} y={y} rows={rows} />
    </g>
  );
}

/** The line's name stands where the panel's own name does not. */
const askedAt = ({ k, n }: Count): number => (k / n > 0.78 ? 14 : -5);

interface MeansProps extends Panel {
  box: { top: number; bottom: number };
  of(row: Row): Mean;
  own: [number, number] | null;
  most?: number;
  name: string;
  unit: string;
  colour: string;
}

function Means({
  rows,
  doses,
  x,
  width,
  box,
  of: meanOf,
  own,
  most,
  name,
  unit,
  colour,
}: MeansProps) {
  const points: Valued[] = rows.map((row, index) => ({ x: x(doses[index] ?? 0), ...meanOf(row) }));
  const known = points.flatMap(({ value, high }) => [value, high]).filter((each) => each !== null);
  const highest = most ?? Math.ceil(Math.max(1, ...known, ...(own ?? [])));
  const y = placed(0, highest, box);
  return (
    <g style={{ "--own": `var(${colour})` }}>
      {own && (
        <rect
          class="sw--range"
          x={FRAME.left}
          width={width - FRAME.left - FRAME.right}
          y={y(own[1])}
          height={Math.max(1, y(own[0]) - y(own[1]))}
        />
      )}
      <Frame box={box} width={width} top={`${formatNumber(highest)}${unit}`} bottom="0" />
      <text class="sw--name" x={FRAME.left + 6} y={box.top - 6}>
        {name}
        {own && <tspan class="sw--of"> grey: baseline’s own range over seeds</tspan>}
      </text>
      <path class="sw--band" d={area(points, y)} />
      <Line points={points} y={y} rows={rows} />
    </g>
  );
}

function Line({ points, y, rows }: { points: Valued[]; y: Place; rows: readonly Row[] }) {
  return (
    <>
      <path class="sw--line" d={path(points, y)} />
      {points.map(
        ({ x, value }, index) =>
          value !== null && (
            <circle key={rows[index]?.strength} class="sw--dot" cx={x} cy={y(value)} r={3} />
          ),
      )}
    </>
  );
}

interface FrameProps {
  box: { top: number; bottom: number };
  width: number;
  top: string;
  bottom: string;
}

function Frame({ box, width, top, bottom }: FrameProps) {
  return (
    <g class="sw--axis">
      <path d={`M${FRAME.left} ${box.bottom}H${width - FRAME.right}`} />
      <text x={FRAME.left - 7} y={box.top + 5} text-anchor="end">
        {top}
      </text>
      <text x={FRAME.left - 7} y={box.bottom + 3} text-anchor="end">
        {bottom}
      </text>
    </g>
  );
}

interface MarksProps {
  result: Result;
  xOf(strength: number): number;
  width: number;
}

/** The useful range shaded, never a best point; a line where the claim ends. */
function Marks({ result, xOf, width }: MarksProps) {
  const { useful, breaks, breaks_below } = result;
  const ends = useful?.map(xOf) as [number, number] | undefined;
  const left = ends && Math.min(...ends) - 4;
  const span = ends && Math.abs(ends[1] - ends[0]) + 8;
  const beside = useful && breaks !== null ? xOf(breaks) - (left ?? 0) < 90 : false;
  return (
    <>
      {ends && (
        <g class="sw--useful">
          <rect x={left} width={span} y={TOP.top - 12} height={BOTTOM.bottom - TOP.top + 12} />
          <text
            x={beside ? (left ?? 0) - 4 : (left ?? 0) + (span ?? 0) / 2}
            y={TOP.top - 13}
            text-anchor={beside ? "end" : anchor((left ?? 0) + (span ?? 0) / 2, width)}
          >
            {usefulText(result)}
          </text>
        </g>
      )}
      {[breaks, breaks_below].map(
        (strength, index) =>
          strength !== null && (
            <g key={index ? "below" : "above"} class="sw--breaks">
              <path d={`M${xOf(strength)} ${TOP.top - 10}V${BOTTOM.bottom}`} />
              <text
                x={xOf(strength) + (xOf(strength) > width - 140 ? -5 : 5)}
                y={TOP.top - 13}
                text-anchor={xOf(strength) > width - 140 ? "end" : "start"}
              >
                text breaks from {formatNumber(strength)}
              </text>
            </g>
          ),
      )}
    </>
  );
}

const anchor = (at: number, width: number): "start" | "middle" | "end" =>
  at < 70 ? "start" : at > width - 60 ? "end" : "middle";

function follow(
  element: HTMLElement | null,
  set: (width: number) => void,
): (() => void) | undefined {
  if (!element) return undefined;
  const read = () => set(Math.max(NARROWEST, Math.floor(element.clientWidth) || 640));
  const watcher = new ResizeObserver(read);
  watcher.observe(element);
  read();
  return () => watcher.disconnect();
}
