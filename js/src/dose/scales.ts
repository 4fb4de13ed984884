// From numbers to places in the chart.

export const FRAME = { left: 52, right: 10 };
const ROOM = 34; // px that a number under the axis takes

export type Place = (value: number) => number;

/** A value at a place of the axis, with its interval. */
export interface Valued {
  x: number;
  value: number | null;
  low: number | null;
  high: number | null;
}

/** The doses between the chart's edges, a little in from them; one alone in the middle. */
export function doseScale(doses: readonly number[], width: number): Place {
  const [least, most] = [Math.min(...doses), Math.max(...doses)];
  const [left, right] = [FRAME.left + 10, width - FRAME.right - 10];
  if (!(most > least)) return () => (left + right) / 2;
  return (dose) => left + ((dose - least) / (most - least)) * (right - left);
}

/** Values of a panel, the smallest at its bottom; what lies beyond stays at the edge. */
export function placed(low: number, high: number, box: { top: number; bottom: number }): Place {
  return (value) => {
    const share = Math.min(Math.max((value - low) / (high - low), 0), 1);
    return box.bottom - share * (box.bottom - box.top);
  };
}

/** The line through what is known; it breaks where nothing is. */
export function path(points: readonly Valued[], y: Place): string {
  let open = false;
  return inOrder(points)
    .map(({ x, value }) => {
      if (value === null) {
        open = false;
        return "";
      }
      const step = `${open ? "L" : "M"}${round(x)} ${round(y(value))}`;
      open = true;
      return step;
    })
    .join("");
}

/** The band between lower and upper ends. */
export function area(points: readonly Valued[], y: Place): string {
  const known = inOrder(points).filter(({ low, high }) => low !== null && high !== null);
  if (known.length < 2) return "";
  const ends = (end: "low" | "high") =>
    known.map((point) => `${round(point.x)} ${round(y(point[end] as number))}`);
  return `M${ends("high").join("L")}L${ends("low").reverse().join("L")}Z`;
}

/** Which doses are named under the axis: as many as have room, the selected one always. */
export function ticks(doses: readonly number[], x: Place, selected: number): number[] {
  const kept = doses.length ? [selected] : [];
  const fits = (index: number) =>
    kept.every((other) => Math.abs(x(doses[index] ?? 0) - x(doses[other] ?? 0)) >= ROOM);
  for (let index = 0; index < doses.length; index++) if (fits(index)) kept.push(index);
  return kept.sort((a, b) => a - b);
}

/** ‖change‖/‖h‖ need not rise with the strength. */
const inOrder = (points: readonly Valued[]) => [...points].sort((a, b) => a.x - b.x);

const round = (value: number): number => Math.round(value * 10) / 10;
