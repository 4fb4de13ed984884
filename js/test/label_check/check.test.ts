import { describe, expect, it } from "vitest";
import type { Asked, CheckText, Told } from "../../src/label_check/types";
import labelCheck from "../../src/widgets/label_check";
import { staticModel } from "../../src/widgets/static_host";
import { FakeModel } from "../host/fake_model";
import { all, button, el, named, painted, show } from "../page";

const text = (words: string, marked: number[] = []): CheckText => ({
  tokens: words.split(/(?= )/).map((part, id) => ({ id, text: part, fragment: false })),
  values: null,
  marked,
});

const where = { step: 3, steps: 20, feature: 2, features: 6, practice: false, again: false };
const TEXTS = ["the sea is wide", "a red apple", "<b>bold</b> claims"].map((words) => text(words));

const FIRE: Asked = {
  ...where,
  kind: "item",
  mode: "which fire",
  id: "item",
  label: "the sea",
  texts: TEXTS,
  choices: [],
  maximum: null,
};
const ODD: Asked = { ...FIRE, mode: "odd one out", label: "" };
const TOKENS: Asked = { ...FIRE, mode: "which tokens", texts: [text("the sea is wide", [1])] };
const LABEL: Asked = {
  ...ODD,
  mode: "which label",
  choices: ["the sea", "apples", "claims"],
  maximum: 4,
};
const TOLD: Told = {
  ...where,
  mode: null,
  kind: "reveal",
  index: 7,
  key: "sae:1/7",
  label: "the sea",
  label_author: "language model",
  score: 0.94,
  notes: ["there is no example of decile 1"],
  verdict: "",
  note: "",
  maximum: 4,
  results: [
    {
      mode: "which fire",
      right: 1,
      of: 2,
      texts: TEXTS.map((each, at) => ({
        ...each,
        values: each.tokens.map((_, i) => (at === 0 && i === 1 ? 4 : 0)),
        value: at === 0 ? 4 : 0,
        decile: at === 0 ? 10 : null,
        kind: at === 0 ? "fires" : "random",
      })),
      choices: [],
      truth: [1, 0, 0],
      said: [1, 1, null],
    },
  ],
};

let model: FakeModel;

function mount(screen: object, more: Record<string, unknown> = {}, frozen = false): void {
  const state = {
    screen,
    draft: {},
    side: { label: [], session: [], answered: 0 },
    facts: { dictionary: "SAE", layer: 15, size: 4096, seed: 2026, modes: ["which fire"] },
    ...more,
  };
  model = new FakeModel(state);
  show(labelCheck, frozen ? staticModel(state) : model);
}

const key = (name: string, target: Element | null = el.querySelector(".sw-frame")) =>
  target?.dispatchEvent(
    new KeyboardEvent("keydown", { key: name, bubbles: true, cancelable: true }),
  );
const sent = (name: string) => model.sent.filter((message) => message.name === name);
const args = (name: string) => sent(name).at(-1)?.args as Record<string, unknown>;
const radios = (group: string) => [
  ...(named(group)?.querySelectorAll<HTMLInputElement>("input") ?? []),
];
const focused = () => document.activeElement?.closest("[data-row]")?.getAttribute("data-row");
const settle = (id: string) => model.says({ type: "result", id, value: {} });

describe("an item", () => {
  it("shows texts as text, the label, the place in the queue and the seed", async () => {
    mount(FIRE);
    await painted();
    expect(el.querySelector(".sw-check-text b")).toBeNull();
    expect(el.textContent).toContain("<b>bold</b> claims");
    expect(el.textContent).toContain("The label says");
    expect(el.textContent).toContain("queue 2 of 6");
    expect(el.textContent).toContain("class seed 2026");
    expect(named("Queue").getAttribute("aria-valuenow")).toBe("15");
    expect(el.querySelector("[aria-current=step]")?.textContent).toBe("which fire");
  });

  it("is answered with keys alone: digits judge and go on, arrows move, Enter sends", async () => {
    mount(FIRE);
    await painted();
    key("4");
    await painted();
    expect(focused()).toBe("1");
    key("1", document.activeElement);
    await painted();
    expect(focused()).toBe("2");
    key("ArrowUp", document.activeElement);
    expect(focused()).toBe("1");
    key("2", document.activeElement);
    await painted();
    expect(radios("Text 2").map((radio) => radio.checked)).toEqual([false, true, false, false]);
    expect(el.textContent).toContain("1 text not answered");
    key("Enter", document.activeElement);
    await painted();
    expect(args("answer")).toMatchObject({ step: 3, answers: [1, 1 / 3, null] });
    expect(args("answer").seconds).toBeGreaterThan(0);
  });

  it("is answered by touch, and what is chosen is kept before it is sent", async () => {
    mount(FIRE);
    await painted();
    radios("Text 1")[3]?.click();
    radios("Text 3")[0]?.click();
    await painted(120);
    expect(model.get("draft")).toEqual({ step: 3, answers: [1, null, 0] });
    button("Next")?.click();
    await painted();
    expect(args("answer")).toMatchObject({ answers: [1, null, 0] });
  });

  it("takes up what was chosen before the page was loaded again", async () => {
    mount(FIRE, { draft: { step: 3, answers: [0, null, 1] } });
    await painted();
    expect(radios("Text 3")[3]?.checked).toBe(true);
    expect(radios("Text 2").some((radio) => radio.checked)).toBe(false);
  });

  it("forgets what was chosen for another item", async () => {
    mount(FIRE, { draft: { step: 2, answers: [0, 0, 1] } });
    await painted();
    expect(el.querySelectorAll("input:checked")).toHaveLength(0);
  });

  it("is not sent with nothing chosen, and is skipped by a button and a key", async () => {
    mount(FIRE);
    await painted();
    key("Enter");
    await painted();
    expect(sent("answer")).toHaveLength(0);
    expect(el.querySelector("[role=alert]")?.textContent).toContain("Nothing is chosen yet");
    key("s");
    await painted();
    expect(args("answer")).toEqual({ step: 3, answers: null });
    settle(model.lastId);
    await painted();
    button("Skip")?.click();
    await painted();
    expect(sent("answer")).toHaveLength(2);
  });

  it("is sent once, however often one clicks", async () => {
    mount(ODD);
    await painted();
    key("2");
    await painted();
    button("Next")?.click();
    button("Next")?.click();
    key("Enter");
    await painted();
    expect(sent("answer")).toHaveLength(1);
    expect(args("answer")).toMatchObject({ answers: [1] });
  });

  it("keeps what is chosen where the kernel refuses it", async () => {
    mount(ODD);
    await painted();
    key("3");
    key("Enter");
    await painted();
    const error = { message: "The disk is full; make room there.", kind: "OSError" };
    model.says({ type: "error", id: model.lastId, error });
    await painted();
    expect(el.querySelector("[role=alert]")?.textContent).toContain("The disk is full");
    expect(radios("Texts")[2]?.checked).toBe(true);
  });

  it("asks for one of five, or for marks", async () => {
    mount(LABEL);
    await painted();
    expect(named("Examples")).toBeDefined();
    key("3");
    await painted();
    expect(radios("Labels").map((radio) => radio.checked)).toEqual([false, false, true]);
    expect(all("claims")).toHaveLength(1);
  });

  it("marks tokens so that it can be seen without colours", async () => {
    mount(TOKENS);
    await painted();
    const marked = [...el.querySelectorAll(".sw--marked")].map((word) => word.textContent);
    expect(marked).toEqual(["sea"]);
    key("2");
    await painted();
    expect(radios("Text 1").map((radio) => radio.checked)).toEqual([false, true]);
  });

  it("goes on with the focus on what is new", async () => {
    mount(ODD);
    await painted();
    key("1");
    key("Enter");
    await painted();
    model.changes("screen", { ...FIRE, step: 4 });
    settle(model.lastId);
    await painted();
    expect(focused()).toBe("0");
    model.changes("screen", { ...ODD, step: 5 }); // from code: the focus stays
    await painted();
    expect(focused()).toBeUndefined();
  });
});

