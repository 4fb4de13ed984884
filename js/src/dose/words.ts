// Numbers of a dose–response in words.
import { numberOf } from "../host/work";
import { formatDuration, formatNumber, formatPercent, plural } from "../ui/format";
import type { Doing, Dose } from "./dose";
import type { Axis, Count, Mean, Result, Row } from "./types";

export const AXES: readonly (readonly [Axis, string])[] = [
  ["strength", "α"],
  ["ratio", "‖Δ‖/‖h‖"],
  ["iso_kl", "iso-KL"],
];

export const AXIS_TITLES: Record<Axis, string> = {
  strength: "strength",
  ratio: "median ‖change‖/‖h‖",
  iso_kl: "multiples of the strength at which the 95th percentile of the KL is 1 nat",
};

export const of = ({ k, n }: Count): string => `${k} of ${n}`;

/** "47–91 %". */
export function interval({ interval: [low, high] }: Count): string {
  return `${Math.round(low * 100)}–${formatPercent(high)}`;
}

/** "3.2", with its interval where there is one. */
export function mean({ value, low, high }: Mean): string {
  const said = formatNumber(value);
  return low === null || high === null ? said : `${said} (${range([low, high])})`;
}

export const range = ([low, high]: readonly [number, number]): string =>
  `${formatNumber(low)}–${formatNumber(high)}`;

/** "0–66, 12". */
export function strengthsText(strengths: readonly number[]): string {
  const [first, last] = [strengths[0], strengths.at(-1)];
  if (first === undefined || last === undefined) return "none";
  return strengths.length === 1
    ? formatNumber(first)
    : `${range([first, last])}, ${strengths.length}`;
}

export function usefulText({ useful }: Result): string {
  if (!useful) return "no useful strength";
  return useful[0] === useful[1] ? `useful ${formatNumber(useful[0])}` : `useful ${range(useful)}`;
}

/** The chart in words. */
export function spoken(result: Result): string {
  const { rows, breaks, breaks_below, prompted, baseline } = result;
  const [first, last] = [rows[0] as Row, rows.at(-1) as Row];
  const at = (row: Row) => `${of(row.on_topic)} at ${formatNumber(row.strength)}`;
  return [
    `Dose and response: on topic ${at(first)}, ${at(last)}`,
    usefulText(result),
    breaks === null ? "" : `text breaks from ${formatNumber(breaks)}`,
    breaks_below === null ? "" : `and from ${formatNumber(breaks_below)} down`,
    `baseline ${of(baseline.on_topic)}`,
    prompted ? `asked for in the prompt ${of(prompted)}` : "",
  ]
    .filter(Boolean)
    .join("; ");
}

export function statusText(dose: Dose): string {
  const doing = dose.doing.value;
  if (doing) return doingText(doing);
  if (dose.frozen) return "A frozen copy: open the notebook to run it.";
  const { state, message, answers, seconds } = dose.traits.status.value;
  if (state === "error") return "Stopped by an error.";
  if (state === "running") return "Running…";
  if (dose.stale.value && dose.result.value) return "Made before the last changes.";
  if (answers === undefined) {
    const total = dose.facts.value?.total;
    return message || (total ? `${plural(total, "answer")} to write` : "");
  }
  const said = [
    `${state === "stopped" ? "stopped after " : ""}${plural(answers, "answer")}`,
    seconds === undefined ? "" : formatDuration(seconds),
  ];
  return said.filter(Boolean).join(" · ");
}

function doingText({
  what,
  waiting,
  slow,
  stopping,
  told,
  done,
  total,
  secondsLeft,
}: Doing): string {
  if (slow) return "Waiting for the kernel: it is busy with a cell, or gone.";
  if (stopping) return "Stopping…";
  if (waiting) return waiting;
  if (what === "judge") return "Judging…";
  if (what === "iso_kl") return "Finding the iso-KL dose…";
  if (!told) return "Starting…";
  const [step, steps] = [numberOf(told, "step"), numberOf(told, "steps")];
  return [
    `${done} of ${plural(total, "answer")}`,
    done < total && step > 0 ? `token ${step + 1} of ${steps}` : "",
    secondsLeft === null ? "" : `${formatDuration(secondsLeft)} left`,
  ]
    .filter(Boolean)
    .join(" · ");
}
