// What the columns show: the streaming run, or else the last result. Both in one shape.

import type { Token } from "../host/tokens";
import type { Feature } from "../recipe_editor/types";
import type { Scale } from "../ui/colour";
import { chooseEnd, corpusEnds } from "../ui/scale_end";
import type { LiveRun } from "./run";
import type { Result } from "./types";

export interface ShownRow {
  name: string;
  tokens: Token[];
  values: (number | null)[];
  ended: string;
  /** The token from which it was gone on with another one. */
  forked?: number | null | undefined;
  /** The mean over its tokens of KL to the unsteered model. */
  kl?: number | null | undefined;
}

export interface Colouring {
  key: string;
  label: string;
  scale: Scale;
  /** Where the end of the scale comes from. */
  source: string;
  /** What its zero is, where it has one of its own. */
  zeroOf?: string | undefined;
}

export interface Shown {
  streaming: boolean;
  rows: ShownRow[];
  divergence: number | null;
  kl: number[] | null;
  klFloor: number | null;
  colouring: Colouring | null;
  sampled: boolean;
}

export function shownResult(
  result: Result | Record<string, never>,
  feature: (key: string) => Feature | undefined,
): Shown | null {
  if (!isResult(result)) return null;
  const rows = result.rows.map(({ name, tokens, watched, ended, forked, kl }) => ({
    name,
    tokens,
    values: watched,
    ended,
    forked,
    kl,
  }));
  const { watched } = result;
  return {
    streaming: false,
    rows,
    divergence: result.divergence,
    kl: result.kl,
    klFloor: result.kl_floor,
    colouring: watched && {
      key: watched.key,
      label: watched.label,
      scale: {
        domain: watched.domain,
        signed: isSigned(feature(watched.key), rows, watched.zero),
        zero: watched.zero,
      },
      source: watched.domain_source,
      zeroOf: watched.zero_of,
    },
    sampled: result.settings.temperature > 0,
  };
}

export function shownRun(run: LiveRun, watched: Feature | undefined): Shown {
  const rows = run.rows.map(({ tokens, watched: values }, index) => ({
    name: run.names[index] ?? "",
    tokens,
    values,
    ended: "",
  }));
  return {
    streaming: true,
    rows,
    divergence: run.divergence,
    kl: null,
    klFloor: null,
    colouring: watched ? runColouring(watched, rows) : null,
    sampled: true,
  };
}

export function isResult(result: Result | Record<string, never>): result is Result {
  return Array.isArray(result.rows);
}

/** As the kernel chooses once the run has ended. */
function runColouring(feature: Feature, rows: ShownRow[]): Colouring {
  const { key, label, p995_activation, max_activation, max_activation_of } = feature;
  const known = corpusEnds({
    p995: p995_activation,
    maximum: max_activation,
    corpus: max_activation_of,
  });
  const zero = feature.signed ? feature.zero_activation : null;
  const has = typeof zero === "number";
  const { end, source } = chooseEnd(Object.values(known), zero, () => ({
    end: has ? Math.max(...numbers(rows), zero) : Math.max(0, ...numbers(rows).map(Math.abs)),
    source: "largest in these texts so far",
  }));
  const scale = { domain: end, signed: isSigned(feature, rows, zero), zero };
  return { key, label, scale, source, zeroOf: feature.zero_of };
}

/** A scale with a zero of its own has one end. */
function isSigned(
  feature: Feature | undefined,
  rows: ShownRow[],
  zero: number | null | undefined,
): boolean {
  if (typeof zero === "number") return false;
  return feature?.signed || numbers(rows).some((value) => value < 0);
}

function numbers(rows: ShownRow[]): number[] {
  return rows.flatMap(({ values }) => values.filter((value) => value !== null));
}
