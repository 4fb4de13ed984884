// What a strength slider spans, and what its value means.

import { formatNumber, formatPercent } from "../ui/format";
import type { Range } from "../ui/slider";
import type { Feature, Op, OpParameter, Readout, Steer } from "./types";

/** The parameter that the slider moves: the first one that has to have a value. */
export function sliderParameter(op: Op | undefined): OpParameter | undefined {
  return op?.parameters.find((parameter) => !parameter.optional);
}

export function sliderRange(
  parameter: OpParameter,
  op: Op,
  feature: Feature | undefined,
  steer: Steer,
): Range {
  const { name, min, max, step, raw } = parameter;
  const value = steer.params[name] ?? parameter.default ?? 0;
  const suggested =
    feature?.suggested?.op === steer.op ? (feature.suggested.params[name] ?? null) : null;
  // Only strengths in the feature's own units come in every size: the others mean the same for all features.
  const limit = (raw && feature?.reach) || max;
  // A value set from code may lie further out: the thumb still tells the truth.
  const low = Math.min(raw && min < 0 ? -limit : min, value);
  const high = Math.max(limit, value);
  return {
    min: low,
    max: high,
    // Fine enough for the value that is set, where nobody knows how far the slider should go.
    step: raw ? niceStep(Math.min((high - low) / 200, Math.abs(value) / 10 || high)) : step,
    neutral: op.identity?.[name] ?? 0,
    suggested,
  };
}

/** The largest of 1, 2, 5 × 10ⁿ that is not above `size`. */
export function niceStep(size: number): number {
  const power = 10 ** Math.floor(Math.log10(size));
  const factor = [5, 2, 1].find((candidate) => candidate * power <= size * 1.0000001) ?? 1;
  return Number((factor * power).toPrecision(1));
}

export interface Meaning {
  value: string;
  unit: string;
}

/** The facts of a strength row, in reading order. */
export function meanings(
  steer: Steer,
  feature: Feature | undefined,
  readout: Readout | undefined,
  parameter: OpParameter | undefined,
): Meaning[] {
  const fact = (
    value: number | null | undefined,
    unit: string,
    write = (x: number) => formatNumber(x),
  ) => (value == null ? [] : [{ value: write(value), unit }]);
  const maximum = feature?.reads_projection ? "max projection" : "max activation";
  return [
    ...fact(
      timesMaximum(steer, feature, parameter),
      maximum,
      (times) => `${formatNumber(times, 2)} ×`,
    ),
    ...fact(readout?.ratio, "of ‖h‖", formatPercent),
    ...fact(readout?.asked, "asked"),
    ...fact(readout?.achieved, "read back"),
  ];
}

/** How far a strength moves the feature's own reading, in units of its largest one. */
export function timesMaximum(
  steer: Steer,
  feature: Feature | undefined,
  parameter: OpParameter | undefined,
): number | null {
  const value = parameter?.raw && steer.params[parameter.name];
  return feature?.full && typeof value === "number" ? value / feature.full : null;
}
