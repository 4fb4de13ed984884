import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { Card } from "../../src/card/card";
import { inBands, readLines, shownPart, steady } from "../../src/card/lines";
import { move } from "../../src/card/lines_shown";
import { barsOf, placeOf } from "../../src/card/numbers";
import type { Content, LinesWire, LineWire } from "../../src/card/types";
import { staticModel } from "../../src/widgets/static_host";
import { packed } from "../examples";
import { FakeModel } from "../host/fake_model";

/** Lines of words; a token's id is 100 + its place among the distinct words. */
function wire(lines: (Partial<LineWire> & { words: string[]; values: number[] })[]): LinesWire {
  const texts = [...new Set(lines.flatMap(({ words }) => words))].sort();
  const places = lines.flatMap(({ words }) => words.map((word) => texts.indexOf(word)));
  const values = lines.flatMap((line) => line.values);
  return {
    vocabulary: { ids: packed(Int32Array.from(texts, (_, i) => 100 + i)), texts },
    tokens: packed(Uint8Array.from(places)),
    values: packed(Float32Array.from(values)),
    flags: packed(Uint8Array.from(values, (value) => (value < -90 ? 2 : 0))),
    lines: lines.map(({ words, values: _, ...more }) => ({
      peak: 0,
      source: "chat",
      ...more,
      length: words.length,
    })),
  };
}

function content(changes: Partial<Content> = {}): Content {
  return {
    key: "sae:1/3",
    kind: "SAE",
    layer: 1,
    stream: "resid_post",
    index: 3,
    size: 10,
    site: "block 1 resid_post",
    reads: "activation",
    signed: false,
    label: "the sea",
    label_source: "",
    label_author: "",
    other_labels: [],
    score: null,
    suggested: null,
    ops: ["add"],
    density: null,
    maximum: 4,
    p995: null,
    typical: null,
    corpus: null,
    tokens: null,
    examples_of: null,
    histogram: null,
    promoted: [],
    suppressed: [],
    logits_note: "",
    nearest: [],
    coactive: [],
    examples: {},
    missing: {},
    mixture: null,
    link: null,
    ...changes,
  };
}

const verdict = { label: "", note: "", rating: null, said: 0 };

describe("lines", () => {
  const lines = readLines(
    wire([
      { words: ["the", " sea"], values: [-99, 2.5], peak: 1, low: 2, high: 4 },
      { words: [" sea"], values: [1], low: 2, high: 4 },
      { words: ["the"], values: [0.5], low: 0, high: 2 },
    ]),
  );

  test("come back token by token", () => {
    expect(lines.map(({ tokens }) => tokens.map(({ text }) => text))).toEqual([
      ["the", " sea"],
      [" sea"],
      ["the"],
    ]);
    expect(lines[0]?.tokens[1]).toMatchObject({ id: 100, value: 2.5, why: "" });
    expect(lines[0]?.tokens[0]?.why).toBe("special token");
    expect(readLines(undefined)).toEqual([]);
  });

  test("are grouped where they have bands", () => {
    expect(inBands(lines)).toEqual([
      { low: 2, high: 4, from: 0 },
      { low: 0, high: 2, from: 2 },
    ]);
    expect(inBands(readLines(wire([{ words: ["the"], values: [1] }])))).toBeNull();
  });

  test("show the surroundings of the peak until they are opened", () => {
    const words = Array.from({ length: 60 }, (_, i) => ` w${i}`);
    const [line] = readLines(wire([{ words, values: words.map(() => 1), peak: 30 }]));
    if (!line) throw new Error("no line");
    const [first, end] = shownPart(line, false);
    expect(first).toBeLessThan(30);
    expect(end).toBeGreaterThan(31);
    expect(end - first).toBeLessThan(30);
    expect(shownPart(line, true)).toEqual([0, 60]);
  });

  test("keys lead along a line, to its ends, and to the peaks of others", () => {
    const open = () => true;
    expect(move("ArrowRight", { line: 0, token: 0 }, lines, open)).toEqual({ line: 0, token: 1 });
    expect(move("ArrowRight", { line: 0, token: 1 }, lines, open)).toEqual({ line: 0, token: 1 });
    expect(move("Home", { line: 0, token: 1 }, lines, open)).toEqual({ line: 0, token: 0 });
    expect(move("ArrowDown", { line: 2, token: 0 }, lines, open)).toEqual({ line: 2, token: 0 });
    expect(move("ArrowUp", { line: 1, token: 0 }, lines, open)).toEqual({ line: 0, token: 1 });
    expect(move("x", { line: 0, token: 0 }, lines, open)).toBeNull();
  });

  test("numbers have equal digits", () => {
    expect([48.23, 47, 0.1, -1.5, 0, 12345].map((value) => steady(value))).toEqual([
      "48.2",
      "47.0",
      "0.100",
      "−1.50",
      "0",
      "12,300",
    ]);
  });
});

