// One tab stop for many items: arrows, Home and End move, Enter pins, Esc clears.
import { nativeSelection } from "./spans";

/** The item a key leads to, or null when the key means nothing here. */
export function moveTo(key: string, current: number, count: number): number | null {
  if (!count) return null;
  const last = count - 1;
  switch (key) {
    case "ArrowRight":
    case "ArrowDown":
      return Math.min(current + 1, last);
    case "ArrowLeft":
    case "ArrowUp":
      return Math.max(current - 1, 0);
    case "Home":
      return 0;
    case "End":
      return last;
    default:
      return null;
  }
}

const MIRRORED: Record<string, string> = { ArrowLeft: "ArrowRight", ArrowRight: "ArrowLeft" };

/** The key as one reads: where text runs from right to left, the left arrow leads on. */
export function readingKey({ key, target }: KeyboardEvent): string {
  const mirrored = MIRRORED[key];
  if (!mirrored || !(target instanceof Element)) return key;
  return getComputedStyle(target).direction === "rtl" ? mirrored : key;
}

/** Which item an event is about: items carry data-index. */
export function indexOf(event: Event): number | null {
  const item = (event.target as Element | null)?.closest?.<HTMLElement>("[data-index]");
  return item ? Number(item.dataset.index) : null;
}

export function focusItem(container: Element, index: number): void {
  container.querySelector<HTMLElement>(`[data-index="${index}"]`)?.focus({ preventScroll: false });
}

/**
 * For mousedown. A drag that begins within text that is selected would carry this text away, and one that begins at the
 * edge of an item selects nothing where the browser gives the item the focus: it can have it after the click.
 */
export function letDragSelect(event: MouseEvent): void {
  const item = (event.target as Element).closest<HTMLElement>("[data-index]");
  if (event.shiftKey) event.preventDefault();
  if (event.shiftKey || event.button || !item) return;
  nativeSelection(item)?.removeAllRanges();
  const stop = item.tabIndex;
  item.removeAttribute("tabindex");
  setTimeout(() => {
    item.tabIndex = stop;
  });
}

export interface Pointing {
  /** The item under the pointer or the focus; null when there is none. */
  onPoint(index: number | null): void;
  onPin(index: number | null): void;
}

/** Handlers for the container of the items. */
export function rovingHandlers(count: number, { onPoint, onPin }: Pointing) {
  return {
    onPointerOver: (event: Event) => onPoint(indexOf(event)),
    onPointerLeave: () => onPoint(null),
    onFocusIn: (event: Event) => onPoint(indexOf(event)),
    onFocusOut: () => onPoint(null),
    onClick(event: Event & { currentTarget: Element }) {
      const index = indexOf(event);
      const selecting = getSelection()?.isCollapsed === false; // the end of a drag over text
      if (index === null || selecting) return;
      focusItem(event.currentTarget, index);
      onPin(index);
    },
    onMouseDown: letDragSelect,
    onKeyDown(event: KeyboardEvent & { currentTarget: Element }) {
      const index = indexOf(event);
      if (index === null) return;
      const target = moveTo(readingKey(event), index, count);
      if (target !== null) focusItem(event.currentTarget, target);
      else if (event.key === "Enter" || event.key === " ") onPin(index);
      else if (event.key === "Escape") onPin(null);
      else return;
      event.preventDefault();
      event.stopPropagation();
    },
  };
}
