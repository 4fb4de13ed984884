import { afterEach, describe, expect, test, vi } from "vitest";
import { Dose } from "../../src/dose/dose";
import { area, doseScale, path, placed, ticks } from "../../src/dose/scales";
import {
  interval,
  mean,
  spoken,
  statusText,
  strengthsText,
  usefulText,
} from "../../src/dose/words";
import { staticModel } from "../../src/widgets/static_host";
import { FakeModel } from "../host/fake_model";
import { facts, inputs, result, row } from "./examples";

let controller = new AbortController();
afterEach(() => controller.abort());

function open(values: Record<string, unknown> = {}) {
  controller = new AbortController();
  const model = new FakeModel({ facts, inputs, result: result(), ...values });
  return { model, dose: new Dose(model, controller.signal) };
}

describe("the axis", () => {
  test("raw, relative and iso-KL", () => {
    const { dose, model } = open({ axis: "strength" });
    expect(dose.doses.value).toEqual([0, 20, 40, 60]);
    model.changes("axis", "ratio");
    expect(dose.doses.value).toEqual([0, 0.2, 0.4, 0.6]);
    model.changes("axis", "iso_kl");
    // Without its dose there is no such axis.
    expect(dose.axis.value).toBe("strength");
    model.changes("iso_kl", 40);
    expect(dose.doses.value).toEqual([0, 0.5, 1, 1.5]);
  });

  test("counts from where the op changes nothing, both ways", () => {
    const rows = [-1, 0, 1, 2].map((strength) => row(strength, { ratio: 0.3 }));
    const { dose } = open({ result: result({ rows, origin: 1 }), axis: "ratio", iso_kl: 3 });
    expect(dose.doses.value).toEqual([-0.3, -0.3, 0, 0.3]);
  });

  test("iso-KL is measured when it is first wanted", async () => {
    const { dose, model } = open();
    dose.chooseAxis("iso_kl");
    expect(model.sent.at(-1)).toMatchObject({ name: "iso_kl", args: {} });
    expect(statusText(dose)).toBe("Finding the iso-KL dose…");
    model.says({ type: "accepted", id: model.lastId });
    model.changes("iso_kl", 40);
    model.changes("axis", "iso_kl");
    model.says({ type: "result", id: model.lastId, value: {} });
    await vi.waitFor(() => expect(dose.doing.value).toBeNull());
    dose.chooseAxis("strength");
    dose.chooseAxis("iso_kl");
    expect(model.sent).toHaveLength(1);
    expect(dose.axis.value).toBe("iso_kl");
  });
});

describe("what is looked at", () => {
  test("a strength, and the answer to one prompt with one seed", () => {
    const { dose, model } = open();
    expect(dose.row.value?.strength).toBe(0);
    dose.select(40);
    expect(dose.at.value).toBe(2);
    expect(model.values.selected).toBe(40);
    expect(dose.answer("steered", 40)?.text).toBe("steered 40 0 3");
    dose.show("prompt", 1);
    dose.show("seed", 5);
    expect(dose.answer("steered", 40)?.text).toBe("steered 40 1 5");
    expect(dose.answer("asked")).toBeNull();
  });

  test("of fewer prompts the last, of other seeds the first", () => {
    const { dose } = open({ prompt: 7, seed: 9 });
    expect(dose.shown.value).toEqual({ prompt: 1, seed: 3 });
  });
});

