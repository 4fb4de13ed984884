import "./feature_list.css";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { flags, parts } from "../ui/flags";
import { indexOf, moveTo } from "../ui/roving";
import { barHeight, follow, type Place, placeAt, ROW, rowsAt } from "../ui/scroll";
import type { Bench } from "./bench";
import { type Column, FeatureRow } from "./feature_row";
import type { Answer } from "./finder";

const HEADS = [
  ["kind", ""],
  ["label", ""],
  ["home", "dictionary"],
  ["shape", "values"],
  ["number density", "density"],
  ["number max", "max"],
  ["number value", ""],
  ["number index", "index"],
  ["end", ""],
] as const;
const CALM = 150; // ms without scrolling

interface Props {
  bench: Bench;
  answer: Answer;
  /** What the values are called; empty where there are none. */
  head: string;
  /** The most rows in sight. */
  rows: number;
  landing: Column;
  onLeave(): void;
}

/** Rows of one height, of which only those in sight exist; what is not here yet comes page by page. */
export function FeatureList({ bench, answer, head, rows, landing, onLeave }: Props) {
  const { total: count, search, note } = answer;
  const list = useRef<HTMLUListElement>(null);
  const wanted = useRef("");
  const column = useRef(landing);
  const [current, setCurrent] = useState(0);
  const view = Math.min(rows, count) * ROW;
  const [place, go] = usePlace(list, count, view);
  const [first, last] = rowsAt(place, count, view);
  // What has scrolled away cannot be the tab stop.
  const seen = Math.ceil(place.top / ROW);
  const stop = Math.max(seen, Math.min(current, seen + rows - 1, count - 1));
  const several = bench.traits.dictionaries.value.length > 1;

  useEffect(() => bench.finder.show(first, Math.max(last - 1, first)), [answer, first, last]);
  const focusWanted = () => {
    const found = wanted.current && list.current?.querySelector<HTMLElement>(wanted.current);
    if (!found) return;
    wanted.current = "";
    found.focus({ preventScroll: true });
  };
  useLayoutEffect(focusWanted); // the row may have to be drawn first

  const keys = (event: KeyboardEvent) => {
    const index = indexOf(event);
    if (index === null) return;
    const side = ({ ArrowLeft: "select", ArrowRight: "add" } as const)[event.key as "ArrowLeft"];
    const target = side ? index : pageTo(event.key, index, rows, count);
    const typed = event.key.length === 1 && event.key !== " " && !(event.ctrlKey || event.metaKey);
    if (typed || event.key === "Escape" || (event.key === "ArrowUp" && index === 0)) {
      onLeave(); // what is typed arrives in the box
      if (!typed) event.preventDefault();
      return;
    }
    if (target === null) return;
    event.preventDefault();
    column.current = side ?? column.current;
    wanted.current = `.sw--${column.current}[data-index="${target}"]`;
    setCurrent(target);
    go(revealed(place, target, view));
    focusWanted();
  };

  return (
    <div class={`sw-list ${flags({ ranked: head, several })}`}>
      <div class="sw--row sw--head" aria-hidden="true">
        {HEADS.map(([column, text]) => (
          <span key={column} class={parts(column)}>
            {column.endsWith("value") ? head : text}
          </span>
        ))}
      </div>
      <ul class="sw-features" ref={list} style={{ height: `${view}px` }} onKeyDown={keys}>
        <li class="sw--spacer" style={{ height: `${barHeight(count)}px` }} aria-hidden="true" />
        {Array.from({ length: last - first }, (_, offset) => {
          const index = first + offset;
          const feature = answer.rows[index];
          return (
            // keyed by place: the focus stays where it is when the page of a row arrives
            <FeatureRow
              key={index}
              feature={feature}
              home={several ? homeOf(bench, feature?.dictionary) : null}
              index={index}
              count={count}
              top={index * ROW - place.top + place.bar}
              scored={search.sort === "output_score"}
              note={note}
              stop={index === stop ? landing : null}
              bench={bench}
            />
          );
        })}
      </ul>
    </div>
  );
}

/** The place of a list and what moves it; bar and rows agree again once the scrolling rests. */
function usePlace(list: { current: HTMLElement | null }, count: number, view: number) {
  const [place, setPlace] = useState<Place>({ top: 0, bar: 0 });
  const latest = useRef(place);
  const move = (next: Place) => {
    latest.current = next;
    setPlace(next);
  };
  const go = (top: number) => {
    if (!list.current || top === latest.current.top) return;
    const next = placeAt(top, count, view);
    list.current.scrollTop = next.bar;
    move({ top: next.top, bar: list.current.scrollTop });
  };
  useLayoutEffect(() => {
    const element = list.current;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const scrolled = () => {
      if (!element) return;
      move(follow(latest.current, element.scrollTop, count, view));
      clearTimeout(timer);
      if (count * ROW > barHeight(count)) timer = setTimeout(() => rest(element), CALM);
    };
    const rest = (on: HTMLElement) => {
      const next = placeAt(latest.current.top, count, view);
      on.scrollTop = next.bar;
      move({ top: next.top, bar: on.scrollTop });
    };
    element?.addEventListener("scroll", scrolled, { passive: true });
    return () => {
      clearTimeout(timer);
      element?.removeEventListener("scroll", scrolled);
    };
  }, [count, view]);
  return [place, go] as const;
}

function pageTo(key: string, index: number, rows: number, count: number): number | null {
  if (key === "PageDown") return Math.min(index + rows, count - 1);
  if (key === "PageUp") return Math.max(index - rows, 0);
  return moveTo(key, index, count);
}

/** The top that has a row in sight. */
function revealed({ top }: Place, index: number, view: number): number {
  return Math.min(Math.max(top, (index + 1) * ROW - view), index * ROW);
}

function homeOf(bench: Bench, fingerprint: string | undefined): string {
  const home = bench.traits.dictionaries.value.find((each) => each.fingerprint === fingerprint);
  return home ? home.name || `${home.kind} ${home.layer}` : "";
}
