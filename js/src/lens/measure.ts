// What colours a cell of the lens, and how far up its scale it is.
import { formatNumber } from "../ui/format";
import type { LensRun } from "./run";
import type { Measure } from "./types";

export interface LensScale {
  signed: boolean;
  /** The legend: both ends in words, and what is measured. */
  low: string;
  high: string;
  what: string;
  /** How much colour a value has, −1 to 1. */
  share(value: number): number;
  isBeyond(value: number): boolean;
}

/** The value of every cell; NaN where it is not known. */
export type Values = (layer: number, position: number) => number;

/** What a measure needs to know besides the runs. */
export interface Chosen {
  id: number | null;
  /** The token as it is shown. */
  name: string;
  vocabulary: number;
}

const FLOOR = -10; // log-probability without colour
const CLIP = 0.99; // of the cells of a difference lie within its scale

export function valuesOf(run: LensRun, measure: Measure, id: number | null): Values {
  switch (measure) {
    case "probability":
      return (layer, position) => Math.exp(run.top(layer, position).logProb);
    case "log_probability":
      return (layer, position) => run.top(layer, position).logProb;
    case "rank":
      return (layer, position) => (id === null ? Number.NaN : run.rankOf(id, layer, position));
    case "entropy":
      return (layer, position) => run.entropy(layer, position);
    default:
      return (layer, position) => run.kl(layer, position);
  }
}

/** Steered minus baseline; of a rank, the powers of ten that the token climbs. */
export function changesOf(
  before: LensRun,
  after: LensRun,
  top: Float32Array,
  measure: Measure,
  id: number | null,
): Values {
  if (measure === "probability" || measure === "log_probability")
    return (layer, position) => {
      const change = top[layer * before.positions + position] as number;
      if (measure === "log_probability") return change;
      const own = before.top(layer, position).logProb;
      return Math.exp(own + change) - Math.exp(own);
    };
  const [was, is] = [valuesOf(before, measure, id), valuesOf(after, measure, id)];
  if (measure === "rank")
    return (layer, position) => Math.log10(was(layer, position)) - Math.log10(is(layer, position));
  return (layer, position) => is(layer, position) - was(layer, position);
}

export function scaleOf(
  measure: Measure,
  runs: readonly LensRun[],
  { name, vocabulary }: Chosen,
): LensScale {
  const made = (end: number, low: string, high: string, what: string): LensScale => ({
    signed: false,
    low,
    high,
    what,
    share: (value) => (end > 0 ? Math.min(Math.max(value / end, 0), 1) : 0),
    isBeyond: () => false,
  });
  switch (measure) {
    case "probability":
      return made(1, "0", "1", "probability of the token shown");
    case "log_probability":
      return {
        ...made(1, `≤ ${formatNumber(FLOOR)}`, "0", "log-probability of the token shown, nats"),
        share: (value) => Math.min(Math.max(1 - value / FLOOR, 0), 1),
      };
    case "rank": {
      const worst = Math.max(vocabulary, 2);
      return {
        ...made(1, formatNumber(worst, 6), "1", `rank of ${name}, log scale`),
        share: (value) =>
          Number.isNaN(value) ? 0 : Math.max(1 - Math.log(value) / Math.log(worst), 0),
      };
    }
    default: {
      const end = Math.max(0, ...runs.map((run) => largest(run, valuesOf(run, measure, null))));
      const what = measure === "entropy" ? "entropy, nats" : "KL(output ‖ this block), nats";
      return made(end, "0", formatNumber(end), `${what} · largest in this text`);
    }
  }
}

export function changeScale(
  measure: Measure,
  values: Values,
  run: LensRun,
  { name }: Chosen,
): LensScale {
  const end = percentile(run, values);
  const what = {
    probability: "change of the probability of the baseline’s token",
    log_probability: "change of the log-probability of the baseline’s token, nats",
    rank: `powers of ten that ${name} climbs in rank`,
    entropy: "change of entropy, nats",
    kl: "change of the KL to the output, nats",
  }[measure];
  const text = formatNumber(end);
  return {
    signed: true,
    low: `−${text}`,
    high: `+${text}`,
    what: `${what} · 99th percentile of this text`,
    share: (value) => (end > 0 && value ? Math.min(Math.max(value / end, -1), 1) : 0),
    isBeyond: (value) => Math.abs(value) > end * 1.0001,
  };
}

function* cells(run: LensRun, values: Values): Generator<number> {
  for (let layer = 0; layer < run.layers.length; layer++)
    for (let position = 0; position < run.positions; position++) {
      const value = values(layer, position);
      if (Number.isFinite(value)) yield value;
    }
}

function largest(run: LensRun, values: Values): number {
  let most = 0;
  for (const value of cells(run, values)) if (value > most) most = value;
  return most;
}

/** Of the cells that change at all: blocks before the first steered one never do. */
function percentile(run: LensRun, values: Values): number {
  const sizes = Float32Array.from(cells(run, values), Math.abs)
    .filter((size) => size > 0)
    .sort();
  return sizes[Math.min(Math.floor(sizes.length * CLIP), sizes.length - 1)] ?? 0;
}
