import "./prompt.css";
import { useState } from "preact/hooks";
import { Button } from "../ui/button";
import { BesideThem } from "./beside";
import { Conversation } from "./conversation";
import type { Panel } from "./panel";
import { Sampling } from "./sampling";
import { FROZEN, StatusLine } from "./status_line";

/** What is asked of the model, and when. */
export function Prompt({ panel }: { panel: Panel }) {
  const running = panel.running.value;
  const { beside, chat, system, turns, model_info } = panel.traits;
  const [opened, setOpened] = useState({ talk: false, rows: false });
  const templated = chat.value && model_info.value.has_chat_template;
  const talks = templated && (opened.talk || !!system.value || turns.value.length > 0);
  const rows = opened.rows || !!beside.value.asked || beside.value.random > 0;
  const cannotStop = model_info.value.lacks?.stop;
  const keys = (event: KeyboardEvent) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    panel.generate();
  };
  return (
    <div class="sw-prompt">
      {talks && <Conversation panel={panel} />}
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
        <Button
          aria-disabled={!running || !!cannotStop}
          title={cannotStop}
          onClick={() => cannotStop || panel.stop()}
        >
          Stop
        </Button>
        <Sampling panel={panel} />
        {templated && !talks && (
          <Button kind="quiet small" onClick={() => setOpened({ ...opened, talk: true })}>
            System prompt
          </Button>
        )}
        {!rows && (
          <Button kind="quiet small" onClick={() => setOpened({ ...opened, rows: true })}>
            More rows
          </Button>
        )}
      </div>
      {rows && <BesideThem panel={panel} />}
      <StatusLine panel={panel} />
    </div>
  );
}
