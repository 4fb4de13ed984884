import "./history.css";
import { useEffect, useState } from "preact/hooks";
import type { Token } from "../host/tokens";
import { Button } from "../ui/button";
import { download } from "../ui/download";
import { Failure } from "../ui/failure";
import { formatNumber, plural, visible } from "../ui/format";
import { Select } from "../ui/select";
import { withMarks } from "../ui/token";
import { TypedBox } from "../ui/typed_box";
import { Importing } from "./importing";
import type { Panel } from "./panel";
import type { PastRow, PastRun, RunsCompared } from "./types";

const KEPT = 20; // as the kernel has it

/** Every run of the panel, the newest first: named, pinned, compared, taken back, taken away. */
export function History({ panel }: { panel: Panel }) {
  const runs = panel.traits.runs.value;
  const compared = panel.traits.compared.value;
  const [chosen, setChosen] = useState<string[]>([]);
  useEffect(() => setChosen(isCompared(compared) ? compared.runs : []), [compared]);
  if (!runs.length)
    return panel.frozen ? (
      <p class="sw-empty">Nothing had run when this copy was made.</p>
    ) : (
      <>
        <p class="sw-empty">
          Press Generate: every run is kept here, to be named, compared and taken back.
        </p>
        <ImportRuns panel={panel} />
      </>
    );
  const picked = chosen.filter((id) => runs.some((run) => run.id === id));
  const choose = (id: string) => {
    const others = picked.filter((other) => other !== id);
    const next = others.length < picked.length ? others : [...others.slice(-1), id];
    setChosen(next);
    if (next.length === 2) panel.past({ do: "compare", runs: next });
  };
  return (
    <>
      <ul class="sw-runs sw-plain" aria-label="Runs">
        {[...runs].reverse().map((run) => (
          <Run
            key={run.id}
            run={run}
            panel={panel}
            chosen={picked.includes(run.id)}
            onChoose={() => choose(run.id)}
          />
        ))}
      </ul>
      <div class="sw-heading">
        <p class="sw-note sw--rest">
          {plural(KEPT, "run")} are kept; pinned ones stay. Check two to compare them.
        </p>
        <Button kind="quiet small" onClick={(event) => exportRuns(panel, event.currentTarget)}>
          Export runs
        </Button>
      </div>
      {!panel.frozen && <ImportRuns panel={panel} />}
      <Compared panel={panel} />
    </>
  );
}

/** Runs that were exported, of this panel or another, pasted or read from a file. */
function ImportRuns({ panel }: { panel: Panel }) {
  const [said, setSaid] = useState("");
  const [error, setError] = useState("");
  const take = async (text: string) => {
    setSaid("");
    const found = await panel.importRuns(text);
    setError(found.error);
    setSaid(found.said);
    return !found.error;
  };
  return (
    <details class="sw-import-runs">
      <summary>Import runs</summary>
      <Importing what="Runs" placeholder="Paste exported runs" onText={take} onProblem={setError} />
      {error && <Failure sentence={error} onDismiss={() => setError("")} />}
      <p class="sw-note" aria-live="polite">
        {said}
      </p>
    </details>
  );
}

interface RunProps {
  run: PastRun;
  panel: Panel;
  chosen: boolean;
  onChoose(): void;
}

