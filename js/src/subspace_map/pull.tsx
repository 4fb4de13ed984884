import "./pull.css";
import { useEffect } from "preact/hooks";
import { Button } from "../ui/button";
import { formatNumber, formatPercent, visible } from "../ui/format";
import { NumberBox } from "../ui/number_box";
import { Slider } from "../ui/slider";
import type { MapState } from "./map";
import type { Change, Facts } from "./types";

const RISING = 5;
const FALLING = 3;

/** How far towards the centroid, what it does to the next token, and the steered text beside the plain one. */
export function Pull({ map, facts }: { map: MapState; facts: Facts }) {
  const { a, z } = map.target.value;
  const ratio = map.isBehind.value ? null : (map.nextToken.value?.ratio ?? null);
  const step = map.step.value;
  return (
    <>
      <section class="sw-map-pull" aria-label="Pull">
        <h3>Pull towards it</h3>
        <div class="sw--share">
          <span aria-hidden="true">a</span>
          <Slider
            label="Share of the way to the centroid"
            value={a}
            valueText={formatNumber(a)}
            range={{ min: 0, max: 1, step: 0.01, neutral: 0, suggested: null }}
            colour="var(--accent)"
            disabled={map.frozen}
            onValue={(value) => {
              map.setShare(value);
              map.restSoon();
            }}
            onHold={(held) => map.hold(held)}
          />
          <b class="sw-num">{a.toFixed(2)}</b>
        </div>
        <p class="sw-note sw-num" aria-live="off">
          h + a·(μ − h) + W·z{ratio !== null && ` · ${formatPercent(ratio)} of ‖h‖`}
        </p>
        {!map.frozen && (
          <details class="sw--loadings">
            <summary>Target by numbers</summary>
            <div>
              {z.map((value, dim) => (
                <label key={dim}>
                  z{dim}
                  <NumberBox
                    label={`z${dim}`}
                    value={value}
                    step={step}
                    onValue={(number) => number !== null && map.setLoading(dim, number)}
                  />
                </label>
              ))}
            </div>
          </details>
        )}
      </section>
      <Prompt map={map} facts={facts} />
      <Next map={map} />
      <PairText map={map} />
      <div class="sw-map-actions">
        {!map.frozen && (
          <>
            <Button kind="primary" asks onClick={() => void map.steer()}>
              Steer
            </Button>
            <Button asks onClick={() => void map.send()}>
              Send to panel
            </Button>
          </>
        )}
      </div>
      <p class="sw-note" role="status">
        {map.sent.value}
      </p>
    </>
  );
}

function Prompt({ map, facts }: { map: MapState; facts: Facts }) {
  const prompt = map.traits.prompt.value;
  return (
    <section class="sw-map-prompt" aria-label="Prompt">
      <h3>Prompt{facts.chat ? ", in the chat template" : ""}</h3>
      <input
        type="text"
        aria-label="Prompt"
        value={prompt}
        readOnly={map.frozen}
        onInput={(event) => map.write(event.currentTarget.value)}
        onKeyDown={(event) => event.key === "Enter" && void map.steer()}
      />
    </section>
  );
}

function Next({ map }: { map: MapState }) {
  useEffect(() => map.watch(), []);
  const next = map.nextToken.value;
  const { prompt } = map.asked.value;
  const behind = map.isBehind.value;
  const rows = [
    ...(next?.promoted ?? []).slice(0, RISING),
    ...(next?.suppressed ?? []).slice(0, FALLING),
  ];
  const most = Math.max(Number.MIN_VALUE, ...rows.map(({ delta }) => Math.abs(delta)));
  const said = lacking(map);
  return (
    <section
      class={behind ? "sw-map-next sw--behind" : "sw-map-next"}
      aria-label="Δ logits"
      aria-busy={behind && !said}
    >
      <h3>Δ logits after “{prompt.length > 40 ? `…${prompt.slice(-39)}` : prompt}”</h3>
      {said ? (
        <p class="sw-empty">{said}</p>
      ) : (
        <table class="sw-num" aria-label="Δ logits">
          <tbody>
            {rows.map((row) => (
              <Bar key={row.id} row={row} most={most} />
            ))}
          </tbody>
        </table>
      )}
    </section>
  );
}

function lacking(map: MapState): string {
  if (!map.asked.value.prompt.trim()) return "Write a prompt: what follows it then stands here.";
  if (map.refused.value) return map.refused.value;
  const next = map.nextToken.value;
  if (!next) return map.frozen ? "Nothing was read before this copy was made." : "Reading…";
  return next.changes ? "" : "Nothing changes: drag the target, or raise a.";
}

function Bar({ row, most }: { row: Change; most: number }) {
  const { delta } = row;
  return (
    <tr title={`token ${row.id}`}>
      <th scope="row">
        <code>{visible(row)}</code>
      </th>
      <td class={delta < 0 ? "sw--bar sw--negative" : "sw--bar"} aria-hidden="true">
        <span style={{ width: `${(100 * Math.abs(delta)) / most}%` }} />
      </td>
      <td class="sw--number">{`${delta > 0 ? "+" : "−"}${Math.abs(delta).toFixed(2)}`}</td>
    </tr>
  );
}

function PairText({ map }: { map: MapState }) {
  const pair = map.pair.value;
  if (!pair)
    return (
      <p class="sw-empty">
        {map.frozen
          ? "Nothing was steered before this copy was made."
          : "Let the target go somewhere, or press Steer: the steered text then stands here beside the plain one."}
      </p>
    );
  const old = map.isPairOld.value;
  const texts: [string, string, string][] = [
    ["Steered", pair.steered, ""],
    ["Baseline", pair.baseline, " sw--quiet"],
  ];
  return (
    <div class="sw-map-pair">
      {texts.map(([name, text, kind]) => (
        <section key={name} aria-label={name} aria-busy={!pair.done}>
          <h3>
            {name}
            {old && name === "Steered" ? " · from an earlier place" : ""}
          </h3>
          <p class={`sw--text${kind}`}>
            {pair.asked.prompt}
            {text}
          </p>
        </section>
      ))}
      <p class="sw-note">Both rows of one batch, with the same noise.</p>
    </div>
  );
}
