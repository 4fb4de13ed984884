// What part of a plane a drawing shows, and thousands of dots on a canvas: one small picture of each sort, drawn often.
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

export const countOf = (dots: Dots): number => dots.places.length / 2;

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

/** Draws all dots that are in sight. */
export function paintDots(
  context: CanvasRenderingContext2D,
  dots: Dots,
  camera: Camera,
  ratio: number,
): void {
  const { places, colour, size, colours, radii } = dots;
  const stamps = colours.map((each) => radii.map((radius) => stamp(each, radius, ratio)));
  const [originX, originY] = onScreen(camera, [0, 0]);
  const { kx, ky, width, height } = camera;
  context.save();
  context.setTransform(1, 0, 0, 1, 0, 0);
  for (let i = 0; i < size.length; i++) {
    const x = originX + (places[2 * i] as number) * kx;
    const y = originY - (places[2 * i + 1] as number) * ky;
    if (x < -9 || y < -9 || x > width + 9 || y > height + 9) continue;
    const picture = stamps[colour[i] as number]?.[size[i] as number];
    if (!picture) continue;
    // Whole pixels: a picture that is shifted by part of one is blended anew, which takes several times as long.
    context.drawImage(
      picture,
      Math.round(x * ratio - picture.width / 2),
      Math.round(y * ratio - picture.height / 2),
    );
  }
  context.restore();
}

const kept = new Map<string, HTMLCanvasElement>();

function stamp(colour: string, radius: number, ratio: number): HTMLCanvasElement {
  const name = `${colour} ${radius} ${ratio}`;
  const found = kept.get(name);
  if (found) return found;
  const side = Math.ceil(2 * radius * ratio) + 2;
  const picture = document.createElement("canvas");
  picture.width = picture.height = side;
  const context = picture.getContext("2d");
  if (context) {
    context.globalAlpha = ALPHA;
    context.fillStyle = colour;
    context.beginPath();
    context.arc(side / 2, side / 2, radius * ratio, 0, 2 * Math.PI);
    context.fill();
  }
  if (kept.size > 400) kept.clear();
  kept.set(name, picture);
  return picture;
}
