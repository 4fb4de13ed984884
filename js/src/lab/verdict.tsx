import "./verdict.css";
import { emphasised } from "./emphasis";
import type { Asked, Given } from "./question";

/** What came of an answer: right or not in words and a mark, what was seen, and the teacher's answer. */
export function Verdict({ asked, given }: { asked: Asked; given: Given }) {
  return (
    <>
      {given.right !== null && <Mark asked={asked} given={given} />}
      {given.right === null && given.outcome && (
        <p class="sw-note">
          What came of it: {given.outcome}
          {given.late && " (predicted after that, so it does not count)"}
        </p>
      )}
      {given.told && (
        <section class="sw-lab-told" aria-label="An answer">
          <h3>{asked.kind === "ask" ? "One answer" : "The answer"}</h3>
          <p>{emphasised(given.told)}</p>
        </section>
      )}
    </>
  );
}

function Mark({ asked, given }: { asked: Asked; given: Given }) {
  const { right, hint, outcome, tries } = given;
  const predicted = asked.kind === "predict";
  const said = predicted
    ? `${right ? "As you predicted" : "Not as you predicted"}: ${outcome}`
    : right
      ? "Right."
      : `Not right yet${tries > 1 ? `, ${tries} tries so far` : ""}.`;
  return (
    <p class={`sw-lab-mark ${right ? "sw--right" : "sw--wrong"}`}>
      <span aria-hidden="true">{right ? "✓" : "✗"}</span>
      <span>
        <b>{said}</b>
        {hint && <> {emphasised(hint)}</>}
      </span>
    </p>
  );
}
