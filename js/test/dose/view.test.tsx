import { afterEach, describe, expect, it } from "vitest";
import widget from "../../src/widgets/dose_response";
import { staticModel } from "../../src/widgets/static_host";
import { FakeModel } from "../host/fake_model";
import { el, painted } from "../page";
import { facts, inputs, result } from "./examples";

let life = new AbortController();
afterEach(() => life.abort());

async function show(values: Record<string, unknown> = {}, frozen = false) {
  life = new AbortController();
  const state = { facts, inputs, result: result(), selected: 40, ...values };
  const model = frozen ? staticModel(state) : new FakeModel(state);
  widget().render({ model, el, signal: life.signal });
  await painted();
  return model;
}

const named = (name: string) => el.querySelector<HTMLElement>(`[aria-label="${name}"]`);
const buttons = () => [...el.querySelectorAll("button")].map(({ textContent }) => textContent);

describe("a chart", () => {
  it("is named, said in words, and has a table of its numbers", async () => {
    await show();
    expect(named("Dose and response")?.tagName).toBe("FIGURE");
    expect(el.querySelector("svg")?.getAttribute("aria-label")).toMatch(
      /useful 20–40; text breaks/,
    );
    const rows = named("Numbers of dose and response")?.querySelectorAll("tbody tr");
    expect(rows).toHaveLength(4);
    expect(rows?.[1]?.textContent).toContain("2 of 12");
  });

  it("is gone through by a slider and by its rows, which say all that is drawn", async () => {
    const model = (await show()) as FakeModel;
    const slider = named("Strength") as HTMLInputElement;
    expect(slider.getAttribute("aria-valuetext")).toBe("40, on topic 4 of 12");
    slider.value = "3";
    slider.dispatchEvent(new Event("input", { bubbles: true }));
    expect(model.values.selected).toBe(60);
    await painted();
    expect(named("Strength 60")?.textContent).toContain("6 of 12");
    const radio = el.querySelector<HTMLInputElement>('[aria-label*="text breaks from here"]');
    expect(radio?.checked).toBe(true);
  });

  it("draws no band where one prompt tells nothing of others", async () => {
    const alone = { value: 2, low: null, high: null };
    const rows = result().rows.map((each) => ({ ...each, surprise: alone, distinct_2: alone }));
    await show({ result: result({ rows }) });
    expect(el.querySelectorAll("path.sw--band[d='']")).toHaveLength(2);
  });
});

describe("what can be done", () => {
  it("before anything was run: to run it", async () => {
    await show({ result: {} });
    expect(buttons()).toContain("Run");
    expect(el.textContent).toContain("Nothing was run yet");
    expect(el.querySelector('[role="status"]')?.textContent).toBe("104 answers to write");
  });

  it("of a frozen copy: to look at it", async () => {
    await show({}, true);
    expect(buttons()).toEqual([]);
    expect(named("Dose")?.textContent).not.toContain("iso-KL");
    expect(el.textContent).toContain("frozen copy");
  });

  it("a judge and an axis are chosen where there are several", async () => {
    await show();
    expect(named("Judge")?.tagName).toBe("SELECT");
    expect(named("Dose")?.textContent).toContain("iso-KL");
  });

  it("not where there is one, or no prompt to find the iso-KL dose on", async () => {
    await show({ facts: { ...facts, judges: ["words"], held_back: [] } });
    expect(named("Judge")).toBeNull();
    expect(named("Dose")?.textContent).not.toContain("iso-KL");
  });
});

it("texts from models are never HTML", async () => {
  const answers = result().answers.map((each) => ({
    ...each,
    text: "<img src=x onerror=alert(1)>",
  }));
  await show({ result: result({ answers, prompts: ["<b>First?</b>", "Second?"] }) });
  expect(el.querySelector("img")).toBeNull();
  expect(el.textContent).toContain("<img src=x");
});
