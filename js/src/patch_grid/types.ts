// What a patch grid's traits hold.
import type { Packed } from "../host/arrays";
import type { Token } from "../host/tokens";

export interface Inputs {
  source: string;
  target: string;
  /** By text or by id; "" for what the model says itself. */
  answers: [string | number, string | number];
  metric: "logit difference" | "kl";
  stream: string;
  noise: boolean;
  /** Positions of the source and of the target; null for those that go by themselves. */
  pairs: [number, number][] | null;
  stride: number;
}

export interface Said extends Token {
  probability: number;
}

export interface Plan {
  /** Why these inputs make no grid. */
  problem: string;
  source?: Token[];
  target?: Token[];
  /** For each token of the target, the source's that it is paired with, or −1. */
  partners?: number[];
  /** What the model says after the source and after the target. */
  candidates?: [Said[], Said[]];
  layers: number[];
  /** The positions that are patched, in the order of the result's columns. */
  columns?: number[];
  heads?: number;
  cells: number;
  seconds: number | null;
  /** The model does not go on from the middle of its blocks: every patch is a run of its own. */
  whole?: boolean;
  answers?: Token[];
  before?: number;
  after?: number;
}

export interface Result {
  share: Packed;
  done: number;
  total: number;
}

export interface Place {
  first: number;
  last: number;
  column: number;
}

export interface CellFound extends Place {
  /** Where there is nothing to be found: why. */
  note?: string;
  share?: number;
  value?: number;
  next?: Said[];
  random?: number[];
  alone?: number;
  other?: number;
}

export interface Written extends Place {
  before: string;
  patched: string;
  alone: string;
}

export interface Facts {
  model?: string;
  blocks?: number;
  /** What was given where it was no text: "12 token ids". */
  given?: [string, string];
  panel?: boolean;
}

export interface PatchTraits {
  inputs: Partial<Inputs>;
  plan: Partial<Plan>;
  result: Partial<Result>;
  /** First and last block and column of the cell that is looked at, or empty. */
  pinned: number[];
  cell: Partial<CellFound>;
  written: Partial<Written>;
  facts: Facts;
  status: { state: string; message: string; seconds?: number };
  provenance: Record<string, string>;
}

export const EMPTY_PATCH: PatchTraits = {
  inputs: {},
  plan: {},
  result: {},
  pinned: [],
  cell: {},
  written: {},
  facts: {},
  status: { state: "idle", message: "" },
  provenance: {},
};

export const isInputs = (inputs: Partial<Inputs>): inputs is Inputs =>
  Array.isArray(inputs.answers);

export const isPlan = (plan: Partial<Plan>): plan is Plan => Array.isArray(plan.layers);

export const isAt = (place: Place, of: Partial<Place>): boolean =>
  of.first === place.first && of.last === place.last && of.column === place.column;