describe("a run", () => {
  test("sends what stands in the boxes, and tells how far it is", async () => {
    const { dose, model } = open();
    dose.edit({ tokens: 64 });
    expect(dose.stale.value).toBe(true);
    dose.run();
    expect(model.sent.at(-1)).toMatchObject({
      name: "run",
      args: { inputs: { ...inputs, tokens: 64 } },
    });
    const id = model.lastId;
    model.says({ type: "accepted", id });
    model.says({ type: "progress", id, seq: 0, done: 0, total: 104, step: 0, steps: 64 });
    expect(statusText(dose)).toBe("0 of 104 answers");
    expect(dose.edited.value).toBeNull();
    const half = { done: 52, total: 104, step: 9, steps: 64, seconds_left: 61.2 };
    model.says({ type: "progress", id, seq: 1, ...half });
    expect(statusText(dose)).toBe("52 of 104 answers · token 10 of 64 · 61 s left");
    dose.stop();
    expect(statusText(dose)).toBe("Stopping…");
    expect(model.sent.at(-1)).toEqual({ type: "cancel", id });
    model.says({ type: "cancelled", id });
    await vi.waitFor(() => expect(dose.doing.value).toBeNull());
    expect(dose.failure.value).toBe("");
  });

  test("that is refused says why, and keeps the boxes", async () => {
    const { dose, model } = open();
    dose.edit({ prompts: [] });
    dose.run();
    const error = { message: "There is no prompt; give at least one.", kind: "ValueError" };
    model.says({ type: "error", id: model.lastId, error });
    await vi.waitFor(() => expect(dose.failure.value).toBe(error.message));
    expect(dose.edited.value?.prompts).toEqual([]);
  });

  test("that code started is followed, and can be stopped", async () => {
    const { dose, model } = open();
    model.says({ type: "progress", id: "code-1", seq: 0, done: 4, total: 8, step: 0, steps: 48 });
    expect(statusText(dose)).toBe("4 of 8 answers");
    dose.stop();
    expect(model.sent.at(-1)).toEqual({ type: "cancel", id: "code-1" });
    model.says({ type: "result", id: "code-1", value: {} });
    await vi.waitFor(() => expect(dose.doing.value).toBeNull());
  });

  test("one at a time", () => {
    const { dose, model } = open();
    dose.run();
    dose.run();
    dose.chooseJudge(1);
    expect(model.sent).toHaveLength(1);
  });
});

test("a strength goes to the panel, and what became of it is said", async () => {
  const { dose, model } = open();
  dose.select(20);
  dose.send();
  expect(model.sent.at(-1)).toMatchObject({ name: "send", args: { strength: 20 } });
  model.says({ type: "result", id: model.lastId, value: { said: "it is there" } });
  await vi.waitFor(() => expect(dose.sent.value).toBe("it is there"));
});

test("a frozen copy has all but the kernel's part", () => {
  const dose = new Dose(
    staticModel({ facts, inputs, result: result() }),
    new AbortController().signal,
  );
  expect(dose.frozen).toBe(true);
  dose.select(60);
  expect(dose.row.value?.strength).toBe(60);
  expect(statusText(dose)).toMatch(/frozen copy/);
});

describe("places", () => {
  const box = { top: 0, bottom: 100 };

  test("doses between the edges, one alone in the middle", () => {
    const x = doseScale([-10, 30], 400);
    expect(x(-10)).toBeLessThan(x(30));
    expect(x(10)).toBeCloseTo((x(-10) + x(30)) / 2);
    expect(doseScale([5], 400)(5)).toBeCloseTo((62 + 380) / 2);
  });

  test("a line breaks where nothing is known, and goes from left to right", () => {
    const y = placed(0, 1, box);
    const points = [0.5, null, 1, 0].map((value, x) => ({ x, value, low: null, high: null }));
    expect(path(points, y)).toBe("M0 50M2 0L3 100");
    expect(path([...points].reverse(), y)).toBe("M0 50M2 0L3 100");
    expect(area(points, y)).toBe("");
    const banded = [0, 1].map((x) => ({ x, value: 0.5, low: 0.25, high: 7 }));
    expect(area(banded, y)).toBe("M0 0L1 0L1 75L0 75Z");
  });

  test("the selected dose is always named, the others where there is room", () => {
    const doses = Array.from({ length: 12 }, (_, i) => 6 * i);
    const named = ticks(doses, doseScale(doses, 320), 5);
    expect(named).toContain(5);
    expect(named.length).toBeLessThan(12);
    expect(ticks(doses, doseScale(doses, 1000), 5)).toHaveLength(12);
    expect(ticks([], (value) => value, 0)).toEqual([]);
  });
});

test("numbers in words", () => {
  expect(interval({ k: 9, n: 12, interval: [0.468, 0.911] })).toBe("47–91\u202f%");
  expect(mean({ value: 3.21, low: 3, high: 3.4 })).toBe("3.21 (3–3.4)");
  expect(mean({ value: 3.21, low: null, high: null })).toBe("3.21");
  expect(strengthsText([0, 6, 66])).toBe("0–66, 3");
  expect(strengthsText([6])).toBe("6");
  expect(usefulText(result({ useful: [20, 20] }))).toBe("useful 20");
  expect(usefulText(result({ useful: null }))).toBe("no useful strength");
  expect(spoken(result())).toBe(
    "Dose and response: on topic 0 of 12 at 0, 6 of 12 at 60; useful 20–40; text breaks from 60; " +
      "baseline 1 of 48; asked for in the prompt 7 of 12",
  );
});
