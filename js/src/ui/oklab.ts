// OKLab (Björn Ottosson 2020, https://bottosson.github.io/posts/oklab): colours whose sums look like sums.
import type { Rgb } from "./colour";

/** Lightness 0 to 1, green to red, blue to yellow. */
export type Lab = readonly [number, number, number];

export function toLab([red, green, blue]: Rgb): Lab {
  const [r, g, b] = [expand(red), expand(green), expand(blue)];
  const l = Math.cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b);
  const m = Math.cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b);
  const s = Math.cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b);
  return [
    0.2104542553 * l + 0.793617785 * m - 0.0040720468 * s,
    1.9779984951 * l - 2.428592205 * m + 0.4505937099 * s,
    0.0259040371 * l + 0.7827717662 * m - 0.808675766 * s,
  ];
}

/** The colour as a screen can show it: too much chroma is taken back, lightness and hue stay. */
export function toRgb([lightness, a, b]: Lab): Rgb {
  const bounded = Math.min(Math.max(lightness, 0), 1);
  const at = (chroma: number) => toLinear([bounded, a * chroma, b * chroma]);
  if (isShown(at(1))) return compress(at(1));
  let [low, high] = [0, 1];
  for (let step = 0; step < 12; step++) {
    const middle = (low + high) / 2;
    if (isShown(at(middle))) low = middle;
    else high = middle;
  }
  return compress(at(low));
}

/** The same lightness on the other side of the colour circle. */
export function opposite([lightness, a, b]: Lab): Lab {
  return [lightness, -a, -b];
}

function toLinear([lightness, a, b]: Lab): Rgb {
  const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return [
    4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
    -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
    -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
  ];
}

const SLACK = 1e-4;
const isShown = (rgb: Rgb) => rgb.every((channel) => channel >= -SLACK && channel <= 1 + SLACK);

function compress(rgb: Rgb): Rgb {
  const channel = (value: number) => {
    const share = Math.min(Math.max(value, 0), 1);
    return 255 * (share <= 0.0031308 ? 12.92 * share : 1.055 * share ** (1 / 2.4) - 0.055);
  };
  return [channel(rgb[0]), channel(rgb[1]), channel(rgb[2])];
}

function expand(channel: number): number {
  const share = channel / 255;
  return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
}
