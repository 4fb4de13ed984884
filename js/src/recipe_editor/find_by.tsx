// The ways to find features. Each is what its choice says, what its box asks, and what its values are called.
import type { ComponentType } from "preact";
import { Button } from "../ui/button";
import { plural } from "../ui/format";
import { Segmented } from "../ui/segmented";
import { Switch } from "../ui/switch";
import type { Bench } from "./bench";
import { TokenStrip } from "./token_strip";
import type { Mode, Rank, Search } from "./types";

export interface QueryProps {
  bench: Bench;
  /** The arrow that leads out of the box into the list. */
  onDown(): void;
}

export interface FindBy {
  mode: Mode;
  text: string;
  /** What stands where the list would, before there is anything to look for. */
  asks: string;
  /** The head over the values; empty where there are none. */
  head(search: Search): string;
  Query: ComponentType<QueryProps>;
}

export const BY_LABEL: FindBy = {
  mode: "label",
  text: "label",
  asks: "",
  head: () => "",
  Query: (props) => (
    <Box
      {...props}
      placeholder={`Search ${plural(props.bench.traits.catalogue.value.total, "label")}`}
    />
  ),
};

export const BY_PROMPT: FindBy = {
  mode: "prompt",
  text: "fires on prompt",
  asks: "Write a text: the features that fire on it are listed, strongest first.",
  head: ({ rank }) => (rank === "mean" ? "mean" : "fires"),
  Query: PromptQuery,
};

const SIDES = [
  ["up", "promotes"],
  ["down", "suppresses"],
] as const;

export const BY_TOKEN: FindBy = {
  mode: "token",
  text: "promotes",
  asks: "Write a word: the features that raise its logit are listed, strongest first.",
  head: ({ promotes }) => (promotes ? "promotes" : "suppresses"),
  Query: (props) => {
    const { finder } = props.bench;
    return (
      <>
        <Box {...props} placeholder="A word or a token, as in: sea" />
        <Segmented
          label="Direction"
          value={finder.search.value.promotes ? "up" : "down"}
          options={SIDES}
          onChoose={(side) => finder.look({ promotes: side === "up" })}
        />
      </>
    );
  },
};

function Box({ bench, onDown, placeholder }: QueryProps & { placeholder: string }) {
  const { finder, frozen } = bench;
  const { mode, query } = finder.search.value;
  return (
    <input
      class="sw-field sw--query"
      type="search"
      aria-label="Search features"
      placeholder={placeholder}
      value={query}
      disabled={frozen && mode !== "label"}
      onInput={(event) => finder.look({ query: event.currentTarget.value }, true)}
      onKeyDown={(event) => down(event, onDown)}
    />
  );
}

const RANKS: [Rank, string][] = [
  ["maximum", "maximum"],
  ["mean", "mean"],
  ["span", "span"],
];

function PromptQuery({ bench, onDown }: QueryProps) {
  const { finder, frozen } = bench;
  const { query, rank, normalise, span } = finder.search.value;
  const tokens = finder.answer.value?.tokens ?? [];
  const [first, last] = span ?? [-1, -1];
  const toggle = (index: number) => {
    const [from, to] = finder.search.peek().span ?? [-1, -2];
    // A second token makes a span of one; a third starts again.
    const end = from === to ? from : index;
    finder.look({ span: [Math.min(end, index), Math.max(end, index)] });
  };
  return (
    <>
      <textarea
        class="sw-field sw--query"
        dir="auto"
        aria-label="Prompt to search by"
        rows={2}
        placeholder="A text that the features shall fire on"
        value={query}
        disabled={frozen}
        onInput={(event) => finder.look({ query: event.currentTarget.value, span: null }, true)}
        onKeyDown={(event) => {
          const { selectionEnd, value } = event.currentTarget;
          if (selectionEnd === value.length) down(event, onDown);
        }}
      />
      <div class="sw--options">
        <Segmented
          label="Rank by"
          value={rank}
          options={RANKS}
          onChoose={(next) => finder.look({ rank: next })}
        />
        <label
          class="sw-check"
          title="Divided by the largest value of each feature over its corpus"
        >
          <Switch
            label="Normalised"
            on={normalise}
            onToggle={(on) => finder.look({ normalise: on })}
          />
          normalised
        </label>
      </div>
      {rank === "span" && (
        <>
          {!span && <p class="sw-note">Choose the first and the last token of a span.</p>}
          <TokenStrip
            label="Tokens of the prompt"
            tokens={tokens}
            pressed={(index) => index >= first && index <= last}
            onToggle={toggle}
          />
        </>
      )}
    </>
  );
}

/** The features that point the same way as one of them. */
export const SIMILAR: FindBy = {
  mode: "similar",
  text: "similar",
  asks: "Choose a row in another mode first: then its neighbours by direction are listed here.",
  head: () => "cosine",
  Query: ({ bench }) => {
    const { key } = bench.finder.search.value;
    const selected = bench.traits.selected.value;
    const label = (of: string) => bench.feature(of)?.label ?? of;
    return (
      <p class="sw--options sw--query" tabIndex={-1}>
        {key && (
          <span>
            Similar to <b>{label(key)}</b>
          </span>
        )}
        {selected && selected !== key && (
          <Button kind="small" onClick={() => bench.finder.look({ key: selected })}>
            Similar to {label(selected)}
          </Button>
        )}
      </p>
    );
  },
};

function down(event: KeyboardEvent, act: () => void): void {
  if (event.key !== "ArrowDown") return;
  event.preventDefault();
  act();
}
