import "../ui/token.css";
import "./lines_shown.css";
import type { ComponentChildren } from "preact";
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Card } from "./card";
import { CardLineRow, type LinePaint } from "./line";
import { type CardLine, shownPart } from "./lines";

interface Props {
  card: Card;
  /** What the lines are, for screen readers. */
  name: string;
  /** Before the number of a line, in the names of lines that are opened. */
  id: string;
  lines: CardLine[];
  paint: LinePaint;
  /** What stands above a line, where something does. */
  above?: (line: number) => ComponentChildren;
  /** What stands below a line. */
  below?: (line: number) => ComponentChildren;
  /** Lines that are shown whole from the start. */
  whole?: boolean;
  /** The tokens are those of the user's own text. */
  own?: boolean;
}

interface Spot {
  line: number;
  token: number;
}

/** Lines of tokens, coloured by activation: one stop for the Tab key, arrows within, Enter for more context. */
export function CardLines({ card, name, id, lines, paint, above, below, whole, own }: Props) {
  const grid = useRef<HTMLDivElement>(null);
  const [stop, setStop] = useState<Spot | null>(null);
  const { tip } = paint;
  const isOpen = (line: number) => Boolean(whole) || card.expanded.value.has(`${id}/${line}`);
  const first = { line: 0, token: lines[0]?.peak ?? 0 };
  // A line that opens or closes is made anew, and would lose the focus.
  const again = useRef<Spot | null>(null);
  useLayoutEffect(() => {
    const spot = again.current;
    again.current = null;
    const peak = lines[spot?.line ?? -1]?.peak;
    if (spot && peak !== undefined)
      (cell(grid.current, spot) ?? cell(grid.current, { line: spot.line, token: peak }))?.focus();
  });
  const tab = stop && isThere(stop, lines, isOpen) ? stop : first;

  const point = (event: Event) => {
    const spot = spotOf(event);
    const token = spot && lines[spot.line]?.tokens[spot.token];
    if (!spot || !token) {
      leave();
      return;
    }
    if (event.type === "focusin") setStop(spot);
    card.point({
      value: token.value,
      counted: !token.why,
      own: own ? spot.token : null,
    });
    const word = (event.target as Element).closest("[data-token]")?.querySelector(".sw-word");
    tip.show(word ?? null, {
      token,
      position: spot.token,
      of: lines[spot.line]?.tokens.length ?? 0,
      share: paint.scale.end > 0 ? token.value / paint.scale.end : null,
    });
  };
  const leave = () => {
    card.point(null);
    tip.hide();
  };
  const toggle = (line: number) => {
    if (!whole) card.toggle(`${id}/${line}`);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const spot = spotOf(event);
    if (!spot) return;
    if (event.key === "Enter" || event.key === " ") {
      again.current = spot;
      toggle(spot.line);
    } else if (event.key === "Escape") leave();
    else {
      const to = move(event.key, spot, lines, isOpen);
      if (!to) return;
      setStop(to);
      cell(grid.current, to)?.focus();
    }
    event.preventDefault();
    event.stopPropagation();
  };
  const onClick = (event: Event) => {
    const target = event.target as Element;
    if (target.closest("button, a")) return;
    const line = target.closest<HTMLElement>("[data-line]")?.dataset.line;
    const selecting = getSelection()?.isCollapsed === false;
    if (line !== undefined && !selecting) toggle(Number(line));
  };
  return (
    // biome-ignore lint/a11y/useSemanticElements: lines of running text are no table to lay out
    <div
      ref={grid}
      class="sw-card-lines"
      role="grid"
      tabIndex={-1}
      aria-label={name}
      onPointerOver={point}
      onPointerLeave={leave}
      onFocusIn={point}
      onFocusOut={leave}
      onKeyDown={onKeyDown}
      onClick={onClick}
    >
      {lines.map((line, at) => (
        <CardLineRow
          key={at}
          at={at}
          line={line}
          open={isOpen(at)}
          fixed={Boolean(whole)}
          paint={paint}
          stop={tab.line === at ? tab.token : null}
          above={above?.(at)}
          below={below?.(at)}
          onToggle={toggle}
        />
      ))}
    </div>
  );
}

function spotOf(event: Event): Spot | null {
  const token = (event.target as Element).closest<HTMLElement>("[data-token]");
  const line = token?.closest<HTMLElement>("[data-line]");
  return token && line
    ? { line: Number(line.dataset.line), token: Number(token.dataset.token) }
    : null;
}

function cell(grid: Element | null, { line, token }: Spot): HTMLElement | null {
  return grid?.querySelector<HTMLElement>(`[data-line="${line}"] [data-token="${token}"]`) ?? null;
}

type Open = (line: number) => boolean;

function isThere({ line, token }: Spot, lines: CardLine[], isOpen: Open): boolean {
  const there = lines[line];
  if (!there) return false;
  const [first, end] = shownPart(there, isOpen(line));
  return token >= first && token < end;
}

/** Where a key leads: along the line, or to the peak of the next one. */
export function move(key: string, from: Spot, lines: CardLine[], isOpen: Open): Spot | null {
  const line = lines[from.line];
  if (!line) return null;
  const [first, end] = shownPart(line, isOpen(from.line));
  const along = (token: number) => ({
    line: from.line,
    token: Math.min(Math.max(token, first), end - 1),
  });
  const to = (at: number) => {
    const other = lines[at];
    return other ? { line: at, token: other.peak } : from;
  };
  switch (key) {
    case "ArrowRight":
      return along(from.token + 1);
    case "ArrowLeft":
      return along(from.token - 1);
    case "Home":
      return along(first);
    case "End":
      return along(end - 1);
    case "ArrowDown":
      return to(from.line + 1);
    case "ArrowUp":
      return to(from.line - 1);
    default:
      return null;
  }
}
