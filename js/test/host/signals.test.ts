import { describe, expect, it, vi } from "vitest";
import { batch, computed, effect, signal } from "../../src/host/signals";

describe("signals", () => {
  it("tell effects of changes, and only of changes", () => {
    const count = signal(1);
    const heard: number[] = [];
    const stop = effect(() => heard.push(count.value) && undefined);
    count.value = 2;
    count.value = 2;
    stop();
    count.value = 3;
    expect(heard).toEqual([1, 2]);
  });

  it("are told of once per batch, with the last value", () => {
    const [a, b] = [signal(1), signal(1)];
    const heard: number[] = [];
    effect(() => heard.push(a.value + b.value) && undefined);
    batch(() => {
      a.value = 10;
      b.value = 20;
      batch(() => {
        b.value = 30;
      });
      expect(heard).toEqual([2]);
    });
    expect(heard).toEqual([2, 40]);
  });

  it("compute when they are read, and once for what has not changed", () => {
    const source = signal(2);
    const square = vi.fn(() => source.value ** 2);
    const squared = computed(square);
    expect(square).not.toHaveBeenCalled();
    expect([squared.value, squared.value]).toEqual([4, 4]);
    signal(0).value = 1; // something else has changed
    expect(squared.value).toBe(4);
    expect(square).toHaveBeenCalledTimes(1);
  });

  it("stop a change at what comes out the same", () => {
    const count = signal(1);
    const odd = computed(() => count.value % 2);
    const run = vi.fn(() => void odd.value);
    effect(run);
    count.value = 3;
    expect(run).toHaveBeenCalledTimes(1);
    count.value = 4;
    expect(run).toHaveBeenCalledTimes(2);
  });

  it("never show a half-changed diamond", () => {
    const source = signal(1);
    const [left, right] = [computed(() => source.value), computed(() => source.value * 10)];
    const seen: number[] = [];
    effect(() => seen.push(left.value + right.value) && undefined);
    source.value = 2;
    expect(seen).toEqual([11, 22]);
  });

  it("follow only what was read last time", () => {
    const [first, a, b] = [signal(true), signal("a"), signal("b")];
    const seen: string[] = [];
    effect(() => seen.push(first.value ? a.value : b.value) && undefined);
    first.value = false;
    a.value = "unseen";
    b.value = "c";
    expect(seen).toEqual(["a", "b", "c"]);
  });

  it("clean up before the next run and at the end, and read nothing meanwhile", () => {
    const [count, other] = [signal(0), signal(0)];
    const log: string[] = [];
    const stop = effect(() => {
      const run = count.value;
      return () => log.push(`end of ${run}, ${other.value}`);
    });
    count.value = 1;
    other.value = 5;
    stop();
    stop();
    expect(log).toEqual(["end of 0, 0", "end of 1, 5"]);
  });

  it("peek without being told", () => {
    const count = signal(1);
    const doubled = computed(() => count.value * 2);
    const run = vi.fn(() => void (count.peek() + doubled.peek()));
    effect(run);
    count.value = 2;
    expect(run).toHaveBeenCalledTimes(1);
    expect(doubled.peek()).toBe(4);
  });

  it("throw where an error is read, and recover", () => {
    const bad = signal(true);
    const value = computed(() => {
      if (bad.value) throw new Error("bad");
      return 1;
    });
    const seen: unknown[] = [];
    effect(() => {
      try {
        seen.push(value.value);
      } catch (error) {
        seen.push((error as Error).message);
      }
    });
    expect(() => value.value).toThrow("bad");
    bad.value = false;
    expect(seen).toEqual(["bad", 1]);
  });

  it("run the other effects when one throws, and say so", () => {
    const count = signal(0);
    const seen: number[] = [];
    effect(() => {
      if (count.value) throw new Error("mine");
    });
    effect(() => seen.push(count.value) && undefined);
    expect(() => {
      count.value = 1;
    }).toThrow("mine");
    expect(seen).toEqual([0, 1]);
    count.value = 0;
    expect(seen).toEqual([0, 1, 0]);
  });

  it("give up on an effect that never comes to rest", () => {
    const count = signal(0);
    expect(() => effect(() => ++count.value && undefined)).toThrow("for ever");
  });

  it("keep no computed alive that nobody listens to", () => {
    const source = signal(1);
    const compute = vi.fn(() => source.value);
    const value = computed(compute);
    const stop = effect(() => void value.value);
    stop();
    source.value = 2;
    source.value = 3;
    expect(compute).toHaveBeenCalledTimes(1);
    expect(value.value).toBe(3);
  });
});
