import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import fixture from "../../../tests/fixtures/protocol.json";
import {
  Cancelled,
  KernelError,
  Rpc,
  type RpcOptions,
  type StreamMessage,
} from "../../src/host/rpc";
import { FakeModel } from "./fake_model";

let model: FakeModel;
let life: AbortController;
const open = (options: Partial<RpcOptions> = {}) =>
  new Rpc(model, { signal: life.signal, ...options });

beforeEach(() => {
  vi.useFakeTimers();
  model = new FakeModel();
  life = new AbortController();
});
afterEach(() => {
  life.abort();
  vi.useRealTimers();
});

describe("requests", () => {
  it("follow the example conversation to its ends", async () => {
    const rpc = open();
    const ids = new Map<string, string>();
    const ends: Promise<unknown>[] = [];
    const streams: StreamMessage[] = [];
    const stop = new AbortController();
    for (const { from, message } of fixture.conversation) {
      if (from === "kernel") model.says({ ...message, id: ids.get(message.id) });
      else if (message.type === "cancel") stop.abort();
      else {
        const options = {
          signal: stop.signal,
          onMessage: (streamed: StreamMessage) => void streams.push(streamed),
        };
        const end = rpc.request(message.name as string, message.args, options);
        ends.push(end.catch((error: Error) => error));
        ids.set(message.id, model.lastId);
        expect(model.sent.at(-1)).toEqual({ ...message, id: model.lastId });
      }
    }
    const [generated, searched, exported] = await Promise.all(ends);
    expect(generated).toEqual({});
    expect(searched).toBeInstanceOf(Cancelled);
    expect(exported).toBeInstanceOf(KernelError);
    expect((exported as KernelError).message).toMatch(/press Generate/);
    expect(streams.map(({ seq }) => seq)).toEqual([0, 1, 2, 3]);
  });

  it("tell when the kernel is slow to accept, and when it does after all", async () => {
    const onSlow = vi.fn();
    open()
      .request("generate", {}, { onSlow })
      .catch(() => {});
    await vi.advanceTimersByTimeAsync(1400);
    expect(onSlow).not.toHaveBeenCalled();
    await vi.advanceTimersByTimeAsync(200);
    expect(onSlow).toHaveBeenLastCalledWith(true);
    model.says({ type: "accepted", id: model.lastId });
    expect(onSlow).toHaveBeenLastCalledWith(false);
  });

  it("say nothing of slowness once accepted in time", async () => {
    const onSlow = vi.fn();
    open()
      .request("generate", {}, { onSlow })
      .catch(() => {});
    model.says({ type: "accepted", id: model.lastId });
    await vi.advanceTimersByTimeAsync(5000);
    expect(onSlow).not.toHaveBeenCalledWith(true);
  });

  it("wait for the kernel's word after a cancel, when it has accepted", async () => {
    const stop = new AbortController();
    const end = open().request("generate", {}, { signal: stop.signal });
    const id = model.lastId;
    model.says({ type: "accepted", id });
    stop.abort();
    expect(model.sent.at(-1)).toEqual({ type: "cancel", id });
    model.says({ type: "cancelled", id });
    await expect(end).rejects.toBeInstanceOf(Cancelled);
  });

  it("end at once when cancelled before the kernel has seen them", async () => {
    const stop = new AbortController();
    const onStray = vi.fn();
    const end = open({ onStray }).request("generate", {}, { signal: stop.signal });
    const id = model.lastId;
    stop.abort();
    await expect(end).rejects.toBeInstanceOf(Cancelled);
    model.says({ type: "progress", id, seq: 0 });
    expect(onStray).not.toHaveBeenCalled();
  });

  it("report a gap once and go on; drop what comes twice", () => {
    const onGap = vi.fn();
    const onMessage = vi.fn();
    open()
      .request("generate", {}, { onGap, onMessage })
      .catch(() => {});
    const id = model.lastId;
    for (const seq of [0, 1, 4, 4, 5]) model.says({ type: "delta", id, seq });
    expect(onGap).toHaveBeenCalledExactlyOnceWith(id);
    expect(onMessage.mock.calls.map(([message]) => message.seq)).toEqual([0, 1, 4, 5]);
  });

  it("hand a stream that nobody here asked for to onStray", async () => {
    const listener = { onMessage: vi.fn(), onGap: vi.fn(), onEnd: vi.fn() };
    open({ onStray: () => listener });
    model.says({ type: "delta", id: "from-code", seq: 0 });
    model.says({ type: "delta", id: "late", seq: 7 });
    expect(listener.onMessage).toHaveBeenCalledTimes(2);
    expect(listener.onGap).toHaveBeenCalledExactlyOnceWith("late");
    model.says({ type: "result", id: "from-code", value: {} });
    await vi.advanceTimersByTimeAsync(0);
    expect(listener.onEnd).toHaveBeenCalledTimes(1);
  });

  it("are all cancelled, and nothing listens, when the model goes", async () => {
    const end = open().request("generate", {});
    life.abort();
    await expect(end).rejects.toBeInstanceOf(Cancelled);
    expect(model.listeners).toBe(0);
    expect(vi.getTimerCount()).toBe(0);
  });
});
