import { describe, expect, it, vi } from "vitest";
import { type Found, SEARCH } from "../../src/recipe_editor/types";
import featurePicker from "../../src/widgets/feature_picker";
import { staticModel } from "../../src/widgets/static_host";
import { byColumn, feature, OPS, token } from "../examples";
import { FakeModel } from "../host/fake_model";
import { all, button, el, lives, named, painted, show } from "../page";

const BARS = Array.from({ length: 12 }, (_, bar) => 64 - 5 * bar);
const LABELLED = { labelled: 3, has_density: true, has_histogram: true };
const SAE = { fingerprint: "sae", kind: "SAE", layer: 15, name: "small", size: 3, ...LABELLED };
const CAV = { fingerprint: "cav", kind: "CAV", layer: 15, name: "mine", size: 1, ...LABELLED };

function found(index: number, label: string, over: Partial<Found> = {}): Found {
  const own = { key: `sae/${index}`, index, label, label_source: "a file", dictionary: "sae" };
  return { ...feature({}), ...own, density: index / 100, histogram: BARS, ...over };
}

const SMALL = [
  found(1, "the sea", { max_activation: 10, max_activation_of: "a corpus" }),
  found(2, "music", { max_activation: 30 }),
  found(3, "the seaside", { max_activation: null, label_source: "" }),
  found(4, "sailing", { dictionary: "cav", kind: "CAV", density: null }),
];

let model: FakeModel;

function mount(values: Record<string, unknown> = {}, views = 1, frozen = false): void {
  const state = {
    ops: OPS,
    catalogue: { features: SMALL, total: SMALL.length, complete: true },
    dictionaries: [SAE, CAV],
    ...values,
  };
  model = new FakeModel(state);
  show(featurePicker, frozen ? staticModel(state) : model, views);
}

const large = (total = 1_000_000) => ({
  catalogue: { features: SMALL, total, complete: false },
});
const rows = () => [...el.querySelectorAll<HTMLElement>(".sw-features .sw--row")];
const labels = () => rows().map((row) => row.querySelector(".sw--label")?.textContent);
const radio = (text: string) => {
  const label = [...el.querySelectorAll("label")].find((each) => each.textContent === text);
  return label?.querySelector("input") as HTMLInputElement;
};
const type = async (text: string, name = "Search features") => {
  const box = named<HTMLInputElement>(name);
  box.value = text;
  box.dispatchEvent(new Event("input", { bubbles: true }));
  await painted();
};
const asked = (name = "find") => model.sent.filter((message) => message.name === name);
const args = () => asked().at(-1)?.args as Record<string, unknown>;
const answers = async (
  { features, ...rest }: { features?: object[]; [name: string]: unknown },
  request = asked().at(-1),
) => {
  const value = features ? { ...byColumn(features as Record<string, unknown>[]), ...rest } : rest;
  model.says({ type: "result", id: request?.id, value });
  await painted();
};
const press = (key: string) =>
  document.activeElement?.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));

