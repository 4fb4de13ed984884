import { describe, expect, it } from "vitest";
import {
  type HeatScale,
  isBeyond,
  lookOf,
  mixed,
  ramp,
  scaleOf,
  shareOf,
} from "../../src/heatmap/colour";
import { contrast, DARK, LIGHT, parseRgb, type Rgb } from "../../src/ui/colour";
import { featureHues } from "../../src/ui/hues";
import { opposite, toLab, toRgb } from "../../src/ui/oklab";
import { zeroSaid } from "../../src/ui/scale_end";
import { column } from "../heatmap/examples";

const close = (a: readonly number[], b: readonly number[], digits = 3) =>
  a.forEach((value, i) => {
    expect(value).toBeCloseTo(b[i] as number, digits);
  });

describe("OKLab", () => {
  it("has the values of its definition", () => {
    // The table of reference values is by CSS Color 4 for sRGB primaries.
    close(toLab([255, 255, 255]), [1, 0, 0]);
    close(toLab([255, 0, 0]), [0.62796, 0.22486, 0.12585]);
    close(toLab([0, 255, 0]), [0.86644, -0.23389, 0.1795]);
    close(toLab([0, 0, 255]), [0.45201, -0.03246, -0.31153]);
  });

  it("comes back from every colour of a screen", () => {
    for (let red = 0; red < 256; red += 51)
      for (let green = 0; green < 256; green += 51)
        for (let blue = 0; blue < 256; blue += 51)
          close(toRgb(toLab([red, green, blue])), [red, green, blue], 0);
  });

  it("takes chroma back where a screen has none, and keeps lightness and hue", () => {
    const [lightness, a, b] = toLab(toRgb([0.6, 0.4, -0.3]));
    expect(lightness).toBeCloseTo(0.6, 2);
    expect(Math.atan2(b, a)).toBeCloseTo(Math.atan2(-0.3, 0.4), 1);
  });
});

describe("several features", () => {
  const hues = featureHues(null, LIGHT, 3);
  const surface = toLab([255, 255, 255]);

  it("look like one where only one fires", () => {
    const alone = mixed([0.4, 0, 0], hues, surface);
    const [hue] = hues;
    const straight = surface.map((x, i) => x + 0.4 * ((hue?.positive[i] as number) - x));
    close(toLab(alone), straight, 2);
  });

  it("add up in chroma, whatever their order", () => {
    const together = mixed([0.3, 0.5, 0], hues, surface);
    const swapped = mixed([0.5, 0.3], [hues[1], hues[0]] as never, surface);
    close(together, swapped, 6);
    const sum = [1, 2].map(
      (i) => 0.3 * (hues[0]?.positive[i] ?? 0) + 0.5 * (hues[1]?.positive[i] ?? 0),
    );
    close(toLab(together).slice(1), sum, 2);
  });

  it("are darker on a light surface the more of them fire", () => {
    const lightness = (shares: number[]) => toLab(mixed(shares, hues, surface))[0];
    expect(lightness([0.5, 0.5, 0])).toBeLessThan(lightness([0.5, 0, 0]));
    expect(lightness([0.5, 0.5, 0.5])).toBeLessThan(lightness([0.5, 0.5, 0]));
  });

  it("leave the surface as it is where none fires", () => {
    close(mixed([0, 0, 0], hues, surface), [255, 255, 255], 0);
    expect(lookOf([0, 0, 0], hues, [255, 255, 255])).toBeNull();
    expect(lookOf([], [], [255, 255, 255])).toBeNull();
  });

  it("have the opposite hue below zero", () => {
    const [hue] = hues;
    close(hue?.negative ?? [], opposite(hue?.positive ?? [0, 0, 0]));
  });

  for (const [name, palette, own] of [
    ["light", LIGHT, [23, 23, 26]],
    ["dark", DARK, [240, 240, 243]],
  ] as const)
    it(`stay readable on the ${name} theme at 4.5:1`, () => {
      const steps = [-1, -0.6, -0.2, 0, 0.1, 0.14, 0.3, 0.7, 1];
      for (const count of [1, 2, 3]) {
        const several = featureHues(null, palette, count);
        for (const first of steps)
          for (const second of count > 1 ? steps : [0])
            for (const third of count > 2 ? steps : [0]) {
              const look = lookOf([first, second, third], several, palette.surface);
              if (!look) continue;
              const ground = parseRgb(look.background) as Rgb;
              const ink: Rgb =
                look.ink === "" ? own : look.ink === "#000" ? [0, 0, 0] : [255, 255, 255];
              expect(contrast(ink, ground), `${first} ${second} ${third}`).toBeGreaterThan(4.4);
            }
      }
    });
});

