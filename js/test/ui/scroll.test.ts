import { describe, expect, it } from "vitest";
import { barHeight, follow, placeAt, ROW, rowsAt } from "../../src/ui/scroll";

const VIEW = 8 * ROW;
const MILLION = 1_000_000;

describe("a list of a million rows", () => {
  it("is no higher than browsers make an element", () => {
    expect(barHeight(1000)).toBe(30_000);
    expect(barHeight(MILLION)).toBeLessThanOrEqual(8_000_000);
  });

  it("reaches its last row, and every row by its own place", () => {
    const room = barHeight(MILLION) - VIEW;
    const end = follow({ top: 0, bar: 0 }, room, MILLION, VIEW);
    expect(rowsAt(end, MILLION, VIEW)[1]).toBe(MILLION);
    for (const row of [0, 1, 123_456, 999_992]) {
      const place = placeAt(row * ROW, MILLION, VIEW);
      expect(place.top).toBe(row * ROW);
      expect(place.bar).toBeGreaterThanOrEqual(0);
      expect(place.bar).toBeLessThanOrEqual(room);
    }
  });

  it("moves by the wheel as every list does, and by the bar across all of it", () => {
    const start = placeAt(3_000_000, MILLION, VIEW);
    expect(follow(start, start.bar + 100, MILLION, VIEW).top).toBeCloseTo(3_000_100);
    const half = follow(start, (barHeight(MILLION) - VIEW) / 2, MILLION, VIEW);
    expect(half.top / ROW).toBeCloseTo(500_000, -2);
    expect(follow(half, 0, MILLION, VIEW).top).toBe(0);
  });

  it("is drawn only where it is looked at", () => {
    const [first, last] = rowsAt(placeAt(15_000_000, MILLION, VIEW), MILLION, VIEW);
    expect([first, last]).toEqual([499_994, 500_014]);
  });
});

describe("a short list", () => {
  it("scrolls as it is", () => {
    expect(follow({ top: 0, bar: 0 }, 777, 1000, VIEW)).toEqual({ top: 777, bar: 777 });
    expect(placeAt(5000, 1000, VIEW)).toEqual({ top: 5000, bar: 5000 });
    expect(rowsAt({ top: 0, bar: 0 }, 3, VIEW)).toEqual([0, 3]);
    expect(placeAt(60, 3, VIEW)).toEqual({ top: 0, bar: 0 });
  });
});
