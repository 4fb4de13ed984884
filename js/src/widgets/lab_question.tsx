import "./lab_question.css";
import { emphasised } from "../lab/emphasis";
import { Field } from "../lab/field";
import { type Asked, Question } from "../lab/question";
import { Verdict } from "../lab/verdict";
import { Button } from "../ui/button";
import { Failure } from "../ui/failure";
import { type Mounted, mount } from "../ui/mount";

export default mount(Question, View, "sw-lab");

const KIND: Record<Asked["kind"], string> = {
  ask: "Question",
  predict: "Prediction",
  check: "Check",
};
const GIVE: Record<Asked["kind"], string> = {
  ask: "Keep answer",
  predict: "Predict",
  check: "Check",
};

function View({ state: question }: Mounted<Question>) {
  const asked = question.asked.value;
  if (!asked) return <p class="sw-empty">Waiting for the question…</p>;
  const given = question.given.value;
  return (
    <section class="sw-lab-question" aria-label={KIND[asked.kind]}>
      <p class="sw-lab-kind">
        <span>{KIND[asked.kind]}</span>
        {asked.kind === "predict" && !question.closed.value && (
          <span class="sw-note">once given, it stands</span>
        )}
        {question.frozen && <span class="sw-note">frozen copy</span>}
      </p>
      <p class="sw-lab-ask">{emphasised(asked.question)}</p>
      <Field question={question} asked={asked} />
      {question.failure.value && (
        <Failure
          sentence={question.failure.value}
          onDismiss={() => {
            question.failure.value = "";
          }}
        />
      )}
      <div aria-live="polite" class="sw-lab-came">
        <Verdict asked={asked} given={given} />
      </div>
      {!question.frozen && <Ways question={question} asked={asked} />}
    </section>
  );
}

function Ways({ question, asked }: { question: Question; asked: Asked }) {
  const given = question.given.value;
  const doing = question.doing.value;
  return (
    <div class="sw-lab-ways">
      {!given.locked && (
        <Button kind="primary" asks aria-disabled={doing !== ""} onClick={() => question.answer()}>
          {GIVE[asked.kind]}
        </Button>
      )}
      {given.tellable && (
        <Button
          kind="quiet"
          asks
          title="Your own answer stays as it is from then on"
          aria-disabled={doing !== ""}
          onClick={() => question.reveal()}
        >
          Show the answer
        </Button>
      )}
      <span class="sw-note" role="status">
        {doing || saying(question, asked)}
      </span>
    </div>
  );
}

function saying(question: Question, asked: Asked): string {
  if (question.changed.value) return "not given yet; what you type is kept meanwhile";
  const { answer, tellable } = question.given.value;
  if (answer)
    return `kept in ${asked.file}${tellable ? "; once the answer is shown, yours stays as it is" : ""}`;
  return asked.tells && asked.kind === "ask" ? "an answer is shown after yours" : "";
}
