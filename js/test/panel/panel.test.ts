import { beforeEach, describe, expect, it, vi } from "vitest";
import type { HostModel } from "../../src/host/host";
import { staticModel } from "../../src/widgets/static_host";
import steeringPanel from "../../src/widgets/steering_panel";
import { byColumn, feature, OPS, result, token } from "../examples";
import { FakeModel } from "../host/fake_model";
import { button, el, lives, named, painted, show } from "../page";

const HOSTILE = '<img src=x onerror="globalThis.hacked=1"><script>globalThis.hacked=1</script>';

let model: FakeModel;

function state() {
  const sea = feature({ key: "k", label: HOSTILE, max_activation: 10 });
  return {
    prompt: "Hi",
    tab: "history", // the first one asks the kernel by itself
    ops: OPS,
    catalogue: { features: [sea, feature({ key: "m", label: "music" })], total: 2, complete: true },
    steers: [{ id: "s1", key: "k", op: "add", params: { alpha: 5 }, enabled: true }],
    steer_features: { k: sea },
    result: result(["My", " week"], ["My", HOSTILE, "\n\n", " sea"]),
  };
}

const mount = (host: HostModel = model, views = 1) => show(steeringPanel, host, views);

const status = () => el.querySelector("[role=status]")?.textContent;

beforeEach(() => {
  model = new FakeModel(state());
});

