// One run of the lens, unpacked: what each block would say next at each token.

import { type Packed, unpack } from "../host/arrays";
/** One run, read after each block: [layer, position, …], the layers ascending. */
export interface GridWire {
  layers: number[];
  ids: Packed;
  log_probs: Packed;
  entropy: Packed;
  kl: Packed;
  /** For each position the first layer from which the final answer stays the likeliest. */
  settled: Packed;
  /** The model's own likeliest next token at each position. */
  answers: Packed;
  tracked_log_probs: Packed;
  /** 0 is the likeliest. */
  tracked_ranks: Packed;
}

export interface Candidate {
  id: number;
  logProb: number;
}

/** Everything is addressed by the index of the layer in `layers` and the position. */
export class LensRun {
  readonly layers: readonly number[];
  readonly positions: number;
  readonly k: number;
  /** The layer itself, not its index; −1 where not even the last one says the answer. */
  readonly settled: Int32Array;
  readonly answers: Int32Array;
  readonly tracked: readonly number[];
  readonly #ids: Int32Array;
  readonly #logProbs: Float32Array;
  readonly #entropy: Float32Array;
  readonly #kl: Float32Array;
  readonly #trackedLogProbs: Float32Array;
  readonly #trackedRanks: Int32Array;

  constructor(wire: GridWire, tracked: readonly number[]) {
    const ids = unpack(wire.ids);
    this.layers = wire.layers;
    this.positions = ids.shape[1] ?? 0;
    this.k = ids.shape[2] ?? 0;
    this.#ids = ids.values as Int32Array;
    this.#logProbs = floats(wire.log_probs);
    this.#entropy = floats(wire.entropy);
    this.#kl = floats(wire.kl);
    this.settled = unpack(wire.settled).values as Int32Array;
    this.answers = unpack(wire.answers).values as Int32Array;
    // What is followed and its numbers are two traits, and may come one after the other.
    const followed = unpack(wire.tracked_ranks);
    this.tracked = followed.shape[2] === tracked.length ? tracked : [];
    this.#trackedLogProbs = floats(wire.tracked_log_probs);
    this.#trackedRanks = followed.values as Int32Array;
  }

  /** The likeliest tokens, from the likeliest down. */
  candidates(layer: number, position: number): Candidate[] {
    const start = this.#cell(layer, position) * this.k;
    return Array.from({ length: this.k }, (_, i) => ({
      id: this.#ids[start + i] as number,
      logProb: this.#logProbs[start + i] as number,
    }));
  }

  top(layer: number, position: number): Candidate {
    const start = this.#cell(layer, position) * this.k;
    return { id: this.#ids[start] as number, logProb: this.#logProbs[start] as number };
  }

  entropy(layer: number, position: number): number {
    return this.#entropy[this.#cell(layer, position)] ?? Number.NaN;
  }

  kl(layer: number, position: number): number {
    return this.#kl[this.#cell(layer, position)] ?? Number.NaN;
  }

  /** NaN where the token is neither followed nor among the likeliest. */
  logProbOf(id: number, layer: number, position: number): number {
    const at = this.tracked.indexOf(id);
    const cell = this.#cell(layer, position);
    if (at >= 0) return this.#trackedLogProbs[cell * this.tracked.length + at] as number;
    const rank = this.#place(id, cell);
    return rank < 0 ? Number.NaN : (this.#logProbs[cell * this.k + rank] as number);
  }

  /** From 1, the likeliest; NaN where it is not known. */
  rankOf(id: number, layer: number, position: number): number {
    const at = this.tracked.indexOf(id);
    const cell = this.#cell(layer, position);
    if (at >= 0) return 1 + (this.#trackedRanks[cell * this.tracked.length + at] as number);
    const rank = this.#place(id, cell);
    return rank < 0 ? Number.NaN : rank + 1;
  }

  /** The index of the first layer at which a token is among the `k` likeliest; −1 where it never is. */
  enters(id: number, k: number, position: number): number {
    return this.layers.findIndex((_, layer) => this.rankOf(id, layer, position) <= k);
  }

  /** The index of the first layer from which a token stays the likeliest; −1 where the last layer says another. */
  settles(id: number, position: number): number {
    let from = -1;
    for (let layer = this.layers.length - 1; layer >= 0; layer--) {
      if (this.top(layer, position).id !== id) break;
      from = layer;
    }
    return from;
  }

  #cell(layer: number, position: number): number {
    return layer * this.positions + position;
  }

  #place(id: number, cell: number): number {
    for (let rank = 0; rank < this.k; rank++)
      if (this.#ids[cell * this.k + rank] === id) return rank;
    return -1;
  }
}

const floats = (packed: Packed) => unpack(packed).values as Float32Array;
