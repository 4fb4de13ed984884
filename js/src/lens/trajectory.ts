// The way of a token through the blocks, as points of a chart.
import type { LensRun } from "./run";
import type { Axis } from "./types";

export interface Point {
  layer: number;
  value: number;
  /** False where it is only known that the token is less likely than the last candidate kept. */
  known: boolean;
}

/** A token's probability, or its rank from 1, after each block at one position. */
export function trajectory(run: LensRun, id: number, position: number, axis: Axis): Point[] {
  return run.layers.map((number, layer) => {
    const value =
      axis === "rank"
        ? run.rankOf(id, layer, position)
        : Math.exp(run.logProbOf(id, layer, position));
    if (Number.isFinite(value)) return { layer: number, value, known: true };
    return { layer: number, value: bound(run, layer, position, axis), known: false };
  });
}

function bound(run: LensRun, layer: number, position: number, axis: Axis): number {
  if (axis === "rank") return run.k + 1;
  return Math.exp(run.candidates(layer, position).at(-1)?.logProb ?? Number.NEGATIVE_INFINITY);
}

export interface Frame {
  left: number;
  right: number;
  top: number;
  bottom: number;
}

/** Where values of a chart come to stand; the rank's axis is logarithmic, with 1 on top. */
export function placing(axis: Axis, layers: readonly number[], most: number, frame: Frame) {
  const [first, last] = [layers[0] ?? 0, layers.at(-1) ?? 1];
  const { left, right, top, bottom } = frame;
  const height = bottom - top;
  const share = (value: number) =>
    axis === "rank" ? 1 - Math.log(Math.max(value, 1)) / Math.log(Math.max(most, 2)) : value / most;
  return {
    x: (layer: number) => left + ((layer - first) / Math.max(last - first, 1)) * (right - left),
    y: (value: number) => bottom - Math.min(Math.max(share(value), 0), 1) * height,
  };
}

/** SVG paths of a line: one where its values are known, one for the stretches where they are bounds. */
export function paths(
  points: readonly Point[],
  { x, y }: ReturnType<typeof placing>,
): { known: string; bounds: string } {
  const drawn = { known: "", bounds: "" };
  points.forEach((point, at) => {
    const before = points[at - 1];
    const here = `${x(point.layer).toFixed(1)} ${y(point.value).toFixed(1)}`;
    if (!before) return;
    const kind = point.known && before.known ? "known" : "bounds";
    const from = `${x(before.layer).toFixed(1)} ${y(before.value).toFixed(1)}`;
    drawn[kind] += `${drawn[kind].endsWith(from) ? "" : `M${from}`}L${here}`;
  });
  return drawn;
}

/** The end of a probability axis: the largest value, rounded up to something that can be read. */
export function axisEnd(largest: number): number {
  const steps = [0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1];
  return steps.find((step) => largest <= step) ?? 1;
}
