import "../ui/header.css";
import "../ui/choosing.css";
import "./header.css";
import { Button } from "../ui/button";
import { NumberBox } from "../ui/number_box";
import { Progress } from "../ui/progress";
import { SaveButton } from "../ui/save_button";
import { Select } from "../ui/select";
import type { Patch } from "./patch";
import { STREAMS, statusText } from "./words";

const DIRECTIONS = [
  ["denoise", "source → target"],
  ["noise", "target → source (noise)"],
] as const;
const METRICS = [
  ["logit difference", "logit difference"],
  ["kl", "KL"],
] as const;

/** What is patched into what, how much work that is, how far it is, and the one next step. */
export function PatchHeader({ patch }: { patch: Patch }) {
  const doing = patch.doing.value;
  const runs = doing?.what === "run";
  const plan = patch.plan.value;
  const done = patch.measured.value;
  const whole = plan !== null && done > 0 && done === plan.layers.length;
  const edited = patch.edited.value !== null;
  const can = plan !== null && !runs && (edited || (!plan.problem && !whole));
  return (
    <header class="sw-header sw-choosing sw-patch-header">
      <div class="sw--line">
        <h2>Activation patching</h2>
        <Choices patch={patch} />
        <div class="sw--right">
          <p class="sw-note sw-num" role="status" aria-live="polite">
            {statusText(patch)}
          </p>
          {patch.frozen ? (
            <span class="sw-chip" title="Hover, keys and pins work without a kernel">
              frozen copy
            </span>
          ) : (
            <>
              <SaveButton from={patch} />
              {runs ? (
                <Button asks aria-disabled={doing.stopping} onClick={() => patch.stop()}>
                  Stop
                </Button>
              ) : (
                <Button
                  kind="primary"
                  asks
                  aria-disabled={!can}
                  title={whole ? "All of it is measured" : "Ctrl+Enter in a text"}
                  onClick={() => can && patch.run()}
                >
                  {done && !whole ? "Go on" : "Run"}
                </Button>
              )}
            </>
          )}
        </div>
      </div>
      <Progress of={runs ? doing : null} />
    </header>
  );
}

function Choices({ patch }: { patch: Patch }) {
  const inputs = patch.inputs.value;
  if (!inputs) return null;
  const direction = inputs.noise ? "noise" : "denoise";
  const blocks = patch.traits.facts.value.blocks ?? 1;
  const named = (all: readonly (readonly [string, string])[], value: string) =>
    all.find(([id]) => id === value)?.[1] ?? value;
  if (patch.frozen)
    return (
      <>
        {[named(STREAMS, inputs.stream), named(DIRECTIONS, direction), inputs.metric].map(
          (text) => (
            <span key={text} class="sw-chip">
              {text}
            </span>
          ),
        )}
      </>
    );
  return (
    <>
      <Select
        label="Stream"
        kind="pill"
        value={inputs.stream}
        options={STREAMS as readonly (readonly [string, string])[]}
        onChoose={(stream) => patch.edit({ stream })}
      />
      <Select
        label="Direction"
        kind="pill"
        title="Denoise: residuals of the source go into the target. Noise: those of the target go into the source."
        value={direction}
        options={DIRECTIONS}
        onChoose={(value) => patch.edit({ noise: value === "noise" })}
      />
      <Select
        label="Metric"
        kind="pill"
        value={inputs.metric}
        options={METRICS}
        onChoose={(metric) => patch.edit({ metric })}
      />
      <label class="sw-chip" title="A row for every so many blocks, from the deepest down">
        every
        <NumberBox
          label="Layer stride"
          value={inputs.stride}
          min={1}
          max={blocks}
          step={1}
          onValue={(value) => value && patch.type({ stride: Math.round(value) })}
        />
        of {blocks} blocks
      </label>
    </>
  );
}
