import { beforeEach, describe, expect, it, vi } from "vitest";
import type { PastRun, Swept } from "../../src/panel/types";
import steeringPanel from "../../src/widgets/steering_panel";
import { feature, OPS, promptToken, result, token } from "../examples";
import { FakeModel } from "../host/fake_model";
import { button, el, named, painted, show } from "../page";

const HOSTILE = "<img src=x onerror=globalThis.hacked=1>";
const SEA = feature({ key: "k", label: "the sea", max_activation: 10 });

let model: FakeModel;

function state(): Record<string, unknown> {
  return {
    prompt: "Hi",
    chat: true,
    model_info: { name: "m", has_chat_template: true, blocks: 4, d_model: 32 },
    ops: OPS,
    catalogue: { features: [SEA], total: 1, complete: true },
    steers: [{ id: "s1", key: "k", op: "add", params: { alpha: 5 }, enabled: true }],
    steer_features: { k: SEA },
  };
}

const mount = () => show(steeringPanel, model);
const tab = (name: string) =>
  [...el.querySelectorAll<HTMLElement>("[role=tab]")].find((each) => each.textContent === name);
const asked = (name: string) => model.sent.filter((sent) => sent.name === name);
const shown = () => el.querySelector("[role=tabpanel]")?.textContent ?? "";

function past(number: number, over: Partial<PastRun> = {}): PastRun {
  const row = (name: string, texts: string[]) => ({
    name,
    text: texts.join(""),
    ended: "eos",
    ids: texts.map((_, index) => index),
    texts,
    fragments: [],
  });
  return {
    id: `r${number}`,
    number,
    name: "",
    pinned: false,
    at: "2026-01-01T10:00:00+00:00",
    prompt: "Hi",
    said: "'the sea'.add(5)",
    rows: [row("baseline", ["A", " week"]), row("steered", ["The", ` ${HOSTILE}`])],
    kl: [1, 3],
    ...over,
  };
}

beforeEach(() => {
  model = new FakeModel(state());
});

describe("the tabs", () => {
  it("open by click and by arrow keys, one at a time", async () => {
    mount();
    expect(tab("Δ logits")?.getAttribute("aria-selected")).toBe("true");
    tab("Sweep")?.click();
    await painted();
    expect(model.values.tab).toBe("sweep");
    expect(el.querySelectorAll("[role=tab][aria-selected=true]")).toHaveLength(1);
    tab("Sweep")?.dispatchEvent(
      new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true, cancelable: true }),
    );
    await painted();
    expect(model.values.tab).toBe("history");
    expect(document.activeElement).toBe(tab("History"));
    const panel = el.querySelector("[role=tabpanel]");
    expect(panel?.getAttribute("aria-labelledby")).toBe(tab("History")?.id);
  });

  it("say in each of them what to do while there is nothing", async () => {
    model = new FakeModel({ ...state(), steers: [] });
    mount();
    expect(shown()).toContain("Add a feature to the recipe");
    tab("Sweep")?.click();
    await painted();
    expect(shown()).toContain("Add a feature");
    tab("History")?.click();
    await painted();
    expect(shown()).toContain("Press Generate");
  });
});

describe("Δ logits", () => {
  const row = (text: string, delta: number) => ({
    ...token(text),
    delta,
    before: 1e-6,
    after: 0.5,
  });

  it("are asked for in a pause, and once", async () => {
    mount();
    await vi.waitFor(() => expect(asked("logits")).toHaveLength(1), 5000);
    expect(asked("logits")[0]?.args).toMatchObject({ prompt: "Hi", steers: [{ id: "s1" }] });
    const { settings, watched, ...args } = (asked("logits")[0]?.args ?? {}) as Record<
      string,
      unknown
    >;
    model.changes("next_token", {
      promoted: [row(" sea", 4.12), row(HOSTILE, 3)],
      suppressed: [row(" office", -2)],
      changes: true,
      asked: args,
    });
    model.says({ type: "result", id: model.lastId, value: {} });
    await painted(450);
    expect(asked("logits")).toHaveLength(1);
    expect(named("Rises").textContent).toContain("+4.12");
    expect(named("Rises").textContent).toMatch(/<.0\.01.% → 50/);
    expect(named("Falls").textContent).toContain("−2");
    expect(el.querySelector("img")).toBeNull();
  });

  it("are not asked for where another tab is open, nothing steers, or a run goes on", async () => {
    model = new FakeModel({ ...state(), tab: "history" });
    mount();
    await painted(450);
    expect(asked("logits")).toHaveLength(0);
  });

  it("say in place why they can't be had, and do not ask again for the same", async () => {
    mount();
    await vi.waitFor(() => expect(asked("logits")).toHaveLength(1), 5000);
    const error = { message: "It is too strong.", kind: "ValueError" };
    model.says({ type: "error", id: model.lastId, error });
    await painted(450);
    expect(shown()).toContain("It is too strong.");
    expect(asked("logits")).toHaveLength(1);
    expect(el.querySelector("[role=alert]")).toBeNull();
  });
});

