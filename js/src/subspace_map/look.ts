// What dots look like in the host's theme.
import { blend, type Palette } from "../ui/colour";
import { HUES } from "./map";

const HUE = ["--f1", "--f2", "--f3", "--f4", "--f5", "--f6"];

/** Hues of groups and grey; or the steps of a scale up to the heat colour. */
export function colourList(root: Element, palette: Palette, kind: "groups" | "scale"): string[] {
  if (kind === "groups") {
    const style = getComputedStyle(root);
    return [...HUE, "--ink-3"].map((name) => style.getPropertyValue(name).trim() || "#777777");
  }
  return Array.from({ length: HUES + 1 }, (_, i) => {
    const mixed = blend(palette.positive, palette.surface, 0.3 + (0.7 * i) / HUES);
    return `rgb(${mixed.map(Math.round).join(" ")})`;
  });
}

export const RADII = [2.2, 2.6, 3, 3.4, 3.9, 4.5, 5.2, 6, 7, 8] as const;
/** Where thousands of points would hide one another. */
export const SMALL = RADII.map((radius) => radius / 1.8);
export const MANY = 1500;

/** Sizes of points by weight: their area goes with it. */
export function sizesOf(
  weight: ArrayLike<number> | null,
  count: number,
  largest: number,
): Uint8Array {
  const found = new Uint8Array(count).fill(weight ? 0 : 2);
  if (!weight) return found;
  let most = 0;
  for (let i = 0; i < count; i++) most = Math.max(most, weight[i] as number);
  for (let i = 0; i < count; i++)
    found[i] = Math.round(Math.sqrt((weight[i] as number) / (most || 1)) * largest) || 0;
  return found;
}
