// A subspace map: where things stand on its plane, what is asked of the kernel, and its page by accessible names.
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import {
  cameraOf,
  hit,
  onPlane,
  onScreen,
  panned,
  WHOLE,
  zoomed,
} from "../../src/subspace_map/camera";
import {
  boundsOf,
  densitiesOf,
  isWithin,
  loadingPlane,
  movedTo,
  type Place,
  placeOf,
  placesOf,
  stepOf,
  tidy,
} from "../../src/subspace_map/geometry";
import { MapState } from "../../src/subspace_map/map";
import { EMPTY_MAP, type MapTraits } from "../../src/subspace_map/types";
import factory from "../../src/widgets/subspace_map";
import { packed } from "../examples";
import { FakeModel } from "../host/fake_model";
import { el } from "../page";

const token = (id: number, text: string) => ({ id, text, fragment: false });
const TOKENS = [token(1, "The"), token(2, " sea"), token(3, " was"), token(4, " calm")];

const floats = (...values: number[]) => Float32Array.from(values);
const ints = (...values: number[]) => Int32Array.from(values);

function traits(changes: Partial<MapTraits> = {}): MapTraits {
  return {
    ...EMPTY_MAP,
    facts: {
      model: "tiny",
      kind: "MFA",
      layer: 4,
      stream: "resid_post",
      size: 3,
      rank: 3,
      label: "the sea",
      weighs: "weight",
      problem: "",
      chat: false,
      panel: true,
    },
    features: {
      method: "pca",
      explained: [0.6, 0.3],
      at_unit_length: false,
      size: 3,
      index: packed(ints(0, 1, 2)),
      places: packed(floats(0, 0, 1, 1, -1, 2), [3, 2]),
      weight: packed(floats(0.2, 0.5, 0.3)),
      labels: ["the sea", "cooking", "<b>bold</b>"],
      links: packed(ints(), [0, 2]),
      linked_from: 0.5,
    },
    texts: {
      tokens: TOKENS,
      at: packed(ints(0, 1, 2, 3, 0, 1)),
      starts: packed(ints(0, 4, 6)),
    },
    tokens: {
      component: 0,
      count: 3,
      z: packed(floats(1, 2, 3, -1, 0, 0, 4, 4, 4), [3, 3]),
      lengths: [1, 1, 1],
      responsibility: packed(floats(1, 0.9, 0.5)),
      at: packed(ints(1, 3, 5)),
      cluster: packed(Uint8Array.from([0, 1, 0])),
      clusters: [
        { count: 2, names: [token(2, " sea")] },
        { count: 1, names: [token(4, " calm")] },
      ],
      pca: {
        onto: packed(floats(0, 2, 0, 1, 0, 0, 0, 0, 1), [3, 3]),
        back: packed(floats(0, 1, 0, 0.5, 0, 0, 0, 0, 1), [3, 3]),
        explained: [0.7, 0.2, 0.1],
      },
    },
    target: { a: 0.6, z: [2, 0, -1] },
    prompt: "I think that",
    ...changes,
  };
}

function mapOf(changes: Partial<MapTraits> = {}) {
  const model = new FakeModel({ ...traits(changes) });
  const life = new AbortController();
  return { model, life, map: new MapState(model, life.signal) };
}

const requests = (model: FakeModel, name: string) =>
  model.sent.filter((message) => message.name === name);

