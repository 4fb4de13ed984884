// What a feature card's traits hold.
import type { Curve } from "../heatmap/types";
import type { Packed } from "../host/arrays";
import type { Token } from "../host/tokens";
import type { Params } from "../recipe_editor/types";

export type Tab = "strongest" | "quantiles" | "random";

/** Lines of text: every distinct token's text once, then all lines one after the other. */
export interface LinesWire {
  vocabulary: { ids: Packed; texts: string[] };
  tokens: Packed;
  values: Packed;
  flags: Packed;
  lines: LineWire[];
}

/** A feature that fires where this one is silent. */
export interface Instead {
  index: number;
  label: string;
  value: number;
  along: number | null;
}

export interface LineWire {
  length: number;
  peak: number;
  source: string;
  /** Of examples by quantile: the band of the activation at the peak. */
  low?: number;
  high?: number;
  /** Of silent texts. */
  word?: string;
  expected?: number;
  value?: number;
  instead?: Instead[];
}

export interface ValuedToken extends Token {
  value: number;
}

export interface Neighbour {
  index: number;
  label: string;
  value: number;
}

export interface Loading {
  index: number;
  norm: number;
  promoted: ValuedToken[];
  suppressed: ValuedToken[];
}

export interface Content {
  key: string;
  kind: string;
  layer: number;
  stream: string;
  index: number;
  size: number;
  site: string;
  reads: string;
  signed: boolean;
  /** Where colour begins, if not at 0, and what that value is. */
  zero?: number | null;
  zero_of?: string;
  label: string;
  label_source: string;
  label_author: string;
  other_labels: { text: string; source: string; author: string }[];
  score: Record<string, number> | null;
  suggested: { op: string; params: Params } | null;
  ops: string[];
  density: number | null;
  maximum: number | null;
  p995: number | null;
  typical: number | null;
  corpus: string | null;
  tokens: number | null;
  examples_of: string | null;
  histogram: { counts: number[]; top: number } | null;
  promoted: ValuedToken[];
  suppressed: ValuedToken[];
  logits_note: string;
  /** What steering with it promotes through the model; null where nobody measured it yet. */
  effect?: { promoted: ValuedToken[]; suppressed: ValuedToken[]; said: string } | null;
  nearest: Neighbour[];
  coactive: Neighbour[];
  examples: Partial<Record<Tab, LinesWire>>;
  /** Why a view is empty, and the code that fills it. */
  missing: Partial<Record<Tab | "histogram", { said: string; code: string }>>;
  mixture: { mixing: number; loadings: Loading[] } | null;
  link: { url: string; name: string } | null;
}

export interface Tried {
  key: string;
  typed: string;
  text: LinesWire;
  strongest: { position: number; value: number } | null;
  latents: Packed | null;
  seconds: number;
}

export interface Silent {
  key: string;
  text: LinesWire;
  words: string[];
  share: number;
  silent: number;
  read: number;
  stopped: boolean;
}

export interface Verdict {
  label: string;
  note: string;
  rating: number | null;
  /** What they make of its label; "" where nothing was said. */
  verdict: string;
  /** How many features of this dictionary the user has said something of. */
  said: number;
  unreadable?: string;
}

type Empty = Record<string, never>;

export interface CardTraits {
  tab: Tab;
  curve: Curve;
  own_text: string;
  expanded: string[];
  content: Content | Empty;
  tried: Tried | Empty;
  silent: Silent | Empty;
  verdict: Verdict | Empty;
  facts: { model?: string; dictionary?: string; site?: string; panel?: boolean };
  provenance: Record<string, string>;
  /** Of a frozen copy: the cards that it holds. */
  pages: { content: Content; verdict: Verdict; tried: Tried | Empty }[];
}

/** The traits as they stand before the kernel has said anything. */
export const EMPTY_CARD: CardTraits = {
  tab: "strongest",
  curve: "linear",
  own_text: "",
  expanded: [],
  content: {},
  tried: {},
  silent: {},
  verdict: {},
  facts: {},
  provenance: {},
  pages: [],
};

export function isContent(content: Content | Empty): content is Content {
  return typeof content.key === "string";
}
