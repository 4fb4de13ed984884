// What colours a cell of the lens, and how far up its scale it is. A new measure is one entry of MEASURES.
import { formatNumber } from "../ui/format";
import type { LensRun } from "./run";
import { share } from "./text";

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

/** Two runs of one text. */
export interface Difference {
  before: LensRun;
  after: LensRun;
  /** Change of the log-probability of the baseline's likeliest token, [layer, position]. */
  top: Float32Array;
}

interface Entry {
  /** In the row of choices. */
  label: string;
  /** It is of a token that has to be chosen first. */
  ofToken?: boolean;
  values(run: LensRun, id: number | null): Values;
  /** Steered minus baseline, where that is not the difference of the two runs' values. */
  changes?(difference: Difference, id: number | null): Values;
  scale(runs: readonly LensRun[], chosen: Chosen): LensScale;
  /** What the scale of a difference measures. */
  change(chosen: Chosen): string;
  /** A value with its name, as it is read out. */
  said(value: number, chosen: Chosen): string;
  saidChange(value: number, chosen: Chosen): string;
}

const FLOOR = -10; // log-probability without colour
const CLIP = 0.99; // of the cells of a difference lie within its scale

export const MEASURES = {
  probability: {
    label: "probability",
    values: (run) => (layer, position) => Math.exp(run.top(layer, position).logProb),
    changes: (difference) => (layer, position) => {
      const own = difference.before.top(layer, position).logProb;
      return Math.exp(own + topChange(difference, layer, position)) - Math.exp(own);
    },
    scale: () => upTo(1, { low: "0", high: "1", what: "probability of the token shown" }),
    change: () => "change of the probability of the baseline’s token",
    said: (value) => `probability ${share(value)}`,
    saidChange: (value) => `change of probability ${plus(value, share)}`,
  },
  log_probability: {
    label: "log-prob",
    values: (run) => (layer, position) => run.top(layer, position).logProb,
    changes: (difference) => (layer, position) => topChange(difference, layer, position),
    scale: () => ({
      ...upTo(1, {
        low: `≤ ${formatNumber(FLOOR)}`,
        high: "0",
        what: "log-probability of the token shown, nats",
      }),
      share: (value) => Math.min(Math.max(1 - value / FLOOR, 0), 1),
    }),
    change: () => "change of the log-probability of the baseline’s token, nats",
    said: (value) => `log-probability ${formatNumber(value)}`,
    saidChange: (value) => `change of log-probability ${plus(value)}`,
  },
  rank: {
    label: "rank",
    ofToken: true,
    values: (run, id) => (layer, position) =>
      id === null ? Number.NaN : run.rankOf(id, layer, position),
    /** The powers of ten that the token climbs. */
    changes({ before, after }, id) {
      const [was, is] = [this.values(before, id), this.values(after, id)];
      return (layer, position) =>
        Math.log10(was(layer, position)) - Math.log10(is(layer, position));
    },
    scale(_, { name, vocabulary }) {
      const worst = Math.max(vocabulary, 2);
      return {
        ...upTo(1, { low: formatNumber(worst, 6), high: "1", what: `rank of ${name}, log scale` }),
        share: (value) =>
          Number.isNaN(value) ? 0 : Math.max(1 - Math.log(value) / Math.log(worst), 0),
      };
    },
    change: ({ name }) => `powers of ten that ${name} climbs in rank`,
    said: (value, { name }) => `rank of ${name} ${formatNumber(value, 7)}`,
    saidChange: (value, { name }) => `${name} climbs ${plus(value)} powers of ten`,
  },
  entropy: {
    label: "entropy",
    values: (run) => (layer, position) => run.entropy(layer, position),
    scale(runs) {
      return upToLargest(runs, this, "entropy, nats");
    },
    change: () => "change of entropy, nats",
    said: (value) => `entropy ${formatNumber(value)} nats`,
    saidChange: (value) => `change of entropy ${plus(value)} nats`,
  },
  kl: {
    label: "KL to output",
    values: (run) => (layer, position) => run.kl(layer, position),
    scale(runs) {
      return upToLargest(runs, this, "KL(output ‖ this block), nats");
    },
    change: () => "change of the KL to the output, nats",
    said: (value) => `KL to the output ${formatNumber(value)} nats`,
    saidChange: (value) => `change of KL to the output ${plus(value)} nats`,
  },
} satisfies Record<string, Entry>;

export type Measure = keyof typeof MEASURES;

export function measureOf(measure: Measure): Entry {
  return MEASURES[measure];
}

export function changesOf(measure: Measure, difference: Difference, id: number | null): Values {
  const entry = measureOf(measure);
  if (entry.changes) return entry.changes(difference, id);
  const [was, is] = [entry.values(difference.before, id), entry.values(difference.after, id)];
  return (layer, position) => is(layer, position) - was(layer, position);
}

export function changeScale(
  measure: Measure,
  values: Values,
  run: LensRun,
  chosen: Chosen,
): LensScale {
  const end = percentile(run, values);
  const text = formatNumber(end);
  return {
    signed: true,
    low: `−${text}`,
    high: `+${text}`,
    what: `${measureOf(measure).change(chosen)} · 99th percentile of this text`,
    share: (value) => (end > 0 && value ? Math.min(Math.max(value / end, -1), 1) : 0),
    isBeyond: (value) => Math.abs(value) > end * 1.0001,
  };
}

function topChange({ before, top }: Difference, layer: number, position: number): number {
  return top[layer * before.positions + position] as number;
}

function upTo(end: number, words: Pick<LensScale, "low" | "high" | "what">): LensScale {
  return {
    signed: false,
    ...words,
    share: (value) => (end > 0 ? Math.min(Math.max(value / end, 0), 1) : 0),
    isBeyond: () => false,
  };
}

function upToLargest(
  runs: readonly LensRun[],
  { values }: Pick<Entry, "values">,
  what: string,
): LensScale {
  const end = Math.max(0, ...runs.map((run) => largest(run, values(run, null))));
  return upTo(end, { low: "0", high: formatNumber(end), what: `${what} · largest in this text` });
}

/** With its sign, as changes are written. */
function plus(value: number, format: (value: number) => string = formatNumber): string {
  return `${value > 0 ? "+" : ""}${format(value)}`;
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
