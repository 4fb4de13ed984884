// From activations to colour: how far up its scale a value is, and what several features look like together.

import { inkOn, type Rgb, shareOn } from "../ui/colour";
import type { Hue } from "../ui/hues";
import { type Lab, toLab, toRgb } from "../ui/oklab";
import { chooseEnd, corpusEnds, type End } from "../ui/scale_end";
import type { Column, Curve, Domain } from "./types";

/** An end of 0 where nothing can be coloured. */
export interface HeatScale extends End {
  signed: boolean;
  curve: Curve;
  /** Where colour begins, if not at 0; then nothing below it is coloured. */
  zero?: number | null | undefined;
  /** What that value is. */
  zeroOf?: string | undefined;
}

const FAINT = 0.02; // below this share of the scale a token stays bare
const OWN_INK = 0.15; // from here on the theme's ink gives way to black or white

/** The kernel chooses in the same way for JSON. */
export function scaleOf(column: Column, domain: Domain, curve: Curve): HeatScale {
  const { zero, zero_of: zeroOf } = column;
  const signed = column.signed && typeof zero !== "number";
  return { ...endOf(column, domain), signed, curve, zero, zeroOf };
}

function endOf(column: Column, domain: Domain): End {
  if (typeof domain === "number") return { end: domain, source: "fixed" };
  const largest = () => ({ end: column.largest, source: "largest in this text" });
  if (domain === "text") return largest();
  const known = corpusEnds(column);
  const candidates = domain === "auto" ? Object.values(known) : [known[domain]];
  return chooseEnd(candidates, column.zero, largest);
}

/** How much colour a value has, −1 to 1; 0 for what has none. */
export function shareOf(value: number, scale: HeatScale): number {
  if (!Number.isFinite(value)) return 0;
  const share = shareOn(value, { ...scale, domain: scale.end });
  const size = Math.min(Math.abs(share), 1);
  return Math.sign(share) * (scale.curve === "log" ? Math.log10(1 + 9 * size) : size);
}

export function isBeyond(value: number, scale: HeatScale): boolean {
  return (
    Number.isFinite(value) && Math.abs(shareOn(value, { ...scale, domain: scale.end })) > 1.0001
  );
}

/** Whether any value can be coloured: the scale ends above where it begins. */
export function isSilent({ end, zero }: HeatScale): boolean {
  return end <= (zero ?? 0);
}

/**
 * Features' colours added up in OKLab: chroma by vector sum, lightness by what each takes from the rest.
 * With one feature it is the straight line from the surface to its hue.
 */
export function mixed(shares: readonly number[], hues: readonly Hue[], surface: Lab): Rgb {
  let [bare, total, lightness, a, b] = [1, 0, 0, 0, 0];
  shares.forEach((share, index) => {
    const hue = hues[index];
    if (!hue || !share) return;
    const [size, [hueL, hueA, hueB]] = [Math.abs(share), share < 0 ? hue.negative : hue.positive];
    bare *= 1 - size;
    total += size;
    lightness += size * hueL;
    a += size * hueA;
    b += size * hueB;
  });
  if (!total) return toRgb(surface);
  const own = lightness / total;
  return toRgb([own + (surface[0] - own) * bare, surface[1] * bare + a, surface[2] * bare + b]);
}

export interface Look {
  background: string;
  ink: string;
  /** The largest share, for marks that need no colour. */
  share: number;
}

/** How a token with these shares looks, or null when it stays bare. */
export function lookOf(shares: readonly number[], hues: readonly Hue[], surface: Rgb): Look | null {
  const share = Math.max(0, ...shares.map(Math.abs));
  if (share < FAINT) return null;
  const colour = mixed(shares, hues, toLab(surface));
  return { background: css(colour), ink: share < OWN_INK ? "" : inkOn(colour), share };
}

/** Stops of a scale's ramp, from its low end to its high one, as they colour tokens. */
export function ramp(scale: HeatScale, hue: Hue, surface: Rgb): string {
  const low = scale.signed ? -1 : 0;
  const stops = Array.from({ length: 13 }, (_, i) => {
    const value = low + ((1 - low) * i) / 12;
    const share = shareOf(value, { ...scale, end: 1, zero: null });
    return css(mixed([share], [hue], toLab(surface)));
  });
  return `linear-gradient(90deg, ${stops.join(", ")})`;
}

export function css(rgb: Rgb): string {
  return `rgb(${rgb.map(Math.round).join(" ")})`;
}
