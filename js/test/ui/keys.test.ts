import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { keepKeys } from "../../src/ui/keys";
import { el } from "../page";

const SUPPRESS = "data-lm-suppress-shortcuts";
let life: AbortController;
let heard: string[];
let field: HTMLInputElement;

beforeEach(() => {
  life = new AbortController();
  heard = [];
  const root = document.createElement("div");
  field = document.createElement("input");
  root.append(field);
  el.append(root);
  keepKeys(root, life.signal);
  document.addEventListener("keydown", (event) => heard.push(event.key), { signal: life.signal });
});
afterEach(() => life.abort());

const press = (key: string, more: KeyboardEventInit = {}) => {
  const event = new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...more });
  return field.dispatchEvent(event);
};

describe("keys inside a widget", () => {
  it("do not reach the host, and keep what the browser does with them", () => {
    const kept = [press("d"), press("a", { ctrlKey: true }), press("z", { metaKey: true })];
    expect([heard, kept]).toEqual([[], [true, true, true]]);
  });

  it("are marked for Lumino before it hears of them in the capture phase", () => {
    let marked = false;
    const listen = (event: Event) => {
      marked = (event.target as Element).hasAttribute(SUPPRESS);
    };
    document.addEventListener("keydown", listen, { capture: true, signal: life.signal });
    press("d");
    expect(marked).toBe(true);
  });

  it("reach the host for Ctrl+S, once, outside of any cell", () => {
    let target: EventTarget | null = null;
    const save = (event: Event) => {
      target = event.target;
      event.preventDefault();
    };
    document.addEventListener("keydown", save, { signal: life.signal });
    expect(press("s", { ctrlKey: true })).toBe(false);
    expect([heard, target]).toEqual([["s"], document.body]);
  });

  it("go to what was tapped", () => {
    field.dispatchEvent(new Event("pointerup", { bubbles: true }));
    expect(document.activeElement).toBe(field);
  });
});
