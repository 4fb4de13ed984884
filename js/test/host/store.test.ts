import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Store, same } from "../../src/host/store";
import { FakeModel } from "./fake_model";

let model: FakeModel;
let life: AbortController;
let store: Store<{ strength: number; prompt: string }>;

beforeEach(() => {
  vi.useFakeTimers();
  model = new FakeModel({ strength: 1 });
  life = new AbortController();
  store = new Store(model, { strength: 0, prompt: "default" }, life.signal);
});
afterEach(() => {
  life.abort();
  vi.useRealTimers();
});

describe("the store", () => {
  it("starts from the model, and from the defaults where the model says nothing", () => {
    expect(store.traits.strength.value).toBe(1);
    expect(store.traits.prompt.value).toBe("default");
  });

  it("follows the kernel", () => {
    model.changes("strength", 5);
    expect(store.traits.strength.value).toBe(5);
  });

  it("keeps the identity of a value that came back equal", () => {
    const traits = new Store(model, { list: [{ a: 1 }] }, life.signal).traits;
    const before = traits.list.value;
    model.changes("list", [{ a: 1 }]);
    expect(traits.list.value).toBe(before);
  });

  it("writes at once", () => {
    store.write("strength", 7);
    expect(model.saved).toEqual([{ strength: 7 }]);
  });

  it("makes one message of a drag, with the last value", async () => {
    for (let value = 0; value < 50; value++) store.draft("strength", value);
    expect(store.traits.strength.value).toBe(49);
    await vi.advanceTimersByTimeAsync(20);
    expect(model.saved).toEqual([{ strength: 49 }]);
  });

  it("does not let an older echo move the slider under the hand, however long it is held", async () => {
    store.hold("strength", true);
    store.draft("strength", 30);
    await vi.advanceTimersByTimeAsync(2000);
    model.changes("strength", 12);
    expect(store.traits.strength.value).toBe(30);
    store.hold("strength", false);
    await vi.advanceTimersByTimeAsync(1000);
    expect(store.traits.strength.value).toBe(30);
    expect(model.get("strength")).toBe(30);
  });

  it("follows the kernel again once the edits have settled", async () => {
    store.draft("strength", 30);
    await vi.advanceTimersByTimeAsync(1000);
    model.changes("strength", 12);
    expect(store.traits.strength.value).toBe(12);
  });

  it("leaves no listener and no timer behind", () => {
    store.draft("strength", 3);
    life.abort();
    expect(model.listeners).toBe(0);
    expect(vi.getTimerCount()).toBe(0);
  });
});

describe("equality of JSON values", () => {
  it("looks inside", () => {
    expect(same({ a: [1, { b: null }] }, { a: [1, { b: null }] })).toBe(true);
    expect(same({ a: [1] }, { a: [1, 2] })).toBe(false);
    expect(same([], {})).toBe(false);
    expect(same(null, {})).toBe(false);
  });
});