describe("a small catalogue", () => {
  it("is searched without the kernel: words, kind, index", async () => {
    mount();
    await painted();
    expect(labels()).toEqual(["the sea", "music", "the seaside", "sailing"]);
    for (const [query, expected] of [
      ["sea", ["the sea", "the seaside"]],
      ["cav", ["sailing"]],
      ["#2", ["music"]],
      ["nothing like it", []],
    ] as const) {
      await type(query);
      expect(labels()).toEqual(expected);
    }
    expect(el.textContent).toContain("No label has every word of “nothing like it”");
    await painted(200);
    expect(asked()).toEqual([]);
  });

  it("shows what is known of a feature, in its row and in words", async () => {
    mount();
    await painted();
    const [row] = rows();
    expect(row?.getAttribute("aria-setsize")).toBe("4");
    expect(row?.getAttribute("aria-posinset")).toBe("1");
    expect(row?.textContent).toContain("1\u202f%");
    expect(row?.querySelector(".sw--max")?.getAttribute("title")).toBe("largest value in a corpus");
    expect(row?.querySelector("svg title")?.textContent).toBe("log counts of its values, 0 to 10");
    expect(row?.querySelector("path")?.getAttribute("d")?.match(/M/g)).toHaveLength(12);
  });

  it("is sorted and filtered here as well; unknown numbers come last", async () => {
    mount();
    await painted();
    const sort = named<HTMLSelectElement>("Sort features");
    const choose = async (value: string) => {
      sort.value = value;
      sort.dispatchEvent(new Event("change", { bubbles: true }));
      await painted();
    };
    expect([...sort.options].map((option) => option.text)).toEqual([
      "labelled first",
      "how often they fire",
      "largest activation",
      "number",
      "output score",
    ]);
    await choose("maximum");
    expect(labels()).toEqual(["music", "the sea", "the seaside", "sailing"]);
    named("Largest first").click();
    await painted();
    expect(labels().slice(0, 2)).toEqual(["the sea", "music"]);
    await choose("match");
    button("Filters")?.click();
    await painted();
    const check = radio("has a label");
    check.click();
    await painted();
    expect(labels()).toEqual(["the sea", "music", "sailing"]);
    button("mine")?.click();
    await painted();
    expect(labels()).toEqual(["the sea", "music"]);
    await type("1.5", "Least density, %");
    expect(labels()).toEqual(["music"]);
    expect(button("Filters 3")).toBeDefined();
    await painted(200); // many edits make one message
    expect((model.get("search") as typeof SEARCH).filters).toEqual({
      density: [0.015, 1],
      labelled: true,
      dictionaries: ["sae"],
      verdicts: null,
    });
  });

  it("shows what the user made of labels, and filters by it here", async () => {
    const [first, ...others] = SMALL as [Found, ...Found[]];
    const features = [{ ...first, verdict: "too wide" }, ...others];
    mount({ catalogue: { features, total: features.length, complete: true } });
    await painted();
    expect(el.querySelector("[title='Your verdict on its label']")?.textContent).toBe("too wide");
    button("Filters")?.click();
    await painted();
    const choose = async (verdict: string) => {
      const select = named<HTMLSelectElement>("Verdict");
      select.value = verdict;
      select.dispatchEvent(new Event("change", { bubbles: true }));
      await painted();
    };
    await choose("too wide");
    expect(labels()).toEqual([first.label]);
    await choose("wrong");
    expect(el.textContent).toContain("No feature passes the filters");
    await choose("");
    expect(labels()).toHaveLength(features.length);
  });

  it("says what to do where there is nothing", async () => {
    mount({ catalogue: { features: [], total: 0, complete: true }, dictionaries: [] });
    await painted();
    expect(el.textContent).toContain("No dictionary is attached. Pass some: FeaturePicker(lm,");
  });
});

describe("a million features", () => {
  it("exist only where they are looked at, and come page by page", async () => {
    mount(large());
    await vi.waitFor(() => expect(asked()).toHaveLength(1));
    expect(args()).toMatchObject({ ...SEARCH, offset: 0, limit: 100 });
    const page = Array.from({ length: 100 }, (_, index) => found(index, `label ${index}`));
    await answers({ features: page, total: 1_000_000 });
    expect(rows().length).toBeLessThan(40);
    expect(labels()[0]).toBe("label 0");
    expect(named("Features").textContent).toContain("1,000,000 features");

    const list = el.querySelector(".sw-features") as HTMLElement;
    list.scrollTop = 4_000_000; // half of the bar
    list.dispatchEvent(new Event("scroll"));
    await painted();
    expect(rows()[0]?.textContent).toContain("loading row 5");
    await vi.waitFor(() => expect(asked().length).toBeGreaterThan(1));
    const offset = args().offset as number;
    expect(offset % 100).toBe(0);
    expect(Math.abs(offset - 500_000)).toBeLessThan(200);
    const far = Array.from({ length: 100 }, (_, index) => found(offset + index, `far ${index}`));
    for (const request of asked().slice(1))
      await answers({ features: far, total: 1_000_000 }, request);
    expect(labels().some((label) => label?.startsWith("far"))).toBe(true);
  });

  it("are asked for where the scrolling rests, not on the way", async () => {
    mount(large());
    await vi.waitFor(() => expect(asked()).toHaveLength(1));
    await answers({ features: SMALL, total: 1_000_000 });
    const list = el.querySelector(".sw-features") as HTMLElement;
    for (const top of [1_000_000, 2_000_000, 3_000_000, 5_000_000]) {
      list.scrollTop = top;
      list.dispatchEvent(new Event("scroll"));
    }
    await vi.waitFor(() => expect(args().offset as number).toBeGreaterThan(600_000));
    expect(asked().length).toBeLessThanOrEqual(3);
  });

  it("are reached by keys: Home, End, a page at a time", async () => {
    mount(large());
    await vi.waitFor(() => expect(asked()).toHaveLength(1));
    await answers({ features: SMALL, total: 1_000_000 });
    named("Search features").dispatchEvent(
      new KeyboardEvent("keydown", { key: "ArrowDown", bubbles: true }),
    );
    expect(document.activeElement?.textContent).toBe("the sea");
    press("PageDown");
    await painted();
    expect((document.activeElement as HTMLElement).dataset.index).toBe("13");
    press("End");
    await painted();
    expect((document.activeElement as HTMLElement).dataset.index).toBe("999999");
    press("Home");
    await painted();
    expect(document.activeElement?.textContent).toBe("the sea");
  });
});

