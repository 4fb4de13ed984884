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
  /** The strength that moves its reading by its largest activation. */
  full?: number | null;
  /** How far a slider in its own units goes. */
  reach?: number | null;
  suggested: { op: string; params: Params } | null;
  ops: string[];
}

export interface Catalogue {
  features: Feature[];
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

export interface PanelTraits {
  prompt: string;
  chat: boolean;
  settings: Settings;
  steers: Steer[];
  positions: Positions;
  watched: string;
  model_info: ModelInfo;
  catalogue: Catalogue;
  steer_features: Record<string, Feature>;
  ops: Record<string, Op>;
  readouts: Record<string, Readout>;
  prompt_tokens: PromptTokens;
  result: Result | Record<string, never>;
  status: Status;
  recipe_json: string;
  snippet: string;
  provenance: Record<string, string>;
}

/** The traits as they stand before the kernel has said anything. */
export const EMPTY_TRAITS: PanelTraits = {
  prompt: "",
  chat: false,
  settings: {
    temperature: 0.7,
    top_p: 1,
    top_k: 50,
    frequency_penalty: 0,
    max_new_tokens: 64,
    seed: 0,
  },
  steers: [],
  positions: { where: "all", indices: [], special: true },
  watched: "",
  model_info: {
    name: "",
    blocks: 0,
    d_model: 0,
    device: "",
    dtype: "",
    has_chat_template: false,
  },
  catalogue: { features: [], total: 0, complete: true },
  steer_features: {},
  ops: {},
  readouts: {},
  prompt_tokens: { tokens: [], prompt: "", chat: false },
  result: {},
  status: { state: "idle", message: "" },
  recipe_json: "",
  snippet: "",
  provenance: {},
};
