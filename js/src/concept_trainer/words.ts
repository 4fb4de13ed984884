// A training in words.
import { formatDuration, formatNumber, formatPercent, plural } from "../ui/format";
import type { Doing, Trainer } from "./trainer";
import type { Count, Layer, Other, Result, Steered } from "./types";

export const METHODS = [
  ["mean_difference", "difference in means"],
  ["logistic", "logistic regression"],
  ["svm", "linear SVM"],
  ["reft_r1", "ReFT-r1"],
] as const;

export const POOLS = [
  ["mean", "mean of tokens"],
  ["last", "last token"],
  ["max", "largest of tokens"],
] as const;

export const named = (all: readonly (readonly [string, string])[], value: string): string =>
  all.find(([id]) => id === value)?.[1] ?? value;

/** 0.97; a dash where there is none. */
export const score = (value?: number | null): string =>
  value === null || value === undefined ? "–" : value.toFixed(2);

/** +0.41 or −0.33. */
export function signed(value?: number | null): string {
  if (value === null || value === undefined) return "–";
  return `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`;
}

/** "CAV 3 · religion and prayer"; of a feature without a label, its kind and number once. */
export const nameOf = ({ kind, index, label }: Other): string =>
  label.startsWith(`${kind} ${index}`) ? label : `${kind} ${index} · ${label}`;

export const of = ({ k, n }: Count): string => `${k} of ${n}`;

export function interval([low, high]: readonly [number, number]): string {
  return `${Math.round(low * 100)}–${formatPercent(high)}`;
}

/** The chart in words. */
export function spoken(
  { layers }: Result,
  { layer, auroc, shuffled }: Layer,
  steered: Steered | null = null,
): string {
  const first = layers[0]?.layer;
  const last = layers.at(-1)?.layer;
  const control = shuffled ? `, with shuffled labels ${score(shuffled.auroc)}` : "";
  const row = steered?.rows.find((each) => each.layer === layer);
  const steers = row ? `; steered answers on topic ${of(row.on_topic)}` : "";
  return `AUROC on held-out texts, blocks ${first} to ${last}: ${score(auroc)} at block ${layer}${control}${steers}`;
}

const PHASES: Record<string, [string, string]> = {
  reading: ["reading", "text"],
  fitting: ["fitting", "step"],
  writing: ["writing", "answer"],
  answering: ["dose check", "answer"],
  steering: ["steering in every block", "answer"],
};

export function statusText(trainer: Trainer): string {
  const doing = trainer.doing.value;
  if (doing) return doingText(doing);
  if (trainer.frozen) return "A frozen copy: open the notebook to train.";
  const result = trainer.result.value;
  const { state, seconds } = trainer.traits.status.value;
  if (state === "stopped") return "Stopped.";
  if (!result?.fitted.length) {
    const [one, other] = trainer.plan.value.counts;
    return one + other ? `${plural(one + other, "text")}` : "";
  }
  const [one = 0, other = 0] = result.fitted;
  const time = result.seconds ?? seconds;
  return [
    plural(one + other + result.tests.length, "text"),
    plural(result.layers.length, "block"),
    time === undefined ? "" : formatDuration(time),
  ]
    .filter(Boolean)
    .join(" · ");
}

function doingText({ slow, waiting, stopping, told, done, total, secondsLeft }: Doing): string {
  if (slow) return "Waiting for the kernel: it is busy with a cell, or gone.";
  if (waiting) return waiting;
  if (stopping) return "Stopping…";
  if (!total) return "Starting…";
  const phase = String(told?.phase);
  const [what, unit] = PHASES[phase] ?? [phase, "step"];
  const left = secondsLeft === null || !done ? "" : ` · about ${formatDuration(secondsLeft)} left`;
  return `${what}: ${formatNumber(done, 6)} of ${plural(total, unit)}${left}`;
}
