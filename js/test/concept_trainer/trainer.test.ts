// A trainer: what is asked of the kernel and when, and its page by accessible names.
import { afterEach, describe, expect, it, vi } from "vitest";
import { Trainer } from "../../src/concept_trainer/trainer";
import type { TrainerTraits } from "../../src/concept_trainer/types";
import { nameOf, score, signed, spoken, statusText } from "../../src/concept_trainer/words";
import factory from "../../src/widgets/concept_trainer";
import { staticModel } from "../../src/widgets/static_host";
import { FakeModel } from "../host/fake_model";
import { button, el, named, painted } from "../page";
import { entry, inputs, layer, result, traits } from "./examples";

let life = new AbortController();
afterEach(() => {
  life.abort();
  vi.useRealTimers();
});

function open(changes: Partial<TrainerTraits> = {}) {
  life = new AbortController();
  const model = new FakeModel({ ...traits(changes) });
  return { model, trainer: new Trainer(model, life.signal) };
}

async function show(changes: Partial<TrainerTraits> = {}, frozen = false) {
  life = new AbortController();
  const state = { ...traits(changes) };
  const model = frozen ? staticModel(state) : new FakeModel(state);
  factory().render({ model, el, signal: life.signal });
  await painted();
  return model as FakeModel;
}

describe("what is asked", () => {
  it("is what stands in the boxes, once the keys rest", () => {
    vi.useFakeTimers();
    const { model, trainer } = open();
    trainer.type({ name: "g" });
    trainer.type({ name: "gr" });
    vi.advanceTimersByTime(399);
    expect(model.sent).toEqual([]);
    vi.advanceTimersByTime(1);
    expect(model.sent).toHaveLength(1);
    expect(model.sent[0]).toMatchObject({ name: "plan", args: { inputs: { name: "gr" } } });
    expect(trainer.inputs.value?.name).toBe("gr");
  });

  it("is a text for each line, and lines of nothing are none", () => {
    const { trainer } = open();
    trainer.add("positives", " one \n\n  two\n");
    expect(trainer.inputs.value?.positives.slice(2)).toEqual([entry("one"), entry("two")]);
    trainer.add("negatives", "  \n");
    expect(trainer.inputs.value?.negatives).toHaveLength(2);
    trainer.remove("positives", 0);
    expect(trainer.inputs.value?.positives.map(({ text }) => text)).toEqual([
      "so grateful",
      "one",
      "two",
    ]);
  });

  it("is trained with what is written, and stays written when more was typed meanwhile", async () => {
    const { model, trainer } = open();
    trainer.edit({ name: "first" });
    trainer.run("train");
    expect(model.sent.at(-1)).toMatchObject({ name: "train", args: { inputs: { name: "first" } } });
    const id = model.lastId;
    trainer.type({ name: "second" });
    model.says({ type: "accepted", id });
    model.says({
      type: "progress",
      id,
      seq: 0,
      phase: "reading",
      done: 8,
      total: 16,
      seconds_left: 2,
    });
    expect(statusText(trainer)).toBe("reading: 8 of 16 texts · about 2 s left");
    trainer.run("write"); // one run at a time
    expect(model.sent.filter(({ name }) => name === "write")).toEqual([]);
    model.says({ type: "result", id, value: {} });
    await vi.waitFor(() => expect(trainer.doing.value).toBeNull());
    expect(trainer.inputs.value?.name).toBe("second");
  });

  it("can be stopped, also where another view or code began it", async () => {
    const { model, trainer } = open();
    model.says({ type: "progress", id: "code-1", seq: 0, phase: "fitting", done: 1, total: 4 });
    expect(statusText(trainer)).toBe("fitting: 1 of 4 steps");
    trainer.stop();
    expect(model.sent).toEqual([{ type: "cancel", id: "code-1" }]);
    expect(statusText(trainer)).toBe("Stopping…");
    model.says({ type: "cancelled", id: "code-1" });
    await vi.waitFor(() => expect(trainer.doing.value).toBeNull());
  });

  it("says why what was asked could not be done", async () => {
    const { model, trainer } = open();
    trainer.checkDose();
    model.says({
      type: "error",
      id: model.lastId,
      error: { message: "Nothing.", kind: "ValueError" },
    });
    await vi.waitFor(() => expect(trainer.failure.value).toBe("Nothing."));
  });
});

describe("words", () => {
  it("are short, with a real minus", () => {
    expect([score(0.974), score(null), signed(-0.104), signed(0.3)]).toEqual([
      "0.97",
      "–",
      "−0.10",
      "+0.30",
    ]);
    expect(layer(1).others.map(nameOf)).toEqual(["CAV 3 · prayer", "SAE 8"]);
    expect(spoken(result(), layer(1))).toBe(
      "AUROC on held-out texts, blocks 0 to 2: 0.90 at block 1, with shuffled labels 0.52",
    );
  });
});