describe("the plane", () => {
  it("has the target where its loadings say, and gives them back where it is put", () => {
    const plane = loadingPlane(3, [2, 0]);
    expect(placeOf([1, 2, 3], plane)).toEqual([3, 1]);
    expect(movedTo([1, 2, 3], [9, 8], plane)).toEqual([8, 2, 9]);
    expect([...placesOf([1, 2, 3, 4, 5, 6], 3, plane)]).toEqual([3, 1, 6, 4]);
  });

  it("of one loading has nothing upwards", () => {
    const plane = loadingPlane(1, [0, 0]);
    expect(placeOf([5], plane)).toEqual([5, 0]);
    expect(movedTo([5], [2, 9], plane)).toEqual([2]);
  });

  it("of principal axes moves all loadings that they are made of", () => {
    const { map, model } = mapOf({ axes: "pca" });
    expect(map.targetPlace.value).toEqual([0, 2]);
    map.moveTo([4, 5]);
    expect(map.target.value.z).toEqual([5, 2, -1]);
    expect(map.targetPlace.value).toEqual([4, 5]);
    expect(model.get("target")).toEqual({ a: 0.6, z: [2, 0, -1] }); // until the edits make one message
  });

  it("never has the same axis twice", () => {
    const { map, model } = mapOf({ dims: [1, 1] });
    expect(map.dims.value).toEqual([1, 0]);
    map.chooseDim(0, 0);
    expect(model.get("dims")).toEqual([0, 1]);
    expect(mapOf({ dims: [7, -3] }).map.dims.value).toEqual([2, 0]);
  });

  it("steps by a round fiftieth of what is shown", () => {
    expect([8, 60, 0.3, 21].map(stepOf)).toEqual([0.2, 1, 0.005, 0.5]);
    expect(Object.is(tidy(-0), 0)).toBe(true);
  });
});

describe("the drawing", () => {
  const bounds = { left: -2, right: 2, bottom: -1, top: 1 };
  const camera = cameraOf(bounds, 400, 200, WHOLE);

  it("goes from the plane to the screen and back", () => {
    for (const place of [
      [0, 0],
      [1.5, -0.5],
    ] as Place[]) {
      const [x, y] = onPlane(camera, onScreen(camera, place));
      expect(x).toBeCloseTo(place[0]);
      expect(y).toBeCloseTo(place[1]);
    }
    expect(onScreen(camera, [0, 0])).toEqual([200, 100]);
  });

  it("keeps what is under the pointer where it is when it zooms", () => {
    const at: Place = [310, 40];
    const before = onPlane(camera, at);
    const look = zoomed(panned(WHOLE, 13, -7), 2.5, at, 400, 200);
    const shifted = onPlane(cameraOf(bounds, 400, 200, panned(WHOLE, 13, -7)), at);
    const after = onPlane(cameraOf(bounds, 400, 200, look), at);
    expect(after[0]).toBeCloseTo(shifted[0]);
    expect(after[1]).toBeCloseTo(shifted[1]);
    expect(before[0]).not.toBeCloseTo(shifted[0]);
  });

  it("finds the nearest point within reach", () => {
    const dots = {
      places: floats(0, 0, 1, 0.5),
      colour: new Uint8Array(2),
      size: new Uint8Array(2),
      colours: ["red"],
      radii: [3],
    };
    const [x, y] = onScreen(camera, [1, 0.5]);
    expect(hit(dots, camera, [x + 6, y], 8)).toBe(1);
    expect(hit(dots, camera, [x + 40, y], 8)).toBe(-1);
  });

  it("takes in all points and the centroid, and never is a line", () => {
    expect(boundsOf(floats(1, 2, 3, 4), true)).toEqual({ left: 0, right: 3, bottom: 0, top: 4 });
    const flat = boundsOf(floats(0, 0, 4, 0), false);
    expect(flat.top).toBeGreaterThan(flat.bottom);
    expect(boundsOf(floats(), false).right).toBe(1);
  });

  it("knows what a lasso holds, also one that turns inwards", () => {
    const bay: Place[] = [
      [0, 0],
      [4, 0],
      [4, 4],
      [2, 1],
      [0, 4],
    ];
    expect([isWithin(bay, 1, 1), isWithin(bay, 2, 3), isWithin(bay, 5, 1)]).toEqual([
      true,
      false,
      false,
    ]);
  });

  it("is densest where most points are", () => {
    const found = densitiesOf(floats(0, 0, 0, 0, 0.001, 0, 9, 9));
    expect(found[0]).toBe(1);
    expect(found[3]).toBeLessThan(found[0] as number);
  });
});

