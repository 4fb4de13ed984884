import "./acting_rows.css";
import { Button } from "../ui/button";
import { NumberBox } from "../ui/number_box";
import { Select } from "../ui/select";
import { atPhase, choicesOf, PHASES, type Phase, phaseOf, whenSaid } from "./acting";
import type { Fade, Positions, Steer, When } from "./types";

interface Props {
  label: string;
  steer: Steer;
  positions: Positions;
  /** Why the model can't steer some tokens and leave out others; undefined where it can. */
  alike: string | undefined;
  /** What conditions can read: keys and labels. */
  readable: readonly (readonly [key: string, label: string])[];
  labelOf(key: string): string;
  onChange(change: Partial<Steer>): void;
  onPositions(positions: Positions): void;
}

/** Where a steer acts, under which condition, and how it fades: a line for each. */
export function ActingRows(props: Props) {
  return (
    // biome-ignore lint/a11y/useSemanticElements: a fieldset has a legend and a layout of its own
    <div class="sw-acting" role="group" aria-label={`${props.label} where and when`}>
      <div class="sw--row">
        <span class="sw--name">acts on</span>
        {where(props)}
      </div>
      <div class="sw--row">
        <span class="sw--name">when</span>
        {condition(props)}
      </div>
      <div class="sw--row">
        <span class="sw--name">strength</span>
        {fading(props)}
      </div>
    </div>
  );
}

function where({ label, positions, alike, onPositions }: Props) {
  const phase = phaseOf(positions);
  const own: [Phase, string][] = phase === "code" ? [["code", "as set in code"]] : [];
  const counts = positions.where === "first" || positions.where === "after";
  return (
    <>
      <Select<Phase>
        label={`${label} positions`}
        value={phase}
        options={[...own, ...choicesOf<Phase>(PHASES, alike)]}
        onChoose={(next) => next !== "code" && onPositions(atPhase(positions, next))}
      />
      {counts && (
        <NumberBox
          label={`${label} positions count`}
          title="how many tokens"
          value={positions.count ?? null}
          min={0}
          step={1}
          onValue={(count) => onPositions({ ...positions, count })}
        />
      )}
      <label class="sw-check">
        <input
          type="checkbox"
          aria-label={`${label} special and template tokens`}
          checked={positions.special}
          disabled={!!alike && positions.special}
          title={alike}
          onChange={(event) => onPositions({ ...positions, special: event.currentTarget.checked })}
        />
        template too
      </label>
    </>
  );
}

function condition({ label, steer, alike, readable, labelOf, onChange }: Props) {
  const when = steer.when ?? null;
  if (when && !("feature" in when)) {
    return (
      <>
        <span class="sw--said">{whenSaid(when, labelOf)}</span>
        <Button
          kind="icon"
          aria-label={`Remove condition of ${label}`}
          title="Act whatever is read"
          onClick={() => onChange({ when: null })}
        >
          ×
        </Button>
      </>
    );
  }
  const known = readable.some(([key]) => key === when?.feature);
  const own = when && !known ? [[when.feature, labelOf(when.feature)] as const] : [];
  const choose = (key: string) => onChange({ when: key ? read(when, { feature: key }) : null });
  return (
    <>
      <Select
        label={`${label} condition`}
        kind="feature"
        title="A feature of the recipe, or the one chosen in the list"
        value={when?.feature ?? ""}
        options={[
          ["", "always"],
          ...own,
          ...readable.map(([key, text]) => [key, text, alike] as const),
        ]}
        onChoose={choose}
      />
      {when && (
        <>
          <Select
            label={`${label} condition side`}
            value={when.is}
            options={[
              [">", ">"],
              ["<", "<"],
            ]}
            onChoose={(is) => onChange({ when: read(when, { is }) })}
          />
          <NumberBox
            label={`${label} condition threshold`}
            title="in the feature's own units, read before any change"
            value={when.than}
            step="any"
            onValue={(than) => than !== null && onChange({ when: read(when, { than }) })}
          />
        </>
      )}
    </>
  );
}

type Compared = Extract<When, { feature: string }>;

/** A comparison with some of it changed; a new one asks whether the feature is active at all. */
function read(when: Compared | null, change: Partial<Compared>): Compared {
  return { ...(when ?? { feature: "", is: ">", than: 0 }), ...change };
}

const FADE: Fade = { to: 0, over: 32 };

function fading({ label, steer, alike, onChange }: Props) {
  const fade = steer.fade ?? null;
  const set = (change: Partial<Fade>) => onChange({ fade: { ...FADE, ...fade, ...change } });
  return (
    <>
      <Select
        label={`${label} fade`}
        value={fade ? "fades" : "stays"}
        options={[
          ["stays", "stays as it is"],
          ["fades", "fades to", alike],
        ]}
        onChoose={(choice) => (choice === "fades" ? set({}) : onChange({ fade: null }))}
      />
      {fade && (
        <>
          <NumberBox
            label={`${label} fade to`}
            title="times the change: 0 leaves nothing"
            value={fade.to}
            step={0.1}
            onValue={(to) => to !== null && set({ to })}
          />
          <span>× over</span>
          <NumberBox
            label={`${label} fade over`}
            title="generated tokens"
            value={fade.over}
            min={1}
            step={1}
            onValue={(over) => over !== null && set({ over })}
          />
          <span>tokens</span>
        </>
      )}
    </>
  );
}
