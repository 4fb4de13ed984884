// The lens' logic: what is shown, what is measured, where keys lead, what is asked of the kernel.
import { describe, expect, it } from "vitest";
import { Lens } from "../../src/lens/lens";
import { changeScale, changesOf, MEASURES, measureOf } from "../../src/lens/measure";
import { painterOf } from "../../src/lens/painter";
import { rowAtOrAbove, rowsOf } from "../../src/lens/rows";
import { LensRun } from "../../src/lens/run";
import { cellText, completedText, joinedText, share } from "../../src/lens/text";
import { axisEnd, paths, placing, trajectory } from "../../src/lens/trajectory";
import type { LensTraits } from "../../src/lens/types";
import { cellMove, windowOf } from "../../src/ui/cells";
import { LIGHT } from "../../src/ui/colour";
import { packed } from "../examples";
import { FakeModel } from "../host/fake_model";
import { following, grid, lensTraits, TOPS } from "./examples";

const CHOSEN = { id: 5, name: "␣Paris", vocabulary: 1000 };

function lensOf(changes: Partial<LensTraits> = {}) {
  const model = new FakeModel({ ...lensTraits(changes) });
  const life = new AbortController();
  return { model, life, lens: new Lens(model, life.signal) };
}

describe("the lens of a generated token", () => {
  it("is the steered run alone, with the next token beyond its last column", () => {
    const { lens } = lensOf({
      baseline: {},
      steered: grid(TOPS),
      steering: { layers: [1], steers: [{ label: "sea", what: "add(4)", site: "1" }] },
      facts: { generated: "The logit lens of token 3 of 9 of the steered text." },
      tokens: {
        texts: ["The", " sea", "E2 98", "!"],
        ids: packed(Int32Array.from([1, 2, 3, 4]), [4]),
        flags: packed(Uint8Array.from([0, 0, 1, 0]), [4]),
      },
    });
    expect(lens.run.value?.positions).toBe(3);
    expect(lens.tokens.value).toHaveLength(4);
    expect(lens.shows.value).toBe("steered");
    expect(lens.compares.value).toBe(false);
    expect(lens.rows.value).toEqual([3, 2, 1, 0]);
  });
});

/** A steered run beside the baseline: in the last block other tokens are on top. */
function steeredTraits(): Partial<LensTraits> {
  const tops = [...TOPS.slice(0, 3), [7, 2, 2]];
  const top = new Float32Array(12);
  top.set([0, -2, -0.5], 9);
  const changes = packed(
    Int32Array.from({ length: 12 }, () => 2),
    [4, 3, 1],
  );
  const values = (size: number) =>
    packed(
      Float32Array.from({ length: 12 }, (_, i) => (i < 9 ? 0 : size)),
      [4, 3, 1],
    );
  return {
    shows: "difference",
    steered: grid(tops, 0.4),
    difference: {
      top: packed(top, [4, 3]),
      rises: { ids: changes, values: values(0.3) },
      falls: { ids: changes, values: values(-0.2) },
    },
    steering: {
      layers: [2],
      steers: [],
      direct: [],
      promoted: {
        ids: packed(new Int32Array(), [3, 0]),
        values: packed(new Float32Array(), [3, 0]),
      },
      suppressed: {
        ids: packed(new Int32Array(), [3, 0]),
        values: packed(new Float32Array(), [3, 0]),
      },
    },
  };
}

describe("a run", () => {
  const run = new LensRun(grid(TOPS, 0.6, following()), [5]);

  it("knows the candidates of a cell, and followed tokens below them", () => {
    expect(run.top(2, 1)).toEqual({ id: 5, logProb: Math.fround(Math.log(0.6)) });
    expect(run.candidates(2, 1).map(({ id }) => id)).toEqual([5, 9]);
    expect([run.rankOf(5, 0, 0), run.rankOf(5, 3, 0)]).toEqual([41, 3]);
    expect(run.logProbOf(5, 0, 0)).toBe(-9);
    expect([run.rankOf(9, 0, 0), run.rankOf(8, 0, 0)]).toEqual([2, Number.NaN]);
    expect(run.logProbOf(8, 0, 0)).toBeNaN();
  });

  it("finds where a token enters the top k, and from where it stays on top", () => {
    expect([run.enters(5, 10, 0), run.enters(5, 50, 0), run.enters(5, 1, 0)]).toEqual([2, 0, -1]);
    expect([run.settles(6, 2), run.settles(7, 0), run.settles(1, 0)]).toEqual([2, 3, -1]);
    expect([...run.settled]).toEqual([3, 2, 2]);
  });

  it("follows nobody while the numbers of what is followed are still to come", () => {
    expect(new LensRun(grid(TOPS), [5]).tracked).toEqual([]);
  });
});

