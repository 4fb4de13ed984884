import { encodeArray, type NumberArray, type Packed } from "../src/host/arrays";
import type { TextToken, Token } from "../src/host/tokens";
import type { Result } from "../src/panel/types";
import type { Feature, Op, OpParameter } from "../src/recipe_editor/types";

export function feature(over: Partial<Feature>): Feature {
  return {
    key: "k",
    kind: "SAE",
    layer: 15,
    index: null,
    label: "the sea",
    norm: 1,
    max_activation: null,
    max_activation_of: null,
    signed: true,
    reads_projection: true,
    suggested: null,
    ops: ["add", "project", "ablate", "clip"],
    ...over,
  };
}

const parameter = (name: string, over: Partial<OpParameter>): OpParameter => ({
  name,
  symbol: name,
  unit: "",
  default: null,
  min: -500,
  max: 500,
  step: 0.5,
  optional: false,
  ...over,
});

const op = (name: string, parameters: OpParameter[], identity: Op["identity"] = null): Op => ({
  name,
  formula: "",
  summary: "",
  parameters,
  identity,
});

export const OPS: Record<string, Op> = {
  add: op("add", [parameter("alpha", { default: 20, raw: true })], { alpha: 0 }),
  project: op("project", [parameter("c", { default: 2, min: -2, max: 4, step: 0.05 })], { c: 1 }),
  ablate: op("ablate", []),
  clip: op("clip", [parameter("lo", { optional: true }), parameter("hi", { optional: true })]),
};

/** An op and its first parameter. */
export function opOf(name: string): [Op, OpParameter] {
  const found = OPS[name];
  const first = found?.parameters[0];
  if (!found || !first) throw new Error(`No op ${name} with a parameter.`);
  return [found, first];
}

export function token(text: string): Token {
  return { id: 1, text, fragment: false };
}

export function promptToken(text: string, over: Partial<TextToken> = {}): TextToken {
  return { ...token(text), special: false, template: false, sink: false, ...over };
}

export function result(baseline: string[], steered: string[]): Result {
  const row = (name: string, texts: string[]) => ({
    name,
    tokens: texts.map(token),
    text: texts.join(""),
    ended: "eos" as const,
    watched: texts.map(() => 1),
  });
  return {
    rows: [row("baseline", baseline), row("steered", steered)],
    divergence: 1,
    kl: steered.map((_, index) => index),
    kl_floor: 0,
    surprise: null,
    watched: { key: "k", label: "the sea", domain: 2, domain_source: "this text" },
    settings: {
      temperature: 0.7,
      top_p: 1,
      top_k: 50,
      frequency_penalty: 0,
      max_new_tokens: 8,
      seed: 0,
    },
    prompt: "Hi",
    chat: false,
    recipe: "{}",
    tokens_per_second: 14.8,
    seconds: 1,
  };
}

/** Found features as the kernel sends them: by column, what they share apart, and no key that follows from the rest. */
export function byColumn(features: Record<string, unknown>[]): Record<string, unknown> {
  const columns: Record<string, unknown[]> = {};
  for (const name of new Set(features.flatMap(Object.keys))) {
    if (name !== "kind") columns[name] = features.map((feature) => feature[name]);
  }
  const kinds = [...new Set(features.map(({ kind }) => kind))];
  return {
    rows: features.length,
    of: features.map(({ kind }) => kinds.indexOf(kind)),
    shared: kinds.map((kind) => ({ kind })),
    columns,
  };
}

/** An array as traits hold it. */
export function packed(values: NumberArray, shape: number[] = [values.length]): Packed {
  const { data, dtype } = encodeArray(values, shape);
  const bytes = new Uint8Array((data as DataView).buffer);
  return { data: btoa(String.fromCharCode(...bytes)), dtype, shape };
}
