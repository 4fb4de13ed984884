import "./detail.css";
import { Bars } from "../lens/bars";
import { Button } from "../ui/button";
import { NumberBox } from "../ui/number_box";
import type { Patch } from "./patch";
import type { CellFound, Place } from "./types";
import { metricText, placeText, shareText, wholeShare } from "./words";

/** All that is known of one patch: its numbers and their control, what the model says then, and where it can go. */
export function PatchDetail({ patch }: { patch: Patch }) {
  const place = patch.current.value;
  if (!place || !patch.measured.value)
    return (
      <p class="sw-empty">
        {patch.measured.value ? "Point" : "Press Run; then point"} at a cell, or reach the grid with
        Tab and the arrow keys. A click or Enter looks at it closely, Shift with either patches all
        blocks from the one before, Esc lets go.
      </p>
    );
  const found = patch.found(place);
  const pinned = patch.pinned.value === place;
  return (
    <>
      <section class="sw-patch-detail" aria-label="Cell">
        <h3>{placeText(patch, place)}</h3>
        {found?.note ? (
          <p class="sw-note">{found.note}</p>
        ) : (
          <Numbers patch={patch} place={place} found={found} />
        )}
        {pinned && <Range patch={patch} place={place} />}
      </section>
      {found?.next && (
        <section class="sw-patch-detail" aria-label="Next token">
          <h3>Next token when patched</h3>
          <Bars
            label="Next token when patched"
            most={1}
            rows={found.next.map((token) => ({
              key: token.id,
              token,
              size: token.probability,
              value: shareText(token.probability),
              title: `id ${token.id}`,
            }))}
          />
        </section>
      )}
      {found?.next && <Whole patch={patch} place={place} />}
      {found?.next && !patch.frozen && (
        <div class="sw-patch-send">
          <Button asks onClick={() => patch.send(place)}>
            Send to panel
          </Button>
          <p class="sw-note" role="status">
            {patch.sent.value}
          </p>
        </div>
      )}
      <p class="sw-note">
        Share: (patched − {patch.noise.value ? "source" : "target"} alone) ÷ the difference of both.
        0 changes nothing, 1 brings all over; less and more are possible, and shares of several
        cells do not add up.
      </p>
    </>
  );
}

interface Props {
  patch: Patch;
  place: Place;
}

function Numbers({ patch, place, found }: Props & { found: CellFound | null }) {
  const { before, after } = patch.plan.value ?? {};
  if (before === undefined || after === undefined) return null;
  const row = patch.rows.value.indexOf(place.first);
  const column = patch.columns.value.findIndex(({ id }) => id === place.column);
  const single = place.first === place.last ? patch.share(row, column) : Number.NaN;
  const share = found?.share ?? single;
  const value = found?.value ?? before + share * (after - before);
  const names = patch.noise.value
    ? ["source alone", "target alone"]
    : ["target alone", "source alone"];
  const random = found?.random ?? [];
  const { metric } = patch.traits.inputs.value;
  const said = Number.isFinite(share);
  const rows: [string, string][] = [
    [names[0] as string, metricText(before, metric)],
    [names[1] as string, metricText(after, metric)],
    ["patched", said ? metricText(value, metric) : "–"],
    ["share", said ? wholeShare(share) : "–"],
  ];
  return (
    <>
      <dl class="sw-num">
        {rows.map(([name, text]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{text}</dd>
          </div>
        ))}
      </dl>
      {random.length > 0 && (
        <p class="sw-note sw-num" title="The control: what patching anything of this size would do">
          {random.length} random changes of the same size: {shareText(Math.min(...random))} to{" "}
          {shareText(Math.max(...random))}
        </p>
      )}
    </>
  );
}

/** The blocks that are patched together: by numbers too, for who has no Shift key. */
function Range({ patch, place }: Props) {
  if (patch.frozen) return null;
  const most = (patch.traits.facts.value.blocks ?? 1) - 1;
  const look = (changes: Partial<Place>) => patch.look({ ...place, ...changes });
  return (
    <p class="sw--range sw-note">
      patch blocks
      <NumberBox
        label="First block"
        value={place.first}
        min={0}
        max={place.last}
        step={1}
        onValue={(first) => first !== null && look({ first })}
      />
      to
      <NumberBox
        label="Last block"
        value={place.last}
        min={place.first}
        max={most}
        step={1}
        onValue={(last) => last !== null && look({ last })}
      />
    </p>
  );
}

function Whole({ patch, place }: Props) {
  const written = patch.written(place);
  const writes = patch.doing.value?.what === "write";
  if (patch.frozen && !written) return null;
  return (
    <section class="sw-patch-detail" aria-label="Whole text">
      <h3>Whole text when patched</h3>
      {written ? (
        <>
          <p class="sw--text" dir="auto">
            <span>…{written.before}</span>
            <b>{written.patched}</b>
          </p>
          <h4>{patch.noise.value ? "Source" : "Target"} alone</h4>
          <p class="sw--text" dir="auto">
            <span>…{written.before}</span>
            {written.alone}
          </p>
        </>
      ) : (
        <Button
          asks
          kind="small"
          aria-disabled={writes}
          onClick={() => !writes && patch.write(place)}
        >
          {writes ? "Writing…" : "Write it"}
        </Button>
      )}
    </section>
  );
}
