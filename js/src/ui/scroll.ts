// Where a list of rows of one height stands, however long it is. Browsers end elements at 8 to 33 million px (17.8
// in Firefox; in Chrome less by the pixel ratio): beyond that the scroll bar is shorter than the list.

export const ROW = 30; // px, as in recipe_editor/feature_list.css
const TALLEST = 8_000_000; // px

export interface Place {
  /** How much of the list is above the window, in px of rows. */
  top: number;
  /** The scroll bar, in its own px. */
  bar: number;
}

/** The height of what scrolls. */
export function barHeight(count: number): number {
  return Math.min(count * ROW, TALLEST);
}

/** The place whose top is known. */
export function placeAt(top: number, count: number, view: number): Place {
  const most = Math.max(count * ROW - view, 0);
  const inside = Math.min(Math.max(top, 0), most);
  return { top: inside, bar: most && (inside / most) * (barHeight(count) - view) };
}

/** The place after the bar has moved: small steps move as many px of rows, a drag moves its share of the list. */
export function follow(place: Place, bar: number, count: number, view: number): Place {
  const room = barHeight(count) - view;
  const most = count * ROW - view;
  if (room === most || room <= 0) return { top: bar, bar };
  const step = bar - place.bar;
  if (bar <= 0 || bar >= room - 1) return { top: bar <= 0 ? 0 : most, bar };
  const top = Math.abs(step) < 4 * view ? place.top + step : (bar / room) * most;
  return { top: Math.min(Math.max(top, 0), most), bar };
}

/** The rows to draw: those in sight and a few around them. */
export function rowsAt({ top }: Place, count: number, view: number, ahead = 6): [number, number] {
  const first = Math.max(0, Math.floor(top / ROW) - ahead);
  return [first, Math.min(count, Math.ceil((top + view) / ROW) + ahead)];
}
