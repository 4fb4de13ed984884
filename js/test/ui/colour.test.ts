import { describe, expect, it } from "vitest";
import { contrast, DARK, inkOn, LIGHT, paint, parseRgb, type Rgb } from "../../src/ui/colour";

const INKS: Record<string, Rgb> = { light: [23, 23, 26], dark: [240, 240, 243] };
const BLACK: Rgb = [0, 0, 0];
const WHITE: Rgb = [255, 255, 255];

describe("token colours", () => {
  for (const [name, palette] of Object.entries({ light: LIGHT, dark: DARK })) {
    it(`keep every token of the ${name} theme readable at 4.5:1`, () => {
      for (let percent = -100; percent <= 100; percent++) {
        const look = paint(percent, { domain: 100, signed: true }, palette);
        if (!look) continue;
        const background = parseRgb(look.background) as Rgb;
        const own = INKS[name] as Rgb;
        const ink = look.ink === "#000" ? BLACK : look.ink === "#fff" ? WHITE : own;
        expect(contrast(ink, background), `${percent} %`).toBeGreaterThanOrEqual(4.5);
      }
    });
  }

  it("choose black or white so that any background reaches 4.5:1", () => {
    for (let red = 0; red < 256; red += 15)
      for (let green = 0; green < 256; green += 15)
        for (let blue = 0; blue < 256; blue += 15) {
          const background: Rgb = [red, green, blue];
          const ink = inkOn(background) === "#000" ? BLACK : WHITE;
          expect(contrast(ink, background)).toBeGreaterThan(4.5);
        }
  });

  it("give each sign its own hue and zero none", () => {
    const scale = { domain: 10, signed: true };
    const [up, down] = [paint(10, scale, LIGHT), paint(-10, scale, LIGHT)];
    expect(parseRgb(up?.background ?? "")).toEqual([...LIGHT.positive]);
    expect(parseRgb(down?.background ?? "")).toEqual([...LIGHT.negative]);
    expect(paint(0, scale, LIGHT)).toBeNull();
    expect(paint(null, scale, LIGHT)).toBeNull();
  });

  it("leave what is below zero bare on a scale without a negative side", () => {
    expect(paint(-5, { domain: 10, signed: false }, LIGHT)).toBeNull();
  });

  it("leave what is below a zero of its own bare", () => {
    const scale = { domain: 20, signed: true, zero: 10 };
    expect(paint(9, scale, LIGHT)).toBeNull();
    expect(paint(-30, scale, LIGHT)).toBeNull();
    const half = paint(15, scale, LIGHT)?.background;
    expect(half).toBe(paint(5, { domain: 10, signed: false }, LIGHT)?.background);
    expect(paint(20, scale, LIGHT)?.clipped).toBe(false);
  });

  it("mark what lies beyond the scale", () => {
    expect(paint(10, { domain: 10, signed: false }, LIGHT)?.clipped).toBe(false);
    expect(paint(11, { domain: 10, signed: false }, LIGHT)?.clipped).toBe(true);
  });

  it("paint nothing on a scale without extent", () => {
    expect(paint(3, { domain: 0, signed: false }, LIGHT)).toBeNull();
  });
});
