// The traits of a subspace map, and what tells that they have come.
import type { Packed } from "../host/arrays";
import type { Token } from "../host/tokens";

export type AxesName = "loadings" | "pca";
export type Colouring = "cluster" | "token" | "density";
export type Method = "pca" | "umap";

export interface Facts {
  model: string;
  kind: string;
  layer: number;
  stream: string;
  size: number;
  /** How many loadings a component has; 0 where features are directions. */
  rank: number;
  label: string;
  /** What the size of a point says: "weight" or "density". */
  weighs: string;
  /** Why no tokens can be read; else empty. */
  problem: string;
  /** A sentence where the dictionary does not fit the model at its site. */
  misfit?: string;
  chat: boolean;
  panel: boolean;
}

export interface FeaturesWire {
  method: Method;
  explained: number[];
  at_unit_length: boolean;
  size: number;
  index: Packed;
  places: Packed;
  weight: Packed | null;
  labels: string[];
  links: Packed;
  linked_from: number;
}

export interface NearRow {
  index: number;
  label: string;
  cosine: number;
  /** How often both are active at the same token, where that is known. */
  together: number | null;
  at: [number, number];
}

export interface Near {
  index: number;
  label: string;
  at: [number, number];
  rows: NearRow[];
  knows_together: boolean;
}

export interface TextsWire {
  tokens: Token[];
  at: Packed;
  starts: Packed;
}

export interface Cluster {
  count: number;
  names: Token[];
}

export interface TokensWire {
  component: number;
  count: number;
  z: Packed;
  lengths: number[];
  responsibility: Packed;
  at: Packed;
  cluster: Packed;
  clusters: Cluster[];
  pca: { onto: Packed; back: Packed; explained: number[] } | null;
}

export interface Target {
  a: number;
  z: number[];
}

export interface Asked {
  component: number;
  target: Target;
  prompt: string;
}

export interface Change {
  id: number;
  text: string;
  fragment: boolean;
  delta: number;
}

export interface NextToken {
  promoted: Change[];
  suppressed: Change[];
  changes: boolean;
  ratio: number | null;
  asked: Asked;
}

export interface Pair {
  asked: Asked;
  baseline: string;
  steered: string;
  done: boolean;
}

export interface Status {
  state: "idle" | "waiting" | "running" | "done" | "stopped" | "error";
  message: string;
  read?: number;
  texts?: number;
  cut?: number;
  max_length?: number;
  full?: boolean;
  examples?: boolean;
  seconds?: number | null;
}

type Maybe<Value> = Value | Record<string, never>;

export interface MapTraits {
  facts: Maybe<Facts>;
  features: Maybe<FeaturesWire>;
  component: number;
  near: Maybe<Near>;
  texts: Maybe<TextsWire>;
  tokens: Maybe<TokensWire>;
  target: Maybe<Target>;
  axes: AxesName;
  dims: number[];
  colour: Colouring;
  selected: number[];
  prompt: string;
  next_token: Maybe<NextToken>;
  pair: Maybe<Pair>;
  status: Status;
  provenance: Record<string, string>;
}

export const EMPTY_MAP: MapTraits = {
  facts: {},
  features: {},
  component: 0,
  near: {},
  texts: {},
  tokens: {},
  target: {},
  axes: "loadings",
  dims: [0, 1],
  colour: "cluster",
  selected: [],
  prompt: "",
  next_token: {},
  pair: {},
  status: { state: "idle", message: "" },
  provenance: {},
};

/** A trait, or null where nothing of it has come. */
export function come<Value extends object>(value: Maybe<Value>): Value | null {
  return Object.keys(value).length ? (value as Value) : null;
}
