// A small lens for tests: 4 blocks, 3 tokens, 2 candidates, ids that say where they stand.

import type { GridWire } from "../../src/lens/run";
import { EMPTY_LENS, type LensTraits } from "../../src/lens/types";
import { packed } from "../examples";

export const LAYERS = [0, 1, 2, 3];
export const POSITIONS = 3;

/** The top token of each cell, [layer][position]; the second one is always token 9. */
export function grid(tops: number[][], top = 0.6, changes: Partial<GridWire> = {}): GridWire {
  const layers = tops.map((_, index) => index);
  const cells = tops.length * POSITIONS;
  const ids = Int32Array.from(tops.flat().flatMap((id) => [id, 9]));
  const logProbs = Float32Array.from({ length: cells * 2 }, (_, i) => Math.log(i % 2 ? 0.1 : top));
  const answers = tops.at(-1) as number[];
  const settled = answers.map((id, position) => {
    let from = -1;
    for (let layer = tops.length - 1; layer >= 0 && tops[layer]?.[position] === id; layer--)
      from = layer;
    return from;
  });
  return {
    layers,
    ids: packed(ids, [tops.length, POSITIONS, 2]),
    log_probs: packed(logProbs, [tops.length, POSITIONS, 2]),
    entropy: packed(
      Float32Array.from({ length: cells }, (_, i) => i),
      [tops.length, POSITIONS],
    ),
    kl: packed(
      Float32Array.from({ length: cells }, (_, i) => cells - 1 - i),
      [tops.length, POSITIONS],
    ),
    settled: packed(Int32Array.from(settled), [POSITIONS]),
    answers: packed(Int32Array.from(answers), [POSITIONS]),
    tracked_log_probs: packed(new Float32Array(), [tops.length, POSITIONS, 0]),
    tracked_ranks: packed(new Int32Array(), [tops.length, POSITIONS, 0]),
    ...changes,
  };
}

export const TOPS = [
  [1, 2, 3],
  [1, 4, 5],
  [1, 5, 6],
  [7, 5, 6],
];

/** Followed: token 5, on rank 40 but for the deepest two blocks; a rank of 0 is the likeliest. */
export function following(): Partial<GridWire> {
  const ranks = Int32Array.from({ length: 12 }, (_, i) => (i < 6 ? 40 : 2));
  return {
    tracked_ranks: packed(ranks, [4, POSITIONS, 1]),
    tracked_log_probs: packed(
      Float32Array.from(ranks, (rank) => (rank === 40 ? -9 : -2)),
      [4, POSITIONS, 1],
    ),
  };
}

export function lensTraits(changes: Partial<LensTraits> = {}): LensTraits {
  const words = ["The", " sea", "E2 98"];
  return {
    ...EMPTY_LENS,
    tokens: {
      texts: words,
      ids: packed(Int32Array.from([1, 2, 3]), [3]),
      flags: packed(Uint8Array.from([0, 0, 1]), [3]),
    },
    vocabulary: {
      ids: packed(Int32Array.from([1, 2, 3, 4, 5, 6, 7, 9]), [8]),
      texts: ["The", " sea", "E2 98", "\n", " Paris", " Paris", "<b>", "95"],
      fragments: [3, 9],
    },
    baseline: grid(TOPS),
    facts: { vocabulary: 1000 },
    ...changes,
  };
}