describe("the history", () => {
  beforeEach(() => {
    const runs = [past(1), past(2, { name: "gentle", pinned: true }), past(3)];
    model = new FakeModel({ ...state(), tab: "history", runs });
    mount();
  });

  it("names, pins, takes back and forgets by request", () => {
    button("Pin Run 1")?.click();
    expect(model.sent.at(-1)).toMatchObject({
      name: "history",
      args: { do: "pin", run: "r1", pinned: true },
    });
    button("Pin gentle")?.click();
    expect(model.sent.at(-1)).toMatchObject({ args: { do: "pin", run: "r2", pinned: false } });
    button("Use recipe of Run 3")?.click();
    expect(model.sent.at(-1)).toMatchObject({ args: { do: "take_back", run: "r3" } });
    button("Forget Run 3")?.click();
    expect(model.sent.at(-1)).toMatchObject({ args: { do: "remove", run: "r3" } });
    const name = named<HTMLInputElement>("Name of run 1");
    name.value = "mine";
    name.dispatchEvent(new Event("change"));
    expect(model.sent.at(-1)).toMatchObject({ args: { do: "name", run: "r1", title: "mine" } });
  });

  it("compares the two that are checked last", async () => {
    for (const name of ["Compare Run 1", "Compare gentle", "Compare Run 3"]) {
      named(name).click();
      await painted();
    }
    expect(model.sent.at(-1)).toMatchObject({ args: { do: "compare", runs: ["r2", "r3"] } });
    model.changes("compared", {
      runs: ["r2", "r3"],
      rows: ["steered", "steered"],
      same: [
        [true, false],
        [true, false],
      ],
      divergence: 1,
    });
    await painted();
    const compared = named("Comparison of runs");
    expect(compared.textContent).toContain("Texts part at token 2 · 1 token shared");
    expect(compared.querySelectorAll(".sw--own")).toHaveLength(2);
    expect(el.querySelector("img")).toBeNull();
  });

  it("has the two checked that are compared, whoever compared them", async () => {
    const same = [[true], [true]];
    const rows = ["steered", "steered"];
    model.changes("compared", { runs: ["r1", "r3"], rows, same, divergence: null });
    const checked = (run: string) => named<HTMLInputElement>(`Compare ${run}`).checked;
    await vi.waitFor(() =>
      expect(["Run 1", "gentle", "Run 3"].map(checked)).toEqual([true, false, true]),
    );
  });
});

describe("runs that come from elsewhere", () => {
  it("are taken in by request, and what is wrong with them is said and nothing lost", async () => {
    model = new FakeModel({ ...state(), tab: "history" });
    mount();
    const box = named<HTMLTextAreaElement>("Runs to import");
    box.value = "{nonsense";
    box.dispatchEvent(new Event("input"));
    await painted();
    button("Import")?.click();
    expect(model.sent.at(-1)).toMatchObject({
      name: "history",
      args: { do: "import", text: "{nonsense" },
    });
    const error = { message: "This is no history of runs.", kind: "ValueError" };
    model.says({ type: "error", id: model.lastId, error });
    await painted();
    expect(shown()).toContain("This is no history of runs.");
    expect(box.value).toBe("{nonsense");
    button("Import")?.click();
    model.says({ type: "result", id: model.lastId, value: { said: "1 of 1 runs were added." } });
    await painted();
    expect(shown()).toContain("1 of 1 runs were added.");
    expect(shown()).not.toContain("no history");
    expect(named<HTMLTextAreaElement>("Runs to import").value).toBe("");
  });
});

