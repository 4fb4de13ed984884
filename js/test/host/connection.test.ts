import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { connectionOf } from "../../src/host/connection";
import { isFrozen } from "../../src/host/host";
import { Cancelled, Rpc } from "../../src/host/rpc";
import { Store } from "../../src/host/store";
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
    expect(rpc.lost.value).toBe("kernel");
    expect(connectionOf(model, life.signal).lost.value).toBe("kernel");
    for (const one of [before, asked, ask()]) expect(await one).toBeInstanceOf(Cancelled);
    expect(model.sent).toHaveLength(1);
  });

  it("is known by a host that says so, without anything having been asked", () => {
    model.emits("comm_live_update");
    expect(rpc.lost.value).toBe("kernel");
  });

  it("is known by a request that was read and not accepted", async () => {
    const asked = ask();
    model.idle?.();
    vi.advanceTimersByTime(3500);
    expect(rpc.lost.value).toBe("kernel");
    expect(await asked).toBeInstanceOf(Cancelled);
  });

  it("is known though what it said of the request reached nobody", async () => {
    const asked = ask();
    const { id } = model.sent[0] as { id: string };
    vi.advanceTimersByTime(8000);
    expect(model.sent).toHaveLength(2);
    expect(model.sent[1]).toMatchObject({ type: "ping" });
    expect(model.sent[1]?.id).not.toBe(id);
    model.idle?.();
    vi.advanceTimersByTime(3500);
    expect(rpc.lost.value).toBe("kernel");
    expect(await asked).toBeInstanceOf(Cancelled);
  });

  it("is not one that a question reaches past a cell, while the request waits behind it", () => {
    ask();
    vi.advanceTimersByTime(8000);
    model.says({ type: "pong", id: "ping" });
    model.idle?.({ parent_header: { subshell_id: "new" }, content: { execution_state: "idle" } });
    vi.advanceTimersByTime(8000);
    expect(rpc.lost.value).toBe("");
    vi.advanceTimersByTime(16_000);
    expect(model.sent).toHaveLength(3);
    model.idle?.();
    vi.advanceTimersByTime(60_000);
    expect(rpc.lost.value).toBe("kernel");
  });

  it("is asked ever more seldom, and no more once it has accepted", () => {
    ask();
    const { id } = model.sent[0] as { id: string };
    vi.advanceTimersByTime(3_600_000);
    expect(model.sent.length).toBeLessThan(40);
    model.says({ type: "accepted", id });
    const before = model.sent.length;
    vi.advanceTimersByTime(3_600_000);
    expect(model.sent).toHaveLength(before);
  });

  it("is not to be known where the host says idle by itself, as Colab does", async () => {
    ask();
    model.idle?.({ content: { execution_state: "idle" } });
    vi.advanceTimersByTime(60_000);
    expect(rpc.lost.value).toBe("");
  });

  it("is nothing that marimo knows, which calls what Jupyter looks into", () => {
    const callbacks: unknown[] = [];
    model.send = (_content, given) => callbacks.push(given);
    ask();
    expect((callbacks[0] as () => unknown)()).toBeUndefined();
  });

  it("is given longer where messages take longer", () => {
    ask();
    const { id } = model.sent[0] as { id: string };
    vi.advanceTimersByTime(5000);
    model.idle?.();
    vi.advanceTimersByTime(9000);
    expect(rpc.lost.value).toBe("");
    model.says({ type: "accepted", id });
    vi.advanceTimersByTime(60_000);
    expect(rpc.lost.value).toBe("");
  });

  it("is out of the page's reach where JupyterLab talks to a subshell that is gone and has no other", async () => {
    ask();
    model.idle?.({
      parent_header: { subshell_id: "gone" },
      content: { execution_state: "idle" },
    });
    await vi.advanceTimersByTimeAsync(3500);
    expect(rpc.lost.value).toBe("page");
  });

  it("is not gone where JupyterLab talked to a subshell that is: another one is taken, and asked again", async () => {
    const GONE = { parent_header: { subshell_id: "gone" }, content: { execution_state: "idle" } };
    const comm = { commsOverSubshells: "perCommTarget", subshellId: "gone" };
    const save = vi.fn();
    const get_model = async () => ({ comm: { jsServicesComm: comm }, save });
    Object.assign(model, { widget_manager: { get_model } });
    model.values._own_id = "1234";
    new Store(model, { prompt: "" }, life.signal).write("prompt", "typed");
    const asked = [ask(), ask()];
    const ids = model.sent.map(({ id }) => id);
    const read = model.idles.slice();
    for (const idle of read) idle(GONE);
    await vi.advanceTimersByTimeAsync(3100);
    expect(comm.commsOverSubshells).toBe("perComm");
    comm.subshellId = "new";
    await vi.advanceTimersByTimeAsync(100);
    expect(save.mock.calls).toEqual([[{ prompt: "typed" }, { patch: true }]]);
    expect(model.sent.slice(2).map(({ id }) => id)).toEqual(ids);
    expect(rpc.lost.value).toBe("");
    for (const id of ids) model.says({ type: "result", id, value: 1 });
    expect(await Promise.all(asked)).toEqual([1, 1]);
    // The kernel behind the new one knows nothing of the model.
    ask();
    model.idle?.({
      parent_header: { subshell_id: "new" },
      content: { execution_state: "idle" },
    });
    await vi.advanceTimersByTimeAsync(3100);
    expect(rpc.lost.value).toBe("kernel");
  });

  it("is not one that works on a cell for an hour, or is slow to accept", () => {
    ask();
    const { id } = model.sent[0] as { id: string };
    vi.advanceTimersByTime(3_600_000);
    expect(rpc.lost.value).toBe("");
    model.idle?.();
    vi.advanceTimersByTime(1000);
    model.says({ type: "accepted", id });
    vi.advanceTimersByTime(5000);
    expect(rpc.lost.value).toBe("");
  });

  it("is none of a frozen copy's", () => {
    const frozen = Object.assign(new FakeModel(), { frozen: true });
    const none = new Rpc(frozen, { signal: life.signal });
    frozen.emits("comm_live_update");
    expect(none.lost.value).toBe("");
  });

  it("is none of a page's whose models have no kernel, as nbconvert's", () => {
    const saved = new FakeModel({ layout: { comm_live: false } });
    expect(isFrozen(saved)).toBe(true);
    expect(isFrozen(new FakeModel({ layout: { comm_live: true } }))).toBe(false);
    expect(isFrozen(new FakeModel({ layout: "IPY_MODEL_0" }))).toBe(false);
    saved.cut = true;
    const none = new Rpc(saved, { signal: life.signal });
    none.request("find", {}).catch(() => {});
    expect(none.lost.value).toBe("");
  });
});
