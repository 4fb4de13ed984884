// A patch grid: what stands in its cells, what is asked of the kernel, and its page by accessible names.
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Patch } from "../../src/patch_grid/patch";
import { EMPTY_PATCH, type PatchTraits } from "../../src/patch_grid/types";
import { placeText, shareText, statusText } from "../../src/patch_grid/words";
import factory from "../../src/widgets/patch_grid";
import { packed } from "../examples";
import { FakeModel } from "../host/fake_model";
import { el } from "../page";

const token = (id: number, text: string) => ({ id, text, fragment: false });
const SHARES = Float32Array.from([0, 0.1, 0.2, 0, 0.5, Number.NaN]);

function traits(changes: Partial<PatchTraits> = {}): PatchTraits {
  const said = [{ ...token(8, " Rome"), probability: 0.3 }];
  return {
    ...EMPTY_PATCH,
    inputs: {
      source: "The old cat",
      target: "The dog sat",
      answers: ["", ""],
      metric: "logit difference",
      stream: "resid_post",
      noise: false,
      pairs: null,
      stride: 2,
    },
    plan: {
      problem: "",
      source: [token(1, "The"), token(2, " old"), token(3, " cat")],
      target: [token(1, "The"), token(4, " dog"), token(5, " sat")],
      partners: [0, 2, 1],
      candidates: [said, said],
      layers: [1, 3],
      columns: [0, 1, 2],
      cells: 6,
      seconds: 2.1,
      answers: [token(8, " Rome"), token(9, " Paris")],
      before: -4,
      after: 4,
    },
    facts: { blocks: 4, given: ["", ""], panel: true },
    ...changes,
  };
}

const measured = { share: packed(SHARES, [2, 3]), done: 2, total: 2 };

function patchOf(changes: Partial<PatchTraits> = {}) {
  const model = new FakeModel({ ...traits(changes) });
  const life = new AbortController();
  return { model, life, patch: new Patch(model, life.signal) };
}

describe("what stands in the cells", () => {
  it("is the share of each block and token, the deepest block first", () => {
    const { patch } = patchOf({ result: measured });
    expect(patch.rows.value).toEqual([3, 1]);
    expect(patch.share(0, 1)).toBe(0.5);
    expect(patch.share(1, 2)).toBeCloseTo(0.2);
    expect(patch.share(0, 2)).toBeNaN();
  });

  it("has the source's token under the target's where they differ", () => {
    const { patch } = patchOf();
    expect(patch.columns.value.map(({ other }) => other?.text)).toEqual([
      undefined,
      " cat",
      " old",
    ]);
  });

  it("is of the source's tokens where the target is put into the source", () => {
    const { inputs } = traits();
    const { patch } = patchOf({ inputs: { ...inputs, noise: true } });
    expect(patch.columns.value.map(({ name }) => name)).toEqual(["The", "␣old", "␣cat"]);
    expect(patch.columns.value.map(({ other }) => other?.text)).toEqual([
      undefined,
      " sat",
      " dog",
    ]);
  });

  it("knows tokens that are not paired, and heads", () => {
    const { plan } = traits();
    const some = patchOf({ plan: { ...plan, columns: [0, 2] }, result: {} }).patch;
    expect(some.columns.value.map(({ at }) => at)).toEqual([0, -1, 1]);
    const heads = patchOf({ plan: { ...plan, heads: 2 } }).patch;
    expect(heads.columns.value.map(({ name }) => name)).toEqual(["head 0", "head 1"]);
  });
});

describe("words", () => {
  it("say shares shortly, with a real minus", () => {
    expect([0.64, -0.021, 1, 1.204, -0.001, Number.NaN].map(shareText)).toEqual([
      ".64",
      "−.02",
      "1.00",
      "1.20",
      ".00",
      "",
    ]);
  });

  it("say what a run would be, how far it is, and what it took", () => {
    const { patch, model } = patchOf();
    expect(statusText(patch)).toBe("6 cells · 2 batches · about 2.1 s");
    patch.run();
    model.says({ type: "accepted", id: model.lastId });
    const progress = { type: "progress", id: model.lastId, seq: 0 };
    model.says({ ...progress, done: 1, total: 2, seconds_left: 1.2 });
    expect(statusText(patch)).toBe("1 of 2 batches, about 1.2 s left");
    model.changes("result", { ...measured, done: 1 });
    expect(placeText(patch, { first: 1, last: 3, column: 1 })).toBe("Blocks 1 to 3, after “␣dog”");
  });
});

