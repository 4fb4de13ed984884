// What part of a plane a drawing shows, and thousands of dots in it.
import { parseRgb, type Rgb } from "../ui/colour";
import { parseHex } from "../ui/hues";
import type { Bounds, Place } from "./geometry";

const MARGIN = 22; // px around what is shown whole

export interface Camera {
  width: number;
  height: number;
  /** px for one unit, across and up. */
  kx: number;
  ky: number;
  /** The place in the middle. */
  x: number;
  y: number;
}

/** How far one has zoomed in, and where the middle is gone from its place, in px at zoom 1. */
export interface Look {
  zoom: number;
  right: number;
  up: number;
}

export const WHOLE: Look = { zoom: 1, right: 0, up: 0 };
const MOST = 60;

export function cameraOf(bounds: Bounds, width: number, height: number, look: Look): Camera {
  const kx = Math.max(width - 2 * MARGIN, 20) / (bounds.right - bounds.left);
  const ky = Math.max(height - 2 * MARGIN, 20) / (bounds.top - bounds.bottom);
  return {
    width,
    height,
    kx: kx * look.zoom,
    ky: ky * look.zoom,
    x: (bounds.left + bounds.right) / 2 + look.right / kx,
    y: (bounds.bottom + bounds.top) / 2 + look.up / ky,
  };
}

export function onScreen({ width, height, kx, ky, x, y }: Camera, [px, py]: Place): Place {
  return [width / 2 + (px - x) * kx, height / 2 - (py - y) * ky];
}

export function onPlane({ width, height, kx, ky, x, y }: Camera, [sx, sy]: Place): Place {
  return [x + (sx - width / 2) / kx, y - (sy - height / 2) / ky];
}

export function panned(look: Look, dx: number, dy: number): Look {
  return { ...look, right: look.right - dx / look.zoom, up: look.up + dy / look.zoom };
}

/** Zooms so that what is at a place of the drawing stays there. */
export function zoomed(look: Look, times: number, at: Place, width: number, height: number): Look {
  const zoom = Math.min(Math.max(look.zoom * times, 0.5), MOST);
  const kept = 1 / look.zoom - 1 / zoom;
  return {
    zoom,
    right: look.right + (at[0] - width / 2) * kept,
    up: look.up - (at[1] - height / 2) * kept,
  };
}

/** Points with what they look like, as numbers of `colours` and `radii`. */
export interface Dots {
  places: Float32Array;
  colour: Uint8Array;
  size: Uint8Array;
  colours: readonly string[];
  radii: readonly number[];
}

/** The point nearest to a place of the drawing, or -1 where none is near. */
export function hit(dots: Dots, camera: Camera, [sx, sy]: Place, reach: number): number {
  const { places, size, radii } = dots;
  const [px, py] = onPlane(camera, [sx, sy]);
  let [best, found] = [Number.POSITIVE_INFINITY, -1];
  for (let i = 0; i < size.length; i++) {
    const dx = ((places[2 * i] as number) - px) * camera.kx;
    const dy = ((places[2 * i + 1] as number) - py) * camera.ky;
    const away = Math.max(Math.hypot(dx, dy) - (radii[size[i] as number] ?? 0), 0);
    if (away <= reach && away < best) [best, found] = [away, i];
  }
  return found;
}

const ALPHA = 0.62;

/**
 * Draws all dots that are in sight, pixel by pixel: for thousands of them that takes a tenth of what as many pictures or
 * paths do.
 */
export function paintDots(
  context: CanvasRenderingContext2D,
  dots: Dots,
  camera: Camera,
  ratio: number,
): void {
  const { places, colour, size } = dots;
  const { width, height } = context.canvas;
  const image = context.createImageData(width, height);
  const colours = dots.colours.map((each) => parseHex(each) ?? parseRgb(each) ?? GREY);
  const stamps = dots.radii.map((radius) => stamp(radius * ratio));
  const [left, top] = onScreen(camera, [0, 0]);
  for (let i = 0; i < size.length; i++) {
    const x = (left + (places[2 * i] as number) * camera.kx) * ratio;
    const y = (top - (places[2 * i + 1] as number) * camera.ky) * ratio;
    const mask = stamps[size[i] as number];
    if (
      mask &&
      x > -mask.reach &&
      y > -mask.reach &&
      x < width + mask.reach &&
      y < height + mask.reach
    )
      lay(image, mask, Math.round(x), Math.round(y), colours[colour[i] as number] ?? GREY);
  }
  context.putImageData(image, 0, 0);
}

const GREY: Rgb = [119, 119, 119];

/** How much of each pixel a dot covers, 0 to 255, from `reach` before its middle to as many behind. */
interface Stamp {
  reach: number;
  cover: Uint8Array;
}

function stamp(radius: number): Stamp {
  const reach = Math.ceil(radius);
  const side = 2 * reach + 1;
  const cover = new Uint8Array(side * side);
  for (let i = 0; i < cover.length; i++) {
    const away = Math.hypot((i % side) - reach, Math.floor(i / side) - reach);
    cover[i] = 255 * ALPHA * Math.min(Math.max(radius + 0.5 - away, 0), 1);
  }
  return { reach, cover };
}

/** Lays a dot over what is there, as colours with an alpha each. */
function lay(
  { data, width, height }: ImageData,
  mask: Stamp,
  x: number,
  y: number,
  rgb: Rgb,
): void {
  const { reach, cover } = mask;
  const [red, green, blue] = rgb;
  const side = 2 * reach + 1;
  const last = Math.min(x + reach, width - 1);
  for (let row = Math.max(y - reach, 0); row <= y + reach && row < height; row++) {
    let from = (row - y + reach) * side + Math.max(reach - x, 0);
    for (let column = Math.max(x - reach, 0); column <= last; column++) {
      const alpha = cover[from++] as number;
      if (!alpha) continue;
      const at = 4 * (row * width + column);
      const under = (data[at + 3] as number) * (1 - alpha / 255);
      const whole = alpha + under;
      const share = alpha / whole;
      data[at] = red * share + (data[at] as number) * (1 - share);
      data[at + 1] = green * share + (data[at + 1] as number) * (1 - share);
      data[at + 2] = blue * share + (data[at + 2] as number) * (1 - share);
      data[at + 3] = whole;
    }
  }
}