describe("a search in the kernel", () => {
  it("waits for a pause, gives up the one before, and keeps the old rows meanwhile", async () => {
    mount(large(5000));
    await vi.waitFor(() => expect(asked()).toHaveLength(1));
    await answers({ features: SMALL, total: 5000 });
    await type("s");
    await type("se");
    await vi.waitFor(() => expect(args().query).toBe("se"));
    expect(asked()).toHaveLength(2);
    expect(labels()).toContain("music");
    expect(el.textContent).toContain("Searching…");
    const slow = asked().at(-1);
    await type("sea");
    expect(model.sent).toContainEqual({ type: "cancel", id: slow?.id });
    await vi.waitFor(() => expect(args().query).toBe("sea"));
    await answers({ features: SMALL.slice(1, 2), total: 1 }, slow); // too late
    expect(labels()).toContain("the sea");
    await answers({ features: SMALL.slice(0, 1), total: 1 });
    expect(labels()).toEqual(["the sea"]);
    expect(el.textContent).toContain("1 of 5,000 features");
  });

  it("says what went wrong, and keeps what was found", async () => {
    mount(large(5000));
    await vi.waitFor(() => expect(asked()).toHaveLength(1));
    const error = { message: "The index is gone.", kind: "OSError" };
    model.says({ type: "error", id: asked()[0]?.id, error });
    await painted();
    expect(el.querySelector("[role=alert]")?.textContent).toContain("The index is gone.");
    expect(labels()[0]).toBe("the sea");
    button("Dismiss")?.click();
    await painted();
    expect(el.querySelector("[role=alert]")).toBeNull();
  });

  it("by prompt ranks by maximum, mean or a span of its tokens", async () => {
    mount();
    await painted();
    radio("fires on prompt").click();
    await painted();
    expect(el.textContent).toContain("Write a text");
    await type("Hi the sea", "Prompt to search by");
    await vi.waitFor(() => expect(args()).toMatchObject({ mode: "prompt", query: "Hi the sea" }));
    const tokens = ["Hi", " the", " sea"].map(token);
    const hit = found(1, "the sea", { value: 0.83, at: { position: 2, token: token(" sea") } });
    const note = "largest activation / p99.5";
    await answers({ features: [hit], total: 1, tokens, note });
    expect(el.querySelector(".sw--value[title]")?.getAttribute("title")).toBe(
      `${note} at token 2 ␣sea`,
    );
    expect(rows()[0]?.textContent).toContain("0.83");
    expect(el.querySelector(".sw--head")?.textContent).toContain("fires");

    radio("span").click();
    await painted();
    expect(el.textContent).toContain("Choose the first and the last token");
    named("token 2 ␣sea").click();
    named("token 1 ␣the").click();
    await vi.waitFor(() => expect(args()).toMatchObject({ rank: "span", span: [1, 2] }));
    expect(named("token 1 ␣the").getAttribute("aria-pressed")).toBe("true");
    expect(named("token 0 Hi").getAttribute("aria-pressed")).toBe("false");
    named("Normalised").click();
    await vi.waitFor(() => expect(args()).toMatchObject({ normalise: !SEARCH.normalise }));
  });

  it("by token asks for those that promote it, or suppress it", async () => {
    mount();
    await painted();
    radio("promotes").click();
    await painted();
    expect(el.textContent).toContain("Write a word");
    await type(" sea");
    await vi.waitFor(() => expect(args()).toMatchObject({ mode: "token", promotes: true }));
    radio("suppresses").click();
    await vi.waitFor(() => expect(args()).toMatchObject({ promotes: false, query: " sea" }));
    radio("label").click();
    await painted();
    expect(named<HTMLInputElement>("Search features").value).toBe(""); // each mode has its own text
  });

  it("by likeness takes the row that was chosen", async () => {
    mount();
    await painted();
    radio("similar").click();
    await painted();
    expect(el.textContent).toContain("Choose a row in another mode first");
    radio("label").click();
    await painted();
    button("music")?.click();
    expect(model.get("selected")).toBe("sae/2");
    radio("similar").click();
    await vi.waitFor(() => expect(args()).toMatchObject({ mode: "similar", key: "sae/2" }));
    expect(el.textContent).toContain("Similar to music");
  });

  it("by output score measures on demand, says how far it is, and stops", async () => {
    mount();
    await painted();
    const sort = named<HTMLSelectElement>("Sort features");
    sort.value = "output_score";
    sort.dispatchEvent(new Event("change", { bubbles: true }));
    await vi.waitFor(() => expect(args()).toMatchObject({ sort: "output_score" }));
    await answers({ features: SMALL, total: 4 });
    expect(asked("score")).toEqual([]);
    button("Score 4 rows")?.click();
    await painted();
    const request = asked("score")[0];
    expect(request?.args).toEqual({ keys: ["sae/1", "sae/2", "sae/3", "sae/4"] });
    const id = request?.id as string;
    model.says({ type: "accepted", id });
    model.says({ type: "progress", id, seq: 0, done: 1, of: 4, seconds_left: 30 });
    await painted();
    expect(el.textContent).toContain("Scored 1 of 4 · 30 s left");
    button("Stop scoring")?.click();
    expect(model.sent.at(-1)).toEqual({ type: "cancel", id });
    const before = asked().length;
    model.says({ type: "cancelled", id });
    await vi.waitFor(() => expect(asked().length).toBe(before + 1));
    const scored = { ...SMALL[0], output_score: 0.7 };
    await answers({ features: [scored, ...SMALL.slice(1)], total: 4 });
    expect(el.querySelector(".sw--value[title='output score']")?.textContent).toBe("0.7");
    expect(button("Score 3 rows")).toBeDefined();
  });
});

