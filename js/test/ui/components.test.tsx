// What the widgets rely on in Preact, its hooks and its signals.

import { signal, useComputed } from "@preact/signals";
import { h, render } from "preact";
import { useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { useId } from "../../src/ui/use_id";

let root: HTMLElement;
const painted = () => new Promise((resolve) => setTimeout(resolve, 5));
const text = () => root.textContent;

beforeEach(() => {
  root = document.createElement("div");
  document.body.append(root);
});
afterEach(() => {
  render(null, root);
  root.remove();
});

describe("components", () => {
  it("render again when a signal they have read changes, and their parents do not", async () => {
    const count = signal(1);
    const parent = vi.fn();
    const Child = () => h("b", null, count.value);
    const Parent = () => {
      parent();
      return h("p", null, "n ", h(Child, null));
    };
    render(h(Parent, null), root);
    count.value = 2;
    await painted();
    expect(text()).toBe("n 2");
    expect(parent).toHaveBeenCalledTimes(1);
  });

  it("that read signals follow their parents only when props change", async () => {
    const [tick, name] = [signal(0), signal("a")];
    const child = vi.fn();
    const Child = ({ same }: { same: number }) => {
      child(same);
      return h("b", null, name.value);
    };
    const Parent = () => h("p", null, tick.value, h(Child, { same: Math.floor(tick.value / 2) }));
    render(h(Parent, null), root);
    tick.value = 1;
    await painted();
    expect(child).toHaveBeenCalledTimes(1);
    tick.value = 2;
    await painted();
    expect(child).toHaveBeenCalledTimes(2);
    expect(text()).toBe("2a");
  });

  it("are told of nothing any more once they are gone", async () => {
    const count = signal(1);
    const renders = vi.fn();
    const Child = () => {
      renders();
      return h("b", null, count.value);
    };
    render(h(Child, null), root);
    render(null, root);
    count.value = 2;
    await painted();
    expect(renders).toHaveBeenCalledTimes(1);
  });
});

describe("hooks", () => {
  it("keep state, memo and ref from one render to the next", async () => {
    const made = vi.fn(() => ({}));
    let set: (next: (before: number) => number) => void = () => {};
    const kept = new Set<unknown>();
    const One = () => {
      const [count, setCount] = useState(1);
      set = setCount;
      kept.add(useMemo(made, [])).add(useRef(0));
      const twice = useComputed(() => count * 2);
      return h("b", null, `${count} ${useMemo(() => -count, [count])} ${twice.value}`);
    };
    render(h(One, null), root);
    set((before) => before + 1);
    await painted();
    expect(text()).toBe("2 -2 2"); // a computed signal follows signals, not what it closes over
    expect(made).toHaveBeenCalledTimes(1);
    expect(kept.size).toBe(2);
  });

  it("run layout effects with the render when something they need changes, and clean up", async () => {
    const log: string[] = [];
    const One = ({ name }: { name: string }) => {
      const element = useRef<HTMLElement>(null);
      useLayoutEffect(() => {
        log.push(`in ${name} ${element.current?.tagName}`);
        return () => {
          log.push(`out ${name}`);
        };
      }, [name]);
      return h("b", { ref: element });
    };
    for (const name of ["a", "a", "b"]) {
      render(h(One, { name }), root);
      await painted();
    }
    render(null, root);
    expect(log).toEqual(["in a B", "out a", "in b B", "out b"]);
  });

  it("give names that no other element of the page has", () => {
    const One = () => h("b", { id: useId() });
    render(h("p", null, h(One, null), h(One, null)), root);
    const [a, b] = root.querySelectorAll("b");
    expect(a?.id).toMatch(/^sw/);
    expect(a?.id).not.toBe(b?.id);
  });
});
