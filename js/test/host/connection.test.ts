import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { connectionOf } from "../../src/host/connection";
import { Cancelled, Rpc } from "../../src/host/rpc";
import { FakeModel } from "./fake_model";

let life: AbortController;
let model: FakeModel;
let rpc: Rpc;

beforeEach(() => {
  vi.useFakeTimers();
  life = new AbortController();
  model = new FakeModel();
  rpc = new Rpc(model, { signal: life.signal });
});
afterEach(() => {
  life.abort();
  vi.useRealTimers();
});

const ask = () => rpc.request("find", {}).catch((error) => error);

describe("a kernel that was restarted", () => {
  it("is known by a send that throws; what was asked ends, and what is asked afterwards", async () => {
    const before = ask();
    model.cut = true;
    const asked = ask();
    expect(rpc.lost.value).toBe(true);
    expect(connectionOf(model, life.signal).lost.value).toBe(true);
    for (const one of [before, asked, ask()]) expect(await one).toBeInstanceOf(Cancelled);
    expect(model.sent).toHaveLength(1);
  });

  it("is known by a host that says so, without anything having been asked", () => {
    model.emits("comm_live_update");
    expect(rpc.lost.value).toBe(true);
  });

  it("is known by a request that was read and not accepted", async () => {
    const asked = ask();
    model.idle?.();
    vi.advanceTimersByTime(3500);
    expect(rpc.lost.value).toBe(true);
    expect(await asked).toBeInstanceOf(Cancelled);
  });

  it("is not one that works on a cell for an hour, or is slow to accept", () => {
    ask();
    vi.advanceTimersByTime(3_600_000);
    expect(rpc.lost.value).toBe(false);
    model.idle?.();
    vi.advanceTimersByTime(1000);
    model.says({ type: "accepted", id: model.lastId });
    vi.advanceTimersByTime(5000);
    expect(rpc.lost.value).toBe(false);
  });

  it("is none of a frozen copy's", () => {
    const frozen = Object.assign(new FakeModel(), { frozen: true });
    const none = new Rpc(frozen, { signal: life.signal });
    frozen.emits("comm_live_update");
    expect(none.lost.value).toBe(false);
  });
});
