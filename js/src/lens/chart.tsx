import "./chart.css";
import { Button } from "../ui/button";
import { formatNumber } from "../ui/format";
import { Segmented } from "../ui/segmented";
import type { Lens } from "./lens";
import type { LensRun } from "./run";
import { axisEnd, paths, placing, trajectory } from "./trajectory";
import type { Axis } from "./types";

const WIDTH = 292;
const HEIGHT = 128;
const FRAME = { left: 30, right: WIDTH - 4, top: 8, bottom: HEIGHT - 20 };
const AXES: readonly (readonly [Axis, string])[] = [
  ["probability", "probability"],
  ["rank", "rank"],
];

interface Line {
  id: number;
  run: LensRun;
  /** The baseline beside the steered run. */
  faint: boolean;
  colour: string;
}

/** The way of tokens through the blocks in one column. */
export function LensChart({ lens }: { lens: Lens }) {
  const cell = lens.current.value;
  const run = lens.run.value;
  if (!cell || !run) return null;
  const axis = lens.traits.trajectory.value;
  const ids = lens.followed.value;
  const { position } = cell;
  const beside = lens.shows.value === "difference" ? lens.baseline.value : null;
  const lines: Line[] = ids.flatMap((id, at) => {
    const colour = `var(--f${at + 1})`;
    const own = { id, run, faint: false, colour };
    return beside ? [{ ...own, run: beside, faint: true }, own] : [own];
  });
  const drawn = lines.map((line) => ({
    ...line,
    points: trajectory(line.run, line.id, position, axis),
  }));
  const largest = Math.max(...drawn.flatMap(({ points }) => points.map(({ value }) => value)));
  const most = axis === "rank" ? lens.chosen.value.vocabulary : axisEnd(largest);
  const place = placing(axis, run.layers, most, FRAME);
  const bounds = drawn.some(({ points }) => points.some(({ known }) => !known));
  const here = run.layers[cell.layer] as number;
  return (
    <section class="sw-lens-chart" aria-label="Across blocks">
      <div class="sw-heading">
        <h3>Across blocks</h3>
        <Segmented
          label="Trajectory"
          value={axis}
          options={AXES}
          onChoose={(value) => lens.choose("trajectory", value)}
        />
      </div>
      <svg
        viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
        role="img"
        aria-label={spoken(lens, ids, run, position)}
      >
        <g class="sw--axis">
          <path d={`M${FRAME.left} ${FRAME.bottom}H${FRAME.right}`} />
          <text x={FRAME.left - 5} y={FRAME.top + 4} text-anchor="end">
            {axis === "rank" ? "1" : formatNumber(most)}
          </text>
          <text x={FRAME.left - 5} y={FRAME.bottom + 3} text-anchor="end">
            {axis === "rank" ? short(most) : "0"}
          </text>
          <text x={FRAME.left} y={HEIGHT - 5}>
            block {run.layers[0]}
          </text>
          <text x={FRAME.right} y={HEIGHT - 5} text-anchor="end">
            {run.layers.at(-1)}
          </text>
        </g>
        <path class="sw--here" d={`M${place.x(here)} ${FRAME.top}V${FRAME.bottom}`} />
        {lens.steeredLayers.value.map((layer, at) => (
          <g key={layer} class="sw--site">
            <path d={`M${place.x(layer)} ${FRAME.top - 4}V${FRAME.bottom}`} />
            {at === 0 && <SiteName x={place.x(layer)} />}
          </g>
        ))}
        {drawn.map(({ id, faint, colour, points }) => {
          const { known, bounds: dotted } = paths(points, place);
          return (
            <g
              key={`${id}${faint}`}
              class={faint ? "sw--line sw--faint" : "sw--line"}
              style={{ stroke: colour }}
            >
              {dotted && <path class="sw--bound" d={dotted} />}
              {known && <path d={known} />}
            </g>
          );
        })}
      </svg>
      <ul class="sw--names sw-plain">
        {ids.map((id, at) => (
          <LineName key={id} lens={lens} id={id} run={run} position={position} at={at} />
        ))}
      </ul>
      {(bounds || beside) && (
        <p class="sw-note">
          {[
            beside ? "thin: the baseline" : "",
            bounds ? `dotted: below the top ${run.k}, at most so much` : "",
          ]
            .filter(Boolean)
            .join(" · ")}
        </p>
      )}
    </section>
  );
}

function SiteName({ x }: { x: number }) {
  const after = x < WIDTH - 90;
  return (
    <text x={after ? x + 5 : x - 5} y={FRAME.top + 3} text-anchor={after ? "start" : "end"}>
      steered site
    </text>
  );
}

interface NameProps {
  lens: Lens;
  id: number;
  run: LensRun;
  position: number;
  at: number;
}

function LineName({ lens, id, run, position, at }: NameProps) {
  const from = run.settles(id, position);
  const name = lens.name(id);
  const removable = !lens.frozen && lens.traits.tracked.value.includes(id);
  return (
    <li title={`id ${id}`}>
      <span class="sw--dot" style={{ background: `var(--f${at + 1})` }} aria-hidden="true" />
      <span class="sw--name">{name}</span>
      {from >= 0 && <span class="sw--from">top-1 from block {run.layers[from]}</span>}
      {removable && (
        <Button
          kind="icon"
          aria-label={`Stop following ${name}`}
          title="Stop following it"
          onClick={() => lens.follow(id, false)}
        >
          ×
        </Button>
      )}
    </li>
  );
}

/** The chart in words. */
function spoken(lens: Lens, ids: readonly number[], run: LensRun, position: number): string {
  const last = run.layers.length - 1;
  return ids
    .map((id) => {
      const value = Math.exp(run.logProbOf(id, last, position));
      const from = run.settles(id, position);
      const end = Number.isNaN(value) ? "below the top" : `${formatNumber(value)} at the output`;
      return `${lens.name(id)}: ${end}${from < 0 ? "" : `, top-1 from block ${run.layers[from]}`}`;
    })
    .join("; ");
}

const short = (count: number) => (count >= 1000 ? `${formatNumber(count / 1000, 2)}k` : `${count}`);