describe("what stands beside it", () => {
  it("is a token's text around it, cut where the text ends", () => {
    const { map } = mapOf();
    expect(map.context(0)).toEqual({
      before: "The",
      token: TOKENS[1],
      after: " was calm",
    });
    expect(map.context(2)).toEqual({ before: "The", token: TOKENS[1], after: "" });
    expect(map.context(1, 1, 1)?.before).toBe("…  was");
  });

  it("is groups of clusters, or of the commonest tokens", () => {
    const { map } = mapOf();
    const said = () => map.groups.value.map(({ name, rows }) => [name, rows]);
    expect(said()).toEqual([
      ["sea", [0, 2]],
      ["calm", [1]],
    ]);
    map.choose("colour", "token");
    expect(said()).toEqual([
      ["sea", [0, 2]],
      ["calm", [1]],
    ]);
    map.choose("colour", "density");
    expect(said()).toEqual([]);
    expect(map.colours.value).toHaveLength(3);
  });

  it("lists components by weight, and finds them by label or number", () => {
    const { map } = mapOf();
    const listed = () => map.listed.value.map(({ index }) => index);
    expect(listed()).toEqual([1, 2, 0]);
    map.search("SEA");
    expect(listed()).toEqual([0]);
    map.search("#2");
    expect(listed()).toEqual([2]);
    map.search("nothing");
    expect(listed()).toEqual([]);
  });

  it("has no tokens of another component", () => {
    expect(mapOf({ component: 1 }).map.tokens.value).toBeNull();
  });
});

describe("what is asked of the kernel", () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  const answer = async (model: FakeModel, id: string, asked?: unknown) => {
    const found = { promoted: [], suppressed: [], changes: true, ratio: 0.4, asked };
    if (asked) model.changes("next_token", found);
    model.says({ type: "result", id, value: {} });
    await vi.advanceTimersByTimeAsync(0);
  };

  it("is one request for logits at a time, and of what moved meanwhile the last alone", async () => {
    const { map, model } = mapOf();
    map.watch();
    expect(requests(model, "logits")).toHaveLength(1);
    const first = model.lastId;
    map.hold(true);
    for (const x of [3, 4, 5]) map.moveTo([x, 0]);
    expect(requests(model, "logits")).toHaveLength(1);
    await answer(model, first, requests(model, "logits")[0]?.args);
    expect(requests(model, "logits")).toHaveLength(2);
    expect(requests(model, "logits")[1]).toMatchObject({
      args: { component: 0, target: { a: 0.6, z: [5, 0, -1] } },
    });
    await answer(model, model.lastId, requests(model, "logits")[1]?.args);
    expect(requests(model, "logits")).toHaveLength(2);
    expect(map.isBehind.value).toBe(false);
  });

  it("is not asked again where the kernel refuses, until something changes", async () => {
    const { map, model } = mapOf();
    map.watch();
    model.says({
      type: "error",
      id: model.lastId,
      error: { message: "The logits are NaN.", kind: "ValueError" },
    });
    await vi.advanceTimersByTimeAsync(0);
    expect(requests(model, "logits")).toHaveLength(1);
    expect(map.refused.value).toBe("The logits are NaN.");
    map.moveTo([1, 1]);
    expect(requests(model, "logits")).toHaveLength(2);
    expect(map.refused.value).toBe("");
  });

  it("is the pair when the target is let go, and another one ends it", async () => {
    const { map, model } = mapOf();
    map.hold(true);
    map.moveTo([1, 1]);
    expect(requests(model, "pair")).toHaveLength(0);
    map.hold(false);
    expect(requests(model, "pair")).toHaveLength(1);
    const id = model.lastId;
    map.moveTo([2, 2]);
    await vi.advanceTimersByTimeAsync(0);
    expect(model.sent.some((each) => each.type === "cancel" && each.id === id)).toBe(true);
    expect(map.failure.value).toBe("");
  });

  it("is the pair once the arrow keys rest", () => {
    const { map, model } = mapOf();
    map.nudge(1, 0);
    map.nudge(10, 0);
    expect(map.target.value.z[0]).toBeCloseTo(2 + 11 * map.step.value);
    vi.advanceTimersByTime(699);
    expect(requests(model, "pair")).toHaveLength(0);
    vi.advanceTimersByTime(1);
    expect(requests(model, "pair")).toHaveLength(1);
  });

  it("is nothing at all without a kernel", () => {
    const model = new FakeModel({ ...traits() });
    Object.assign(model, { frozen: true });
    const map = new MapState(model, new AbortController().signal);
    map.watch();
    map.look(1);
    map.rest();
    expect(model.sent).toEqual([]);
  });
});

