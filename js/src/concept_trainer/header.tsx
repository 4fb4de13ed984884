import "../ui/header.css";
import "../ui/choosing.css";
import "./header.css";
import { Button } from "../ui/button";
import { Progress } from "../ui/progress";
import { SaveButton } from "../ui/save_button";
import { Select } from "../ui/select";
import { TypedBox } from "../ui/typed_box";
import type { Trainer } from "./trainer";
import { METHODS, named, POOLS, statusText } from "./words";

/** How a direction is found, of what, in which blocks; how far it is, and the one next step. */
export function TrainerHeader({ trainer }: { trainer: Trainer }) {
  const doing = trainer.doing.value;
  const { problem } = trainer.plan.value;
  const can = !doing && (!problem || trainer.edited.value !== null);
  return (
    <header class="sw-header sw-choosing sw-trainer-header">
      <div class="sw--line">
        <h2>Concept from texts</h2>
        <Choices trainer={trainer} />
        <div class="sw--right">
          <p class="sw-note sw-num" role="status" aria-live="polite">
            {statusText(trainer)}
          </p>
          {trainer.frozen ? (
            <span class="sw-chip" title="Blocks and texts can be looked at without a kernel">
              frozen copy
            </span>
          ) : (
            <>
              <SaveButton from={trainer} />
              <Button asks aria-disabled={!doing} onClick={() => doing && trainer.stop()}>
                Stop
              </Button>
              <Button
                kind="primary"
                asks
                aria-disabled={!can}
                title={problem || "Ctrl+Enter in a box"}
                onClick={() => can && trainer.run("train")}
              >
                Train
              </Button>
            </>
          )}
        </div>
      </div>
      <Progress of={doing} />
    </header>
  );
}

function Choices({ trainer }: { trainer: Trainer }) {
  const inputs = trainer.inputs.value;
  if (!inputs) return null;
  const blocks = trainer.traits.facts.value.blocks ?? 1;
  const steps = inputs.method === "reft_r1";
  if (trainer.frozen)
    return (
      <>
        <span class="sw-chip">{named(METHODS, inputs.method)}</span>
        {!steps && <span class="sw-chip">{named(POOLS, inputs.pool)}</span>}
      </>
    );
  return (
    <>
      <Select
        label="Method"
        kind="pill"
        value={inputs.method}
        options={METHODS as readonly (readonly [string, string])[]}
        onChoose={(method) => trainer.edit({ method })}
      />
      {steps ? (
        <span
          class="sw-chip"
          title="It learns at every token, and scores a text by its largest relu(h·v)"
        >
          all tokens
        </span>
      ) : (
        <Select
          label="Pooling"
          kind="pill"
          title="What of a text is read: of the model's answers, the answer's tokens alone"
          value={inputs.pool}
          options={POOLS as readonly (readonly [string, string])[]}
          onChoose={(pool) => trainer.edit({ pool })}
        />
      )}
      <label
        class="sw-chip"
        title={`all, or numbers and ranges such as 0-9, 15; the model has blocks 0 to ${blocks - 1}. ReFT-r1 trains in each of them.`}
      >
        blocks
        <TypedBox
          label="Blocks"
          class="sw--blocks sw-num"
          value={inputs.blocks}
          take={(text) => trainer.edit({ blocks: text })}
        />
      </label>
    </>
  );
}