describe("what is true", () => {
  it("stands beside what was said, in words and marks", async () => {
    mount(TOLD, { side: { label: [["detection, yours", "0.50 (0.09–0.91)"]], session: [] } });
    await painted();
    const rows = [...el.querySelectorAll(".sw--result li")];
    const marks = rows.map((row) => row.querySelector("[role=img]")?.getAttribute("aria-label"));
    expect(marks).toEqual(["right", "wrong", "not answered"]);
    expect(rows[0]?.textContent).toContain("decile 10");
    expect(rows[1]?.textContent).toContain("random text");
    expect(rows[0]?.querySelector<HTMLElement>(".sw--lit")?.textContent).toBe("sea");
    expect(named("This label").textContent).toContain("1 of 2");
    expect(named("This label").textContent).toContain("0.50 (0.09–0.91)");
    expect(named("This label").textContent).toContain("0.94");
    expect(el.textContent).toContain("LM label");
    expect(el.textContent).toContain("there is no example of decile 1");
  });

  it("is followed by a verdict, with keys or by hand, and a note", async () => {
    mount(TOLD);
    await painted();
    key("2");
    await painted();
    expect(args("verdict")).toEqual({ step: 3, verdict: "too wide" });
    model.changes("screen", { ...TOLD, verdict: "too wide" });
    settle(model.lastId);
    await painted();
    expect(el.textContent).toContain("saved on this machine");
    key("2"); // once more takes it back
    await painted();
    expect(args("verdict")).toEqual({ step: 3, verdict: "" });
    const note = named<HTMLInputElement>("Your note");
    note.value = "1 of 2 senses";
    note.dispatchEvent(new Event("input", { bubbles: true }));
    await painted();
    key("1", note); // typed, not chosen
    key("Enter", note);
    await painted();
    expect(args("verdict")).toEqual({ step: 3, note: "1 of 2 senses" });
    expect(sent("next")).toHaveLength(0);
    key("Enter");
    await painted();
    expect(args("next")).toEqual({ step: 3 });
  });
});

describe("elsewhere", () => {
  it("says that it waits, and that it is done", async () => {
    mount({});
    await painted();
    expect(el.textContent).toContain("Waiting for the first item");
    const side = { session: [["balanced accuracy", "0.79 (0.66–0.88)"]], answered: 24 };
    model.changes("screen", { ...where, kind: "end", mode: null });
    model.changes("side", side);
    await painted();
    expect(named("Done").textContent).toContain("0.79 (0.66–0.88)");
    expect(el.textContent).toContain("24 kept on this machine");
  });

  it("is shown without a kernel as it stood, and nothing can be sent", async () => {
    mount(TOLD, {}, true);
    await painted();
    expect(button("Next")).toBeUndefined();
    expect(button("Save answers")).toBeUndefined();
    expect(named("What is true")).toBeDefined();
    mount(FIRE, {}, true);
    await painted();
    key("4");
    await painted();
    expect(el.querySelectorAll("input:checked")).toHaveLength(0);
  });

  it("says what is to try and what comes again", async () => {
    mount({ ...FIRE, practice: true, feature: 0 });
    await painted();
    expect(el.textContent).toContain("do not count");
    expect(el.textContent).toContain("to try");
    model.changes("screen", { ...FIRE, step: 9, again: true });
    await painted();
    expect(el.textContent).toContain("This one comes again");
  });
});
