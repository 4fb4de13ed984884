import "./field.css";
import { flags } from "../ui/flags";
import { useId } from "../ui/use_id";
import type { Asked, Question } from "./question";

interface Props {
  question: Question;
  asked: Asked;
}

/** Where the answer is written or chosen; once it stands, it is text. */
export function Field({ question, asked }: Props) {
  if (asked.form === "choice") return <Choices question={question} asked={asked} />;
  const shown = question.shown.value;
  if (question.closed.value)
    return (
      <section class="sw-lab-said" aria-label="Your answer">
        {question.given.value.answer || "Not answered."}
      </section>
    );
  const how = {
    "aria-label": "Your answer",
    class: "sw-field",
    value: shown,
    onInput: (event: InputEvent) =>
      question.type((event.currentTarget as HTMLInputElement | HTMLTextAreaElement).value),
  };
  if (asked.form === "number" || asked.kind === "check")
    return (
      <input
        {...how}
        type="text"
        inputMode={asked.form === "number" ? "decimal" : "text"}
        autoComplete="off"
        spellcheck={false}
        onKeyDown={(event) => {
          // With Shift it is meant for the notebook: it runs a cell.
          if (event.key === "Enter" && !event.shiftKey && !event.isComposing) question.answer();
        }}
      />
    );
  return (
    <textarea
      {...how}
      rows={Math.min(12, Math.max(3, shown.split("\n").length + 1))}
      onKeyDown={(event) => {
        if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
          event.preventDefault();
          question.answer();
        }
      }}
    />
  );
}

function Choices({ question, asked }: Props) {
  const name = useId();
  const shown = question.shown.value;
  const { outcome } = question.given.value;
  return (
    <div class="sw-lab-choices" role="radiogroup" aria-label="Your answer">
      {asked.choices.map((choice) => (
        <label key={choice} class={flags({ chosen: choice === shown })}>
          <input
            type="radio"
            name={name}
            checked={choice === shown}
            disabled={question.closed.value}
            onChange={() => question.type(choice)}
            onKeyDown={(event) => {
              if (event.key === "Enter" && !event.shiftKey) question.answer();
            }}
          />
          <span>{choice}</span>
          {choice === outcome && <small>what came of it</small>}
        </label>
      ))}
    </div>
  );
}
