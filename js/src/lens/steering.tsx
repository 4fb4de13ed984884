import "./steering.css";
import { unpack } from "../host/arrays";
import { type Bar, Bars } from "./bars";
import type { Lens } from "./lens";
import type { LensRun } from "./run";
import { share, shownText } from "./text";
import type { ChangesWire, DirectWire, Ranked, Steering } from "./types";
import { signed } from "./wrote";

const SHOWN = 5;

/** What steers, what it promotes by itself, and what came out at the end. */
export function LensSteering({ lens }: { lens: Lens }) {
  const steering = lens.traits.steering.value as Partial<Steering>;
  if (!steering.steers?.length || lens.shows.value === "baseline") return null;
  const position = lens.current.value?.position ?? 0;
  const after = shownText(lens.tokens.value[position]);
  return (
    <section class="sw-lens-steering" aria-label="Steering">
      <h3>Steered by</h3>
      <ul class="sw--steers sw-plain">
        {steering.steers.map(({ label, what, site }, at) => (
          <li key={at}>
            <b>{label}</b> <span class="sw-num">{what}</span> <small>{site}</small>
          </li>
        ))}
      </ul>
      {steering.direct?.map((direct) => (
        <Direct key={direct.site} lens={lens} direct={direct} position={position} />
      ))}
      {lens.compares.value && (
        <>
          <h4>What comes out after “{after}”</h4>
          <Output lens={lens} steering={steering} position={position} />
        </>
      )}
    </section>
  );
}

interface DirectProps {
  lens: Lens;
  direct: DirectWire;
  position: number;
}

function Direct({ lens, direct, position }: DirectProps) {
  const injected = unpack(direct.norms).values[position];
  return (
    <div>
      <h4>What the injected vector says by itself · {direct.site}</h4>
      {injected ? (
        <>
          <Bars label="Direct path" {...bars(lens, at(direct.promoted, position), signed)} />
          <p class="sw-note">
            logits straight through the unembed, apart from what later blocks make of it
          </p>
        </>
      ) : (
        <p class="sw-note">Nothing is injected at this token.</p>
      )}
    </div>
  );
}

function Output({
  lens,
  steering,
  position,
}: {
  lens: Lens;
  steering: Partial<Steering>;
  position: number;
}) {
  const [before, after] = [lens.baseline.value, lens.steered.value];
  const { promoted, suppressed } = steering;
  if (!before || !after || !promoted || !suppressed) return null;
  const likely = (run: LensRun) =>
    run
      .candidates(run.layers.length - 1, position)
      .slice(0, SHOWN)
      .map(({ id, logProb }) => ({ id, value: Math.exp(logProb) }));
  const lists: [string, Ranked[], (value: number) => string][] = [
    ["likely before", likely(before), share],
    ["likely after", likely(after), share],
    ["promoted, Δlogit", at(promoted, position), signed],
    ["suppressed, Δlogit", at(suppressed, position), signed],
  ];
  return (
    <div class="sw--lists">
      {lists.map(([title, rows, format]) => (
        <table key={title}>
          <caption>{title}</caption>
          <tbody>
            {rows.map(({ id, value }) => (
              <tr key={id} title={`id ${id}`}>
                <th scope="row">{lens.name(id)}</th>
                <td class="sw-num">{format(value)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      ))}
    </div>
  );
}

/** What changes most at a position. */
function at({ ids, values }: ChangesWire, position: number): Ranked[] {
  const count = ids.shape[1] ?? 0;
  const [numbers, sizes] = [unpack(ids).values, unpack(values).values];
  return Array.from({ length: Math.min(count, SHOWN) }, (_, i) => ({
    id: Number(numbers[position * count + i]),
    value: Number(sizes[position * count + i]),
  }));
}

function bars(lens: Lens, rows: readonly Ranked[], format: (value: number) => string) {
  const shown: Bar[] = rows.map(({ id, value }) => ({
    key: id,
    token: lens.token(id),
    size: value,
    value: format(value),
    title: `id ${id}`,
  }));
  return { rows: shown, most: Math.max(1e-9, ...rows.map(({ value }) => Math.abs(value))) };
}