describe("its page", () => {
  let life: AbortController;
  const show = (model: FakeModel) => {
    const { initialize, render } = factory();
    initialize({ model, signal: life.signal });
    render({ model, el, signal: life.signal });
  };
  const named = (selector: string) =>
    [...el.querySelectorAll(selector)].map((each) => each.getAttribute("aria-label"));

  beforeEach(() => {
    life = new AbortController();
  });
  afterEach(() => {
    life.abort();
  });

  it("names its controls, its target and its drawings", () => {
    show(new FakeModel({ ...traits({ selected: [0, 1] }) }));
    expect(named("[role=slider]")).toEqual(["Target"]);
    expect(el.querySelector("[role=slider]")?.getAttribute("aria-valuetext")).toBe("z0 2 · z1 0");
    expect(named("canvas")).toEqual([
      "All components: 3 points, the weight as size",
      "3 tokens along z0 and z1: sea 2; calm 1",
    ]);
    expect(named("[role=radiogroup]")).toEqual(["Axes", "Colour", "Drag to"]);
    expect(named("select")).toEqual(["Axis across", "Axis up"]);
    expect(named("input[type=search]")).toEqual(["Search components"]);
    expect(el.querySelectorAll("[aria-label='Contexts'] li")).toHaveLength(2);
    expect(el.querySelector("b b")).toBeNull(); // labels are never HTML
  });

  it("moves the target by keys, and takes it home", () => {
    const model = new FakeModel({ ...traits() });
    show(model);
    const target = el.querySelector("[role=slider]") as HTMLElement;
    const press = (key: string, shiftKey = false) =>
      target.dispatchEvent(new KeyboardEvent("keydown", { key, shiftKey, bubbles: true }));
    press("ArrowRight");
    press("ArrowUp", true);
    press("Home");
    vi.waitFor(() => expect(model.get("target")).toEqual({ a: 0.6, z: [0, 0, 0] }));
  });

  it("says what to do where nothing was read, and why nothing can be", () => {
    const nothing = { texts: {}, tokens: {} };
    const model = new FakeModel({ ...traits(nothing) });
    show(model);
    expect(el.textContent).toContain("Press Read texts");
    const { facts } = traits();
    model.changes("facts", { ...facts, problem: "This MFA came without examples." });
    return vi.waitFor(() => expect(el.textContent).toContain("came without examples"));
  });

  it("shows features of other kinds with those that are near", () => {
    const { facts, features } = traits();
    const near = {
      index: 0,
      label: "the sea",
      at: [0, 0] as [number, number],
      rows: [
        { index: 1, label: "waves", cosine: 0.91, together: null, at: [1, 1] as [number, number] },
        { index: 2, label: "ships", cosine: -0.2, together: 0.4, at: [1, 2] as [number, number] },
      ],
      knows_together: true,
    };
    show(
      new FakeModel({
        ...traits({ facts: { ...facts, kind: "SAE", rank: 0 } as never, features, near }),
      }),
    );
    const rows = [...el.querySelectorAll("[aria-label='Near features'] tbody tr")];
    expect(rows.map((row) => row.textContent)).toEqual(["1 waves0.91–", "2 ships−0.200.4"]);
    expect(named("canvas")).toEqual(["Map of features: 3 points, the weight as size"]);
    expect(el.querySelector("[role=slider]")).toBeNull();
  });

  it("draws nothing without a kernel but what can be looked at", () => {
    const model = new FakeModel({ ...traits() });
    Object.assign(model, { frozen: true });
    show(model);
    expect(named("[role=slider]")).toEqual([]);
    const texts = [...el.querySelectorAll("button")].map((each) => each.textContent);
    expect(texts).not.toContain("Steer");
    expect(texts).not.toContain("Read texts");
    expect(el.textContent).toContain("frozen copy");
  });
});
