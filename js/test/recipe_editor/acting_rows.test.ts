import { beforeEach, describe, expect, it } from "vitest";
import featurePicker from "../../src/widgets/feature_picker";
import { staticModel } from "../../src/widgets/static_host";
import { feature, OPS } from "../examples";
import { FakeModel } from "../host/fake_model";
import { all, button, el, named, painted, show } from "../page";

const HOSTILE = "<img src=x onerror=alert(1)>";
const SEA = feature({ key: "a", label: "the sea", layer: 15 });
const FOOD = feature({ key: "b", label: "food", layer: 12 });
const LATE = feature({ key: "c", label: "late", layer: 20 });

const steer = (key: string, over: object = {}) => ({
  id: `s-${key}`,
  key,
  op: "add",
  params: { alpha: 4 },
  enabled: true,
  ...over,
});

let model: FakeModel;

function state(steers: object[], more: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    ops: OPS,
    steers,
    steer_features: { a: SEA, b: FOOD, c: LATE },
    positions: { where: "all", indices: [], special: true },
    ...more,
  };
}

async function mount(steers: object[], more: Record<string, unknown> = {}): Promise<void> {
  model = new FakeModel(state(steers, more));
  show(featurePicker, model);
  await painted();
}

async function open(label = "the sea"): Promise<void> {
  button(`Where and when ${label} acts`)?.click();
  await painted();
}

async function choose(name: string, value: string): Promise<void> {
  const box = named<HTMLSelectElement>(name);
  box.value = value;
  box.dispatchEvent(new Event("change", { bubbles: true }));
  await painted();
}

async function type(name: string, value: number): Promise<void> {
  const box = named<HTMLInputElement>(name);
  box.value = String(value);
  box.dispatchEvent(new Event("input", { bubbles: true }));
  box.dispatchEvent(new Event("blur", { bubbles: true }));
  await painted();
}

const first = () => (model.get("steers") as Record<string, unknown>[])[0];
const options = (name: string) =>
  [...named<HTMLSelectElement>(name).options].map((option) => option.textContent);
const said = () => [...el.querySelectorAll(".sw--acting")].map((each) => each.textContent);

describe("where and when a steer acts", () => {
  beforeEach(() => mount([steer("a"), steer("b"), steer("c")], { selected: "c" }));

  it("is shown where it is asked for", async () => {
    expect(all("the sea where and when")).toHaveLength(0);
    const opener = button("Where and when the sea acts");
    expect(opener?.getAttribute("aria-expanded")).toBe("false");
    await open();
    expect(opener?.getAttribute("aria-expanded")).toBe("true");
    expect(named("the sea where and when").getAttribute("role")).toBe("group");
    await open();
    expect(all("the sea where and when")).toHaveLength(0);
  });

  it("places one steer and leaves the others", async () => {
    await open();
    expect(named<HTMLSelectElement>("the sea positions").value).toBe("all");
    await choose("the sea positions", "after generated");
    await type("the sea positions count", 5);
    expect(model.get("positions")).toMatchObject({ where: "mixed" });
    const steers = model.get("steers") as { positions: object }[];
    expect(steers.map(({ positions }) => positions)).toMatchObject([
      { where: "after", of: "generated", count: 5, special: true },
      { where: "all" },
      { where: "all" },
    ]);
    expect(said()[0]).toBe("generated tokens after 5");
    named("the sea special and template tokens").click();
    await painted();
    expect(first()).toMatchObject({ positions: { where: "after", special: false } });
  });

  it("reads features of its own block and of earlier ones", async () => {
    await open();
    expect(options("the sea condition")).toEqual(["always", "the sea", "food"]);
    await choose("the sea condition", "b");
    expect(first()).toMatchObject({ when: { feature: "b", is: ">", than: 0 } });
    await choose("the sea condition side", "<");
    await type("the sea condition threshold", -1.5);
    expect(first()).toMatchObject({ when: { feature: "b", is: "<", than: -1.5 } });
    expect(said()).toEqual(["only when food < −1.5"]);
    await choose("the sea condition", "");
    expect(first()).toMatchObject({ when: null });
    expect(all("the sea condition threshold")).toHaveLength(0);
  });

  it("fades", async () => {
    await open();
    await choose("the sea fade", "fades");
    expect(first()).toMatchObject({ fade: { to: 0, over: 32 } });
    await type("the sea fade to", 0.5);
    await type("the sea fade over", 8);
    expect(first()).toMatchObject({ fade: { to: 0.5, over: 8 } });
    expect(said()).toEqual(["fades to 0.5 × over 8 generated tokens"]);
    await choose("the sea fade", "stays");
    expect(first()).toMatchObject({ fade: null });
  });
});

describe("what was set in code", () => {
  const when = {
    any: [
      { feature: "b", is: ">", than: 2 },
      { feature: "z", is: "<", than: 1 },
    ],
  };
  const both = {
    where: "both",
    special: true,
    parts: [
      { where: "after", count: 3, special: true },
      { where: "role", role: "user", special: true },
    ],
  };
  const mixed = { positions: { where: "mixed", indices: [], special: true } };

  it("is said in words, and can be lifted", async () => {
    await mount([steer("a", { when, positions: both })], mixed);
    expect(said()).toEqual([
      "tokens of the text after 3 that are also the user's words",
      "only when food > 2 or z < 1",
    ]);
    await open();
    expect(named<HTMLSelectElement>("the sea positions").value).toBe("code");
    button("Remove condition of the sea")?.click();
    await painted();
    expect(first()).toMatchObject({ when: null, positions: both });
    expect(named<HTMLSelectElement>("the sea condition").value).toBe("");
  });

  it("is text, whatever it holds, and stands in saved pages", async () => {
    const hostile = feature({ key: "b", label: HOSTILE });
    const made = steer("a", { when: { feature: "b", is: ">", than: 1 }, positions: both });
    const saved = state([made], { ...mixed, steer_features: { a: SEA, b: hostile } });
    show(featurePicker, staticModel(saved));
    await painted();
    expect(said().at(-1)).toBe(`only when ${HOSTILE} > 1`);
    expect(el.querySelector("img")).toBeNull();
  });

  it("says nothing of recipes that have none of it", async () => {
    await mount([steer("a")]);
    expect(said()).toEqual([]);
  });
});
