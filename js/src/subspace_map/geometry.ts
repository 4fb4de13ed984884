// Moves along loadings and their places on a plane; what lies within a lasso; how dense it is where a point is.

export type Place = readonly [number, number];

/** Two axes through the centroid: `onto` takes a move to its place, `back` a step on the plane to the move that makes it. */
export interface Plane {
  /** [2][rank] */
  onto: readonly (readonly number[])[];
  /** [rank][2] */
  back: readonly (readonly number[])[];
}

export interface Bounds {
  left: number;
  right: number;
  bottom: number;
  top: number;
}

/** The plane of two loadings; where there is but one, the other axis is nothing. */
export function loadingPlane(rank: number, [across, up]: Place): Plane {
  const unit = (dim: number) => Array.from({ length: rank }, (_, i) => Number(i === dim));
  const onto = [unit(across), rank > 1 ? unit(up) : Array(rank).fill(0)];
  return { onto, back: transposed(onto) };
}

export function transposed(rows: readonly (readonly number[])[]): number[][] {
  return Array.from({ length: rows[0]?.length ?? 0 }, (_, i) => rows.map((row) => row[i] ?? 0));
}

/** Where many moves stand: [x, y] for each. */
export function placesOf(z: ArrayLike<number>, rank: number, { onto }: Plane): Float32Array {
  const [across = [], up = []] = onto;
  const count = rank ? z.length / rank : 0;
  const places = new Float32Array(2 * count);
  for (let row = 0; row < count; row++) {
    let x = 0;
    let y = 0;
    for (let i = 0; i < rank; i++) {
      const value = z[row * rank + i] as number;
      x += value * (across[i] as number);
      y += value * (up[i] as number);
    }
    places[2 * row] = x;
    places[2 * row + 1] = y;
  }
  return places;
}

export function placeOf(z: readonly number[], plane: Plane): Place {
  const [x = 0, y = 0] = placesOf(z, z.length, plane);
  return [x, y];
}

/** The move that stands at a place, as near to another one as can be. */
export function movedTo(z: readonly number[], place: Place, plane: Plane): number[] {
  const [x, y] = placeOf(z, plane);
  const [right, upwards] = [place[0] - x, place[1] - y];
  return z.map((value, i) => {
    const [bx = 0, by = 0] = plane.back[i] ?? [];
    return value + bx * right + by * upwards;
  });
}

/** A box around all points and the origin, not thinner than 1 in either direction. */
export function boundsOf(places: ArrayLike<number>, origin: boolean): Bounds {
  const bounds = origin
    ? { left: 0, right: 0, bottom: 0, top: 0 }
    : { left: Infinity, right: -Infinity, bottom: Infinity, top: -Infinity };
  for (let i = 0; i < places.length; i += 2) {
    const [x, y] = [places[i] as number, places[i + 1] as number];
    bounds.left = Math.min(bounds.left, x);
    bounds.right = Math.max(bounds.right, x);
    bounds.bottom = Math.min(bounds.bottom, y);
    bounds.top = Math.max(bounds.top, y);
  }
  if (bounds.left > bounds.right) return { left: -1, right: 1, bottom: -1, top: 1 };
  const least = Math.max(bounds.right - bounds.left, bounds.top - bounds.bottom, 1e-6) / 50;
  if (bounds.right - bounds.left < least) {
    bounds.left -= least;
    bounds.right += least;
  }
  if (bounds.top - bounds.bottom < least) {
    bounds.bottom -= least;
    bounds.top += least;
  }
  return bounds;
}

/** Whether a place is inside of a polygon, by the even-odd rule. */
export function isWithin(polygon: readonly Place[], x: number, y: number): boolean {
  let inside = false;
  for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
    const [ax, ay] = polygon[i] as Place;
    const [bx, by] = polygon[j] as Place;
    if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) inside = !inside;
  }
  return inside;
}

const CELLS = 48;

/** How many points lie around each, 0 to 1 of the most: counted in a grid, its neighbours by half. */
export function densitiesOf(places: ArrayLike<number>): Float32Array {
  const count = places.length / 2;
  const { left, right, bottom, top } = boundsOf(places, false);
  const cell = (i: number) => {
    const x = ((places[2 * i] as number) - left) / (right - left);
    const y = ((places[2 * i + 1] as number) - bottom) / (top - bottom);
    const at = (share: number) => Math.min(Math.floor(share * CELLS), CELLS - 1) + 1;
    return at(y) * (CELLS + 2) + at(x);
  };
  const counts = new Float32Array((CELLS + 2) ** 2);
  for (let i = 0; i < count; i++) counts[cell(i)] = (counts[cell(i)] as number) + 1;
  const around = [-CELLS - 3, -CELLS - 2, -CELLS - 1, -1, 1, CELLS + 1, CELLS + 2, CELLS + 3];
  const found = new Float32Array(count);
  let most = 0;
  for (let i = 0; i < count; i++) {
    const at = cell(i);
    let sum = counts[at] as number;
    for (const step of around) sum += (counts[at + step] as number) / 2;
    found[i] = sum;
    most = Math.max(most, sum);
  }
  return found.map((value) => Math.sqrt(value / (most || 1)));
}

/** About a fiftieth of a range: 1, 2 or 5 with zeros. */
export function stepOf(range: number): number {
  const rough = Math.max(range, 1e-6) / 50;
  const power = 10 ** Math.floor(Math.log10(rough));
  const times = rough / power;
  return power * (times < 1.5 ? 1 : times < 3.5 ? 2 : times < 7.5 ? 5 : 10);
}

/** A number without what arithmetic left behind its digits, and never -0. */
export const tidy = (value: number): number => Number(value.toPrecision(6)) + 0;
