import "./prompt.css";
import { Button } from "../ui/button";
import type { Panel } from "./panel";
import { Sampling } from "./sampling";
import { FROZEN, StatusLine } from "./status_line";

/** What is asked of the model, and when. */
export function Prompt({ panel }: { panel: Panel }) {
  const running = panel.running.value;
  const keys = (event: KeyboardEvent) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    panel.generate();
  };
  return (
    <div class="sw-prompt">
      <textarea
        class="sw-field"
        dir="auto"
        aria-label="Prompt"
        rows={2}
        placeholder="What shall the model answer or continue?"
        value={panel.traits.prompt.value}
        onInput={(event) => panel.setPrompt(event.currentTarget.value)}
        onKeyDown={keys}
      />
      <div class="sw--actions">
        <Button
          kind="primary"
          asks
          disabled={panel.frozen}
          aria-disabled={running || panel.frozen}
          title={panel.frozen ? FROZEN : "Ctrl+Enter in the prompt"}
          onClick={() => panel.generate()}
        >
          Generate
        </Button>
        <Button aria-disabled={!running} onClick={() => panel.stop()}>
          Stop
        </Button>
        <Sampling panel={panel} />
      </div>
      <StatusLine panel={panel} />
    </div>
  );
}
