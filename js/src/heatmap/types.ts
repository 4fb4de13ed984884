// What a token heatmap's traits hold.
import type { Packed } from "../host/arrays";
import type { TextWire } from "../host/tokens";

export type Granularity = "tokens" | "words" | "sentences" | "lines";
export type Pooling = "max" | "mean";
export type Mixing = "blend" | "stripes";
export type Curve = "linear" | "log";
/** Where a scale ends: a corpus' percentile or maximum, this text's largest value, a number, or the first known. */
export type Domain = "auto" | "p99.5" | "maximum" | "text" | number;

/** One feature, with what is known of its activations. */
export interface Column {
  key: string;
  label: string;
  label_source: string;
  label_author: string;
  kind: string;
  layer: number | null;
  stream: string;
  index: number | null;
  signed: boolean;
  /** Where colour begins, if not at 0, and what that value is. */
  zero?: number | null;
  zero_of?: string;
  p995: number | null;
  maximum: number | null;
  corpus: string | null;
  /** The largest size of its values at the tokens that count. */
  largest: number;
}

export interface FoundFeature {
  index: number;
  key: string;
  label: string;
  value: number;
  /** Where the value is. */
  position: number;
}

export interface Kept {
  values: Packed;
  indices: Packed;
  labels: Record<string, string>;
}

export interface HeatTraits {
  domain: Domain;
  curve: Curve;
  granularity: Granularity;
  pooling: Pooling;
  mixing: Mixing;
  solo: string;
  selected: number[];
  hovered: number | null;
  text: TextWire | Record<string, never>;
  reading: { features: Column[]; values: Packed } | Record<string, never>;
  strongest: Kept | Record<string, never>;
  found: { positions: number[]; features: FoundFeature[] } | Record<string, never>;
  facts: {
    model?: string;
    dictionary?: string;
    site?: string;
    /** What text it is, where the model wrote some of it. */
    origin?: string;
    searchable?: boolean;
  };
  provenance: Record<string, string>;
}

/** The traits as they stand before the kernel has said anything. */
export const EMPTY_HEAT: HeatTraits = {
  domain: "auto",
  curve: "linear",
  granularity: "tokens",
  pooling: "max",
  mixing: "blend",
  solo: "",
  selected: [],
  hovered: null,
  text: {},
  reading: {},
  strongest: {},
  found: {},
  facts: {},
  provenance: {},
};
