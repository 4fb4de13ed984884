// Small heatmaps for tests.

import { encodeArray, type NumberArray } from "../../src/host/arrays";
import type { Column, HeatToken } from "../../src/host/heat_types";
import type { Packed } from "../../src/host/packed";

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

export function packed(values: NumberArray, shape: number[] = [values.length]): Packed {
  const { data, dtype } = encodeArray(values, shape);
  const bytes = new Uint8Array((data as DataView).buffer);
  return { data: btoa(String.fromCharCode(...bytes)), dtype, shape };
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