describe("measures", () => {
  const run = new LensRun(grid(TOPS, 0.6, following()), [5]);

  it("say what colours a cell", () => {
    expect(measureOf("probability").values(run, null)(0, 0)).toBeCloseTo(0.6, 5);
    expect(measureOf("log_probability").values(run, null)(0, 0)).toBeCloseTo(Math.log(0.6), 5);
    expect(measureOf("rank").values(run, 5)(3, 0)).toBe(3);
    expect(measureOf("rank").values(run, null)(3, 0)).toBeNaN();
    expect(measureOf("entropy").values(run, null)(1, 2)).toBe(5);
    expect(measureOf("kl").values(run, null)(3, 2)).toBe(0);
  });

  it("state both ends of their scale", () => {
    const rank = MEASURES.rank.scale([run], CHOSEN);
    expect([rank.low, rank.high]).toEqual(["1,000", "1"]);
    expect([rank.share(1), rank.share(1000), rank.share(Number.NaN)]).toEqual([1, 0, 0]);
    expect(rank.share(10)).toBeCloseTo(2 / 3, 5);
    const log = MEASURES.log_probability.scale();
    expect([log.share(0), log.share(-10), log.share(-99)]).toEqual([1, 0, 0]);
    const entropy = MEASURES.entropy.scale([run]);
    expect([entropy.high, entropy.share(11)]).toEqual(["11", 1]);
  });

  it("change where steering changes them", () => {
    const after = new LensRun(grid(TOPS, 0.3, following()), [5]);
    const top = new Float32Array(12).fill(0);
    top[9] = Math.log(0.5);
    const probability = changesOf("probability", { before: run, after, top }, null);
    expect([probability(0, 0), probability(3, 0)]).toEqual([0, expect.closeTo(-0.3, 5)]);
    expect(changesOf("log_probability", { before: run, after, top }, null)(3, 0)).toBeCloseTo(
      Math.log(0.5),
      5,
    );
    expect(changesOf("rank", { before: run, after, top }, 5)(0, 0)).toBe(0);
    const scale = changeScale("probability", probability, run, CHOSEN);
    expect([scale.low, scale.high, scale.share(-0.3)]).toEqual([
      "−0.3",
      "+0.3",
      expect.closeTo(-1, 5),
    ]);
    expect([scale.isBeyond(-0.4), scale.isBeyond(0.2)]).toEqual([true, false]);
    const nothing = changeScale("entropy", () => 0, run, CHOSEN);
    expect(nothing.share(0)).toBe(0);
  });
});

describe("rows and keys", () => {
  it("every so many blocks from the deepest down, and always the steered ones", () => {
    expect(rowsOf([0, 1, 2, 3, 4], 2, [], [])).toEqual([4, 2, 0]);
    expect(rowsOf([0, 1, 2, 3, 4], 2, [], [1])).toEqual([4, 2, 1, 0]);
    expect(rowsOf([0, 1, 2, 3, 4], 2, [1, 3], [])).toEqual([3, 1]);
    expect(rowsOf([10, 11, 12], 5, [], [])).toEqual([2]);
    expect([
      rowAtOrAbove([4, 2, 0], 1),
      rowAtOrAbove([4, 2, 0], 4),
      rowAtOrAbove([2, 0], 3),
    ]).toEqual([1, 0, -1]);
  });

  it("only cells in sight, and a few around them", () => {
    expect(windowOf(0, 600, 60, 1000, 3)).toEqual({ first: 0, last: 13 });
    expect(windowOf(30_000, 600, 60, 1000, 3)).toEqual({ first: 497, last: 513 });
    expect(windowOf(600_000, 600, 60, 10, 3)).toEqual({ first: 10, last: 10 });
  });

  it("arrows, Home, End and pages stay inside", () => {
    const size = { rows: 4, columns: 3, page: 2 };
    const go = (key: string, row: number, column: number, ctrl = false) =>
      cellMove(key, ctrl, { row, column }, size);
    expect(go("ArrowRight", 0, 2)).toEqual({ row: 0, column: 2 });
    expect(go("ArrowDown", 0, 2)).toEqual({ row: 1, column: 2 });
    expect(go("ArrowUp", 0, 1)).toEqual({ row: 0, column: 1 });
    expect(go("PageDown", 1, 1)).toEqual({ row: 3, column: 1 });
    expect(go("End", 1, 0)).toEqual({ row: 1, column: 2 });
    expect(go("Home", 3, 2, true)).toEqual({ row: 0, column: 0 });
    expect(go("x", 0, 0)).toBeNull();
    expect(
      cellMove("Home", false, { row: 0, column: 0 }, { rows: 0, columns: 0, page: 1 }),
    ).toBeNull();
  });
});

