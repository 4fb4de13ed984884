import { describe, expect, it } from "vitest";
import type { HostModel } from "../../src/host/host";
import { staticModel } from "../../src/widgets/static_host";
import tokenHeatmap from "../../src/widgets/token_heatmap";
import { packed } from "../examples";
import { FakeModel } from "../host/fake_model";
import { button, el, lives, painted, show } from "../page";
import { column, heatState } from "./examples";

const HOSTILE = '<img src=x onerror="globalThis.hacked=1">';
const SEA = column({ key: "k1", label: "the sea", index: 1 });
const FOOD = column({ key: "k2", label: HOSTILE, index: 2 });

function state(changes: object = {}) {
  return {
    ...heatState(
      ["<s>", "The", " sea", HOSTILE, "\n", "E2"],
      [
        [90, 90],
        [0, 1],
        [4, 0],
        [2, 3],
        [0, 0],
        [1, 0],
      ],
      [SEA, FOOD],
      [2, 0, 0, 0, 0, 1],
    ),
    strongest: {
      values: packed(Float32Array.from([9, 0, 3, 2, 4, 1, 2, 1, 0, 0, 1, 0]), [6, 2]),
      indices: packed(Uint16Array.from([7, 0, 2, 7, 1, 2, 2, 1, 0, 0, 1, 0]), [6, 2]),
      labels: { 1: "the sea", 2: HOSTILE, 7: "seven" },
    },
    ...changes,
  };
}

const sinkState = () => heatState(["The", " sea"], [[90], [3]], [SEA], [8, 0]);

const mount = (model: HostModel) => show(tokenHeatmap, model);

const cells = () => [...el.querySelectorAll<HTMLElement>("[role=gridcell]")];
const word = (index: number) => cells()[index]?.querySelector<HTMLElement>(".sw-word");
const detail = () => el.querySelector("[aria-label=Token]")?.textContent ?? "";
const point = (index: number) =>
  cells()[index]?.dispatchEvent(new Event("pointerover", { bubbles: true }));

