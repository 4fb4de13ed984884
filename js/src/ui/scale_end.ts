// Where a colour scale ends, and where it begins.
import { formatNumber } from "./format";

/** A value that it may end at, where that is known, and what the value is. */
export interface Candidate {
  end: number | null | undefined;
  source: string;
}

export interface End {
  end: number;
  source: string;
}

interface Known {
  p995?: number | null | undefined;
  maximum: number | null;
  corpus: string | null;
}

/** A scale's zero in words, where it has one of its own, or would need one and nobody knows it. */
export function zeroSaid(zero: number | null | undefined, of: string | undefined): string {
  if (typeof zero === "number") return `zero at ${formatNumber(zero)}: ${of || "set for it"}`;
  return of ? `zero ${of}` : "";
}

/** What a corpus has shown of a feature, by the names that a user chooses from; the first known one is the best. */
export function corpusEnds({ p995, maximum, corpus }: Known) {
  const over = corpus ?? "its corpus";
  return {
    "p99.5": { end: p995, source: `99.5th percentile over ${over}` },
    maximum: { end: maximum, source: `maximum over ${over}` },
  } satisfies Record<string, Candidate>;
}

/** The first candidate that is known and above the scale's zero, or else what the text itself holds, which is to be counted only then. */
export function chooseEnd(
  candidates: readonly Candidate[],
  zero: number | null | undefined,
  otherwise: () => End,
): End {
  for (const { end, source } of candidates) if (end && end > (zero ?? 0)) return { end, source };
  return otherwise();
}