describe("a scale", () => {
  const scale = (changes: Partial<HeatScale> = {}): HeatScale => ({
    end: 4,
    source: "",
    signed: false,
    curve: "linear",
    ...changes,
  });

  it("is linear, or log10(1 + 9v)", () => {
    expect(shareOf(1, scale())).toBe(0.25);
    expect(shareOf(1, scale({ curve: "log" }))).toBeCloseTo(Math.log10(1 + 9 / 4), 10);
    expect(shareOf(4, scale({ curve: "log" }))).toBe(1);
  });

  it("has two ends when it is signed, and none below zero when not", () => {
    expect(shareOf(-2, scale({ signed: true }))).toBe(-0.5);
    expect(shareOf(-2, scale({ signed: true, curve: "log" }))).toBeCloseTo(-Math.log10(5.5), 10);
    expect(shareOf(-2, scale())).toBe(0);
  });

  it("begins at a zero of its own, below which nothing is coloured", () => {
    const own = scale({ zero: 2, end: 6 });
    expect([1, 2, 3, 6, 9].map((value) => shareOf(value, own))).toEqual([0, 0, 0.25, 1, 1]);
    expect(shareOf(-4, scale({ zero: -2, end: 6 }))).toBe(0);
    expect(shareOf(0, scale({ zero: -2, end: 6 }))).toBe(0.25);
    expect([isBeyond(6, own), isBeyond(7, own)]).toEqual([false, true]);
    expect(shareOf(3, scale({ zero: 4, end: 4 }))).toBe(0);
  });

  it("has one end where it has a zero of its own, whatever is signed", () => {
    const signed = column({ signed: true, zero: 12, p995: 10, maximum: 50, largest: 20 });
    const made = scaleOf(signed, "auto", "linear");
    expect([made.signed, made.zero, made.end, made.source]).toEqual([
      false,
      12,
      50,
      "maximum over its corpus",
    ]);
    expect(zeroSaid(12.34, "what others give")).toBe("zero at 12.3: what others give");
    expect(zeroSaid(null, "")).toBe("");
  });

  it("ends where it ends, and says what lies beyond", () => {
    expect(shareOf(9, scale())).toBe(1);
    expect(isBeyond(9, scale())).toBe(true);
    expect(isBeyond(4, scale())).toBe(false);
    expect(isBeyond(-9, scale())).toBe(false);
    expect(isBeyond(-9, scale({ signed: true }))).toBe(true);
    expect(isBeyond(Number.NaN, scale())).toBe(false);
  });

  it("colours nothing that is not known, and nothing where nothing fires", () => {
    expect(shareOf(Number.NaN, scale())).toBe(0);
    expect(shareOf(3, scale({ end: 0 }))).toBe(0);
  });

  it("ends at what was asked for, else at what is known, and says which", () => {
    const known = column({ p995: 3, maximum: 5, largest: 2, corpus: "C4, 1,000 tokens" });
    const end = (domain: Parameters<typeof scaleOf>[1], of = known) => {
      const { end: value, source } = scaleOf(of, domain, "linear");
      return [value, source];
    };
    expect(end("auto")).toEqual([3, "99.5th percentile over C4, 1,000 tokens"]);
    expect(end("maximum")).toEqual([5, "maximum over C4, 1,000 tokens"]);
    expect(end("text")).toEqual([2, "largest in this text"]);
    expect(end(7.5)).toEqual([7.5, "fixed"]);
    expect(end("auto", column({ maximum: 5 }))).toEqual([5, "maximum over its corpus"]);
    expect(end("p99.5", column({ largest: 2 }))).toEqual([2, "largest in this text"]);
  });

  it("shows the colours of tokens in its ramp", () => {
    const [hue] = featureHues(null, LIGHT, 1);
    const text = ramp(scale({ signed: true }), hue as never, [255, 255, 255]);
    expect(text).toContain("rgb(255 255 255)");
    expect(text).toContain(`rgb(${LIGHT.positive.join(" ")})`);
    expect(text).toContain(`rgb(${LIGHT.negative.join(" ")})`);
  });
});
