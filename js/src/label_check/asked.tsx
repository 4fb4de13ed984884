import "./asked.css";
import { Button } from "../ui/button";
import { flags } from "../ui/flags";
import { Segmented } from "../ui/segmented";
import { useId } from "../ui/use_id";
import { type Check, openSaid } from "./check";
import { type Paint, TextOf } from "./text";
import { type Asked, isChoice, type Mode, stepsOf } from "./types";

const QUESTION: Record<Mode, string> = {
  "odd one out": "The feature fires on four of these texts. On which one is it silent?",
  "which fire": "On which of these texts does the feature fire?",
  "which tokens": "Are the marked tokens those at which the feature fires?",
  "which label": "The feature fires at the coloured tokens. Which label is its own?",
};

const KEYS: Record<Mode, string> = {
  "odd one out": "Keys 1 to 5, then Enter.",
  "which fire": "Keys 1 (no) to 4 (yes), arrows for the text before and after, then Enter.",
  "which tokens": "Keys 1 (reject) and 2 (accept), then Enter.",
  "which label": "Keys 1 to 5, then Enter.",
};

interface Props {
  check: Check;
  screen: Asked;
  paint: Paint;
}

/** One item: what is asked, the texts, and the way on. */
export function AskedItem({ check, screen, paint }: Props) {
  const { mode, label } = screen;
  const resumed = check.traits.facts.value.resumed ?? 0;
  const atStart = screen.step > 0 && check.traits.side.value.answered === resumed && resumed > 0;
  return (
    <section class="sw-check-asked" aria-label={mode}>
      {screen.practice && <p class="sw--told">To try: the first two do not count.</p>}
      {screen.again && <p class="sw--told">This one comes again: answer as you would now.</p>}
      {atStart && !check.frozen && (
        <p class="sw--told">You go on where you stopped; what you answered before is kept.</p>
      )}
      {label && <p class="sw-note">The label says</p>}
      <h3 class="sw--ask" tabIndex={-1} data-arrive>
        {label || QUESTION[mode]}
      </h3>
      <p class="sw-note">
        {label && `${QUESTION[mode]} `}
        {!check.frozen && KEYS[mode]}
      </p>
      {isChoice(mode) ? (
        <ChoiceOf check={check} screen={screen} paint={paint} />
      ) : (
        <Judged check={check} screen={screen} paint={paint} />
      )}
      {!check.frozen && <Ways check={check} />}
    </section>
  );
}

function Judged({ check, screen, paint }: Props) {
  const answers = check.answers.value;
  const steps = stepsOf(screen.mode);
  return (
    <ol class="sw-plain sw--texts">
      {screen.texts.map((text, at) => (
        <li
          key={at}
          data-row={at}
          class={flags({ chosen: (answers[at] ?? 0) > 0.5 })}
          onFocusIn={() => {
            check.row.value = at;
          }}
        >
          <span class="sw--number sw-num" aria-hidden="true">
            {at + 1}
          </span>
          <TextOf text={text} end={null} paint={paint} />
          {!check.frozen && (
            <Segmented
              label={`Text ${at + 1}`}
              value={String(steps.findIndex(({ value }) => value === answers[at]))}
              options={steps.map(({ said }, i) => [String(i), said] as const)}
              onChoose={(i) => check.choose(at, steps[Number(i)]?.value ?? null)}
            />
          )}
        </li>
      ))}
    </ol>
  );
}

function ChoiceOf({ check, screen, paint }: Props) {
  const name = useId();
  const chosen = check.answers.value[0];
  const labels = screen.choices.length > 0;
  const options = labels ? screen.choices : screen.texts;
  return (
    <>
      {labels && (
        <ul class="sw-plain sw--texts" aria-label="Examples">
          {screen.texts.map((text, at) => (
            <li key={at}>
              <TextOf text={text} end={screen.maximum} paint={paint} />
            </li>
          ))}
        </ul>
      )}
      <div class="sw--texts" role="radiogroup" aria-label={labels ? "Labels" : "Texts"}>
        {options.map((option, at) => (
          <label key={at} data-row={at} class={flags({ chosen: chosen === at })}>
            <input
              type="radio"
              name={name}
              aria-label={typeof option === "string" ? option : `Text ${at + 1}`}
              checked={chosen === at}
              disabled={check.frozen}
              onChange={() => check.choose(0, at)}
            />
            <span class="sw--number sw-num" aria-hidden="true">
              {at + 1}
            </span>
            {typeof option === "string" ? (
              <span class="sw--name">{option}</span>
            ) : (
              <TextOf text={option} end={null} paint={paint} />
            )}
          </label>
        ))}
      </div>
    </>
  );
}

function Ways({ check }: { check: Check }) {
  const doing = check.doing.value;
  const ready = check.open.value < check.count.value;
  return (
    <div class="sw--ways">
      <Button
        kind="primary"
        asks
        aria-label="Next"
        aria-disabled={!ready || doing !== ""}
        onClick={() => check.next()}
      >
        Next ⏎
      </Button>
      <Button kind="quiet" asks title="Key S" onClick={() => check.skip()}>
        Skip
      </Button>
      <span class="sw-note sw-num" role="status">
        {doing || openSaid(check.open.value, check.count.value)}
      </span>
    </div>
  );
}
