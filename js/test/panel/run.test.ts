import { describe, expect, it } from "vitest";
import { steeredTokens, toggleToken } from "../../src/panel/positions";
import { applyMessage, applyWholeText, startRun } from "../../src/panel/run";
import type { Positions } from "../../src/panel/types";
import { promptToken, token } from "../examples";

describe("positions", () => {
  const tokens = [promptToken("<s>", { special: true }), promptToken("Hi"), promptToken("!")];

  it("leave out special and template tokens on demand", () => {
    const all: Positions = { where: "all", indices: [], special: true };
    expect(steeredTokens(all, tokens)).toEqual([true, true, true]);
    expect(steeredTokens({ ...all, special: false }, tokens)).toEqual([false, true, true]);
    expect(steeredTokens({ ...all, where: "generated" }, tokens)).toEqual([false, false, false]);
    expect(steeredTokens({ ...all, where: "mixed" }, tokens)).toBeNull();
  });

  it("become explicit when a token is clicked, and show just what was clicked", () => {
    const rule: Positions = { where: "prompt", indices: [], special: false };
    const once = toggleToken(rule, tokens, 2);
    expect(once).toEqual({ where: "indices", indices: [1], special: true });
    expect(steeredTokens(toggleToken(once, tokens, 0), tokens)).toEqual([true, true, false]);
  });
});

describe("a run", () => {
  const delta = (start: number, text: string) => ({
    type: "delta" as const,
    id: "r",
    seq: 0,
    rows: [{ row: 1, start, tokens: [token(text)] }],
    watched: [{ row: 1, start, values: [start] }],
    divergence: null,
  });

  it("grows by deltas, which may come twice", () => {
    let { run } = applyMessage(startRun(8), delta(0, "a"));
    ({ run } = applyMessage(run, delta(1, "b")));
    ({ run } = applyMessage(run, delta(1, "b")));
    expect(run.rows[1]?.tokens.map(({ text }) => text)).toEqual(["a", "b"]);
    expect(run.rows[1]?.watched).toEqual([0, 1]);
    expect(run.phase).toBe("running");
  });

  it("notices a delta beyond its end and is whole again after a resync", () => {
    const { run, gap } = applyMessage(startRun(8), delta(2, "c"));
    expect(gap).toBe(true);
    expect(run.rows[1]?.tokens).toEqual([]);
    const whole = applyWholeText(run, {
      rows: [{ tokens: [] }, { tokens: [token("a"), token("b"), token("c")], watched: [1, 2, 3] }],
    });
    expect(applyMessage(whole, delta(3, "d")).run.rows[1]?.tokens).toHaveLength(4);
  });

  it("keeps saying that it stops", () => {
    const run = { ...startRun(8), phase: "stopping" as const };
    const progress = {
      type: "progress" as const,
      id: "r",
      seq: 0,
      state: "running",
      done: 3,
      total: 8,
    };
    expect(applyMessage(run, progress).run).toMatchObject({ phase: "stopping", done: 3 });
  });
});
