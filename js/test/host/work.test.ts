import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Work } from "../../src/host/work";
import { FakeModel } from "./fake_model";

type What = "read" | "run";

class Reader extends Work<What> {
  read = (onDone?: (value: unknown) => void) => this.askAndShow("read", {}, onDone);
  go = () => this.askAndShow("run", {});
  quietly = (onDone?: (value: unknown) => void) => this.ask("plan", {}, onDone);
}

let life: AbortController;
let model: FakeModel;
let reader: Reader;

beforeEach(() => {
  life = new AbortController();
  model = new FakeModel();
  reader = new Reader(model, life.signal, ({ state }) => (state ? undefined : "run"));
});
afterEach(() => life.abort());

const ids = () => model.sent.map(({ id }) => id as string);
const shown = () => reader.doing.value;
const tells = (id: string, seq: number, facts: object) =>
  model.says({ type: "progress", id, seq, ...facts });

describe("what a widget has the kernel do", () => {
  it("shows how far it is, until it ends", async () => {
    const done = vi.fn();
    const read = reader.read(done);
    expect(shown()).toMatchObject({ what: "read", told: null, done: 0, secondsLeft: null });
    const id = model.lastId;
    tells(id, 0, { state: "waiting", said: "In a queue." });
    expect(shown()).toMatchObject({ waiting: "In a queue.", told: null });
    tells(id, 1, { done: 3, total: 9, seconds_left: 2.5, phase: "fit" });
    expect(shown()).toMatchObject({ waiting: "", done: 3, total: 9, secondsLeft: 2.5 });
    expect(shown()?.told?.phase).toBe("fit");
    model.says({ type: "result", id, value: 7 });
    await read;
    expect(done).toHaveBeenCalledWith(7);
    expect(shown()).toBeNull();
  });

  it("is stopped, and a stop is no failure", async () => {
    const read = reader.read();
    const id = model.lastId;
    model.says({ type: "accepted", id });
    reader.stop();
    expect(shown()?.stopping).toBe(true);
    expect(model.sent.at(-1)).toMatchObject({ type: "cancel", id });
    model.says({ type: "cancelled", id });
    await read;
    expect([shown(), reader.failure.value]).toEqual([null, ""]);
  });

  it("stays in sight when what it took the place of ends", async () => {
    const read = reader.read();
    const run = reader.go();
    const [first, second] = ids() as [string, string];
    model.says({ type: "result", id: first, value: {} });
    await read;
    expect(shown()?.what).toBe("run");
    reader.stop();
    expect(model.sent.at(-1)).toMatchObject({ type: "cancel", id: second });
    model.says({ type: "cancelled", id: second });
    await run;
    expect(shown()).toBeNull();
  });

  it("may be what another view or code has started", async () => {
    tells("theirs", 0, { state: "waiting", said: "In a queue." });
    expect(shown()).toBeNull();
    tells("theirs", 1, { done: 1, total: 2 });
    expect(shown()).toMatchObject({ what: "run", done: 1 });
    tells("others", 0, { done: 2, total: 2 });
    expect(shown()?.done).toBe(1);
    reader.stop();
    expect(model.sent.at(-1)).toMatchObject({ type: "cancel", id: "theirs" });
    model.says({ type: "error", id: "theirs", error: { message: "No.", kind: "ValueError" } });
    await vi.waitFor(() => expect([shown(), reader.failure.value]).toEqual([null, "No."]));
  });

  it("does not show where it is only asked", async () => {
    const asked = reader.quietly(() => {
      throw new Error("What came is not what was asked for.");
    });
    expect(shown()).toBeNull();
    model.says({ type: "result", id: model.lastId, value: {} });
    await asked;
    expect(reader.failure.value).toBe("What came is not what was asked for.");
  });
});
