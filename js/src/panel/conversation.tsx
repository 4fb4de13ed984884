import "./conversation.css";
import { Button } from "../ui/button";
import { plural } from "../ui/format";
import type { Panel } from "./panel";

/** What stands before the prompt: a system prompt, and the turns so far. */
export function Conversation({ panel }: { panel: Panel }) {
  const { system, turns, outdated } = panel.traits;
  const old = new Set(outdated.value);
  return (
    <section class="sw-talk" aria-label="Conversation">
      <textarea
        class="sw-field"
        dir="auto"
        aria-label="System prompt"
        rows={1}
        placeholder="System prompt: the chat template's own"
        readOnly={panel.frozen}
        value={system.value}
        onInput={(event) => panel.setSystem(event.currentTarget.value)}
      />
      {turns.value.length > 0 && (
        <ol class="sw-plain" aria-label="Turns">
          {turns.value.map(({ role, content, row }, index) => (
            <li key={index} class={role === "user" ? "" : "sw--answer"}>
              <b>{role === "user" ? "you" : (row ?? "model")}</b>
              <span class="sw--words" dir="auto">
                {content}
              </span>
              {old.has(index) && <em>another recipe's</em>}
              {role === "user" && !panel.frozen && (
                <Button
                  kind="quiet small"
                  asks
                  aria-label={`Edit turn ${index + 1}`}
                  title="Back to the prompt; what came after it goes"
                  onClick={() => panel.edit(index)}
                >
                  edit
                </Button>
              )}
            </li>
          ))}
        </ol>
      )}
      {turns.value.length > 0 && (
        <div class="sw-heading">
          <p class="sw-note" role="note">
            {old.size
              ? `The recipe has changed: ${plural(old.size, "answer")} above ${old.size > 1 ? "were" : "was"} written under another one. Edit the turn before to have it written again.`
              : `${plural(turns.value.length, "turn")} before the prompt.`}
          </p>
          {!panel.frozen && (
            <Button kind="quiet small" onClick={() => panel.forgetTurns()}>
              New conversation
            </Button>
          )}
        </div>
      )}
    </section>
  );
}