describe("a picker", () => {
  it("selects a row and adds it to the recipe", async () => {
    mount();
    await painted();
    button("music")?.click();
    named("Add feature music").click();
    await painted();
    expect(model.get("selected")).toBe("sae/2");
    expect(model.get("steers")).toMatchObject([{ key: "sae/2", op: "add", enabled: true }]);
    expect(named("Recipe").textContent).toContain("music");
    expect(button("music")?.getAttribute("aria-pressed")).toBe("true");
    named("Remove music").click();
    expect(model.get("steers")).toEqual([]);
  });

  it("is used by keys alone: to the row, to its plus, back to typing", async () => {
    mount();
    await painted();
    named("Search features").dispatchEvent(
      new KeyboardEvent("keydown", { key: "ArrowDown", bubbles: true }),
    );
    press("ArrowDown");
    await painted();
    expect(document.activeElement?.textContent).toBe("music");
    press("ArrowRight");
    await painted();
    expect(document.activeElement).toBe(named("Add feature music"));
    expect(el.querySelectorAll(".sw-features [tabindex='0']")).toHaveLength(1);
    press("m"); // typing goes to the box
    expect(document.activeElement).toBe(named("Search features"));
  });

  it("has views that stay in step, and leaves nothing behind", async () => {
    mount({}, 2);
    await type("sea");
    const boxes = all("Search features") as HTMLInputElement[];
    expect(boxes.map((box) => box.value)).toEqual(["sea", "sea"]);
    const groups = [...el.querySelectorAll<HTMLInputElement>("[type=radio]")];
    expect(new Set(groups.map((each) => each.name)).size).toBe(2);
    for (const life of lives) life.abort();
    expect(model.listeners).toBe(0);
    expect(el.childNodes).toHaveLength(0);
  });

  it("follows code", async () => {
    mount();
    await painted();
    model.changes("search", { ...SEARCH, query: "music" });
    await painted();
    expect(named<HTMLInputElement>("Search features").value).toBe("music");
    expect(labels()).toEqual(["music"]);
  });

  it("shows text of files as text", async () => {
    const hostile = '<img src=x onerror="globalThis.hacked=1">';
    const features = [found(1, hostile)];
    mount({ catalogue: { features, total: 1, complete: true } });
    await painted();
    expect(labels()).toEqual([hostile]);
    expect(el.querySelector("img")).toBeNull();
  });

  it("is a frozen copy: it searches what it holds, and says what needs the kernel", async () => {
    mount(large(70_000), 1, true);
    await type("sea");
    expect(labels()).toEqual(["the sea", "the seaside"]);
    expect(el.textContent).toContain("2 features of those in this page; the kernel has all 70,000");
    radio("fires on prompt").click();
    await painted();
    expect(el.textContent).toContain("this needs the kernel");
    expect(named<HTMLTextAreaElement>("Prompt to search by").disabled).toBe(true);
    expect(button("Save as HTML")).toBeUndefined();
  });
});
