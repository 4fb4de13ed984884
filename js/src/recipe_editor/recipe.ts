// Edits of a recipe. Pure: every edit makes new steers, since hosts see no change inside an old list.

import type { Feature, Op, Params, Steer } from "./types";

export function newSteer(feature: Feature, ops: Record<string, Op>): Steer {
  const wanted = [feature.suggested?.op ?? "", ...feature.ops].filter(Boolean);
  const op = wanted.find((name) => !ops[name]?.refused) ?? wanted[0] ?? "add";
  const id = `s${Math.random().toString(36).slice(2, 10)}`;
  return withOp({ id, key: feature.key, op, params: {}, enabled: true }, op, feature, ops);
}

/** Another op on the same feature: its own suggested strength where there is one. */
export function withOp(
  steer: Steer,
  op: string,
  feature: Feature | undefined,
  ops: Record<string, Op>,
): Steer {
  const suggested = feature?.suggested?.op === op ? feature.suggested.params : {};
  return { ...steer, op, params: { ...defaults(ops[op]), ...suggested } };
}

export function replace(steers: Steer[], id: string, change: Partial<Steer>): Steer[] {
  return steers.map((steer) => (steer.id === id ? { ...steer, ...change } : steer));
}

function defaults(op: Op | undefined): Params {
  return Object.fromEntries(
    (op?.parameters ?? []).map(({ name, default: value }) => [name, value]),
  );
}

/** "steering 2 features at block 15" */
export function describeRecipe(
  steers: Steer[],
  layerOf: (key: string) => number | undefined,
): string {
  const active = steers.filter((steer) => steer.enabled);
  if (!active.length) return "not steering";
  const features = new Set(active.map((steer) => steer.key)).size;
  const layers = [...new Set(active.map((steer) => layerOf(steer.key)))].filter(
    (layer) => layer !== undefined,
  );
  const where = layers.sort((a, b) => a - b).join(", ");
  const blocks = layers.length ? ` at block${layers.length > 1 ? "s" : ""} ${where}` : "";
  return `steering ${features} feature${features > 1 ? "s" : ""}${blocks}`;
}
