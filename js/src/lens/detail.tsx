import "./detail.css";
import { formatNumber } from "../ui/format";
import { Bars } from "./bars";
import type { Cell, Lens } from "./lens";
import type { LensRun } from "./run";
import { completedText, joinedText, share, shownText } from "./text";

/** The likeliest tokens of the cell under the pointer or the focus, else of the pinned one. */
export function LensDetail({ lens }: { lens: Lens }) {
  const cell = lens.current.value;
  const run = lens.run.value;
  if (!cell || !run) return null;
  const tokens = lens.tokens.value;
  const block = run.layers[cell.layer];
  const joined = joinedText(tokens, cell.position);
  return (
    <section class="sw-lens-detail" aria-label="Cell">
      <h3>
        After “{shownText(tokens[cell.position])}”, block {block}
      </h3>
      {joined && <p class="sw-note">bytes of “{joined}”</p>}
      {lens.shows.value === "difference" ? (
        <Changes lens={lens} cell={cell} />
      ) : (
        <Top lens={lens} cell={cell} run={run} />
      )}
    </section>
  );
}

function Top({ lens, cell, run }: { lens: Lens; cell: Cell; run: LensRun }) {
  const { layer, position } = cell;
  const candidates = run.candidates(layer, position);
  const chosen = lens.chosen.value;
  const rank = chosen.id === null ? Number.NaN : run.rankOf(chosen.id, layer, position);
  return (
    <>
      <Bars
        label="Likeliest next tokens"
        most={Math.max(Math.exp(candidates[0]?.logProb ?? 0), 1e-9)}
        rows={candidates.map(({ id, logProb }) => ({
          key: id,
          token: lens.token(id),
          note: completedText(lens.tokens.value, position, lens.token(id) ?? NOTHING),
          size: Math.exp(logProb),
          value: share(Math.exp(logProb)),
          title: `id ${id} · log-probability ${formatNumber(logProb)}`,
          ...following(lens, id),
        }))}
      />
      <p class="sw-note sw-num">
        entropy {formatNumber(run.entropy(layer, position))} · KL to output{" "}
        {formatNumber(run.kl(layer, position))} nats
        {!Number.isNaN(rank) && ` · ${chosen.name} rank ${formatNumber(rank, 7)}`}
      </p>
    </>
  );
}

function Changes({ lens, cell }: { lens: Lens; cell: Cell }) {
  const [before, after] = [lens.baseline.value, lens.steered.value];
  if (!before || !after) return null;
  const { layer, position } = cell;
  const both = (["rises", "falls"] as const).map((kind) => lens.changes(kind, cell));
  const most = Math.max(1e-9, ...both.flat().map(({ value }) => Math.abs(value)));
  const named = (run: LensRun) => lens.name(run.top(layer, position).id);
  return (
    <>
      <p class="sw-note">
        {named(before)} {share(Math.exp(before.top(layer, position).logProb))} → {named(after)}{" "}
        {share(Math.exp(after.top(layer, position).logProb))}
      </p>
      {both.every((list) => !list.length) && <p class="sw-empty">Nothing changes here.</p>}
      {both.map(
        (list, at) =>
          list.length > 0 && (
            <div key={at}>
              <h4>{at ? "Falls" : "Rises"}</h4>
              <Bars
                label={at ? "Falls" : "Rises"}
                most={most}
                rows={list.slice(0, 5).map(({ id, value }) => ({
                  key: id,
                  token: lens.token(id),
                  size: value,
                  value: `${value > 0 ? "+" : ""}${share(value)}`,
                  title: `id ${id} · change of probability`,
                  ...following(lens, id),
                }))}
              />
            </div>
          ),
      )}
    </>
  );
}

/** A button that follows a token exactly, where there is a kernel to ask. */
function following(lens: Lens, id: number) {
  if (lens.frozen || lens.traits.tracked.value.includes(id)) return {};
  return { add: { label: `Follow ${lens.name(id)}`, act: () => void lens.follow(id) } };
}

const NOTHING = { id: -1, text: "", fragment: false };
