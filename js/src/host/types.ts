// The contract with the kernel: what travels in traits. Messages are in rpc.ts.

export type Params = Record<string, number | null>;

export interface ModelInfo {
  name: string;
  blocks: number;
  d_model: number;
  device: string;
  dtype: string;
  has_chat_template: boolean;
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
  filters: { density: null, labelled: false, dictionaries: null },
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
}

export interface Steer {
  id: string;
  key: string;
  op: string;
  params: Params;
  enabled: boolean;
  /** Steers with a random direction of the same norm instead. */
  control?: { seed: number } | null;
}

export type Where = "all" | "prompt" | "generated" | "indices" | "mixed";

export interface Positions {
  where: Where;
  indices: number[];
  special: boolean;
}

export interface Settings {
  temperature: number;
  top_p: number;
  top_k: number;
  frequency_penalty: number;
  max_new_tokens: number;
  seed: number;
}

export interface Readout {
  ratio: number | null;
  asked: number | null;
  achieved: number | null;
  note: string;
}

export interface Token {
  id: number;
  /** Exact decoded text; for a fragment, its bytes in hex ("E2 9C"). */
  text: string;
  fragment: boolean;
}

export interface PromptToken extends Token {
  special: boolean;
  template: boolean;
  sink: boolean;
}

export interface PromptTokens {
  tokens: PromptToken[];
  prompt: string;
  chat: boolean;
}

export interface Row {
  name: string;
  tokens: Token[];
  text: string;
  ended: "eos" | "length" | "stopped";
  watched: (number | null)[];
}

export interface Watched {
  key: string;
  label: string;
  domain: number;
  domain_source: string;
}

export interface Result {
  rows: Row[];
  divergence: number | null;
  kl: number[] | null;
  kl_floor: number | null;
  surprise: number[] | null;
  watched: Watched | null;
  settings: Settings;
  prompt: string;
  chat: boolean;
  recipe: string;
  tokens_per_second: number;
  seconds: number;
  /** What was asked, so that the panel can say when its controls have moved on. */
  steers?: Steer[];
  positions?: Positions;
}

export interface Status {
  state: "idle" | "waiting" | "running" | "scoring" | "done" | "stopped" | "error";
  message: string;
}

/** What the picker and the panel have in common. */
export interface BenchTraits {
  /** The text on which strength is measured. */
  prompt: string;
  steers: Steer[];
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

export interface PanelTraits extends BenchTraits {
  chat: boolean;
  settings: Settings;
  positions: Positions;
  watched: string;
  prompt_tokens: PromptTokens;
  result: Result | Record<string, never>;
  /** Id of the model that shows a generated token's lens; empty where none is open. */
  lens: string;
  status: Status;
}

/** The traits as they stand before the kernel has said anything. */
export const EMPTY_BENCH: BenchTraits = {
  prompt: "",
  steers: [],
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

export const EMPTY_TRAITS: PanelTraits = {
  ...EMPTY_BENCH,
  chat: false,
  settings: {
    temperature: 0.7,
    top_p: 1,
    top_k: 50,
    frequency_penalty: 0,
    max_new_tokens: 64,
    seed: 0,
  },
  positions: { where: "all", indices: [], special: true },
  watched: "",
  prompt_tokens: { tokens: [], prompt: "", chat: false },
  result: {},
  lens: "",
  status: { state: "idle", message: "" },
};
