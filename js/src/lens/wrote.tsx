import "./wrote.css";
import { useState } from "preact/hooks";
import { Button } from "../ui/button";
import { formatNumber } from "../ui/format";
import { Bars } from "./bars";
import type { Lens } from "./lens";
import { shownText } from "./text";
import type { Wrote } from "./types";

/** Which parts of the model wrote a token's logit: direct logit attribution at the end of the pinned column. */
export function LensWrote({ lens }: { lens: Lens }) {
  const [minus, setMinus] = useState<number | null>(null);
  const run = lens.run.value;
  const cell = lens.pinned.value;
  const wrote = lens.traits.wrote.value as Partial<Wrote>;
  if (!run || (lens.frozen && wrote.id === undefined)) return null;
  const position = cell?.position ?? run.positions - 1;
  const id = run.top(cell?.layer ?? run.layers.length - 1, position).id;
  const about = {
    position,
    id,
    minus: minus === id ? null : minus,
    run: lens.shows.value === "baseline" ? ("baseline" as const) : ("steered" as const),
  };
  const names = Object.keys(about) as (keyof typeof about)[];
  const answered = lens.frozen || names.every((name) => wrote[name] === about[name]);
  const shown = answered ? (wrote as Wrote) : about;
  const others = [...new Set([...lens.followed.value, ...(minus === null ? [] : [minus])])];
  return (
    <section class="sw-lens-wrote" aria-label="What wrote it">
      <div class="sw-heading">
        <h3>
          What wrote {lens.name(shown.id)}
          {lens.frozen && shown.minus !== null && ` rather than ${lens.name(shown.minus)}`}
        </h3>
        {!lens.frozen && (
          <select
            class="sw-select"
            aria-label="Rather than"
            title="Explain the difference of two tokens' logits"
            value={`${about.minus ?? ""}`}
            onChange={({ currentTarget: { value } }) => setMinus(value ? Number(value) : null)}
          >
            <option value="">its logit</option>
            {others.flatMap((other) =>
              other === id
                ? []
                : [
                    <option key={other} value={`${other}`}>
                      rather than {lens.name(other)}
                    </option>,
                  ],
            )}
          </select>
        )}
        {!answered && (
          <Button asks kind="small" onClick={() => lens.explain(about)}>
            What wrote it
          </Button>
        )}
      </div>
      {answered && <Parts lens={lens} wrote={wrote as Wrote} />}
    </section>
  );
}

function Parts({ lens, wrote }: { lens: Lens; wrote: Wrote }) {
  const { parts, of, rest, total, logit } = wrote;
  const most = Math.max(1e-9, ...parts.map(({ value }) => Math.abs(value)));
  return (
    <>
      <Bars
        label="Parts"
        most={most}
        rows={parts.map(({ name, value }) => ({
          key: name,
          name,
          size: value,
          value: signed(value),
        }))}
      />
      <p class="sw-note sw-num">
        {of > parts.length && `${of - parts.length} others ${signed(rest)} · `}
        sum {signed(total)}, logit {signed(logit)} · {wrote.run}, after “
        {shownText(lens.tokens.value[wrote.position])}”
      </p>
    </>
  );
}

export const signed = (value: number) => `${value > 0 ? "+" : ""}${formatNumber(value)}`;