describe("the page", () => {
  it("keeps what is being typed, whatever the kernel says meanwhile", async () => {
    const model = await show({ inputs: inputs({ source: "prompts" }) });
    const questions = named<HTMLTextAreaElement>("Questions, one in each line");
    questions.value = "Who came?\n\nWhy?";
    questions.dispatchEvent(new Event("input", { bubbles: true }));
    model.changes("inputs", inputs({ source: "prompts", systems: ["be kind", ""] }));
    await painted();
    expect(questions.value).toBe("Who came?\n\nWhy?");
    questions.dispatchEvent(new Event("change", { bubbles: true }));
    await painted();
    expect(questions.value).toBe("Who came?\nWhy?");
    expect(button("Let the model write 4")).toBeTruthy();
  });

  it("says what to do next where nothing is trained", async () => {
    const plan = { problem: "Give texts with the concept.", told: [], counts: [0, 0] } as never;
    await show({ plan, inputs: inputs({ positives: [], negatives: [] }) });
    expect(el.textContent).toContain("then press Train");
    expect(el.textContent).toContain("Give texts with the concept.");
    expect(button("Train")?.getAttribute("aria-disabled")).toBe("true");
  });

  it("has the chart in words, a slider and a table, and names the confused", async () => {
    const model = await show({ result: result(), selected: 1 });
    expect(el.querySelector("svg")?.getAttribute("aria-label")).toContain("0.90 at block 1");
    expect(named("Numbers of every block").querySelectorAll("tbody tr")).toHaveLength(3);
    expect(named("Block 1").textContent).toContain("3 of 4");
    expect(named("Held-out texts").textContent).toContain(
      "confused: “I owe you one” · “thanks to the rain”",
    );
    const slider = named<HTMLInputElement>("Block");
    slider.value = "2";
    slider.dispatchEvent(new Event("input", { bubbles: true }));
    expect(model.values.selected).toBe(2);
  });

  it("says at which block it steers best, beside what chance does, and where none does", async () => {
    const count = (k: number, n = 6) => ({ k, n, interval: [0.1, 0.9] as [number, number] });
    const row = (at: number, k: number) => ({
      layer: at,
      on_topic: count(k),
      random: count(0),
      surprise: 2.5,
    });
    const steered = {
      ratio: 0.3,
      judge: "probe of block 2",
      left_out: [2],
      rows: [row(0, 1), row(1, 5)],
      baseline: count(0),
      baseline_surprise: 2,
      random: count(1, 12),
      best: 1,
      stopped: false,
    };
    const model = await show({ result: result(), selected: 1 });
    const region = () => named("Steering by block").textContent?.replace(/\s/g, " ");
    button("Steer in every block")?.click();
    expect(model.sent.at(-1)).toMatchObject({ name: "blocks" });
    const id = model.lastId;
    const progress = { phase: "steering", done: 13, total: 26, seconds_left: 9 };
    model.says({ type: "progress", id, seq: 0, ...progress });
    await painted();
    expect(el.textContent).toContain("steering in every block: 13 of 26 answers · about 9 s left");
    model.changes("steered", steered);
    model.says({ type: "result", id, value: {} });
    await painted();
    expect(region()).toContain("steers best at block 1: 5 of 6 on topic (10–90 %).");
    expect(region()).toContain("Random directions 1 of 12, baseline 0 of 6; every block adds 30 %");
    expect(region()).toContain("whose own block 2 is left out");
    expect(el.querySelector("svg")?.getAttribute("aria-label")).toContain(
      "steered answers on topic 5 of 6",
    );
    expect(named("Block 1").textContent).toContain("5 of 6 · random 0 of 6");
    const cells = [...named("Numbers of every block").querySelectorAll("tbody tr")].map((each) =>
      [...each.querySelectorAll("td")].slice(-3).map((cell) => cell.textContent),
    );
    expect(cells).toEqual([
      ["1 of 6", "0 of 6", "2.50"],
      ["5 of 6", "0 of 6", "2.50"],
      ["–", "–", "–"],
    ]);
    model.changes("steered", { ...steered, best: null, stopped: true });
    await painted();
    expect(region()).toContain(
      "So far the answers of no block are on topic more often than chance",
    );
  });

  it("takes a text back into its box, and removes it by a key", async () => {
    await show();
    const items = () => [...named("Texts with it").querySelectorAll<HTMLElement>("[role=option]")];
    const press = (key: string) =>
      items()[0]?.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
    press("Enter");
    await painted();
    expect(named<HTMLTextAreaElement>("Add texts with it").value).toBe("thank you");
    expect(items()).toHaveLength(1);
    press("Delete");
    await painted();
    expect(items()).toHaveLength(0);
  });

  it("adds up with other features by their names", async () => {
    const model = await show({ result: result(), selected: 1 });
    button("− Take away")?.click();
    expect(model.sent.at(-1)).toMatchObject({
      name: "sum",
      args: { terms: [{ id: "0:3", sign: -1 }] },
    });
  });

  it("shows what the model wrote among the two prompts alone", async () => {
    const both = [entry("typed"), entry("written", true)];
    await show({ inputs: inputs({ source: "prompts", positives: both }) });
    expect(named("Texts with it").textContent).toContain("1 text with it");
    expect(named("Texts with it").textContent).toContain("written");
    expect(named("Texts with it").textContent).not.toContain("typed");
  });

  it("shows hostile text as text", async () => {
    const text = "<img src=x onerror=alert(1)>";
    const tests = [{ text, positive: false }];
    const layers = [layer(0, { projections: [3] })];
    await show({
      inputs: inputs({ name: text, positives: [entry(text)] }),
      result: result({ tests, layers, name: text }),
      selected: 0,
    });
    expect(el.querySelector("img:not([role])")).toBeNull();
    expect(el.textContent).toContain(text);
  });

  it("is looked at without a kernel, and offers nothing that needs one", async () => {
    await show({ result: result(), selected: 1 }, true);
    for (const name of ["Train", "Stop", "Save", "Steer with this", "+ Add"])
      expect(button(name), name).toBeUndefined();
    expect(named("Block 1").textContent).toContain("0.90");
  });
});
