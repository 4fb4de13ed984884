import "./feature_finder.css";
import type { ComponentChildren } from "preact";
import { useRef } from "preact/hooks";
import { Failure } from "../ui/failure";
import { formatNumber, plural } from "../ui/format";
import { useLost } from "../ui/restarted";
import { Segmented } from "../ui/segmented";
import type { Bench } from "./bench";
import { FeatureList } from "./feature_list";
import type { FindBy } from "./find_by";
import type { Answer } from "./finder";

interface Props {
  bench: Bench;
  /** The first one is by label. */
  ways: FindBy[];
  /** Sorting and filters, beside the number of rows. */
  tools?: ComponentChildren;
  /** How code makes this widget with dictionaries, for those who gave none. */
  make: string;
  /** The most rows in sight. */
  rows: number;
  /** Where the list is entered by keys: at what selects a row, or at what adds it. */
  landing: "select" | "add";
}

/** Search and pick, in dictionaries of any size. */
export function FeatureFinder({ bench, ways, tools, make, rows, landing }: Props) {
  const section = useRef<HTMLElement>(null);
  const { finder } = bench;
  const search = finder.search.value;
  const way = ways.find((each) => each.mode === search.mode) ?? (ways[0] as FindBy);
  const answer = finder.lacks.value ? null : finder.answer.value;
  const error = finder.error.value;
  const lost = useLost();
  const focus = (target: string) => section.current?.querySelector<HTMLElement>(target)?.focus();
  return (
    <section ref={section} class="sw-section sw-find" aria-label="Features">
      <div class="sw-heading">
        <h3>Features</h3>
        <Segmented
          label="Find by"
          value={way.mode}
          options={ways.map((each) => [each.mode, each.text] as const)}
          onChoose={(next) => finder.setMode(next)}
        />
      </div>
      <way.Query bench={bench} onDown={() => focus(`.sw--${landing}[tabindex='0']`)} />
      {error && (
        <Failure
          sentence={error}
          onDismiss={() => {
            finder.error.value = "";
          }}
        />
      )}
      <div class="sw--tools sw-num">
        <p class="sw-note" aria-live="polite">
          {countText(bench, answer)}
        </p>
        {tools}
      </div>
      {bench.traits.dictionaries.value.map(
        ({ fingerprint, name, misfit }) =>
          misfit && (
            <p key={fingerprint} class="sw-note sw-misfit" role="note">
              <strong>{name}</strong>: {misfit}
            </p>
          ),
      )}
      {answer && answer.total > 0 ? (
        // another search starts at the top again
        <FeatureList
          key={JSON.stringify(answer.search)}
          bench={bench}
          answer={answer}
          head={search.sort === "output_score" ? "score" : way.head(search)}
          rows={rows}
          landing={landing}
          onLeave={() => focus(".sw--query")}
        />
      ) : (
        <p class="sw-empty">
          {lost && finder.lacks.value === "kernel" ? lost : nothing(bench, way, make)}
        </p>
      )}
    </section>
  );
}

function countText({ finder, frozen, traits }: Bench, answer: Answer | null): string {
  if (finder.searching.value) {
    return finder.slow.value ? "Waiting for the kernel: it is busy, or gone." : "Searching…";
  }
  if (!answer) return "";
  const { total, more } = answer;
  const all = traits.catalogue.value.total;
  if (more) return `more than ${plural(total, "feature")}`;
  if (frozen && !traits.catalogue.value.complete) {
    return `${plural(total, "feature")} of those in this page; the kernel has all ${formatNumber(all, 9)}`;
  }
  return total < all
    ? `${formatNumber(total, 9)} of ${plural(all, "feature")}`
    : plural(total, "feature");
}

/** Why no row stands here, and what to do about it. */
function nothing({ finder, traits, frozen }: Bench, way: FindBy, make: string): string {
  const { mode, query, filters } = finder.search.value;
  if (frozen && finder.lacks.value === "kernel") {
    return "A frozen copy searches by label only: this needs the kernel.";
  }
  if (finder.lacks.value) return way.asks;
  if (finder.searching.value) return "Searching…";
  if (!traits.catalogue.value.total) return `No dictionary is attached. Pass some: ${make}.`;
  if (filters.density || filters.labelled || filters.dictionaries || filters.verdicts) {
    return "No feature passes the filters: widen them.";
  }
  if (mode === "label" && !traits.dictionaries.value.some(({ labelled }) => labelled)) {
    return "These dictionaries have no labels: search by a prompt or a token.";
  }
  return mode === "label"
    ? `No label has every word of “${query}”. Try fewer or shorter words.`
    : "Nothing was found. Try another text.";
}
