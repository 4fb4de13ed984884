// What the traits of the picker and the panel hold, as far as they have them in common.

import type { Token } from "../host/tokens";

export type Params = Record<string, number | null>;

export interface ModelInfo {
  name: string;
  blocks: number;
  d_model: number;
  device: string;
  dtype: string;
  has_chat_template: boolean;
  /** What the model can't do, and why not: `stop`, `stream`, `ops`, `where`. */
  lacks?: { [name: string]: string };
}

export interface Feature {
  key: string;
  kind: string;
  layer: number;
  index: number | null;
  label: string;
  /** Where the label comes from: "your label", a file, a method. */
  label_source?: string;
  norm: number;
  max_activation: number | null;
  /** Which corpus the maximum is of, and how many tokens it had. */
  max_activation_of: string | null;
  /** The 99.5th percentile there of its activations where it is active: where colour scales end. */
  p995_activation?: number | null;
  /** The activation that says nothing, if not 0, and what it is. */
  zero_activation?: number | null;
  zero_of?: string;
  /** Its activation goes below zero, so that a scale of it has two ends whatever a text happens to hold. */
  signed: boolean;
  /** Its activation is read along its direction, where it is above zero. */
  reads_projection: boolean;
  /** The strength that moves its reading by its largest activation. */
  full?: number | null;
  /** How far a slider in its own units goes. */
  reach?: number | null;
  suggested: { op: string; params: Params } | null;
  ops: string[];
}

/** A feature as a search gives it. */
export interface Found extends Feature {
  /** Fingerprint of its dictionary. */
  dictionary?: string;
  /** Share of a corpus' tokens at which it fires. */
  density?: number | null;
  /** Log counts of its values over steps up to its maximum, 0 to 64. */
  histogram?: number[] | null;
  /** What the search ranked it by, and what that number is. */
  value?: number | null;
  value_text?: string;
  /** Where in the searched prompt the value stands. */
  at?: { position: number; token: Token } | null;
  /** How much steering with it raises its own top logits (arXiv 2505.20063), once that was measured. */
  output_score?: number | null;
  /** What the user makes of its label; "" where nothing was said. */
  verdict?: string;
}

export interface DictionaryInfo {
  fingerprint: string;
  kind: string;
  layer: number;
  name: string;
  size: number;
  /** How many of its features have a label. */
  labelled: number;
  has_density: boolean;
  has_histogram: boolean;
  /** A sentence where it does not fit the model at its site, else empty. */
  misfit?: string;
}

export type Mode = "label" | "prompt" | "token" | "similar";
export type Rank = "maximum" | "mean" | "span";
export type Sort = "match" | "density" | "maximum" | "index" | "output_score";

export interface Filters {
  /** From and up to which share of tokens. */
  density: [number, number] | null;
  labelled: boolean;
  /** Fingerprints; null for all. */
  dictionaries: string[] | null;
  /** The user's verdicts on labels; null for all. */
  verdicts?: string[] | null;
}

/** What is looked for: the args of the request "find" but for the page. */
export interface Search {
  mode: Mode;
  query: string;
  rank: Rank;
  span: [number, number] | null;
  /** Divide by the largest activation of the feature. */
  normalise: boolean;
  /** Which the token mode looks for: features that promote the token, or that suppress it. */
  promotes: boolean;
  /** The feature of the similar mode. */
  key: string;
  sort: Sort;
  descending: boolean;
  filters: Filters;
}

export const SEARCH: Search = {
  mode: "label",
  query: "",
  rank: "maximum",
  span: null,
  normalise: true,
  promotes: true,
  key: "",
  sort: "match",
  descending: true,
  filters: { density: null, labelled: false, dictionaries: null, verdicts: null },
};

export interface Catalogue {
  features: Found[];
  total: number;
  /** Every feature is in `features`: search needs no kernel. */
  complete: boolean;
}

export interface OpParameter {
  name: string;
  symbol: string;
  unit: string;
  default: number | null;
  min: number;
  max: number;
  step: number;
  optional: boolean;
  /** In the feature's own units: the slider goes as far as the feature's `reach`. */
  raw?: boolean;
}

export interface Op {
  name: string;
  formula: string;
  summary: string;
  parameters: OpParameter[];
  identity: Params | null;
  /** Why the model can't carry it out; empty where it can. */
  refused?: string;
}

/** Which tokens a steer acts on; "mixed" where the steers of a recipe differ and each has its own. */
export type Where =
  | "all"
  | "prompt"
  | "generated"
  | "last_prompt"
  | "first"
  | "after"
  | "role"
  | "indices"
  | "both"
  | "mixed";

export interface Positions {
  where: Where;
  indices: number[];
  special: boolean;
  /** Of `first` and `after`: how many, and of what. */
  count?: number | null;
  of?: "text" | "generated";
  /** Whose words. */
  role?: string;
  /** What `both` have in common. */
  parts?: Positions[];
}

/** A feature's reading above or below a number, or several such. */
export type When =
  | { feature: string; is: ">" | "<"; than: number }
  | { all: When[] }
  | { any: When[] };

export interface Fade {
  /** The share of the change that is left at the end. */
  to: number;
  /** Over how many generated tokens. */
  over: number;
}

export interface Steer {
  id: string;
  key: string;
  op: string;
  params: Params;
  enabled: boolean;
  /** Steers with a random direction of the same norm instead. */
  control?: { seed: number } | null;
  /** Its own positions; they count where those of the recipe are "mixed". */
  positions?: Positions;
  when?: When | null;
  fade?: Fade | null;
}

/** Where texts were seen to break under a steer, below and above no change, and on which prompt. */
export interface Breaks {
  breaks: [number | null, number | null];
  prompt: string;
}

export interface Readout {
  ratio: number | null;
  asked: number | null;
  achieved: number | null;
  note: string;
}

/** What the picker and the panel have in common. */
export interface BenchTraits {
  /** The text on which strength is measured. */
  prompt: string;
  steers: Steer[];
  /** Where all steers act; "mixed" where each has positions of its own. */
  positions: Positions;
  steer_features: Record<string, Feature>;
  ops: Record<string, Op>;
  readouts: Record<string, Readout>;
  catalogue: Catalogue;
  dictionaries: DictionaryInfo[];
  search: Partial<Search>;
  /** Key of the row last chosen. */
  selected: string;
  model_info: ModelInfo;
  recipe_json: string;
  snippet: string;
  provenance: Record<string, string>;
}

/** The traits as they stand before the kernel has said anything. */
export const EMPTY_BENCH: BenchTraits = {
  prompt: "",
  steers: [],
  positions: { where: "all", indices: [], special: true },
  steer_features: {},
  ops: {},
  readouts: {},
  catalogue: { features: [], total: 0, complete: true },
  dictionaries: [],
  search: {},
  selected: "",
  model_info: {
    name: "",
    blocks: 0,
    d_model: 0,
    device: "",
    dtype: "",
    has_chat_template: false,
  },
  recipe_json: "",
  snippet: "",
  provenance: {},
};
