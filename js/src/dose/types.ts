// What a dose–response's traits hold.

export type Axis = "strength" | "ratio" | "iso_kl";

export interface Count {
  k: number;
  n: number;
  interval: [number, number];
}

/** With its interval over prompts; null where one prompt tells nothing of others, or nothing is known. */
export interface Mean {
  value: number | null;
  low: number | null;
  high: number | null;
}

export interface Row {
  strength: number;
  on_topic: Count;
  random: Count;
  surprise: Mean;
  distinct_2: Mean;
  kl: Mean;
  kl_p95: number | null;
  ratio: number | null;
  /** AxBench's score, 0 to 2, where the judge gives its marks. */
  overall: Mean | null;
  /** null where the baseline's own range is not known. */
  fluent: boolean | null;
  useful: boolean;
}

export type Kind = "baseline" | "steered" | "random" | "asked";

export interface Answer {
  kind: Kind;
  strength: number | null;
  prompt: number;
  seed: number;
  on_topic: boolean | null;
  text: string;
  surprise?: number | null;
  tokens?: string[];
  /** Which of them are only part of a character: their text is bytes in hex. */
  fragments?: number[];
  kl?: (number | null)[];
}

type Ends = [number, number] | null;

export interface Result {
  label: string;
  unit: string;
  origin: number;
  prompts: string[];
  seeds: number[];
  judge: string;
  asked: string;
  stopped: boolean;
  rows: Row[];
  baseline: {
    on_topic: Count;
    surprise: Ends;
    distinct_2: Ends;
    mean_surprise: number | null;
    mean_distinct_2: number | null;
  };
  prompted: Count | null;
  useful: [number, number] | null;
  breaks: number | null;
  breaks_below: number | null;
  /** The strength that one half of the prompts chooses, and its score on the other half, 0 to 2. */
  axbench?: { strength: number; score: Mean } | null;
  answers: Answer[];
}

export interface Inputs {
  strengths: number[];
  prompts: string[];
  seeds: number | number[];
  tokens: number;
  asked: string;
}

export interface Facts {
  label: string;
  kind: string;
  layer: number | null;
  unit: string;
  prompts: string[];
  held_back: string[];
  random: number;
  baseline_seeds: number;
  total: number;
  judges: string[];
  /** null where who judged what is shown is none of them, but of a file. */
  judge: number | null;
  panel: boolean;
}

export interface Status {
  state: "idle" | "running" | "waiting" | "done" | "stopped" | "error";
  message: string;
  answers?: number;
  seconds?: number;
}

export interface DoseTraits {
  facts: Partial<Facts>;
  inputs: Partial<Inputs>;
  result: Partial<Result>;
  status: Status;
  axis: Axis;
  /** The strength that is the iso-KL dose 1. */
  iso_kl: number | null;
  selected: number | null;
  compared: number | null;
  prompt: number;
  seed: number;
  provenance: Record<string, string>;
}

export const EMPTY_DOSE: DoseTraits = {
  facts: {},
  inputs: {},
  result: {},
  status: { state: "idle", message: "" },
  axis: "strength",
  iso_kl: null,
  selected: null,
  compared: null,
  prompt: 0,
  seed: 0,
  provenance: {},
};

export const isResult = (result: Partial<Result>): result is Result =>
  Array.isArray(result.rows) && result.rows.length > 0;

export const isFacts = (facts: Partial<Facts>): facts is Facts => Array.isArray(facts.judges);

export const isInputs = (inputs: Partial<Inputs>): inputs is Inputs =>
  Array.isArray(inputs.strengths);