describe("text", () => {
  const bytes = (id: number, text: string) => ({ id, text, fragment: true });
  const tokens = [
    { id: 0, text: "a", fragment: false },
    bytes(1, "20 E2"),
    bytes(2, "98"),
    bytes(3, "95"),
  ];

  it("joins bytes over tokens", () => {
    expect(joinedText(tokens, 2)).toBe(" ☕");
    expect(joinedText(tokens, 0)).toBe("");
    expect(completedText(tokens.slice(0, 3), 2, bytes(9, "95"))).toBe(" ☕");
    expect(completedText(tokens.slice(0, 3), 2, bytes(9, "41 FF"))).toBe("");
    expect(completedText(tokens, 0, bytes(9, "E2"))).toBe("");
  });

  it("shows spaces and numbers as in the legend", () => {
    expect(cellText({ id: 1, text: " Paris", fragment: false })).toEqual({
      lead: "␣",
      body: "Paris",
    });
    expect(cellText({ id: 1, text: "E2", fragment: true })).toEqual({ lead: "", body: "‹E2›" });
    expect(cellText({ id: 1, text: " ", fragment: false }).body).toBe("␣");
    expect([share(0.3418), share(-0.02), share(0.99999), share(0.00002)]).toEqual([
      ".342",
      "−.020",
      "1.00",
      "2e−5",
    ]);
  });
});

describe("trajectories", () => {
  const run = new LensRun(grid(TOPS, 0.6, following()), [5]);

  it("are exact where a token is followed or among the likeliest, else bounds", () => {
    expect(trajectory(run, 5, 1, "rank").map(({ value, known }) => [value, known])).toEqual([
      [41, true],
      [41, true],
      [3, true],
      [3, true],
    ]);
    const other = trajectory(run, 4, 1, "probability");
    expect(other.map(({ known }) => known)).toEqual([false, true, false, false]);
    expect(other[0]?.value).toBeCloseTo(0.1, 5);
  });

  it("become paths, dotted where they are bounds", () => {
    const frame = { left: 0, right: 30, top: 0, bottom: 100 };
    const place = placing("probability", run.layers, 1, frame);
    expect([place.x(0), place.x(3), place.y(0), place.y(1)]).toEqual([0, 30, 100, 0]);
    const drawn = paths(trajectory(run, 5, 1, "probability"), place);
    expect(drawn.bounds).toBe("");
    expect(drawn.known.match(/L/g)).toHaveLength(3);
    const rank = placing("rank", run.layers, 1000, frame);
    expect([rank.y(1), rank.y(1000)]).toEqual([0, 100]);
    expect([axisEnd(0.35), axisEnd(0.004), axisEnd(0.9)]).toEqual([0.4, 0.01, 1]);
  });
});