describe("what is asked of the kernel", () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  it("is a plan once the keys rest, with what stands in the boxes then", () => {
    const { patch, model } = patchOf();
    patch.type({ source: "A" });
    patch.type({ source: "A c" });
    vi.advanceTimersByTime(599);
    expect(model.sent).toEqual([]);
    vi.advanceTimersByTime(1);
    expect(model.sent).toHaveLength(1);
    expect(model.sent[0]).toMatchObject({ name: "plan", args: { inputs: { source: "A c" } } });
  });

  it("keeps what was written meanwhile", async () => {
    const { patch, model } = patchOf();
    patch.edit({ source: "A" });
    vi.advanceTimersByTime(1);
    const id = model.lastId;
    patch.type({ source: "A b" });
    model.says({ type: "result", id, value: {} });
    await vi.advanceTimersByTimeAsync(0);
    expect(patch.inputs.value?.source).toBe("A b");
  });

  it("is a cell, and with Shift all blocks from the pinned one on", () => {
    const { patch, model } = patchOf({ result: measured });
    patch.pin({ layer: 3, column: 1 }, false);
    expect(model.sent.at(-1)).toMatchObject({
      name: "cell",
      args: { first: 3, last: 3, column: 1 },
    });
    patch.pin({ layer: 1, column: 1 }, true);
    expect(model.sent.at(-1)).toMatchObject({
      name: "cell",
      args: { first: 1, last: 3, column: 1 },
    });
    expect(model.get("pinned")).toEqual([1, 3, 1]);
    patch.pin({ layer: 1, column: 2 }, true); // another column begins anew
    expect(model.get("pinned")).toEqual([1, 1, 2]);
    patch.pin(null, false);
    expect(model.get("pinned")).toEqual([]);
  });
});

describe("its page", () => {
  let life: AbortController;
  const show = (model: FakeModel) => {
    const { initialize, render } = factory();
    initialize({ model, signal: life.signal });
    render({ model, el, signal: life.signal });
  };
  const named = (selector: string) =>
    [...el.querySelectorAll(selector)].map((each) => each.getAttribute("aria-label"));

  beforeEach(() => {
    life = new AbortController();
  });
  afterEach(() => {
    life.abort();
  });

  it("names its controls and its grid", () => {
    show(new FakeModel({ ...traits({ result: measured }) }));
    expect(named("[role=grid]")).toEqual(["Patching"]);
    expect(named("select")).toEqual(["Stream", "Direction", "Metric"]);
    expect(named("input[list]")).toEqual(["Source’s answer", "Target’s answer"]);
    expect(named("[role=rowheader]")).toEqual(["block 3", "block 1"]);
    expect(el.textContent).toContain("logit(␣Rome) − logit(␣Paris)");
  });

  it("shows what is amiss in place of a grid", () => {
    const plan = { problem: "Write a target text.", layers: [], cells: 0, seconds: null };
    show(new FakeModel({ ...traits({ plan }) }));
    expect(el.textContent).toContain("Write a target text.");
    expect(el.querySelector("[role=grid]")).toBeNull();
  });

  it("moves a pair that is taken", async () => {
    const { inputs } = traits();
    const pairs: [number, number][] = [
      [0, 0],
      [2, 1],
      [1, 2],
    ];
    const model = new FakeModel({ ...traits({ inputs: { ...inputs, pairs } }) });
    show(model);
    const lists = [...el.querySelectorAll<HTMLSelectElement>("[aria-label=Pairs] select")];
    expect(lists.map(({ value }) => value)).toEqual(["0", "2", "1"]);
    const [, second] = lists;
    if (!second) throw new Error("There is no list.");
    second.value = "1";
    second.dispatchEvent(new Event("change", { bubbles: true }));
    await vi.waitFor(() => expect(model.sent).toHaveLength(1));
    const moved = [
      [0, 0],
      [1, 1],
    ];
    expect(model.sent[0]).toMatchObject({ name: "plan", args: { inputs: { pairs: moved } } });
  });
});
