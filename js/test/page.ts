// The page that a test shows widgets on; they are taken off it again after each test.
import { afterEach, beforeEach, expect } from "vitest";
import type { HostModel } from "../src/host/host";

interface Props {
  model: HostModel;
  signal: AbortSignal;
}

interface Widget {
  initialize(props: Props): unknown;
  render(props: Props & { el: HTMLElement }): unknown;
}

export let el: HTMLElement;
/** Of the widget first, and then of each of its views. */
export let lives: AbortController[];

beforeEach(() => {
  el = document.createElement("div");
  document.body.append(el);
  lives = [];
});
afterEach(() => {
  expect(foreign(el), "classes without our prefix").toEqual([]);
  for (const life of lives) life.abort();
  el.remove();
});

/** Classes that a page's own sheets may know too. */
const foreign = (root: HTMLElement) =>
  [...root.querySelectorAll("*")]
    .flatMap((each) => [...each.classList])
    .filter((name) => !/^sw(-|$)/.test(name));

/** What a host does with a widget's module. */
export function show(factory: () => Widget, model: HostModel, views = 1): void {
  const open = () => {
    const life = new AbortController();
    lives.push(life);
    return life.signal;
  };
  const widget = factory();
  widget.initialize({ model, signal: open() });
  for (let view = 0; view < views; view++) widget.render({ model, el, signal: open() });
}

export const painted = (wait = 40) => new Promise((resolve) => setTimeout(resolve, wait));

export const all = (name: string) =>
  [...el.querySelectorAll<HTMLElement>("[aria-label]")].filter(
    (each) => each.getAttribute("aria-label") === name,
  );

/** The first of this name; where there is none, a test that uses it fails. */
export const named = <Kind extends HTMLElement = HTMLElement>(name: string) => all(name)[0] as Kind;

/** By its accessible name. */
export const button = (name: string) =>
  [...el.querySelectorAll("button")].find(
    (each) => (each.getAttribute("aria-label") ?? each.textContent) === name,
  );
