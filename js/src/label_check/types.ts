// What a label check's traits hold.
import type { Token } from "../host/tokens";

export type Mode = "odd one out" | "which fire" | "which tokens" | "which label";

export interface CheckText {
  tokens: Token[];
  /** Activations; null while they are what is asked. */
  values: number[] | null;
  /** Places of marked tokens. */
  marked: number[];
}

interface Where {
  step: number;
  steps: number;
  /** The feature's place in the queue; 0 while it is only to try. */
  feature: number;
  features: number;
  practice: boolean;
  again: boolean;
  mode: Mode | null;
}

export interface Asked extends Where {
  kind: "item";
  mode: Mode;
  id: string;
  label: string;
  texts: CheckText[];
  choices: string[];
  maximum: number | null;
}

export interface ToldText extends CheckText {
  value: number;
  decile: number | null;
  kind: "fires" | "random" | "neighbour" | "label's words";
}

export interface Result {
  mode: Mode;
  right: number;
  of: number;
  texts: ToldText[];
  choices: string[];
  /** Which one of a choice; else 1 or 0 for each text. */
  truth: number[];
  /** Likewise; null where it was skipped. */
  said: (number | null)[];
}

export interface Told extends Where {
  kind: "reveal";
  index: number;
  key: string;
  label: string;
  label_author: string;
  score: number | null;
  notes: string[];
  verdict: string;
  note: string;
  maximum: number;
  results: Result[];
}

export interface Done extends Where {
  kind: "end";
}

type Empty = Record<string, never>;

export type Screen = Asked | Told | Done;

export type Answer = number | null;

export interface CheckTraits {
  screen: Screen | Empty;
  /** What is chosen and not sent yet. */
  draft: { step?: number; answers?: Answer[] };
  side: { label?: [string, string][]; session?: [string, string][]; answered?: number };
  facts: {
    model?: string;
    dictionary?: string;
    layer?: number;
    site?: string;
    size?: number;
    seed?: number;
    reader?: string;
    modes?: Mode[];
    resumed?: number;
  };
  provenance: Record<string, string>;
}

export const EMPTY_CHECK: CheckTraits = {
  screen: {},
  draft: {},
  side: {},
  facts: {},
  provenance: {},
};

/** One of several texts or labels is chosen; otherwise each text is judged. */
export function isChoice(mode: Mode): boolean {
  return mode === "odd one out" || mode === "which label";
}

export interface Step {
  value: number;
  said: string;
}

/** How a text can be judged: a person's four steps of confidence, or yes and no. */
export const STEPS: Record<"which fire" | "which tokens", readonly Step[]> = {
  "which fire": [
    { value: 0, said: "no" },
    { value: 1 / 3, said: "rather no" },
    { value: 2 / 3, said: "rather yes" },
    { value: 1, said: "yes" },
  ],
  "which tokens": [
    { value: 0, said: "reject" },
    { value: 1, said: "accept" },
  ],
};

export function stepsOf(mode: Mode): readonly Step[] {
  return mode === "which tokens" ? STEPS["which tokens"] : STEPS["which fire"];
}

export function plainText(text: CheckText): string {
  return text.tokens.map((token) => (token.fragment ? "" : token.text)).join("");
}