describe("the heatmap", () => {
  it("leaves nothing on the model or the page when it goes", () => {
    const model = new FakeModel(state());
    mount(model);
    expect(model.listeners).toBeGreaterThan(0);
    for (const life of lives) life.abort();
    expect(model.listeners).toBe(0);
    expect(el.childNodes).toHaveLength(0);
  });

  it("shows text as text, exactly, in a named grid", () => {
    mount(new FakeModel(state()));
    expect(el.querySelector("img, script")).toBeNull();
    const grid = el.querySelector("[role=grid]");
    expect(grid?.getAttribute("aria-label")).toBe("Token activations");
    expect(grid?.textContent).toBe(`<s>The sea${HOSTILE}\nE2`);
    expect(cells()[2]?.getAttribute("aria-label")).toBe(`␣sea, the sea 4, ${HOSTILE} 0`);
  });

  it("outlines what does not count, and colours it by nothing", () => {
    mount(new FakeModel(state()));
    expect(word(0)?.className).toContain("uncounted");
    expect(word(0)?.style.background).toBe("");
    expect(cells()[0]?.getAttribute("aria-label")).toContain("special token, not counted");
    expect(word(2)?.style.background).not.toBe("");
    expect(word(1)?.className).not.toContain("uncounted");
  });

  it("leaves what does not count bare at every granularity", () => {
    mount(new FakeModel({ ...state({ granularity: "lines" }), ...sinkState() }));
    expect(word(0)?.className).toContain("uncounted");
    expect(word(0)?.style.background).toBe("");
    expect(word(1)?.style.background).not.toBe("");
  });

  it("answers the pointer without the kernel", async () => {
    const model = new FakeModel(state());
    mount(model);
    point(2);
    await painted();
    expect(detail()).toContain("id 102");
    expect(detail()).toContain("position 2");
    expect(detail()).toContain("Strongest here");
    expect(model.sent).toHaveLength(0);
    await new Promise((resolve) => setTimeout(resolve, 60));
    expect(model.get("hovered")).toBe(2);
    point(1);
    await painted();
    expect(detail()).toContain("seven");
    expect(model.sent).toHaveLength(0);
  });

  it("follows what code hovers and selects", async () => {
    const model = new FakeModel(state());
    mount(model);
    model.changes("hovered", 3);
    model.changes("selected", [1, 2]);
    await painted();
    expect(detail()).toContain("position 3");
    expect(word(3)?.className).toContain("active");
    expect(cells().map((cell) => cell.getAttribute("aria-selected"))).toEqual([
      "false",
      "true",
      "true",
      "false",
      "false",
      "false",
    ]);
  });

  it("moves by keys, pins with Enter, selects with Shift, lets go with Escape", async () => {
    const model = new FakeModel(state());
    mount(model);
    expect(el.querySelectorAll("[role=gridcell][tabindex='0']")).toHaveLength(1);
    cells()[0]?.focus();
    const press = async (key: string, shiftKey = false) => {
      (document.activeElement as HTMLElement).dispatchEvent(
        new KeyboardEvent("keydown", { key, shiftKey, bubbles: true }),
      );
      await painted();
    };
    await press("ArrowRight");
    await press("Enter");
    expect(model.get("selected")).toEqual([1]);
    await press("ArrowRight", true);
    await press("ArrowRight", true);
    expect(model.get("selected")).toEqual([1, 2, 3]);
    expect((document.activeElement as HTMLElement).dataset.index).toBe("3");
    await press("Escape");
    expect(model.get("selected")).toEqual([]);
  });

  it("solos a feature from the legend", async () => {
    const model = new FakeModel(state());
    mount(model);
    button("Solo the sea")?.click();
    await painted();
    expect(model.get("solo")).toBe("k1");
    expect(word(1)?.style.background).toBe("");
    expect(button("Solo the sea")?.getAttribute("aria-pressed")).toBe("true");
    button("Solo the sea")?.click();
    await painted();
    expect(word(1)?.style.background).not.toBe("");
  });

  it("draws a bar for each feature when colours are no help", async () => {
    const model = new FakeModel(state({ mixing: "stripes", domain: 4 }));
    mount(model);
    expect(word(3)?.style.background).toBe("");
    expect(word(3)?.style.backgroundSize).toBe("50% 3px, 75% 3px");
    expect(word(2)?.style.backgroundSize).toBe("100% 3px");
  });

  it("states the scale, and marks what lies beyond it", async () => {
    const model = new FakeModel(state({ domain: 3 }));
    mount(model);
    const legend = el.querySelector("[aria-label=Features]")?.textContent;
    expect(legend).toContain("linear · fixed");
    expect(legend).toContain("1 beyond");
    expect(word(2)?.className).toContain("clipped");
    expect(word(3)?.className).not.toContain("clipped");
    model.changes("domain", "text");
    await painted();
    expect(el.querySelector("[aria-label=Features]")?.textContent).toContain(
      "largest in this text",
    );
    expect(word(2)?.className).not.toContain("clipped");
  });

  it("asks which features fire at what is selected, and shows the answer", async () => {
    const model = new FakeModel(state({ selected: [1, 2] }));
    mount(model);
    button("Which features fire here")?.click();
    expect(model.sent.at(-1)).toMatchObject({ name: "fires", args: { positions: [1, 2] } });
    const features = [{ index: 7, key: "k7", label: "seven", value: 2, position: 1 }];
    model.changes("found", { positions: [1, 2], features });
    model.says({ type: "result", id: model.lastId, value: {} });
    await painted();
    button("Show seven")?.click();
    expect(model.sent.at(-1)).toMatchObject({ name: "show", args: { index: 7 } });
    model.says({ type: "error", id: model.lastId, error: { message: "One sentence.", kind: "E" } });
    await painted();
    expect(el.querySelector("[role=alert]")?.textContent).toContain("One sentence.");
    button("Dismiss")?.click();
    await painted();
    expect(el.querySelector("[role=alert]")).toBeNull();
  });

  it("never paints one text with the values of another", async () => {
    const model = new FakeModel(state());
    mount(model);
    model.changes("text", heatState(["a", "b"], [[1], [2]], [SEA]).text);
    await painted();
    expect(cells().map((cell) => cell.textContent)).toEqual(["a", "b"]);
    expect(word(0)?.style.background).toBe("");
  });

  it("keeps only the lines in sight of 20,000 tokens", () => {
    const texts = Array.from({ length: 20_000 }, (_, i) => (i % 12 ? ` word${i % 50}` : "\n"));
    mount(
      new FakeModel(
        heatState(
          texts,
          texts.map((_, i) => [i % 7]),
          [SEA],
        ),
      ),
    );
    expect(Number(el.querySelector("[role=grid]")?.getAttribute("aria-rowcount"))).toBeGreaterThan(
      1600,
    );
    expect(el.querySelectorAll("*").length).toBeLessThan(2500);
  }, 30_000);

  it("is a frozen copy without a kernel: it hovers, pins, solos, and asks for nothing", async () => {
    mount(
      staticModel(
        state({
          found: {
            positions: [1],
            features: [{ index: 7, key: "k7", label: "seven", value: 2, position: 1 }],
          },
        }),
      ),
    );
    expect(button("Save as HTML")).toBeUndefined();
    expect(button("Remove the sea")).toBeUndefined();
    cells()[2]?.click();
    await painted();
    expect(cells()[2]?.getAttribute("aria-selected")).toBe("true");
    expect(button("Which features fire here")).toBeUndefined();
    expect(button("Show seven")?.getAttribute("aria-disabled")).toBe("true");
    button("Solo the sea")?.click();
    await painted();
    expect(word(1)?.style.background).toBe("");
  });

  it("says what to do where nothing is chosen", () => {
    mount(new FakeModel(heatState(["a", "b"], [[], []], [])));
    expect(el.textContent).toContain("select some of the text and ask which features fire here");
  });
});
