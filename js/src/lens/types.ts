// What a logit lens' traits hold.

import type { Packed } from "../host/arrays";
import type { TextWire, Token } from "../host/tokens";
import type { Measure } from "./measure";
import type { GridWire } from "./run";
import type { VocabularyWire } from "./text";

export type Shows = "baseline" | "steered" | "difference";
export type Axis = "probability" | "rank";

/** Ids with a number each, the largest change first. */
export interface ChangesWire {
  ids: Packed;
  values: Packed;
}

export interface DifferenceWire {
  /** Change of the log-probability of the baseline's likeliest token, [layer, position]. */
  top: Packed;
  rises: ChangesWire;
  falls: ChangesWire;
}

export interface Ranked {
  id: number;
  value: number;
}

/** What an injected change does to the logits by itself, through the final norm and the unembed: [position, m]. */
export interface DirectWire {
  site: string;
  layer: number;
  /** Sizes of the change, [position]; 0 where nothing is injected. */
  norms: Packed;
  promoted: ChangesWire;
  suppressed: ChangesWire;
}

export interface Steering {
  layers: number[];
  steers: { label: string; what: string; site: string }[];
  /** What follows is there where both runs were read. */
  direct?: DirectWire[];
  /** Logits of the next token, steered minus baseline, at the output: [position, m]. */
  promoted?: ChangesWire;
  suppressed?: ChangesWire;
}

export interface Part {
  name: string;
  value: number;
}

export interface Wrote {
  position: number;
  id: number;
  minus: number | null;
  /** Whose run it explains. */
  run: "baseline" | "steered";
  parts: Part[];
  /** Of how many parts these are the largest, and what the rest adds. */
  of: number;
  rest: number;
  logit: number;
  total: number;
}

export interface Found {
  query: string;
  tokens: Token[];
}

export interface Facts {
  model?: string;
  blocks?: number;
  vocabulary?: number;
  has_chat_template?: boolean;
  streams?: [string, string][];
  /** The lenses that it can be read by, each with what it means. */
  readings?: [string, string][];
  /** What was read, where it was no text of the box: "12 token ids". */
  source?: string;
  /** Of a generated token: which one it is, and how it was read. */
  generated?: string;
  /** The position in the whole text of the first column. */
  first?: number;
}

type None = Record<string, never>;

export interface LensTraits {
  text: string;
  chat: boolean;
  stream: string;
  reading: string;
  shows: Shows;
  measure: Measure;
  stride: number;
  /** The first and the last block shown; empty for all. */
  span: number[];
  /** Layer and position of the pinned cell, or empty. */
  pinned: number[];
  chosen: number | null;
  /** The k of "where does it first enter the top k". */
  within: number;
  trajectory: Axis;

  tokens: TextWire | None;
  vocabulary: VocabularyWire | None;
  baseline: GridWire | None;
  steered: GridWire | None;
  difference: DifferenceWire | None;
  steering: Steering | None;
  tracked: number[];
  found: Found | None;
  wrote: Wrote | None;
  facts: Facts;
  status: { state: string; message: string };
  provenance: Record<string, string>;
}

/** The traits as they stand before the kernel has said anything. */
export const EMPTY_LENS: LensTraits = {
  text: "",
  chat: false,
  stream: "resid_post",
  reading: "logit lens",
  shows: "baseline",
  measure: "probability",
  stride: 1,
  span: [],
  pinned: [],
  chosen: null,
  within: 10,
  trajectory: "probability",
  tokens: {},
  vocabulary: {},
  baseline: {},
  steered: {},
  difference: {},
  steering: {},
  tracked: [],
  found: {},
  wrote: {},
  facts: {},
  status: { state: "idle", message: "" },
  provenance: {},
};