describe("the sweep", () => {
  it("says what it costs, runs, streams and stops", async () => {
    mount();
    button("Sweep the sea")?.click();
    await painted();
    expect(model.values.tab).toBe("sweep");
    expect(model.sent.at(-1)).toMatchObject({ name: "sweep_plan", args: { steer: "s1" } });
    const plan = { from: 0, to: 20, count: 3, tokens: 48, seconds: 21 };
    model.says({ type: "result", id: model.lastId, value: plan });
    await painted();
    expect(shown()).toContain("about 21 s");
    button("Run sweep")?.click();
    const id = model.lastId;
    expect(model.sent.at(-1)).toMatchObject({ name: "sweep", args: { to: 20, count: 3 } });
    model.says({ type: "accepted", id });
    model.says({
      type: "delta",
      id,
      seq: 0,
      of: "sweep",
      rows: [{ row: 2, start: 0, tokens: [token("Oh")] }],
    });
    await painted();
    const rows = [...named("Strengths").querySelectorAll("tbody tr")];
    expect(rows.map((each) => each.querySelector("th")?.textContent)).toEqual(["0", "10", "20"]);
    expect(rows[2]?.textContent).toContain("Oh");
    expect(el.querySelector(".sw-column")).toBeNull();
    button("Stop sweep")?.click();
    expect(model.sent.at(-1)).toEqual({ type: "cancel", id });
  });

  it("is of the only steer without a choice, and of several of the one that is chosen", async () => {
    model = new FakeModel({ ...state(), tab: "sweep" });
    mount();
    await vi.waitFor(() => expect(asked("sweep_plan")).toHaveLength(1));
    expect(asked("sweep_plan")[0]?.args).toMatchObject({ steer: "s1" });
    const [steer] = state().steers as object[];
    model.changes("steers", [
      { ...steer, id: "s2" },
      { ...steer, id: "s3" },
    ]);
    await painted();
    expect(shown()).toContain("choose a steer");
    expect(asked("sweep_plan")).toHaveLength(1);
  });

  it("asks again what it costs where it ran before that was known", async () => {
    mount();
    button("Sweep the sea")?.click();
    await painted();
    const plan = { from: 0, to: 20, count: 3, tokens: 48, seconds: null };
    model.says({ type: "result", id: model.lastId, value: plan });
    await painted();
    button("Run sweep")?.click();
    model.says({ type: "result", id: model.lastId, value: {} });
    await painted();
    expect(model.sent.at(-1)).toMatchObject({ name: "sweep_plan", args: { count: 3 } });
    model.says({ type: "result", id: model.lastId, value: { ...plan, seconds: 21 } });
    await painted();
    expect(shown()).toContain("about 21 s");
  });

  it("marks on the slider where texts break, and puts a strength into the recipe", async () => {
    const row = (strength: number, usual: boolean) => ({
      strength,
      text: HOSTILE,
      tokens: [],
      ended: "length",
      surprise: strength / 10,
      distinct_2: 1,
      usual,
    });
    const swept: Swept = {
      key: "k",
      label: "the sea",
      op: "add",
      rows: [row(0, true), row(10, true), row(20, false)],
      surprise: [0.5, 1.2],
      distinct_2: [0.9, 1],
      breaks: [null, 20],
      seeds: 4,
      tokens: 48,
      prompt: "Hi",
      seconds: 3,
    };
    const breaks = { "k add": { breaks: [null, 20], prompt: "Hi" } };
    model = new FakeModel({ ...state(), tab: "sweep", swept, breaks });
    mount();
    expect(el.querySelector(".sw--broken[title='texts break near 20']")).not.toBeNull();
    expect(named("Recipe").textContent).toContain("breaks near 20");
    expect(named("Strengths").textContent).toContain("breaks");
    expect(el.querySelector("img")).toBeNull();
    button("Use strength 10")?.click();
    await painted();
    expect(named<HTMLInputElement>("the sea strength").value).toBe("10");
  });
});

describe("a token of a text", () => {
  it("can be chosen anew, and the text goes on from there", async () => {
    model = new FakeModel({ ...state(), result: result(["My", " week"], ["My", " sea", " view"]) });
    mount();
    el.querySelectorAll<HTMLElement>("[aria-label='Steered tokens'] [role=option]")[1]?.click();
    await painted();
    button("Alternatives to ␣sea")?.click();
    expect(model.sent.at(-1)).toMatchObject({
      name: "alternatives",
      args: { row: "steered", step: 1 },
    });
    const tokens = [
      { ...token(" sea"), p: 0.5 },
      { ...token(" lake"), id: 9, p: 0.2 },
    ];
    model.says({ type: "result", id: model.lastId, value: { tokens } });
    await painted();
    button("Go on with ␣lake, 20\u202f%")?.click();
    const id = model.lastId;
    expect(model.sent.at(-1)).toMatchObject({
      name: "fork",
      args: { row: "steered", step: 1, token: 9 },
    });
    model.says({ type: "accepted", id });
    model.says({
      type: "delta",
      id,
      seq: 0,
      rows: [{ row: 1, start: 1, tokens: [token(" lake")] }],
    });
    await painted();
    expect(named("Steered tokens").textContent).toBe("My lake");
    expect(named("Baseline tokens").textContent).toBe("My week");
  });
});

