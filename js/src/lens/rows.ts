// Which blocks have a row.

/**
 * Indices of the layers that are shown, deepest first: every `stride`-th from the deepest of the range, and always
 * those that are steered or pinned.
 */
export function rowsOf(
  layers: readonly number[],
  stride: number,
  span: readonly number[],
  always: readonly number[],
): number[] {
  const [low, high] = [span[0] ?? Number.NEGATIVE_INFINITY, span[1] ?? Number.POSITIVE_INFINITY];
  const within = layers.flatMap((layer, index) => (layer >= low && layer <= high ? [index] : []));
  const top = within.length - 1;
  return within
    .filter(
      (index, at) =>
        (top - at) % Math.max(stride, 1) === 0 || always.includes(layers[index] as number),
    )
    .reverse();
}

/** The row of a layer, or of the next deeper one that is shown; −1 where there is none. */
export function rowAtOrAbove(rows: readonly number[], layer: number): number {
  if (layer < 0) return -1;
  for (let row = rows.length - 1; row >= 0; row--) if ((rows[row] as number) >= layer) return row;
  return -1;
}
