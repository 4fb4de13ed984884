// The colours of features as the sheet defines them, and the pair that a signed scale has.
import { type Palette, parseRgb, type Rgb } from "./colour";
import { type Lab, opposite, toLab } from "./oklab";

export interface Hue {
  positive: Lab;
  negative: Lab;
}

const OTHERWISE = ["#0a6cb0", "#c25a00", "#0b8561", "#b3427f", "#7a6a00", "#3f7fa6"];

/** The hues of `count` features; one that stands alone has the heat scale's own ends. */
export function featureHues(root: Element | null, palette: Palette, count: number): Hue[] {
  if (count === 1)
    return [{ positive: toLab(palette.positive), negative: toLab(palette.negative) }];
  const style = root ? getComputedStyle(root) : null;
  return OTHERWISE.slice(0, count).map((fallback, index) => {
    const text = style?.getPropertyValue(`--f${index + 1}`).trim() || fallback;
    const positive = toLab(parseHex(text) ?? parseRgb(text) ?? palette.positive);
    return { positive, negative: opposite(positive) };
  });
}

export function parseHex(text: string): Rgb | null {
  if (!/^#[\da-f]{6}$/i.test(text)) return null;
  const at = (start: number) => Number.parseInt(text.slice(start, start + 2), 16);
  return [at(1), at(3), at(5)];
}
