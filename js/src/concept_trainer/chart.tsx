import "./chart.css";
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Trainer } from "./trainer";
import type { Count, Layer, Result, Scores, Steered } from "./types";
import { of, score, signed, spoken } from "./words";

const FRAME = { left: 34, right: 12, top: 20, bottom: 150 };
const HEIGHT = 176;
const ROOM = 34; // px that a number under the axis takes

/** How well each block tells held-out texts apart, and how well it does with shuffled labels. */
export function TrainerChart({ trainer, result }: { trainer: Trainer; result: Result }) {
  const { figure, width } = useWidth();
  const { layers } = result;
  const at = trainer.at.value;
  const current = layers[at] as Layer;
  const steered = trainer.steered.value;
  const steers = new Map(steered?.rows.map((row) => [row.layer, row]));
  const shareOf = (layer: Layer) => share(steers.get(layer.layer)?.on_topic);
  const chanceOf = (layer: Layer) => share(steers.get(layer.layer)?.random);
  const scores = layers.flatMap((layer) => [
    layer.auroc,
    layer.shuffled?.auroc ?? null,
    steers.size ? 0 : null,
  ]);
  const least = Math.min(0.5, ...scores.filter((each): each is number => each !== null));
  const low = Math.floor(least * 10) / 10;
  const x = (index: number) =>
    layers.length < 2
      ? (FRAME.left + width - FRAME.right) / 2
      : FRAME.left + (index / (layers.length - 1)) * (width - FRAME.left - FRAME.right);
  const y = (value: number) =>
    FRAME.bottom - ((value - low) / (1 - low)) * (FRAME.bottom - FRAME.top);
  const line = (of: (layer: Layer) => number | null | undefined) => {
    let open = false;
    return layers
      .map((layer, index) => {
        const value = of(layer);
        if (value === null || value === undefined) {
          open = false;
          return "";
        }
        const step = `${open ? "L" : "M"}${x(index).toFixed(1)} ${y(value).toFixed(1)}`;
        open = true;
        return step;
      })
      .join("");
  };
  const pick = (event: PointerEvent & { currentTarget: Element }) => {
    const left = event.clientX - event.currentTarget.getBoundingClientRect().left;
    const distance = (index: number) => Math.abs(x(index) - left);
    const nearest = layers.reduce(
      (best, _, index) => (distance(index) < distance(best) ? index : best),
      0,
    );
    const { layer } = layers[nearest] as Layer;
    if (nearest !== trainer.at.peek()) trainer.select(layer);
  };
  const right = x(at) > width - 90;
  return (
    <figure ref={figure} class="sw-trainer-chart" aria-label="How well each block tells them apart">
      <h3>How well each block tells them apart, held out</h3>
      <svg
        width={width}
        height={HEIGHT}
        viewBox={`0 0 ${width} ${HEIGHT}`}
        role="img"
        aria-label={spoken(result, current, steered)}
        onPointerDown={(event) => {
          event.currentTarget.setPointerCapture?.(event.pointerId);
          pick(event);
        }}
        onPointerMove={(event) => event.buttons === 1 && pick(event)}
      >
        <g class="sw--axis">
          <path d={`M${FRAME.left} ${FRAME.bottom}H${width - FRAME.right}`} />
          {low < 0.5 && (
            <path class="sw--chance" d={`M${FRAME.left} ${y(0.5)}H${width - FRAME.right}`} />
          )}
          {[1, 0.5, ...(low < 0.45 ? [low] : [])].map((value) => (
            <text key={value} x={FRAME.left - 7} y={y(value) + 4} text-anchor="end">
              {value.toFixed(1)}
            </text>
          ))}
          {named(layers, x, at).map((index) => (
            <text
              key={index}
              class={index === at ? "sw--on" : ""}
              x={x(index)}
              y={FRAME.bottom + 17}
              text-anchor="middle"
            >
              {layers[index]?.layer}
            </text>
          ))}
        </g>
        <path class="sw--at" d={`M${x(at)} ${FRAME.top - 6}V${FRAME.bottom}`} />
        <text
          class="sw--block"
          x={x(at) + (right ? -6 : 6)}
          y={FRAME.bottom - 7}
          text-anchor={right ? "end" : "start"}
        >
          block {current.layer}
        </text>
        <path class="sw--line sw--control" d={line(({ shuffled }) => shuffled?.auroc)} />
        <path class="sw--line" d={line(({ auroc }) => auroc)} />
        {steers.size > 0 && (
          <>
            <path class="sw--line sw--chance" d={line(chanceOf)} />
            <path class="sw--line sw--steered" d={line(shareOf)} />
          </>
        )}
        {layers.length < 2 && dots(current, x(0), y)}
        {current.auroc !== null && (
          <circle class="sw--dot" cx={x(at)} cy={y(current.auroc)} r={4} />
        )}
      </svg>
      <input
        class="sw--slider"
        type="range"
        aria-label="Block"
        aria-valuetext={`block ${current.layer}, AUROC ${score(current.auroc)}`}
        min={0}
        max={layers.length - 1}
        step={1}
        value={at}
        style={{
          marginInlineStart: `${FRAME.left}px`,
          width: `${width - FRAME.left - FRAME.right}px`,
        }}
        onInput={(event) => {
          const layer = layers[Number(event.currentTarget.value)];
          if (layer) trainer.select(layer.layer);
        }}
      />
      <figcaption class="sw-note">
        <span class="sw--key">AUROC</span>
        {result.shuffles > 0 && (
          <span class="sw--key sw--control">
            the same with shuffled labels, mean of {result.shuffles}
          </span>
        )}
        {steered && (
          <>
            <span class="sw--key sw--steered">
              share of steered answers on topic, of {steered.rows[0]?.on_topic.n}
            </span>
            <span class="sw--key sw--chance">with random directions</span>
          </>
        )}
      </figcaption>
    </figure>
  );
}