describe("the histogram", () => {
  test("has bars by the logarithm of counts, and none without a count", () => {
    const bars = barsOf({ counts: [0, 1, 99], top: 3 });
    expect(bars.map(({ height }) => Number(height.toFixed(3)))).toEqual([0, 0.151, 1]);
    expect(bars[1]).toMatchObject({ low: 1, high: 2, count: 1 });
  });

  test("marks values within its ends", () => {
    expect([-1, 0, 2, 9].map((value) => placeOf(value, 4))).toEqual([0, 0, 0.5, 1]);
    expect(placeOf(1, 0)).toBe(0);
  });
});

describe("a card", () => {
  let life: AbortController;
  beforeEach(() => {
    vi.useFakeTimers();
    life = new AbortController();
  });
  afterEach(() => {
    life.abort();
    vi.useRealTimers();
  });

  const make = (values: Record<string, unknown> = {}) => {
    const model = new FakeModel({ content: content(), verdict, ...values });
    return { model, card: new Card(model, life.signal) };
  };

  test("ends its scale at the feature's maximum, or at the largest value shown", () => {
    const { model, card } = make();
    expect(card.scale.value).toMatchObject({ end: 4, source: "feature maximum" });
    const strongest = wire([{ words: ["the", " sea"], values: [-99, 2.5] }]);
    model.changes("content", content({ maximum: null, examples: { strongest } }));
    expect(card.scale.value).toMatchObject({ end: 2.5, source: "largest shown here" });
  });

  test("reads a text once the keys rest", async () => {
    const { model, card } = make();
    card.type("the");
    vi.advanceTimersByTime(100);
    card.type("the sea");
    vi.advanceTimersByTime(300);
    expect(model.sent).toHaveLength(1);
    expect(model.sent[0]).toMatchObject({ name: "try", args: { text: "the sea" } });
    expect(model.values.own_text).toBe("the sea");
  });

  test("gives up an older reading for a newer one, and can be stopped", async () => {
    const { model, card } = make();
    card.type("one");
    vi.advanceTimersByTime(300);
    const first = model.lastId;
    card.type("two");
    vi.advanceTimersByTime(300);
    expect(model.sent.map(({ type }) => type)).toEqual(["request", "cancel", "request"]);
    expect(model.sent[1]).toMatchObject({ id: first });
    vi.advanceTimersByTime(600);
    expect(card.doing.value).toMatchObject({ what: "try" });
    card.stop();
    await vi.runAllTimersAsync();
    expect(card.doing.value).toBeNull();
    expect(card.failure.value).toBe("");
  });

  test("shows how far a search for silent texts is", async () => {
    const { model, card } = make();
    card.look(["sea"]);
    const id = model.lastId;
    expect(model.sent.at(-1)).toMatchObject({ name: "silent", args: { words: ["sea"] } });
    model.says({ type: "accepted", id });
    model.says({ type: "progress", id, seq: 0, done: 16, of: 48, seconds_left: 4.2 });
    expect(card.doing.value).toMatchObject({ done: 16, of: 48, seconds: 4.2 });
    model.says({ type: "error", id, error: { message: "No words.", kind: "ValueError" } });
    await vi.runAllTimersAsync();
    expect(card.failure.value).toBe("No words.");
    expect(card.doing.value).toBeNull();
  });

  test("leaves out what was read for another feature", () => {
    const text = wire([{ words: ["the"], values: [1] }]);
    const tried = { key: "sae:1/4", typed: "the", text, strongest: null, latents: null };
    const { model, card } = make({ tried });
    expect(card.tried.value).toBeNull();
    model.changes("tried", { ...tried, key: "sae:1/3" });
    expect(card.triedLines.value).toHaveLength(1);
  });

  test("opens other features by asking the kernel, within the dictionary", () => {
    const { model, card } = make();
    expect([card.beside(-1), card.beside(1), card.canShow(10)]).toEqual([2, 4, false]);
    card.show(7);
    expect(model.sent.at(-1)).toMatchObject({ name: "show", args: { feature: 7 } });
    model.changes("content", content({ index: 0 }));
    expect(card.beside(-1)).toBeNull();
  });

  test("opens, in a frozen copy, the features that it holds", () => {
    const pages = [3, 9, 5].map((index) => ({
      content: content({ index, key: `sae:1/${index}`, label: `label ${index}` }),
      verdict: { ...verdict, rating: index === 5 ? 4 : null },
      tried: {},
    }));
    const model = staticModel({ content: pages[0]?.content, verdict, pages });
    const card = new Card(model, life.signal);
    expect([card.beside(-1), card.beside(1), card.canShow(4)]).toEqual([null, 5, false]);
    card.show(5);
    expect(card.content.value?.label).toBe("label 5");
    expect(card.verdict.value.rating).toBe(4);
    expect([card.beside(-1), card.beside(1)]).toEqual([3, 9]);
  });

  test("leaves no listener behind", () => {
    const { model, card } = make();
    card.type("the");
    life.abort();
    vi.advanceTimersByTime(1000);
    expect(model.listeners).toBe(0);
    expect(model.sent).toEqual([]);
  });
});
