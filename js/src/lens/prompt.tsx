import "./prompt.css";
import { Button } from "../ui/button";
import { Segmented } from "../ui/segmented";
import type { Lens } from "./lens";

const FORMS = [
  ["raw", "raw"],
  ["chat", "chat"],
] as const;

/** Another text to read: the model runs once. */
export function LensPrompt({ lens }: { lens: Lens }) {
  const { text, chat, facts, status } = lens.traits;
  const busy = lens.busy.value;
  const keys = (event: KeyboardEvent) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    lens.read();
  };
  const { generated, source, has_chat_template } = facts.value;
  return (
    <div class="sw-lens-prompt">
      {generated ? (
        <p class="sw-note sw-num">{generated}</p>
      ) : (
        <textarea
          class="sw-field"
          dir="auto"
          aria-label="Text"
          rows={1}
          placeholder={
            source
              ? `Read from ${source}. Write a text here to read another one.`
              : "Write a text here, and press Read."
          }
          readOnly={lens.frozen}
          value={text.value}
          onInput={(event) => lens.setText(event.currentTarget.value)}
          onKeyDown={keys}
        />
      )}
      {!lens.frozen && !generated && (
        <div class="sw--actions">
          {has_chat_template && (
            <Segmented
              label="Template"
              value={chat.value ? "chat" : "raw"}
              options={FORMS}
              onChoose={(value) => lens.setChat(value === "chat")}
            />
          )}
          {busy ? (
            <Button onClick={() => lens.stop()}>Stop</Button>
          ) : (
            <Button asks title="Ctrl+Enter in the text" onClick={() => lens.read()}>
              Read
            </Button>
          )}
        </div>
      )}
      <p role="status" aria-live="polite" class="sw-note sw-num">
        {busy
          ? [busy.doing, busy.of > 0 ? `${busy.done} of ${busy.of}` : ""].filter(Boolean).join(" ")
          : status.value.message}
      </p>
      {busy && (
        <div class="sw--progress" aria-hidden="true">
          <span
            class={busy.of > 0 ? "" : "sw--unknown"}
            style={{ "--share": busy.of > 0 ? busy.done / busy.of : 0 }}
          />
        </div>
      )}
    </div>
  );
}