describe("the conversation", () => {
  const answered = { ...result(["My"], ["The sea."]), chat: true };

  it("is out of sight until it is wanted, and says what another recipe wrote", async () => {
    mount();
    expect(named("Conversation")).toBeUndefined();
    button("System prompt")?.click();
    await painted();
    expect(named("System prompt")).toBeDefined();
    model.changes("turns", [
      { role: "user", content: HOSTILE },
      { role: "assistant", content: "The sea.", row: "steered" },
    ]);
    model.changes("outdated", [1]);
    await painted();
    expect(named("Turns").textContent).toContain("another recipe's");
    expect(named("Conversation").textContent).toContain(
      "The recipe has changed: 1 answer above was",
    );
    button("Edit turn 1")?.click();
    expect(model.sent.at(-1)).toMatchObject({ name: "edit", args: { turn: 0 } });
    expect(el.querySelector("img")).toBeNull();
    button("New conversation")?.click();
    expect(model.values.turns).toEqual([]);
  });

  it("is whole in a run that is asked for before the kernel has taken the answer in", async () => {
    model = new FakeModel({ ...state(), tab: "history", result: answered });
    mount();
    button("Reply to steered")?.click();
    const reply = model.lastId;
    expect(model.values.prompt).toBe("");
    const prompt = named<HTMLTextAreaElement>("Prompt");
    prompt.value = "And then?";
    prompt.dispatchEvent(new Event("input", { bubbles: true }));
    await painted(700); // what was typed has settled: the kernel's word on the prompt would be taken
    button("Generate")?.click();
    await painted();
    expect(asked("generate")).toHaveLength(0);
    expect(named("Steered").getAttribute("aria-busy")).toBe("true");
    const turns = [
      { role: "user", content: "Hi" },
      { role: "assistant", content: "The sea.", row: "steered" },
    ];
    model.changes("turns", turns);
    model.says({ type: "result", id: reply, value: {} });
    await painted();
    expect(asked("generate")[0]?.args).toMatchObject({ prompt: "And then?", turns });
  });

  it("gives the prompt back where the answer can't be taken in, and lets a waiting run be stopped", async () => {
    model = new FakeModel({ ...state(), tab: "history", result: answered });
    mount();
    button("Reply to steered")?.click();
    const id = model.lastId;
    button("Generate")?.click();
    button("Stop")?.click();
    model.says({ type: "error", id, error: { message: "No template.", kind: "ValueError" } });
    await painted();
    expect(model.values.prompt).toBe("Hi");
    expect(asked("generate")).toHaveLength(0);
    expect(el.querySelector("[role=alert]")?.textContent).toContain("No template.");
  });
});

describe("the positions strip", () => {
  it("says of each token what it is, and is painted by drag and by keys", async () => {
    const tokens = [
      promptToken("<s>", { special: true, sink: true }),
      promptToken("user", { template: true }),
      promptToken(" a"),
      promptToken(" b"),
    ];
    const prompt_tokens = { tokens, prompt: "Hi", chat: true };
    const positions = { where: "all", indices: [], special: false };
    model = new FakeModel({ ...state(), prompt_tokens, positions });
    mount();
    const pieces = () => [...named("Prompt tokens").querySelectorAll<HTMLElement>("button")];
    const names = () => pieces().map((each) => each.getAttribute("aria-label"));
    expect(names()).toEqual([
      "token 0 <s>, special, attention sink, excluded",
      "token 1 user, template, excluded",
      "token 2 ␣a, steered",
      "token 3 ␣b, steered",
    ]);
    const point = (type: string, at: number, buttons: number) =>
      pieces()[at]?.dispatchEvent(new PointerEvent(type, { bubbles: true, buttons }));
    point("pointerdown", 2, 1);
    point("pointerout", 2, 1);
    point("pointerover", 3, 1);
    point("pointerup", 3, 0);
    await painted();
    expect(names().slice(2)).toEqual(["token 2 ␣a, left out", "token 3 ␣b, left out"]);
    pieces()[2]?.click();
    await painted();
    pieces()[2]?.dispatchEvent(
      new KeyboardEvent("keydown", { key: "ArrowRight", shiftKey: true, bubbles: true }),
    );
    await painted();
    expect(model.values.positions).toEqual({ where: "indices", indices: [2, 3], special: true });
  });
});

describe("recipes that come from elsewhere", () => {
  it("are taken over by request, and what is wrong with them is said", async () => {
    mount();
    button("Recipe JSON")?.click();
    await painted();
    const box = named<HTMLTextAreaElement>("Recipe to import");
    box.value = "{nonsense";
    box.dispatchEvent(new Event("input"));
    await painted();
    button("Import")?.click();
    expect(model.sent.at(-1)).toMatchObject({
      name: "preset",
      args: { do: "import", text: "{nonsense" },
    });
    const error = { message: "This is no recipe.", kind: "ValueError" };
    model.says({ type: "error", id: model.lastId, error });
    await painted();
    expect(el.querySelector("[role=alert]")?.textContent).toContain("This is no recipe.");
    expect(named<HTMLTextAreaElement>("Recipe to import").value).toBe("{nonsense");
  });
});
