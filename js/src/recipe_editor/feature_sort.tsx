import { useState } from "preact/hooks";
import { Button } from "../ui/button";
import { formatDuration, plural } from "../ui/format";
import { NumberBox } from "../ui/number_box";
import { Select } from "../ui/select";
import { VERDICTS } from "../ui/verdicts";
import type { Bench } from "./bench";
import type { Scores as Measured } from "./scores";
import type { Filters, Search, Sort } from "./types";

const SORTS: [Sort, string][] = [
  ["density", "how often they fire"],
  ["maximum", "largest activation"],
  ["index", "number"],
  ["output_score", "output score"],
];
const TOP = 100; // percent: every token

/** What the first rows are where nothing else is chosen: it depends on what was searched for. */
function foundFirst({ mode, query }: Search): string {
  if (mode === "label") return query.trim() ? "best match" : "labelled first";
  return mode === "similar" ? "most alike" : "strongest";
}

/** The order of the rows, and which of them to leave out. */
export function FeatureSort({ bench, scores }: { bench: Bench; scores: Measured }) {
  const [open, setOpen] = useState(false);
  const { finder, frozen } = bench;
  const { sort, descending, filters } = finder.search.value;
  const { density, labelled, dictionaries, verdicts } = filters;
  const active = [density, labelled, dictionaries, verdicts].filter(Boolean).length;
  return (
    <>
      <Select
        label="Sort features"
        value={sort}
        options={[
          ["match", foundFirst(finder.search.value)],
          ...SORTS.filter(([name]) => !frozen || name !== "output_score"),
        ]}
        onChoose={(next) => finder.look({ sort: next, descending: next !== "index" })}
      />
      {sort !== "match" && (
        <Button
          kind="icon"
          aria-label="Largest first"
          title={descending ? "Largest first" : "Smallest first"}
          aria-pressed={descending}
          onClick={() => finder.look({ descending: !descending })}
        >
          {descending ? "↓" : "↑"}
        </Button>
      )}
      <Button kind="quiet small" aria-expanded={open} onClick={() => setOpen(!open)}>
        {active ? `Filters ${active}` : "Filters"}
      </Button>
      {open && <FilterBar bench={bench} />}
      {sort === "output_score" && <Scores scores={scores} />}
    </>
  );
}

function FilterBar({ bench: { finder, traits } }: { bench: Bench }) {
  const { filters } = finder.search.value;
  const { density, labelled, dictionaries, verdicts } = filters;
  const known = traits.dictionaries.value;
  const filter = (change: Partial<Filters>) => finder.look({ filters: { ...filters, ...change } });
  const [low, high] = (density ?? [0, 1]).map((share) => Number((share * 100).toPrecision(6))) as [
    number,
    number,
  ];
  const range = (from: number, to: number) =>
    filter({ density: from <= 0 && to >= TOP ? null : [from / 100, to / 100] });
  return (
    // biome-ignore lint/a11y/useSemanticElements: a fieldset has a legend and a layout of its own
    <div class="sw--options" role="group" aria-label="Filters">
      <label class="sw-check">
        <input
          type="checkbox"
          checked={labelled}
          onChange={(event) => filter({ labelled: event.currentTarget.checked })}
        />
        has a label
      </label>
      <span class="sw-check" title="What you made of a label, in a label check or on a card">
        verdict
        <Select
          label="Verdict"
          value={verdicts ? (verdicts[0] ?? "") : ""}
          options={[["", "any or none"], ...VERDICTS.map((each) => [each, each] as const)]}
          onChoose={(verdict) => filter({ verdicts: verdict ? [verdict] : null })}
        />
      </span>
      {known.some((each) => each.has_density) && (
        <span class="sw-check" title="Share of the corpus' tokens at which a feature fires">
          density
          <NumberBox
            label="Least density, %"
            value={low}
            min={0}
            max={TOP}
            step="any"
            onValue={(value) => range(value ?? 0, high)}
          />
          –
          <NumberBox
            label="Largest density, %"
            value={high}
            min={0}
            max={TOP}
            step="any"
            onValue={(value) => range(low, value ?? TOP)}
          />
          %
        </span>
      )}
      {known.length > 1 &&
        known.map(({ fingerprint, name, kind, layer }) => {
          const all = known.map((each) => each.fingerprint);
          const chosen = dictionaries ?? all;
          const on = chosen.includes(fingerprint);
          const next = all.filter((each) => chosen.includes(each) !== (each === fingerprint));
          return (
            <Button
              key={fingerprint}
              kind="small toggle"
              aria-pressed={on}
              title={`${kind} at block ${layer}`}
              onClick={() => filter({ dictionaries: next.length === all.length ? null : next })}
            >
              {name || `${kind} ${layer}`}
            </Button>
          );
        })}
    </div>
  );
}

/** Output scores cost a run of the model each: nobody starts them unasked. */
function Scores({ scores }: { scores: Measured }) {
  const running = scores.running.value;
  const missing = scores.missing().length;
  if (running) {
    const { done, of, secondsLeft } = running;
    const left = secondsLeft === null ? "" : ` · ${formatDuration(secondsLeft)} left`;
    return (
      <div class="sw--options">
        <span class="sw-note" aria-live="polite">{`Scored ${done} of ${of}${left}`}</span>
        <Button kind="small" onClick={() => scores.stop()}>
          Stop scoring
        </Button>
      </div>
    );
  }
  return (
    <div class="sw--options">
      <span class="sw-note">
        How much steering with a feature raises its own top logits, on neutral prompts.
      </span>
      {missing > 0 && (
        <Button asks kind="small" onClick={() => scores.start()}>
          Score {plural(missing, "row")}
        </Button>
      )}
    </div>
  );
}
