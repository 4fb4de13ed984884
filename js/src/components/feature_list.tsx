import "../styles/feature_list.css";
import { useRef, useState } from "preact/hooks";
import { formatNumber } from "../lib/format";
import type { Feature } from "../lib/types";
import { Button } from "./button";
import { focusItem, moveTo } from "./roving";

const ROW = 30; // px, as in feature_list.css
const HEIGHT = 8 * ROW; // the most of the list that is in sight
const AHEAD = 6; // rows drawn outside the window

interface Props {
  features: Feature[];
  /** Keys of the features that are in the recipe. */
  chosen: ReadonlySet<string>;
  onAdd(feature: Feature): void;
}

/** Rows of one height, of which only those in sight exist. */
export function FeatureList({ features, chosen, onAdd }: Props) {
  const list = useRef<HTMLUListElement>(null);
  const [top, setTop] = useState(0);
  const [current, setCurrent] = useState(0);
  const active = Math.min(current, Math.max(features.length - 1, 0));
  const first = Math.max(0, Math.floor(top / ROW) - AHEAD);
  const last = Math.min(features.length, Math.ceil((top + HEIGHT) / ROW) + AHEAD);

  const move = (event: KeyboardEvent) => {
    const target = moveTo(event.key, active, features.length);
    if (target === null || !list.current) return;
    event.preventDefault();
    setCurrent(target);
    reveal(list.current, target);
    // The row may have to be drawn before it can take the focus.
    requestAnimationFrame(() =>
      requestAnimationFrame(() => list.current && focusItem(list.current, target)),
    );
  };

  return (
    <ul
      class="sw-features"
      ref={list}
      onScroll={(event) => setTop(event.currentTarget.scrollTop)}
      onKeyDown={move}
    >
      <li class="spacer" style={{ height: `${first * ROW}px` }} aria-hidden="true" />
      {features.slice(first, last).map((feature, offset) => (
        <FeatureRow
          key={feature.key}
          feature={feature}
          index={first + offset}
          count={features.length}
          chosen={chosen.has(feature.key)}
          stop={first + offset === active}
          onAdd={() => onAdd(feature)}
        />
      ))}
      <li
        class="spacer"
        style={{ height: `${(features.length - last) * ROW}px` }}
        aria-hidden="true"
      />
    </ul>
  );
}

interface RowProps {
  feature: Feature;
  index: number;
  count: number;
  chosen: boolean;
  stop: boolean;
  onAdd(): void;
}

function FeatureRow({ feature, index, count, chosen, stop, onAdd }: RowProps) {
  const { kind, label, layer, max_activation: maximum, max_activation_of: source } = feature;
  const title = [label, feature.label_source].filter(Boolean).join(" · ");
  return (
    <li class={chosen ? "row chosen" : "row"} aria-setsize={count} aria-posinset={index + 1}>
      <span class="sw-badge">{kind}</span>
      <span class="label" title={title}>
        {label}
      </span>
      <span class="sw-num number" title="block">
        {layer}
      </span>
      <span
        class="sw-num number"
        title={source ? `largest value in ${source}` : "largest value: not known"}
      >
        {formatNumber(maximum)}
      </span>
      <Button
        kind="icon add"
        data-index={index}
        tabIndex={stop ? 0 : -1}
        aria-label={`Add feature ${label}`}
        title={chosen ? "Add once more" : "Add to the recipe"}
        onClick={onAdd}
      >
        +
      </Button>
    </li>
  );
}

function reveal(list: HTMLElement, index: number): void {
  const top = index * ROW;
  if (top < list.scrollTop) list.scrollTop = top;
  else if (top + ROW > list.scrollTop + list.clientHeight)
    list.scrollTop = top + ROW - list.clientHeight;
}
