// What the steering panel's traits hold.

import type { TextToken, Token } from "../host/tokens";
import {
  type BenchTraits,
  type Breaks,
  EMPTY_BENCH,
  type Positions,
  type Steer,
  type Where,
} from "../recipe_editor/types";

export type { Positions, Where };

export interface Settings {
  temperature: number;
  top_p: number;
  top_k: number;
  frequency_penalty: number;
  max_new_tokens: number;
  seed: number;
}

export interface PromptTokens {
  tokens: TextToken[];
  prompt: string;
  chat: boolean;
}

export interface Row {
  name: string;
  tokens: Token[];
  text: string;
  ended: "eos" | "length" | "stopped";
  watched: (number | null)[];
  /** The token from which it was gone on with another one. */
  forked?: number | null;
  /** The mean over its tokens of KL to the unsteered model, in nats. */
  kl?: number | null;
}

export interface Watched {
  key: string;
  label: string;
  domain: number;
  /** Where colour begins, if not at 0, and what that value is. */
  zero?: number | null;
  zero_of?: string;
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

/** A token after the prompt: its logit's change, less the mean of all, and its probability before and after. */
export interface NextToken extends Token {
  delta: number;
  before: number;
  after: number;
}

/** What a recipe does to the token after the prompt. */
export interface NextTokens {
  promoted: NextToken[];
  suppressed: NextToken[];
  /** False where nothing acts before the first generated token. */
  changes: boolean;
  asked: Record<string, unknown>;
}

/** A row of a run that is over, by columns. */
export interface PastRow {
  name: string;
  text: string;
  ended: string;
  ids: number[];
  texts: string[];
  /** The indices of tokens that are only part of a character. */
  fragments: number[];
}

export interface PastRun {
  id: string;
  number: number;
  name: string;
  pinned: boolean;
  at: string;
  prompt: string;
  /** The recipe in words. */
  said: string;
  rows: PastRow[];
  kl: number[] | null;
}

export interface RunsCompared {
  runs: [string, string];
  rows: [string, string];
  /** Of each text, which of its tokens the other has too. */
  same: [boolean[], boolean[]];
  divergence: number | null;
}

export interface SweepRow {
  strength: number;
  text: string;
  tokens: Token[];
  ended: string;
  /** Null where it was stopped before anything was measured. */
  surprise: number | null;
  distinct_2: number | null;
  usual: boolean | null;
}

export interface Swept {
  key: string;
  label: string;
  op: string;
  rows: SweepRow[];
  /** The baseline's own range over seeds. */
  surprise: [number | null, number | null] | null;
  distinct_2: [number, number] | null;
  breaks: [number | null, number | null] | null;
  seeds: number;
  tokens: number;
  prompt: string;
  seconds: number;
}

/** Rows beside baseline and steered: one that is asked in words, and some with random directions. */
export interface Beside {
  asked: string;
  random: number;
}

/** A token that could stand in the place of one, with its probability. */
export interface Alternative extends Token {
  p: number;
}

/** A message before the prompt. */
export interface Turn {
  role: "user" | "assistant";
  content: string;
  /** Of an answer that was made here: its row. */
  row?: string;
}

export type Tab = "logits" | "sweep" | "history";

export interface Status {
  state: "idle" | "waiting" | "running" | "scoring" | "done" | "stopped" | "error";
  message: string;
}

export interface PanelTraits extends BenchTraits {
  chat: boolean;
  settings: Settings;
  watched: string;
  beside: Beside;
  system: string;
  turns: Turn[];
  /** The turns that another recipe wrote. */
  outdated: number[];
  /** By name. */
  presets: string[];
  prompt_tokens: PromptTokens;
  result: Result | Record<string, never>;
  /** Id of the model that shows a generated token's lens; empty where none is open. */
  lens: string;
  tab: Tab;
  next_token: NextTokens | Record<string, never>;
  runs: PastRun[];
  compared: RunsCompared | Record<string, never>;
  swept: Swept | Record<string, never>;
  breaks: Record<string, Breaks>;
  status: Status;
}

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
  watched: "",
  beside: { asked: "", random: 0 },
  system: "",
  turns: [],
  outdated: [],
  presets: [],
  prompt_tokens: { tokens: [], prompt: "", chat: false },
  result: {},
  lens: "",
  tab: "logits",
  next_token: {},
  runs: [],
  compared: {},
  swept: {},
  breaks: {},
  status: { state: "idle", message: "" },
};
