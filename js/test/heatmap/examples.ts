// Small heatmaps for tests.

import type { Column } from "../../src/heatmap/types";
import type { HeatToken } from "../../src/host/tokens";
import { packed } from "../examples";

export function column(changes: Partial<Column> = {}): Column {
  return {
    key: "sae:1/1",
    label: "the sea",
    label_source: "",
    label_author: "unknown",
    kind: "SAE",
    layer: 1,
    stream: "resid_post",
    index: 1,
    signed: false,
    p995: null,
    maximum: null,
    corpus: null,
    largest: 4,
    ...changes,
  };
}

export function heatToken(text: string, changes: Partial<HeatToken> = {}): HeatToken {
  return {
    id: 1,
    text,
    fragment: false,
    special: false,
    template: false,
    sink: false,
    generated: false,
    word: false,
    sentence: false,
    counted: true,
    ...changes,
  };
}

/** The traits of a heatmap with one row of values for each token. */
export function heatState(texts: string[], rows: number[][], columns: Column[], flags?: number[]) {
  return {
    text: {
      texts,
      ids: packed(Int32Array.from(texts, (_, i) => 100 + i)),
      flags: packed(Uint8Array.from(flags ?? texts.map(() => 0))),
    },
    reading: {
      features: columns,
      values: packed(Float32Array.from(rows.flat()), [texts.length, columns.length]),
    },
    facts: { model: "a model", dictionary: "SAE", site: "block 1 resid_post", searchable: true },
    provenance: { model: "a model" },
  };
}
