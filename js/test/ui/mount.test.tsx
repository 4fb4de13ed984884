import { signal } from "@preact/signals";
import { describe, expect, it } from "vitest";
import type { HostModel } from "../../src/host/host";
import { type Mounted, mount } from "../../src/ui/mount";
import { FakeModel } from "../host/fake_model";
import { el, painted } from "../page";

let made = 0;

class Count {
  readonly count = signal(0);
  constructor(_: HostModel, until: AbortSignal) {
    made++;
    until.addEventListener("abort", () => made--, { once: true });
  }
}

function View({ state, theme, root }: Mounted<Count>) {
  const look = `${root.className} ${theme.value.dark ? "at night" : "by day"}`;
  return (
    <button type="button" title={look} onClick={() => state.count.value++}>
      {state.count.value}
    </button>
  );
}

const texts = () => [...el.querySelectorAll("button")].map(({ textContent }) => textContent);

describe("a widget's entry", () => {
  it("gives all views of a model one state, and each model its own", async () => {
    const entry = mount(Count, View, "sw-count");
    const life = new AbortController();
    const props = { model: new FakeModel(), el, signal: life.signal };
    const [one, other] = [entry(), entry()];
    one.initialize(props);
    other.initialize(props);
    for (const widget of [one, one, other]) widget.render(props);
    el.querySelector("button")?.click();
    await painted();
    expect(texts()).toEqual(["1", "1", "0"]);
    expect(el.querySelector("button")?.title).toBe("sw sw-count by day");
    life.abort();
    expect([el.childElementCount, made]).toEqual([0, 0]);
  });

  it("works in hosts that render without having initialized, and in those that give no signal", () => {
    const widget = mount(Count, View, "sw-count")();
    const end = widget.render({ model: new FakeModel(), el });
    expect([texts(), made]).toEqual([["0"], 1]);
    end?.();
    expect([el.childElementCount, made]).toEqual([0, 0]);
  });
});
