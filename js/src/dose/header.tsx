import "../ui/header.css";
import "./header.css";
import { Button } from "../ui/button";
import { Progress } from "../ui/progress";
import { SaveButton } from "../ui/save_button";
import type { Dose } from "./dose";
import type { Facts } from "./types";
import { statusText, strengthsText } from "./words";

/** What is tried on how many prompts, how far it is, and the one next step. */
export function DoseHeader({ dose, facts }: { dose: Dose; facts: Facts }) {
  const inputs = dose.inputs.value;
  const doing = dose.doing.value;
  const has = dose.result.value !== null;
  const seeds = typeof inputs?.seeds === "number" ? inputs.seeds : (inputs?.seeds.length ?? 0);
  return (
    <header class="sw-header sw-dose-header">
      <div class="sw--line">
        {facts.kind && (
          <span class="sw-badge">
            {facts.kind} {facts.layer}
          </span>
        )}
        <h2 title={facts.label}>{facts.label}</h2>
        {inputs && (
          <>
            <Chip name="prompts" value={inputs.prompts.length} />
            <Chip name="seeds" value={seeds} />
            <Chip name="strengths" value={strengthsText(inputs.strengths)} />
            <Chip name="tokens" value={inputs.tokens} />
          </>
        )}
        <div class="sw--right">
          <p class="sw-note sw-num" role="status" aria-live="polite">
            {statusText(dose)}
          </p>
          {dose.frozen ? (
            <span class="sw-chip" title="Axis, rows and texts work without a kernel">
              frozen copy
            </span>
          ) : (
            <>
              <SaveButton from={dose} />
              <Button asks aria-disabled={!doing} onClick={() => doing && dose.stop()}>
                Stop
              </Button>
              <Button
                kind="primary"
                asks
                aria-disabled={doing !== null}
                onClick={() => !doing && dose.run()}
              >
                {has ? "Run again" : "Run"}
              </Button>
            </>
          )}
        </div>
      </div>
      <Progress of={doing} />
    </header>
  );
}

function Chip({ name, value }: { name: string; value: string | number }) {
  return (
    <span class="sw-chip sw-num">
      {name} <b>{value}</b>
    </span>
  );
}
