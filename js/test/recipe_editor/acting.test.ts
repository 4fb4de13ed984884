import { describe, expect, it } from "vitest";
import {
  actingSaid,
  atPhase,
  PHASES,
  phaseOf,
  placed,
  positionsOf,
  whenSaid,
} from "../../src/recipe_editor/acting";
import type { Positions, Steer, When } from "../../src/recipe_editor/types";

const ALL: Positions = { where: "all", indices: [], special: true };
const MIXED: Positions = { where: "mixed", indices: [], special: true };
const steer = (id: string, over: Partial<Steer> = {}): Steer => ({
  id,
  key: id,
  op: "add",
  params: { alpha: 4 },
  enabled: true,
  ...over,
});
const labelOf = (key: string) => ({ a: "the sea", b: "food" })[key] ?? key;
const above: When = { feature: "a", is: ">", than: 2 };
const below: When = { feature: "b", is: "<", than: -0.5 };

describe("phases", () => {
  it("come back as they were chosen, and keep what they share", () => {
    for (const [phase] of PHASES) expect(phaseOf(atPhase(ALL, phase))).toBe(phase);
    const first = atPhase({ ...ALL, special: false }, "first generated");
    expect(first).toEqual({
      where: "first",
      of: "generated",
      count: 8,
      indices: [],
      special: false,
    });
    expect(atPhase({ ...first, count: 3 }, "after text")).toMatchObject({ of: "text", count: 3 });
    expect(atPhase(first, "role user")).toEqual({
      where: "role",
      role: "user",
      indices: [],
      special: false,
    });
  });

  it("are those of code where no choice says them", () => {
    expect(phaseOf({ ...ALL, where: "indices", indices: [3] })).toBe("code");
    expect(phaseOf({ ...ALL, where: "role", role: "tool" })).toBe("code");
    expect(phaseOf({ ...ALL, where: "both", parts: [ALL, ALL] })).toBe("code");
    expect(phaseOf({ ...ALL, where: "first", count: 3 })).toBe("first text");
  });
});

describe("one steer at positions of its own", () => {
  it("leaves the others where they are", () => {
    const shared: Positions = { ...ALL, where: "prompt" };
    const generated = atPhase(ALL, "generated");
    const stale = steer("b", { positions: ALL });
    const made = placed([steer("a"), stale], shared, "a", generated);
    expect(made.positions).toEqual(MIXED);
    expect(made.steers.map((each) => positionsOf(each, made.positions).where)).toEqual([
      "generated",
      "prompt",
    ]);
  });

  it("is shared again where all agree", () => {
    const generated = atPhase(ALL, "generated");
    const alone = placed([steer("a")], ALL, "a", generated);
    expect(alone.positions).toEqual(generated);
    const both = [steer("a", { positions: ALL }), steer("b", { positions: generated })];
    expect(placed(both, MIXED, "a", generated).positions).toEqual(generated);
    const counted = atPhase(ALL, "first generated");
    expect(placed([steer("a")], ALL, "a", counted).positions).toEqual(MIXED);
  });

  it("is everywhere where nothing is said", () => {
    expect(positionsOf(steer("a"), MIXED)).toMatchObject({ where: "all", special: true });
  });
});

describe("what a row says", () => {
  it("is nothing of what is usual", () => {
    expect(actingSaid(steer("a"), ALL, labelOf)).toEqual([]);
    expect(actingSaid(steer("a", { when: null, fade: null }), ALL, labelOf)).toEqual([]);
  });

  it("names positions, condition and fade", () => {
    const positions = { ...atPhase(ALL, "first generated"), count: 12 };
    const made = steer("a", { positions, when: above, fade: { to: 0.25, over: 16 } });
    expect(actingSaid(made, MIXED, labelOf)).toEqual([
      "first 12 generated tokens",
      "only when the sea > 2",
      "fades to 0.25 × over 16 generated tokens",
    ]);
    const both = { ...ALL, where: "both" as const, parts: [atPhase(ALL, "role user"), positions] };
    expect(actingSaid(steer("a", { positions: both }), MIXED, labelOf)).toEqual([
      "the user's words that are also first 12 generated tokens",
    ]);
  });

  it("reads joined conditions", () => {
    expect(whenSaid({ any: [above, { all: [below, above] }] }, labelOf)).toBe(
      "the sea > 2 or (food < −0.5 and the sea > 2)",
    );
  });
});