describe("the lens", () => {
  it("shows the baseline until there is a steered run", () => {
    const { lens, model } = lensOf({ shows: "difference" });
    expect(lens.shows.value).toBe("baseline");
    for (const [name, value] of Object.entries(steeredTraits())) model.changes(name, value);
    expect(lens.shows.value).toBe("difference");
    expect(lens.values.value(3, 1)).toBeCloseTo(0.6 * (Math.exp(-2) - 1), 5);
    expect(lens.changes("rises", { layer: 3, position: 1 })).toEqual([
      { id: 2, value: Math.fround(0.3) },
    ]);
    expect(lens.changes("falls", { layer: 0, position: 1 })).toEqual([]);
    expect(lens.rows.value).toEqual([3, 2, 1, 0]);
  });

  it("keeps tokens that read alike apart", () => {
    const { lens } = lensOf();
    expect([lens.name(5), lens.name(6)]).toEqual(["␣Paris", "␣Paris"]);
    expect(lens.vocabulary.value.size).toBe(8);
    expect(lens.name(12345)).toBe("token 12345");
  });

  it("speaks of the pointed cell, else the pinned one, else the output after the last token", () => {
    const { lens, model } = lensOf();
    expect(lens.current.value).toEqual({ layer: 3, position: 2 });
    model.changes("pinned", [1, 1]);
    expect(lens.current.value).toEqual({ layer: 1, position: 1 });
    lens.point({ layer: 0, position: 0 });
    expect(lens.current.value).toEqual({ layer: 0, position: 0 });
    lens.point({ layer: 9, position: 0 });
    expect(lens.current.value).toEqual({ layer: 1, position: 1 });
    model.changes("pinned", [77, 1]);
    lens.point(null);
    expect(lens.pinned.value).toBeNull();
  });

  it("pins by block and not by row", () => {
    const { lens, model } = lensOf({ stride: 2 });
    lens.pin({ layer: 2, position: 1 });
    expect(model.values.pinned).toEqual([2, 1]);
    expect(lens.rows.value).toEqual([3, 2, 1]); // what is pinned stays in sight
    lens.pin(null);
    expect(model.values.pinned).toEqual([]);
  });

  it("follows the answer, the cell's token and the runner-up", () => {
    const { lens } = lensOf();
    lens.point({ layer: 0, position: 1 });
    expect(lens.followed.value).toEqual([5, 2, 9]);
  });

  it("shows nothing while text and numbers are of different readings", () => {
    const { lens, model } = lensOf();
    model.changes("tokens", {
      texts: ["a"],
      ids: packed(Int32Array.from([1]), [1]),
      flags: packed(Uint8Array.from([0]), [1]),
    });
    expect(lens.baseline.value).toBeNull();
    expect(painterOf(lens, LIGHT)).toBeNull();
    expect(lens.current.value).toBeNull();
  });

  it("asks for a reading, tells how far it is, and stops it", async () => {
    const { lens, model } = lensOf({ text: "The sea", chat: true });
    const reading = lens.read();
    expect(model.sent.at(-1)).toMatchObject({
      name: "read",
      args: { text: "The sea", chat: true, stream: "resid_post" },
    });
    const id = model.lastId;
    model.says({ type: "accepted", id });
    model.says({ type: "progress", id, seq: 0, done: 10, of: 40 });
    expect(lens.busy.value).toEqual({ doing: "Reading…", done: 10, of: 40 });
    lens.stop();
    expect(model.sent.at(-1)).toEqual({ type: "cancel", id });
    model.says({ type: "cancelled", id });
    await reading;
    expect([lens.busy.value, lens.failure.value]).toEqual([null, ""]);
  });

  it("says in one sentence what went wrong", async () => {
    const { lens, model } = lensOf();
    const finding = lens.find("x");
    model.says({ type: "error", id: model.lastId, error: { message: "No.", kind: "ValueError" } });
    await finding;
    expect(lens.failure.value).toBe("No.");
  });

  it("follows at most six tokens, and the chosen one among them", async () => {
    const { lens, model } = lensOf({ tracked: [1, 2, 3, 4, 6, 7] });
    const choosing = lens.chooseToken(5);
    expect(model.sent.at(-1)).toMatchObject({ name: "track", args: { ids: [2, 3, 4, 6, 7, 5] } });
    model.says({ type: "result", id: model.lastId, value: {} });
    await choosing;
    expect(model.values.chosen).toBe(5);
  });

  it("leaves no listener behind", () => {
    const { model, life } = lensOf();
    expect(model.listeners).toBeGreaterThan(10);
    life.abort();
    expect(model.listeners).toBe(0);
  });
});

describe("a cell", () => {
  it("has a name that says block, column, token, value and marks", () => {
    const { lens } = lensOf({ chosen: 9, within: 2 });
    const painter = painterOf(lens, LIGHT);
    const look = painter?.look(3, 1);
    expect(look?.name).toBe("block 0 after ␣sea: ␣sea, probability .600, ‹95› enters the top 2");
    expect(look?.classes.split(" ")).toContain("sw--enters");
    expect(painter?.look(1, 1).classes).toContain("sw--settles");
    expect(painter?.look(0, 1).classes).not.toContain("sw--settles");
  });

  it("is bold where steering changed the token, and bare where it changed nothing", () => {
    const { lens } = lensOf(steeredTraits());
    const painter = painterOf(lens, LIGHT);
    const moved = painter?.look(0, 1);
    expect(moved?.classes).toContain("sw--moved");
    expect(moved?.name).toContain("in place of ␣Paris");
    expect(moved?.background).toMatch(/^rgb/);
    expect(painter?.look(2, 1).background).toBeUndefined();
  });
});
