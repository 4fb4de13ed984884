import "./sweep_tab.css";
import { useEffect } from "preact/hooks";
import { sliderParameter } from "../recipe_editor/strength";
import type { Steer } from "../recipe_editor/types";
import { Button } from "../ui/button";
import { Failure } from "../ui/failure";
import { formatDuration, formatNumber } from "../ui/format";
import { NumberBox } from "../ui/number_box";
import { Select } from "../ui/select";
import type { Panel } from "./panel";
import { textOf } from "./sweep";
import type { SweepRow, Swept } from "./types";

/** Every strength of one steer side by side: what is said, how surprising it is, where texts break. */
export function SweepTab({ panel }: { panel: Panel }) {
  const sweep = panel.sweeping;
  const live = sweep.live.value;
  const swept = panel.traits.swept.value;
  const error = sweep.error.value;
  return (
    <>
      {!panel.frozen && <Plan panel={panel} />}
      {error && (
        <Failure
          sentence={error}
          onDismiss={() => {
            sweep.error.value = "";
          }}
        />
      )}
      {live ? (
        <Rows
          rows={live.strengths.map((strength, index) => ({
            strength,
            text: textOf(live.rows[index]?.tokens ?? []),
          }))}
        />
      ) : (
        isSwept(swept) && <Found panel={panel} swept={swept} />
      )}
      {panel.frozen && !isSwept(swept) && (
        <p class="sw-empty">Nothing had been swept when this copy was made.</p>
      )}
    </>
  );
}

function Plan({ panel }: { panel: Panel }) {
  const sweep = panel.sweeping;
  const steers = panel.traits.steers.value.filter((steer) => canSweep(panel, steer));
  const chosen = steers.some(({ id }) => id === sweep.steer.value) ? sweep.steer.value : "";
  const plan = sweep.plan.value;
  const live = sweep.live.value;
  const only = steers.length === 1 ? steers[0]?.id : undefined;
  useEffect(() => {
    if (only && !chosen) sweep.choose(only);
  }, [only, chosen]);
  if (!steers.length)
    return (
      <p class="sw-empty">
        Add a feature with a strength to the recipe: what every strength does then stands here.
      </p>
    );
  const options = steers.map((steer) => [steer.id, labelOf(panel, steer)] as const);
  const box = (name: "from" | "to" | "count" | "tokens", label: string, limits: object) => (
    <NumberBox
      label={label}
      value={plan?.[name] ?? null}
      step={name === "count" || name === "tokens" ? 1 : "any"}
      {...limits}
      onValue={(value) => value !== null && sweep.change({ [name]: value })}
    />
  );
  return (
    <div class="sw-sweep-plan sw-num">
      <Select
        label="Steer to sweep"
        value={chosen}
        options={chosen ? options : ([["", "choose a steer"], ...options] as const)}
        onChoose={(id) => sweep.choose(id)}
      />
      {chosen && plan && (
        <>
          <span>from</span>
          {box("from", "Sweep from", {})}
          <span>to</span>
          {box("to", "Sweep to", {})}
          <span>in</span>
          {box("count", "Number of strengths", { min: 2, max: 32 })}
          <span>strengths,</span>
          {box("tokens", "Tokens of a sweep", { min: 1, max: 512 })}
          <span>tokens</span>
        </>
      )}
      {live ? (
        <Button kind="small" onClick={() => sweep.stop()}>
          Stop sweep
        </Button>
      ) : (
        <Button
          kind="small"
          asks
          aria-disabled={!chosen || !plan || panel.running.value}
          onClick={() => sweep.run()}
        >
          Run sweep
        </Button>
      )}
      <span class="sw-note" aria-live="polite">
        {live ? progress(live.done, live.total, live.secondsLeft) : estimate(chosen, plan)}
      </span>
    </div>
  );
}

function estimate(chosen: string, plan: { seconds: number | null } | null): string {
  if (!chosen) return "";
  return plan?.seconds
    ? `about ${formatDuration(plan.seconds)}, in one batch`
    : "trying a few steps…";
}

function progress(done: number, total: number, left: number | null): string {
  return [`${done} of ${total} tokens`, left === null ? "" : `${formatDuration(left)} left`]
    .filter(Boolean)
    .join(" · ");
}

function Found({ panel, swept }: { panel: Panel; swept: Swept }) {
  const steer = panel.traits.steers.value.find(
    ({ key, op }) => key === swept.key && (op === swept.op || op.endsWith(`.${swept.op}`)),
  );
  const range = swept.surprise;
  return (
    <>
      <Rows
        rows={swept.rows}
        usual={range}
        onUse={
          steer && !panel.frozen ? (strength) => panel.setStrength(steer, strength) : undefined
        }
      />
      <p class="sw-note sw-num">
        {swept.label}, {swept.op} ·{" "}
        {range
          ? `the unsteered model's own texts: ${formatNumber(range[0], 2)} to ${formatNumber(range[1], 2)} nats (mean ± 2 sd over ${swept.seeds} seeds); a text breaks outside that, or where it repeats itself more than they do · one prompt`
          : "stopped: nothing was measured"}
        {swept.prompt !== panel.traits.prompt.value && " · on another prompt"}
      </p>
    </>
  );
}

interface RowsProps {
  rows: (Partial<SweepRow> & { strength: number; text: string })[];
  usual?: [number | null, number | null] | null;
  onUse?: ((strength: number) => void) | undefined;
}

function Rows({ rows, usual, onUse }: RowsProps) {
  const most = Math.max(...rows.map(({ surprise }) => surprise ?? 0), usual?.[1] ?? 0) || 1;
  return (
    <div class="sw-sweep-rows">
      <table class="sw-num" aria-label="Strengths">
        <thead>
          <tr>
            <th scope="col">strength</th>
            <th scope="col" colSpan={2}>
              surprise
            </th>
            <th scope="col">text</th>
          </tr>
        </thead>
        <tbody>
          {rows.map(({ strength, text, surprise, usual: fine }) => (
            <tr key={strength} class={fine === false ? "sw--broken" : ""}>
              <th scope="row">
                {onUse ? (
                  <Button
                    kind="quiet small"
                    aria-label={`Use strength ${formatNumber(strength)}`}
                    title="Steer with this strength"
                    onClick={() => onUse(strength)}
                  >
                    {formatNumber(strength)}
                  </Button>
                ) : (
                  formatNumber(strength)
                )}
              </th>
              <td class="sw--bar" aria-hidden="true">
                <span style={{ width: `${((surprise ?? 0) / most) * 100}%` }} />
              </td>
              <td class="sw--nats">
                {surprise === undefined ? "" : formatNumber(surprise, 2)}
                {fine === false && <small> breaks</small>}
              </td>
              <td class="sw--said" dir="auto" title={text}>
                {text}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function canSweep(panel: Panel, steer: Steer): boolean {
  return steer.enabled && !!sliderParameter(panel.traits.ops.value[steer.op]);
}

function labelOf(panel: Panel, steer: Steer): string {
  return panel.feature(steer.key)?.label ?? steer.key;
}

function isSwept(value: Swept | Record<string, never>): value is Swept {
  return Array.isArray(value.rows);
}
