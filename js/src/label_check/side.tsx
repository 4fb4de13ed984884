import "./side.css";
import { useLayoutEffect, useState } from "preact/hooks";
import { Button } from "../ui/button";
import { download } from "../ui/download";
import { flags } from "../ui/flags";
import { useId } from "../ui/use_id";
import { VERDICTS } from "../ui/verdicts";
import type { Check } from "./check";
import type { Screen, Told } from "./types";

/** Beside the texts: what is known of this label, the verdict, and how the reader did so far. */
export function CheckSide({ check, screen }: { check: Check; screen: Screen }) {
  const { label = [], session = [] } = check.traits.side.value;
  const told = screen.kind === "reveal" ? screen : null;
  const detection = told?.results.find(({ mode }) => mode === "which fire");
  const known: [string, string][] = told
    ? [
        ...(detection
          ? ([["right", `${detection.right} of ${detection.of}`]] as [string, string][])
          : []),
        ...label,
        ...(told.score === null
          ? []
          : ([["language model's own score", told.score.toFixed(2)]] as [string, string][])),
      ]
    : [];
  return (
    <aside class="sw-side sw-check-side" aria-label="Scores">
      {told && known.length > 0 && <Facts name="This label" rows={known} strong />}
      {told && <Verdict check={check} told={told} />}
      {session.length > 0 ? (
        <Facts name="This session" rows={session} />
      ) : (
        <section>
          <h3>This session</h3>
          <p class="sw-note">Scores come with the first feature whose truth you see.</p>
        </section>
      )}
      {!check.frozen && <Exports check={check} />}
    </aside>
  );
}

interface FactsProps {
  name: string;
  rows: [string, string][];
  strong?: boolean;
}

export function Facts({ name, rows, strong }: FactsProps) {
  return (
    <section aria-label={name}>
      <h3>{name}</h3>
      <dl class={flags({ strong })}>
        {rows.map(([what, value]) => (
          <div key={what}>
            <dt>{what}</dt>
            <dd class="sw-num">{value}</dd>
          </div>
        ))}
      </dl>
    </section>
  );
}

function Verdict({ check, told }: { check: Check; told: Told }) {
  const name = useId();
  if (check.frozen && !told.verdict && !told.note) return null;
  return (
    <section aria-label="Your verdict" class="sw--verdict">
      <h3>Your verdict</h3>
      <div role="radiogroup" aria-label="Your verdict" class="sw--verdicts">
        {VERDICTS.map((verdict, at) => (
          <label
            key={verdict}
            class={flags({ on: verdict === told.verdict })}
            title={`Key ${at + 1}`}
          >
            <input
              type="radio"
              name={name}
              checked={verdict === told.verdict}
              disabled={check.frozen}
              onChange={() => check.judge({ verdict })}
            />
            {verdict}
          </label>
        ))}
      </div>
      <Note key={told.key} check={check} note={told.note} />
      <span class="sw-note" role="status">
        {check.kept.value}
      </span>
    </section>
  );
}

/** Saved when it is left, or with Enter. */
function Note({ check, note }: { check: Check; note: string }) {
  const [text, setText] = useState(note);
  useLayoutEffect(() => setText(note), [note]);
  const save = (typed: string) => typed !== note && check.judge({ note: typed });
  return (
    <input
      class="sw-field"
      type="text"
      aria-label="Your note"
      placeholder={check.frozen ? "" : "a note"}
      value={text}
      readOnly={check.frozen}
      onInput={(event) => setText(event.currentTarget.value)}
      onBlur={(event) => save(event.currentTarget.value)}
      onKeyDown={(event) => event.key === "Enter" && save(event.currentTarget.value)}
    />
  );
}

function Exports({ check }: { check: Check }) {
  const save = async (kind: "csv" | "json", beside: Element) => {
    try {
      const { text, filename } = await check.exportAs(kind);
      download(text, filename, beside, kind === "csv" ? "text/csv" : "application/json");
    } catch (error) {
      check.fail(error);
    }
  };
  const { answered = 0 } = check.traits.side.value;
  return (
    <section class="sw--exports">
      <div>
        <Button asks onClick={(event) => save("json", event.currentTarget)}>
          Save answers
        </Button>
        <Button kind="quiet" asks onClick={(event) => save("csv", event.currentTarget)}>
          CSV
        </Button>
      </div>
      <p class="sw-note sw-num">
        {answered === 0
          ? "Every answer is kept on this machine as you give it."
          : `${answered} kept on this machine`}
      </p>
    </section>
  );
}