const share = (count?: Count): number | null => (count?.n ? count.k / count.n : null);

const dots = (layer: Layer, x: number, y: (value: number) => number) =>
  layer.shuffled?.auroc !== null &&
  layer.shuffled !== null && (
    <circle class="sw--dot sw--control" cx={x} cy={y(layer.shuffled.auroc)} r={3} />
  );

/** Which blocks are named under the axis: as many as have room, the one that is looked at always. */
function named(layers: readonly Layer[], x: (index: number) => number, at: number): number[] {
  const kept = [at];
  const fits = (index: number) => kept.every((other) => Math.abs(x(index) - x(other)) >= ROOM);
  for (let index = 0; index < layers.length; index++) if (fits(index)) kept.push(index);
  return kept.sort((a, b) => a - b);
}

/** The chart's numbers, for who can't see it or wants to copy them. */
export function TrainerNumbers({ result, steered }: { result: Result; steered: Steered | null }) {
  const steers = new Map(steered?.rows.map((row) => [row.layer, row]));
  const both = (scores: Scores | null, said: (value?: number | null) => string) => [
    said(scores?.auroc),
    said(scores?.accuracy),
  ];
  return (
    <details class="sw-trainer-table">
      <summary>Table of the numbers</summary>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reachable by keys */}
      <section aria-label="Numbers, scrolls sideways" tabIndex={0}>
        <table class="sw-num" aria-label="Numbers of every block">
          <thead>
            <tr>
              {[
                "block",
                "AUROC",
                "right",
                "shuffled",
                "its accuracy",
                "selectivity",
                "by accuracy",
                ...(steered ? ["steered, on topic", "random", "surprise"] : []),
              ].map((name) => (
                <th key={name} scope="col">
                  {name}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {result.layers.map((layer) => {
              const [chance, byChance] = both(layer.shuffled, score);
              const [more, moreRight] = both(layer.selectivity, signed);
              return (
                <tr key={layer.layer}>
                  <th scope="row">{layer.layer}</th>
                  <td>{score(layer.auroc)}</td>
                  <td>
                    {layer.right} of {layer.tested}
                  </td>
                  <td>{chance}</td>
                  <td>{byChance}</td>
                  <td>{more}</td>
                  <td>{moreRight}</td>
                  {steered && <SteeredCells row={steers.get(layer.layer)} />}
                </tr>
              );
            })}
          </tbody>
        </table>
      </section>
    </details>
  );
}

function SteeredCells({ row }: { row: Steered["rows"][number] | undefined }) {
  return (
    <>
      <td>{row ? of(row.on_topic) : "–"}</td>
      <td>{row ? of(row.random) : "–"}</td>
      <td>{score(row?.surprise)}</td>
    </>
  );
}

/** The width that a figure has. */
export function useWidth() {
  const figure = useRef<HTMLElement>(null);
  const [width, setWidth] = useState(560);
  useLayoutEffect(() => {
    const element = figure.current;
    if (!element) return undefined;
    const read = () => setWidth(Math.max(260, Math.floor(element.clientWidth) || 560));
    const watcher = new ResizeObserver(read);
    watcher.observe(element);
    read();
    return () => watcher.disconnect();
  }, []);
  return { figure, width };
}
