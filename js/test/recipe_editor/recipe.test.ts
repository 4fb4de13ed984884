import { describe, expect, it } from "vitest";
import { describeRecipe, newSteer, withOp } from "../../src/recipe_editor/recipe";
import { searchLocally } from "../../src/recipe_editor/search";
import {
  meanings,
  niceStep,
  sliderParameter,
  sliderRange,
  timesMaximum,
} from "../../src/recipe_editor/strength";
import { feature, OPS, opOf } from "../examples";

describe("feature search", () => {
  const features = [
    feature({ key: "1", label: "The Sea and sailing", kind: "CAV" }),
    feature({ key: "2", label: "seasons", kind: "SAE" }),
    feature({ key: "3", label: "weather", kind: "MFA" }),
  ];
  const keys = (query: string) => searchLocally(features, { query }).map(({ key }) => key);

  it("finds every word as a part of label or kind, in any case", () => {
    expect(keys("sea")).toEqual(["1", "2"]);
    expect(keys("SEA cav")).toEqual(["1"]);
    expect(keys("  ")).toEqual(["1", "2", "3"]);
    expect(keys("sea weather")).toEqual([]);
  });
});

describe("the slider", () => {
  const [add, alpha] = opOf("add");
  const steer = (value: number) => ({ ...newSteer(feature({}), OPS), params: { alpha: value } });

  it("spans its reach to both sides where the op has both, with a tick at what is suggested", () => {
    const suggested = { op: "add", params: { alpha: 40 } };
    const range = sliderRange(alpha, add, feature({ suggested, reach: 120 }), steer(10));
    expect(range).toMatchObject({ min: -120, max: 120, neutral: 0, suggested: 40, step: 1 });
  });

  it("goes as far as the feature, or as the op where that is not known", () => {
    expect(sliderRange(alpha, add, feature({ reach: 1040 }), steer(0))).toMatchObject({
      min: -1040,
      max: 1040,
      step: 10,
    });
    expect(sliderRange(alpha, add, feature({}), steer(0)).max).toBe(500);
    expect(sliderRange(alpha, add, undefined, steer(0)).max).toBe(500);
  });

  it("reaches as far as a value that was typed or set from code", () => {
    expect(sliderRange(alpha, add, feature({ reach: 36 }), steer(90)).max).toBe(90);
    expect(sliderRange(alpha, add, feature({ reach: 36 }), steer(-90)).min).toBe(-90);
    expect(sliderRange(alpha, add, feature({}), steer(2000)).max).toBe(2000);
  });

  it("fills from the op's identity, and does not show another op's suggestion", () => {
    const [project, c] = opOf("project");
    const suggested = { op: "add", params: { c: 40 } };
    const projected = { ...steer(0), op: "project", params: { c: 2 } };
    const range = sliderRange(c, project, feature({ suggested, reach: 1000 }), projected);
    expect(range).toMatchObject({ min: -2, max: 4, neutral: 1, suggested: null });
  });

  it("exists for ops with a strength only", () => {
    expect(sliderParameter(OPS.ablate)).toBeUndefined();
    expect(sliderParameter(OPS.clip)).toBeUndefined();
    expect(sliderParameter(OPS.add)?.name).toBe("alpha");
  });

  it("moves in round steps", () => {
    expect([1.2, 0.37, 0.018, 73].map(niceStep)).toEqual([1, 0.2, 0.01, 50]);
  });
});

describe("what a strength means", () => {
  const steer = { id: "a", key: "k", op: "add", params: { alpha: 20 }, enabled: true };

  it("is counted in largest activations where both are in the feature's own units", () => {
    const [, alpha] = opOf("add");
    const [, c] = opOf("project");
    expect(timesMaximum(steer, feature({ full: 40 }), alpha)).toBe(0.5);
    const clamp = { ...steer, op: "SAE.clamp", params: { c: 80 } };
    expect(timesMaximum(clamp, feature({ full: 40 }), { ...c, raw: true })).toBe(2);
    expect(timesMaximum({ ...steer, params: { alpha: 0 } }, feature({ full: 40 }), alpha)).toBe(0);
    expect(timesMaximum({ ...clamp, op: "project" }, feature({ full: 40 }), c)).toBeNull();
    expect(timesMaximum(steer, feature({ full: null }), alpha)).toBeNull();
    expect(timesMaximum(steer, feature({ full: 40 }), undefined)).toBeNull();
  });

  it("says what was asked beside what was read back", () => {
    const facts = meanings(
      steer,
      undefined,
      { ratio: 0.234, asked: 6, achieved: 5.9, note: "" },
      undefined,
    );
    expect(facts).toEqual([
      { value: "23\u202f%", unit: "of ‖h‖" },
      { value: "6", unit: "asked" },
      { value: "5.9", unit: "read back" },
    ]);
  });
});

describe("the recipe", () => {
  it("starts a steer at what is suggested, else at the op's defaults", () => {
    const suggested = { op: "project", params: { c: 2.5 } };
    expect(newSteer(feature({ suggested }), OPS)).toMatchObject({
      op: "project",
      params: { c: 2.5 },
    });
    expect(newSteer(feature({}), OPS)).toMatchObject({ op: "add", params: { alpha: 20 } });
  });

  it("starts a steer with an op that the model carries out", () => {
    const suggested = { op: "project", params: { c: 2.5 } };
    const ops = { ...OPS, project: { ...opOf("project")[0], refused: "not served" } };
    expect(newSteer(feature({ suggested }), ops)).toMatchObject({
      op: "add",
      params: { alpha: 20 },
    });
  });

  it("drops the parameters of the op before", () => {
    const steer = newSteer(feature({}), OPS);
    expect(withOp(steer, "clip", undefined, OPS).params).toEqual({ lo: null, hi: null });
    expect(withOp(steer, "ablate", undefined, OPS).params).toEqual({});
  });

  it("is described by its features and blocks", () => {
    const layers: Record<string, number> = { a: 15, b: 8 };
    const steer = (key: string, enabled = true) => ({
      ...newSteer(feature({ key }), OPS),
      enabled,
    });
    const describe_ = (...steers: ReturnType<typeof steer>[]) =>
      describeRecipe(steers, (key) => layers[key]);
    expect(describe_()).toBe("not steering");
    expect(describe_(steer("a", false))).toBe("not steering");
    expect(describe_(steer("a"))).toBe("steering 1 feature at block 15");
    expect(describe_(steer("a"), steer("b"))).toBe("steering 2 features at blocks 8, 15");
  });
});
