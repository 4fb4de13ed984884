// What a trainer's traits hold.
import type { Token } from "../host/tokens";

export interface Entry {
  text: string;
  /** Where it is no plain text: which of the kernel's prompts it is; else −1. */
  key: number;
  /** Whether the model wrote it, under one of the two prompts. */
  written: boolean;
}

export type Source = "texts" | "prompts" | "table";
export type Side = "positives" | "negatives";

export interface Inputs {
  name: string;
  source: Source;
  positives: Entry[];
  negatives: Entry[];
  systems: [string, string];
  questions: string[];
  tokens: number;
  /** Of a table: texts, labels, the label of the concept; "" for what goes by itself. */
  columns: [string, string, string];
  method: string;
  pool: string;
  blocks: string;
}

export interface Plan {
  /** Why these inputs make no training. */
  problem: string;
  told: string[];
  counts: [number, number];
}

export interface Table {
  name: string;
  rows: number;
  columns: string[];
  text: string;
  label: string;
  labels: [string, number][];
  positive: string;
}

export interface Scores {
  accuracy: number | null;
  auroc: number | null;
}

export interface Promoted extends Token {
  value: number;
}

export interface Other {
  id: string;
  kind: string;
  index: number;
  label: string;
  cosine: number;
  /** One of the nearest of its dictionary. */
  near: boolean;
}

export interface Layer extends Scores {
  layer: number;
  right: number;
  tested: number;
  interval: [number, number];
  shuffled: Scores | null;
  selectivity: Scores | null;
  threshold: number | null;
  projections: (number | null)[];
  converged: boolean;
  promoted: Promoted[];
  suppressed: Promoted[];
  /** Why the promoted tokens may be chance, or can't be told. */
  weak: string;
  others: Other[];
}

export interface Result {
  name: string;
  method: string;
  pooling: string;
  shuffles: number;
  fitted: number[];
  tests: { text: string; positive: boolean }[];
  layers: Layer[];
  best: number;
  told: string[];
  stopped: boolean;
  seconds?: number;
}

export interface Term {
  id?: string;
  sign: 1 | -1;
  label: string;
}

export interface Total {
  terms: Term[];
  label: string;
  cosine: number;
  layer: number;
  promoted: Promoted[];
  suppressed: Promoted[];
  weak: string;
}

export interface Count {
  k: number;
  n: number;
  interval: [number, number];
}

export interface Checked {
  layer: number;
  judge: string;
  rows: { strength: number; on_topic: Count; random: Count }[];
  baseline: Count;
  useful: [number, number] | null;
  breaks: number | null;
  answers: number;
}

/** What the concept does in each block, with the same share of ‖h‖. */
export interface Steered {
  ratio: number;
  judge: string;
  /** Blocks that the judge reads itself. */
  left_out: number[];
  rows: { layer: number; on_topic: Count; random: Count; surprise: number | null }[];
  baseline: Count;
  baseline_surprise: number | null;
  /** Of all blocks together. */
  random: Count;
  /** null where none is above chance. */
  best: number | null;
  stopped: boolean;
}

export interface Facts {
  model?: string;
  blocks?: number;
  template?: boolean;
  panel?: boolean;
  dictionaries?: number;
}

export interface TrainerTraits {
  inputs: Partial<Inputs>;
  plan: Partial<Plan>;
  table: Partial<Table>;
  result: Partial<Result>;
  selected: number | null;
  total: Partial<Total>;
  checked: Partial<Checked>;
  steered: Partial<Steered>;
  facts: Facts;
  status: { state: string; message: string; seconds?: number };
  provenance: Record<string, string>;
}

export const EMPTY_TRAINER: TrainerTraits = {
  inputs: {},
  plan: {},
  table: {},
  result: {},
  selected: null,
  total: {},
  checked: {},
  steered: {},
  facts: {},
  status: { state: "idle", message: "" },
  provenance: {},
};

export const isInputs = (inputs: Partial<Inputs>): inputs is Inputs =>
  Array.isArray(inputs.positives);
export const isPlan = (plan: Partial<Plan>): plan is Plan => Array.isArray(plan.counts);
export const isTable = (table: Partial<Table>): table is Table => Array.isArray(table.columns);
export const isResult = (result: Partial<Result>): result is Result =>
  Array.isArray(result.layers) && result.layers.length > 0;
export const isTotal = (total: Partial<Total>): total is Total => Array.isArray(total.terms);
export const isChecked = (checked: Partial<Checked>): checked is Checked =>
  Array.isArray(checked.rows);
export const isSteered = (steered: Partial<Steered>): steered is Steered =>
  Array.isArray(steered.rows);
