import type { Inputs, Layer, Result, TrainerTraits } from "../../src/concept_trainer/types";
import { EMPTY_TRAINER } from "../../src/concept_trainer/types";

export const entry = (text: string, written = false) => ({ text, key: written ? 0 : -1, written });

export const inputs = (changes: Partial<Inputs> = {}): Inputs => ({
  name: "grateful",
  source: "texts",
  positives: [entry("thank you"), entry("so grateful")],
  negatives: [entry("a red car"), entry("the train")],
  systems: ["", ""],
  questions: ["How are you?", "What is new?"],
  tokens: 48,
  columns: ["", "", ""],
  method: "mean_difference",
  pool: "mean",
  blocks: "all",
  ...changes,
});

export const layer = (at: number, changes: Partial<Layer> = {}): Layer => ({
  layer: at,
  accuracy: 0.75,
  auroc: 0.9,
  right: 3,
  tested: 4,
  interval: [0.3, 0.95],
  shuffled: { accuracy: 0.5, auroc: 0.52 },
  selectivity: { accuracy: 0.25, auroc: 0.38 },
  threshold: 1,
  projections: [3, 0.5, -1, 2],
  converged: true,
  promoted: [{ id: 7, text: " thanks", fragment: false, value: 0.4 }],
  suppressed: [],
  weak: "",
  others: [
    { id: "0:3", kind: "CAV", index: 3, label: "prayer", cosine: 0.29, near: true },
    { id: "1:8", kind: "SAE", index: 8, label: "SAE 8", cosine: -0.1, near: true },
  ],
  ...changes,
});

export const result = (changes: Partial<Result> = {}): Result => ({
  name: "grateful",
  method: "mean_difference",
  pooling: "mean over tokens",
  shuffles: 5,
  fitted: [6, 6],
  tests: [
    { text: "many thanks", positive: true },
    { text: "I owe you one", positive: true },
    { text: "a blue house", positive: false },
    { text: "thanks to the rain", positive: false },
  ],
  layers: [layer(0, { auroc: 0.6 }), layer(1), layer(2, { auroc: 0.8 })],
  best: 1,
  told: [],
  stopped: false,
  seconds: 2.5,
  ...changes,
});

export const traits = (changes: Partial<TrainerTraits> = {}): TrainerTraits => ({
  ...EMPTY_TRAINER,
  inputs: inputs(),
  plan: { problem: "", told: ["1 text stands in both lists: left out of both."], counts: [2, 2] },
  facts: { model: "tiny", blocks: 3, template: true, panel: true, dictionaries: 2 },
  ...changes,
});
