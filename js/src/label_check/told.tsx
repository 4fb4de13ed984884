import "./told.css";
import { Button } from "../ui/button";
import { flags } from "../ui/flags";
import { formatNumber } from "../ui/format";
import type { Check } from "./check";
import { type Paint, TextOf } from "./text";
import { isChoice, type Result, type Told, type ToldText } from "./types";

const KIND: Record<ToldText["kind"], string> = {
  fires: "",
  random: "random text",
  neighbour: "a neighbour's text",
  "label's words": "a word of the label",
};

interface Props {
  check: Check;
  screen: Told;
  paint: Paint;
}

/** What is true of a feature, beside what the reader said. */
export function ToldFeature({ check, screen, paint }: Props) {
  const author = screen.label_author === "language model" ? "LM label" : "";
  return (
    <section class="sw-check-told" aria-label="What is true">
      {screen.practice && <p class="sw--told">That was to try; now it counts.</p>}
      <p class="sw-note">{screen.label ? "The label says" : "It has no label."}</p>
      <h3 class="sw--ask" tabIndex={-1} data-arrive>
        {screen.label || `feature ${screen.index}`}
      </h3>
      <p class="sw-note sw-num">
        {[`feature ${screen.index}`, author, ...screen.notes].filter(Boolean).join(" · ")}
      </p>
      {screen.results.map((result) => (
        <ResultOf key={result.mode} result={result} end={screen.maximum} paint={paint} />
      ))}
      {!check.frozen && (
        <div class="sw--ways">
          <Button
            kind="primary"
            asks
            aria-label="Next"
            aria-disabled={check.doing.value !== ""}
            onClick={() => check.next()}
          >
            Next ⏎
          </Button>
          <span class="sw-note" role="status">
            {check.doing.value}
          </span>
        </div>
      )}
    </section>
  );
}

function ResultOf({ result, end, paint }: { result: Result; end: number; paint: Paint }) {
  const { mode, right, of } = result;
  return (
    <section aria-label={mode} class="sw--result">
      <h3 class="sw-num">
        {mode} · {of ? `${right} of ${of} right` : "skipped"}
      </h3>
      {mode === "which label" ? (
        <ul class="sw-plain sw--texts">
          {result.choices.map((label, at) => (
            <li key={at} class={flags({ chosen: result.said[0] === at })}>
              <span class="sw--name">{label}</span>
              <Mark truth={result.truth[0] === at} said={choseOf(result, at)} choice />
            </li>
          ))}
        </ul>
      ) : (
        <ol class="sw-plain sw--texts">
          {result.texts.map((text, at) => {
            const choice = isChoice(mode);
            const truth = choice ? result.truth[0] === at : result.truth[at] === 1;
            const said = choice ? choseOf(result, at) : (result.said[at] ?? null);
            return (
              <li key={at} class={flags({ chosen: said === 1 })}>
                <span class="sw--number sw-num" aria-hidden="true">
                  {at + 1}
                </span>
                <TextOf text={text} end={end} paint={paint} />
                <span class="sw--why sw-note sw-num">
                  {text.decile ? `decile ${text.decile}` : KIND[text.kind]}
                </span>
                <Mark truth={truth} said={said} choice={choice} />
                <b class="sw--value sw-num">{formatNumber(text.value)}</b>
              </li>
            );
          })}
        </ol>
      )}
    </section>
  );
}

/** Whether one of several was chosen: 1 or 0; null where nothing was. */
function choseOf(result: Result, at: number): number | null {
  const said = result.said[0];
  return said === null || said === undefined ? null : Number(said === at);
}

/** Right or wrong, in a mark and in words; of a choice, only the true one and the one that was chosen. */
function Mark({ truth, said, choice }: { truth: boolean; said: number | null; choice: boolean }) {
  if (choice && !truth && said !== 1) return <span class="sw--mark" aria-hidden="true" />;
  const right = said === null ? null : said === Number(truth);
  const name =
    right === null
      ? choice
        ? "the right one"
        : "not answered"
      : right
        ? "right"
        : truth && choice
          ? "the right one"
          : "wrong";
  const shown = right === null ? (choice ? "●" : "–") : right ? "✓" : truth && choice ? "●" : "✗";
  return (
    <span
      class={`sw--mark ${flags({ right: right === true || (truth && choice), wrong: right === false && !(truth && choice) })}`}
      role="img"
      aria-label={name}
      title={name}
    >
      {shown}
    </span>
  );
}
