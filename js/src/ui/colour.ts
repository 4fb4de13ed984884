// Token colours: a hue laid over the surface, and the ink that stays readable on it.

export type Rgb = readonly [number, number, number];

export interface Palette {
  surface: Rgb;
  positive: Rgb;
  negative: Rgb;
}

export const LIGHT: Palette = {
  surface: [255, 255, 255],
  positive: [10, 108, 176],
  negative: [194, 90, 0],
};

export const DARK: Palette = {
  surface: [19, 19, 22],
  positive: [95, 179, 238],
  negative: [240, 145, 60],
};

export interface Scale {
  /** The value at full colour; both ends when signed. */
  domain: number;
  signed: boolean;
  /** Where colour begins, if not at 0: what says nothing. Below it nothing is coloured. */
  zero?: number | null | undefined;
}

export interface Paint {
  background: string;
  ink: string;
  clipped: boolean;
}

const FAINT = 0.02; // below this share of the domain a token stays bare
const OWN_INK = 0.15; // from here on the theme's ink gives way to black or white

export function blend(hue: Rgb, surface: Rgb, alpha: number): Rgb {
  const mix = (index: 0 | 1 | 2) => hue[index] * alpha + surface[index] * (1 - alpha);
  return [mix(0), mix(1), mix(2)];
}

export function luminance([red, green, blue]: Rgb): number {
  return 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
}

export function contrast(a: Rgb, b: Rgb): number {
  const [high, low] = [luminance(a), luminance(b)].sort((x, y) => y - x) as [number, number];
  return (high + 0.05) / (low + 0.05);
}

/** Black or white, whichever is at least 4.58:1 on this background. */
export function inkOn(background: Rgb): "#000" | "#fff" {
  return luminance(background) > 0.179 ? "#000" : "#fff";
}

export function isClipped(value: number | null, scale: Scale): boolean {
  return value !== null && Math.abs(shareOn(value, scale)) > 1.0001;
}

/** How far from its zero to its end a value is, 1 at full colour; below a zero of its own, and where nothing can be coloured, 0. */
export function shareOn(value: number, { domain, signed, zero }: Scale): number {
  const low = zero ?? 0;
  const share = domain > low ? (value - low) / (domain - low) : 0;
  return share < 0 && (!signed || typeof zero === "number") ? 0 : share;
}

/** How a token with this value looks, or null when it stays bare. */
export function paint(value: number | null, scale: Scale, palette: Palette): Paint | null {
  if (value === null || !Number.isFinite(value)) return null;
  const share = shareOn(value, scale);
  if (Math.abs(share) < FAINT) return null;
  const alpha = Math.min(Math.abs(share), 1);
  const hue = share < 0 ? palette.negative : palette.positive;
  const mixed = blend(hue, palette.surface, alpha);
  return {
    background: `rgb(${mixed.map(Math.round).join(" ")})`,
    ink: alpha < OWN_INK ? "" : inkOn(mixed),
    clipped: isClipped(value, scale),
  };
}

/** Reads "rgb(1, 2, 3)" or "1 2 3"; null when there is no opaque colour in it. */
export function parseRgb(text: string): Rgb | null {
  const [red, green, blue, alpha] = text.match(/[\d.]+/g)?.map(Number) ?? [];
  if (red === undefined || green === undefined || blue === undefined || alpha === 0) return null;
  return [red, green, blue];
}

function linear(channel: number): number {
  const share = channel / 255;
  return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
}
