// Where a colour scale ends.

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

/** What a corpus has shown of a feature, by the names that a user chooses from; the first known one is the best. */
export function corpusEnds({ p995, maximum, corpus }: Known) {
  const over = corpus ?? "its corpus";
  return {
    "p99.5": { end: p995, source: `99.5th percentile over ${over}` },
    maximum: { end: maximum, source: `maximum over ${over}` },
  } satisfies Record<string, Candidate>;
}

/** The first candidate that is known and not 0, or else what the text itself holds, which is to be counted only then. */
export function chooseEnd(candidates: readonly Candidate[], otherwise: () => End): End {
  for (const { end, source } of candidates) if (end) return { end, source };
  return otherwise();
}
