// A feature's activations as bars: heights by the logarithm of the counts.

export interface Bar {
  /** Its height, 0 to 1: log(1 + count), of the tallest's. */
  height: number;
  count: number;
  low: number;
  high: number;
}

export function barsOf({ counts, top }: { counts: number[]; top: number }): Bar[] {
  const tallest = Math.log1p(Math.max(...counts, 1));
  const step = top / counts.length;
  return counts.map((count, i) => ({
    count,
    height: count ? Math.max(Math.log1p(count) / tallest, 0.02) : 0,
    low: i * step,
    high: (i + 1) * step,
  }));
}

/** Where a value stands between 0 and the end of the histogram, 0 to 1. */
export function placeOf(value: number, top: number): number {
  return top > 0 ? Math.min(Math.max(value / top, 0), 1) : 0;
}
