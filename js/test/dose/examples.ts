import type { Answer, Inputs, Result, Row } from "../../src/dose/types";

const known = (value: number) => ({ value, low: value - 0.1, high: value + 0.1 });
const count = (k: number, n = 12) => ({ k, n, interval: [k / n / 2, 1] as [number, number] });

export function row(strength: number, changes: Partial<Row> = {}): Row {
  return {
    strength,
    on_topic: count(strength / 10),
    random: count(0),
    surprise: known(2 + strength / 20),
    distinct_2: known(0.9),
    kl: known(strength / 30),
    kl_p95: strength / 10,
    ratio: strength / 100,
    overall: null,
    fluent: true,
    useful: false,
    ...changes,
  };
}

const answer = (
  kind: Answer["kind"],
  strength: number | null,
  prompt: number,
  seed: number,
): Answer => ({
  kind,
  strength,
  prompt,
  seed,
  on_topic: true,
  text: `${kind} ${strength} ${prompt} ${seed}`,
});

export function result(changes: Partial<Result> = {}): Result {
  const rows = changes.rows ?? [0, 20, 40, 60].map((strength) => row(strength));
  const places = [0, 1].flatMap((prompt) => [3, 5].map((seed) => [prompt, seed] as const));
  return {
    label: "the sea · add",
    unit: "× v",
    origin: 0,
    prompts: ["First?", "Second?"],
    seeds: [3, 5],
    judge: "probe of block 20",
    asked: "Talk about the sea.",
    stopped: false,
    baseline: {
      on_topic: count(1, 48),
      surprise: [1.5, 3],
      distinct_2: [0.8, 1],
      mean_surprise: 2,
      mean_distinct_2: 0.9,
    },
    prompted: count(7),
    useful: [20, 40],
    breaks: 60,
    breaks_below: null,
    answers: places.flatMap(([prompt, seed]) => [
      answer("baseline", null, prompt, seed),
      ...rows.map(({ strength }) => answer("steered", strength, prompt, seed)),
    ]),
    ...changes,
    rows,
  };
}

export const inputs: Inputs = {
  strengths: [0, 20, 40, 60],
  prompts: ["First?"],
  seeds: 2,
  tokens: 48,
  asked: "",
};
export const facts = {
  label: "the sea · add",
  kind: "CAV",
  layer: 15,
  unit: "× v",
  prompts: ["First?"],
  held_back: ["Third?"],
  random: 10,
  baseline_seeds: 8,
  total: 104,
  judges: ["probe of block 20", "words"],
  judge: 0,
  panel: false,
};