function Run({ run, panel, chosen, onChoose }: RunProps) {
  const title = titleOf(run);
  const steered = run.rows.find(({ name }) => name === "steered");
  return (
    <li class={chosen ? "sw--run sw--chosen" : "sw--run"}>
      <input
        type="checkbox"
        aria-label={`Compare ${title}`}
        checked={chosen}
        disabled={panel.frozen}
        onChange={onChoose}
      />
      <TypedBox
        label={`Name of run ${run.number}`}
        class="sw--name"
        value={run.name}
        placeholder={`Run ${run.number}`}
        maxLength={80}
        readOnly={panel.frozen}
        take={(text) => panel.past({ do: "name", run: run.id, title: text })}
      />
      <span class="sw--said sw-num" title={run.said}>
        <time dateTime={run.at}>{clock(run.at)}</time> · {run.said}
        {run.kl?.length ? ` · KL ${formatNumber(mean(run.kl), 2)}` : ""}
      </span>
      <span class="sw--acts">
        <Button
          kind="quiet small"
          asks
          aria-label={`Pin ${title}`}
          aria-pressed={run.pinned}
          disabled={panel.frozen}
          onClick={() => panel.past({ do: "pin", run: run.id, pinned: !run.pinned })}
        >
          {run.pinned ? "pinned" : "pin"}
        </Button>
        <Button
          kind="quiet small"
          asks
          aria-label={`Use recipe of ${title}`}
          disabled={panel.frozen}
          onClick={() => panel.past({ do: "take_back", run: run.id })}
        >
          use recipe
        </Button>
        <Button
          kind="icon"
          asks
          aria-label={`Forget ${title}`}
          title="Forget"
          disabled={panel.frozen}
          onClick={() => panel.past({ do: "remove", run: run.id })}
        >
          ×
        </Button>
      </span>
      <span class="sw--text" dir="auto">
        {steered?.text.slice(0, 160)}
      </span>
    </li>
  );
}

/** Two texts side by side: what one has and the other has not is marked. */
function Compared({ panel }: { panel: Panel }) {
  const compared = panel.traits.compared.value;
  if (!isCompared(compared)) return null;
  const runs = compared.runs.map((id) => panel.traits.runs.value.find((run) => run.id === id));
  if (runs.some((run) => !run)) return null;
  const count = compared.same[0]?.filter(Boolean).length ?? 0;
  const parted = compared.divergence;
  const setRow = (side: number) => (name: string) =>
    panel.past({
      do: "compare",
      runs: compared.runs,
      rows: compared.rows.map((row, index) => (index === side ? name : row)),
    });
  return (
    <section aria-label="Comparison of runs" class="sw-compared">
      <div class="sw-columns">
        {(runs as PastRun[]).map((run, side) => {
          const row = run.rows.find(({ name }) => name === compared.rows[side]);
          return (
            <div key={side} class="sw-column">
              <h3>
                <span>{titleOf(run)}</span>
                <Select
                  label={`Row of ${titleOf(run)}, ${side === 0 ? "left" : "right"}`}
                  value={compared.rows[side] ?? ""}
                  options={run.rows.map(({ name }) => [name, name] as const)}
                  onChoose={setRow(side)}
                />
              </h3>
              {row && <Text row={row} same={compared.same[side] ?? []} fork={parted} />}
            </div>
          );
        })}
      </div>
      <p class="sw-note sw-num">
        {parted === null
          ? "The texts are the same."
          : `Texts part at token ${parted + 1} · ${plural(count, "token")} shared in the same order · what only one has is underlined`}
      </p>
    </section>
  );
}

function Text({ row, same, fork }: { row: PastRow; same: boolean[]; fork: number | null }) {
  return (
    <div class="sw-text" dir="auto">
      {tokensOf(row).map((token, index) => (
        <span
          key={index}
          class={`${same[index] ? "" : "sw--own"} ${index === fork ? "sw--fork" : ""}`}
          title={`token ${index + 1}, id ${token.id}`}
        >
          {token.fragment ? visible(token) : withMarks(token.text)}
        </span>
      ))}
    </div>
  );
}

export function tokensOf({ ids, texts, fragments }: PastRow): Token[] {
  const parts = new Set(fragments);
  return ids.map((id, index) => ({ id, text: texts[index] ?? "", fragment: parts.has(index) }));
}

function exportRuns(panel: Panel, beside: Element): void {
  const { runs, provenance } = panel.traits;
  const value = { format: "steerwidgets.runs/1", provenance: provenance.value, runs: runs.value };
  download(JSON.stringify(value, null, 1), "runs.json", beside, "application/json");
}

function titleOf(run: PastRun): string {
  return run.name || `Run ${run.number}`;
}

function clock(at: string): string {
  return new Date(at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
}

function mean(values: number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function isCompared(value: RunsCompared | Record<string, never>): value is RunsCompared {
  return Array.isArray(value.runs);
}
