import "./comparison.css";
import type { Ref } from "preact";
import { useRef, useState } from "preact/hooks";
import { same } from "../host/store";
import { Button } from "../ui/button";
import { type Palette, shareOn } from "../ui/colour";
import { parts } from "../ui/flags";
import { formatNumber, formatPercent, visible } from "../ui/format";
import { TokenText } from "../ui/token_text";
import { Alternatives } from "./alternatives";
import { differenceText, KlBars } from "./kl_bars";
import type { Panel } from "./panel";
import type { Colouring, Shown, ShownRow } from "./shown";
import { FROZEN } from "./status_line";
import { TokenLens } from "./token_lens";

interface Props {
  panel: Panel;
  shown: Shown;
  palette: Palette;
}

const STEERED = 1; // which row: what stands beside the two comes after them

export interface Place {
  row: number;
  index: number;
}

/** Baseline and steered side by side, the fork between them, and how far apart every step is. */
export function Comparison({ panel, shown, palette }: Props) {
  const lens = panel.traits.lens.value;
  const opener = useRef<HTMLButtonElement>(null);
  const [pointed, setPointed] = useState<Place | null>(null);
  const [pinned, setPinned] = useState<Place | null>(null);
  const place = pointed ?? pinned;
  const pointing = (row: number) => ({
    onPoint: (index: number | null) => setPointed(index === null ? null : { row, index }),
    onPin: (index: number | null) =>
      setPinned(
        index === null || (pinned?.row === row && pinned.index === index) ? null : { row, index },
      ),
  });
  return (
    <>
      <div class="sw-columns">
        {shown.rows.map((row, index) => (
          <Column
            key={row.name}
            row={row}
            shown={shown}
            palette={palette}
            active={place?.index ?? null}
            forks={index <= STEERED}
            pinned={pinned?.row === index ? pinned.index : null}
            {...pointing(index)}
          />
        ))}
      </div>
      {shown.kl && shown.kl.length > 0 && (
        <KlBars
          kl={shown.kl}
          tokens={shown.rows[STEERED]?.tokens ?? []}
          active={place?.index ?? null}
          pinned={pinned?.index ?? null}
          {...pointing(STEERED)}
        />
      )}
      <p class="sw-note sw-num sw--difference">{differenceText(shown)}</p>
      {/* last, so that its growing to a second line moves nothing that is pointed at */}
      <Detail place={place} pinned={pinned} shown={shown} panel={panel} opener={opener} />
      {pinned && !shown.streaming && !panel.frozen && (
        <Alternatives
          key={`${pinned.row} ${pinned.index}`}
          panel={panel}
          row={shown.rows[pinned.row]}
          place={pinned}
          onChosen={() => setPinned(null)}
        />
      )}
      {panel.repliable.value && !panel.frozen && !shown.streaming && (
        <p class="sw-replies sw-note">
          Reply to
          {shown.rows.map(({ name }) => (
            <Button
              key={name}
              kind="quiet small"
              asks
              aria-label={`Reply to ${name}`}
              title="Takes this answer into the conversation"
              onClick={() => panel.reply(name)}
            >
              {name}
            </Button>
          ))}
        </p>
      )}
      {lens && <TokenLens key={lens} panel={panel} id={lens} opener={opener} />}
    </>
  );
}

interface ColumnProps {
  row: ShownRow;
  shown: Shown;
  palette: Palette;
  /** One of the two whose texts part. */
  forks: boolean;
  active: number | null;
  pinned: number | null;
  onPoint(index: number | null): void;
  onPin(index: number | null): void;
}

const ENDED: Record<string, string> = {
  eos: "ended",
  length: "cut at the limit",
  stopped: "stopped",
};

/** How it ended; beside other rows also how far it is from the unsteered model, to be compared. */
function endText({ ended, forked, kl }: ShownRow, several: boolean): string {
  const chosen = typeof forked === "number" ? `token ${forked + 1} chosen · ` : "";
  const far = several && typeof kl === "number" ? `KL ${formatNumber(kl, 2)} · ` : "";
  return chosen + far + (ENDED[ended] ?? ended);
}

function Column({ row, shown, palette, forks, ...pointing }: ColumnProps) {
  const name = row.name.charAt(0).toUpperCase() + row.name.slice(1);
  const fork =
    forks && shown.divergence !== null && shown.divergence < row.tokens.length
      ? shown.divergence
      : null;
  return (
    <section
      class={parts(`sw-column ${row.name.split(" ")[0]}`)}
      aria-label={name}
      aria-busy={shown.streaming}
    >
      <h3>
        {name}
        {row.ended && <small class="sw-num">{endText(row, shown.rows.length > 2)}</small>}
      </h3>
      <TokenText
        name={name}
        tokens={row.tokens}
        values={row.values}
        scale={shown.colouring?.scale ?? null}
        valueName={shown.colouring?.label ?? ""}
        palette={palette}
        fork={fork}
        {...pointing}
      />
      {shown.streaming && <span class="sw--caret" aria-hidden="true" />}
    </section>
  );
}

interface DetailProps {
  place: Place | null;
  pinned: Place | null;
  shown: Shown;
  panel: Panel;
  opener: Ref<HTMLButtonElement>;
}

/** All that is known of the token under the pointer or the focus. */
function Detail({ place, pinned, shown, panel, opener }: DetailProps) {
  const row = place && shown.rows[place.row];
  const token = row?.tokens[place?.index ?? -1];
  if (!place || !row || !token) {
    return (
      <p class="sw-detail sw--hint">
        Point at a token for its id, position and values; Enter or a click pins it, to open its
        logit lens or to go on from another one.
      </p>
    );
  }
  const value = row.values[place.index];
  const kl = place.row === STEERED ? shown.kl?.[place.index] : undefined;
  return (
    <p class="sw-detail sw-num">
      <code>{visible(token)}</code>
      <span>id {token.id}</span>
      <span>
        {row.name} token {place.index + 1} of {row.tokens.length}
      </span>
      {value !== null && value !== undefined && shown.colouring && (
        <span>{valueText(value, shown.colouring)}</span>
      )}
      {kl !== undefined && <span>KL {formatNumber(kl)} nats</span>}
      {same(place, pinned) && place.row <= STEERED && !shown.streaming && (
        <Button
          ref={opener}
          kind="small"
          asks
          aria-label={`Logit lens of ${visible(token)}`}
          aria-disabled={panel.frozen}
          title={panel.frozen ? FROZEN : undefined}
          onClick={() => panel.openLens(row.name, place.index)}
        >
          Logit lens
        </Button>
      )}
    </p>
  );
}

function valueText(value: number, { label, scale }: Colouring): string {
  const share = shareOn(value, scale);
  const said = scale.domain > (scale.zero ?? 0) ? ` (${formatPercent(share)} of the scale)` : "";
  return `${label} ${formatNumber(value)}${said}`;
}