describe("the panel", () => {
  it("leaves nothing on the model or the page when it goes", () => {
    mount(model, 2);
    expect(model.listeners).toBeGreaterThan(0);
    for (const life of lives) life.abort();
    expect(model.listeners).toBe(0);
    expect(el.childNodes).toHaveLength(0);
  });

  it("cleans up through the returned function on hosts without signals", () => {
    const widget = steeringPanel();
    const endModel = widget.initialize({ model });
    const endView = widget.render({ model, el });
    endView?.();
    expect(el.childNodes).toHaveLength(0);
    endModel?.();
    expect(model.listeners).toBe(0);
  });

  it("returns nothing to hosts with signals, which would take it for exports", () => {
    const { signal } = new AbortController();
    expect(steeringPanel().initialize({ model, signal })).toBeUndefined();
  });

  it("shows text of models and files as text, exactly", () => {
    mount();
    expect(el.querySelector("img, script")).toBeNull();
    expect((globalThis as Record<string, unknown>).hacked).toBeUndefined();
    expect(named("Steered tokens")?.textContent).toBe(`My${HOSTILE}\n\n sea`);
    expect(named(`Remove ${HOSTILE}`)).toBeDefined();
  });

  it("sends everything a run depends on, and starts on the screen at once", async () => {
    mount();
    button("Generate")?.click();
    await painted();
    expect(status()).toBe("Starting…");
    expect(model.sent.at(-1)).toMatchObject({
      type: "request",
      name: "generate",
      args: { prompt: "Hi", steers: [{ id: "s1" }], watched: "" },
    });
  });

  it("streams, then shows the result", async () => {
    mount();
    button("Generate")?.click();
    const id = model.lastId;
    model.says({ type: "accepted", id });
    model.says({ type: "delta", id, seq: 0, rows: [{ row: 1, start: 0, tokens: [token("Oh")] }] });
    await painted();
    expect(named("Steered")?.getAttribute("aria-busy")).toBe("true");
    expect(named("Steered tokens")?.textContent).toBe("Oh");
    model.changes("result", result(["A"], ["Oh", " sea"]));
    model.says({ type: "result", id, value: {} });
    await painted();
    expect(named("Steered")?.getAttribute("aria-busy")).toBe("false");
    expect(named("Steered tokens")?.textContent).toBe("Oh sea");
  });

  it("asks for the whole text when a message is missing", async () => {
    mount();
    button("Generate")?.click();
    const run = model.lastId;
    model.says({ type: "accepted", id: run });
    model.says({
      type: "delta",
      id: run,
      seq: 3,
      rows: [{ row: 1, start: 9, tokens: [token("x")] }],
    });
    expect(model.sent.at(-1)).toMatchObject({ name: "resync", args: { run } });
    const rows = [{ tokens: [token("a")] }, { tokens: [token("b"), token("c")] }];
    model.says({ type: "result", id: model.lastId, value: { rows, divergence: 0 } });
    await painted();
    expect(named("Steered tokens")?.textContent).toBe("bc");
  });

  it("keeps the last good result and says what went wrong", async () => {
    mount();
    button("Generate")?.click();
    model.says({
      type: "error",
      id: model.lastId,
      error: { message: "Out of memory: shorten.", kind: "E" },
    });
    await painted();
    expect(el.querySelector("[role=alert]")?.textContent).toContain("Out of memory: shorten.");
    expect(named("Steered tokens")?.textContent).toContain("sea");
    button("Dismiss")?.click();
    await painted();
    expect(el.querySelector("[role=alert]")).toBeNull();
  });

  it("stops through the kernel", async () => {
    mount();
    button("Generate")?.click();
    const id = model.lastId;
    model.says({ type: "accepted", id });
    button("Stop")?.click();
    await painted();
    expect(model.sent.at(-1)).toEqual({ type: "cancel", id });
    expect(status()).toBe("Stopping…");
    model.says({ type: "cancelled", id });
    await painted();
    expect(button("Generate")?.getAttribute("aria-disabled")).toBe("false");
  });

  it("shows a run that code started, and can stop it", async () => {
    mount();
    model.says({ type: "progress", id: "py", seq: 0, state: "running", done: 1, total: 4 });
    await painted();
    button("Stop")?.click();
    expect(model.sent.at(-1)).toEqual({ type: "cancel", id: "py" });
  });

  it("does not take the progress of a search for a run", async () => {
    mount();
    model.says({ type: "progress", id: "find", seq: 0, state: "waiting" });
    model.says({ type: "progress", id: "score", seq: 0, done: 1, of: 4, seconds_left: 3 });
    await painted();
    expect(button("Stop")?.getAttribute("aria-disabled")).toBe("true");
  });

  it("takes a random direction in the place of a feature, and lets it go again", async () => {
    mount();
    const control = () => (model.get("steers") as { control?: unknown }[])[0]?.control;
    named(`${HOSTILE} random direction`)?.click();
    expect(control()).toEqual({ seed: 0 });
    await painted();
    expect(named(`${HOSTILE} random direction`)?.getAttribute("aria-pressed")).toBe("true");
    named(`${HOSTILE} random direction`)?.click();
    expect(control()).toBeNull();
  });

  it("adds, edits and removes steers", async () => {
    mount();
    named("Add feature music")?.click();
    await painted();
    expect(model.saved.flatMap(Object.keys)).toEqual(["steers", "watched"]);
    const slider = named("music") as HTMLInputElement;
    slider.value = "30";
    slider.dispatchEvent(new Event("input", { bubbles: true }));
    await painted();
    const steers = model.get("steers") as { key: string; params: { alpha: number } }[];
    expect(steers.map(({ key }) => key)).toEqual(["k", "m"]);
    expect(steers[1]?.params.alpha).toBe(30);
    named("Remove music")?.click();
    expect(model.get("steers")).toHaveLength(1);
  });

  it("shows a first page of many features, and says where nobody counted them", async () => {
    const found = [feature({ key: "w", label: "waves", label_source: "your label" })];
    model.values.catalogue = { features: found, total: 70_000, complete: false };
    mount();
    const box = named("Search features") as HTMLInputElement;
    box.value = "wav";
    box.dispatchEvent(new Event("input", { bubbles: true }));
    await vi.waitFor(() => expect(model.sent.at(-1)).toMatchObject({ name: "find" }));
    expect(model.sent.at(-1)).toMatchObject({ args: { query: "wav", offset: 0, limit: 100 } });
    const value = { ...byColumn(found as never), total: 1000, more: true };
    model.says({ type: "result", id: model.lastId, value });
    await painted();
    expect(named("Features")?.textContent).toContain("more than 1,000 features");
    expect(el.querySelector("[title='waves · your label']")?.textContent).toBe("waves");
  });

  it("takes a typed strength beyond the slider's end, and the slider follows", async () => {
    mount();
    named("Add feature music")?.click();
    await painted();
    const type = (text: string) => {
      const box = named("music strength") as HTMLInputElement;
      box.dispatchEvent(new Event("focus"));
      box.value = text;
      box.dispatchEvent(new Event("input", { bubbles: true }));
      box.dispatchEvent(new Event("blur"));
    };
    const slider = () => named("music") as HTMLInputElement;
    expect(Number(slider().max)).toBeLessThan(5000);
    for (const value of [5000, -7000]) {
      type(`${value}`);
      await painted();
      const steers = model.get("steers") as { params: { alpha: number } }[];
      expect(steers[1]?.params.alpha).toBe(value);
      expect((named("music strength") as HTMLInputElement).value).toBe(`${value}`);
      expect(Number(slider().value)).toBe(value);
    }
    expect([Number(slider().min), Number(slider().max)]).toEqual([-7000, 5000]);
  });

  it("moves the focus by keys, pins with Enter and lets go with Escape", async () => {
    mount();
    const tokens = named("Steered tokens") as HTMLElement;
    const press = (key: string) =>
      (document.activeElement as HTMLElement).dispatchEvent(
        new KeyboardEvent("keydown", { key, bubbles: true }),
      );
    const stops = tokens.querySelectorAll("[tabindex='0']");
    expect(stops).toHaveLength(1);
    (stops[0] as HTMLElement).focus();
    press("End");
    press("ArrowLeft");
    press("Enter");
    await painted();
    expect(tokens.querySelector("[aria-selected=true]")?.getAttribute("data-index")).toBe("2");
    press("Escape");
    await painted();
    expect(tokens.querySelector("[aria-selected=true]")).toBeNull();
  });

  it("keeps typing away from the notebook's shortcuts", () => {
    mount();
    const heard = vi.fn();
    document.addEventListener("keydown", heard);
    named("Prompt")?.dispatchEvent(new KeyboardEvent("keydown", { key: "d", bubbles: true }));
    expect(heard).not.toHaveBeenCalled();
    named("Prompt")?.dispatchEvent(
      new KeyboardEvent("keydown", { key: "s", ctrlKey: true, bubbles: true }),
    );
    expect(heard).toHaveBeenCalledTimes(1);
  });

  it("asks for the lens of the token that is pinned, says why there is none, and closes it", async () => {
    mount();
    const token = el.querySelector('[role=option][aria-label^="␣sea"]') as HTMLElement;
    expect(named("Logit lens of ␣sea")).toBeUndefined();
    token.click();
    await painted();
    named("Logit lens of ␣sea")?.click();
    expect(model.sent.at(-1)).toMatchObject({ name: "lens", args: { row: "steered", step: 3 } });
    model.says({ type: "error", id: model.lastId, error: { message: "No run.", kind: "input" } });
    await painted();
    expect(el.querySelector("[role=alert]")?.textContent).toContain("No run.");
    model.changes("lens", "child");
    await painted();
    expect(named("Logit lens")?.getAttribute("role")).toBe("region");
    named("Close Logit lens")?.click();
    await painted();
    expect(model.get("lens")).toBe("");
    expect(named("Logit lens")).toBeUndefined();
    expect(document.activeElement).toBe(named("Logit lens of ␣sea"));
  });

  it("is a frozen copy without a kernel: readable, and honest that it cannot generate", () => {
    mount(staticModel(state()));
    expect(button("Generate")?.disabled).toBe(true);
    expect(status()).toBe("A frozen copy: run its cell in the notebook to generate.");
    expect(named("Steered tokens")?.textContent).toContain("sea");
    expect(button("Save as HTML")).toBeUndefined();
  });
});
