import "./tokens.css";
import { useMemo, useRef } from "preact/hooks";
import { formatNumber, plural } from "../ui/format";
import { Select } from "../ui/select";
import type { Theme } from "../ui/theme";
import { type Camera, type Dots, onPlane, onScreen } from "./camera";
import { Cloud, dotAt, placeIn } from "./cloud";
import type { Place } from "./geometry";
import { colourList, MANY, RADII, SMALL } from "./look";
import { GREY, type Group, type MapState, type Tokens, type Told } from "./map";
import { MapTip } from "./tip";

const HEIGHT = 460;
const LISTED = 200;
const KEYS: Record<string, Place> = {
  ArrowRight: [1, 0],
  ArrowLeft: [-1, 0],
  ArrowUp: [0, 1],
  ArrowDown: [0, -1],
};

interface Props {
  map: MapState;
  root: Element;
  theme: Theme;
}

/** The tokens of a component along two axes, with the target that steers among them. */
export function TokenMap({ map, root, theme }: Props) {
  const component = map.traits.component.value;
  const tokens = map.tokens.value;
  const kind = map.traits.colour.value === "density" ? "scale" : "groups";
  const places = map.places.value;
  const colour = map.colours.value;
  const dots = useMemo<Dots>(
    () => ({
      places,
      colour,
      size: Uint8Array.from(tokens?.responsibility ?? [], (share) => Math.round(1 + 3 * share)),
      colours: colourList(root, theme.palette, kind),
      radii: places.length > 2 * MANY ? SMALL : RADII,
    }),
    [places, colour, kind, theme],
  );
  const step = map.step.value;
  return (
    <section class="sw-map-tokens" aria-label={`Tokens of component ${component}`}>
      <div class="sw--title">
        <h3>Tokens of component {component}</h3>
        <Axes map={map} />
      </div>
      <Cloud
        label={spoken(map, tokens)}
        dots={dots}
        bounds={map.bounds.value}
        height={HEIGHT}
        drag={map.drag.value ?? (map.frozen ? "pan" : "lasso")}
        owns={map.drag.value !== null}
        of={`${component} ${map.axes.value} ${map.dims.value}`}
        onHover={(row) => {
          if (map.hovered.peek() !== row) map.hovered.value = row;
        }}
        onPick={(row) => map.select(row === null ? [] : [row])}
        onLasso={(rows) => map.select(rows)}
      >
        {(camera) => (
          <>
            <Marks map={map} camera={camera} dots={dots} />
            <TargetHandle map={map} camera={camera} />
            <Hovered map={map} camera={camera} dots={dots} />
          </>
        )}
      </Cloud>
      <Groups map={map} />
      <p class="sw-note">
        {map.frozen
          ? "Point at a token to read it; drag to move the picture."
          : `Drag the target, or move it by arrow keys: ${formatNumber(step)} a press, with Shift ten times that. ` +
            "Lasso tokens to list their contexts; with Shift dragging moves the picture."}
      </p>
      <Contexts map={map} />
    </section>
  );
}

function spoken(map: MapState, tokens: Tokens | null): string {
  if (!tokens) return "No tokens were read yet";
  const axes = [map.axisName(0), map.axisName(1)].filter(Boolean).join(" and ");
  const groups = map.groups.value.map(({ name, count }) => `${name} ${count}`).join("; ");
  return `${plural(tokens.count, "token")} along ${axes}${groups && `: ${groups}`}`;
}

function Axes({ map }: { map: MapState }) {
  const count = map.axesCount.value;
  if (count < 2) return null;
  const pca = map.axes.value === "pca";
  const options = Array.from(
    { length: count },
    (_, dim) => [`${dim}`, pca ? `PC${dim + 1}` : `z${dim}`] as const,
  );
  return (
    <div class="sw--choice">
      across
      <Select
        label="Axis across"
        value={`${map.dims.value[0]}`}
        options={options}
        onChoose={(value) => map.chooseDim(0, Number(value))}
      />
      up
      <Select
        label="Axis up"
        value={`${map.dims.value[1]}`}
        options={options}
        onChoose={(value) => map.chooseDim(1, Number(value))}
      />
    </div>
  );
}

interface Drawn {
  map: MapState;
  camera: Camera;
}

/** Axes through the centroid, the way to the target, names of groups, what was chosen. */
function Marks({ map, camera, dots }: Drawn & { dots: Dots }) {
  const { width, height } = camera;
  const [x, y] = onScreen(camera, [0, 0]);
  const [tx, ty] = onScreen(camera, map.targetPlace.value);
  const component = map.traits.component.value;
  const selected = map.traits.selected.value.slice(0, LISTED);
  return (
    <svg width={width} height={height} aria-hidden="true">
      <path class="sw--axis" d={`M0 ${y}H${width}M${x} 0V${height}`} />
      <text class="sw--quiet" x={width - 8} y={clamped(y - 8, 14, height - 44)} text-anchor="end">
        {map.axisName(0)} →
      </text>
      <text class="sw--quiet" x={clamped(x + 8, 6, width - 90)} y={16}>
        {map.axisName(1) && `${map.axisName(1)} ↑`}
      </text>
      {selected.map((row) => {
        if (row >= dots.size.length) return null;
        const [sx, sy] = dotAt(dots, row, camera);
        return <circle key={row} class="sw--chosen" cx={sx} cy={sy} r={6} />;
      })}
      <path class="sw--line" d={`M${x} ${y}L${tx} ${ty}`} />
      <circle class="sw--centroid" cx={x} cy={y} r={5} />
      <text x={x + 9} y={y + 17}>
        centroid μ{subscript(component)}
      </text>
      {names(map.groups.value, camera).map(({ name, colour, at: [nx, ny] }) => (
        <text key={colour} x={nx} y={ny} text-anchor="middle">
          {name}
        </text>
      ))}
    </svg>
  );
}

const LETTER = 3.4; // px, half of a letter's width

/** Names that cover no other one, and are whole. */
function names(groups: readonly Group[], camera: Camera) {
  const taken: Place[] = [];
  return groups
    .filter(({ colour }) => colour !== GREY)
    .map(({ name, colour, middle }) => ({
      colour,
      name: name.length > 26 ? `${name.slice(0, 25)}…` : name,
      at: onScreen(camera, middle),
    }))
    .map(({ at: [x, y], ...each }) => {
      const half = Math.min(camera.width / 2, LETTER * each.name.length);
      const at: Place = [clamped(x, half, camera.width - half), clamped(y - 14, 14, camera.height)];
      return { ...each, at };
    })
    .filter(({ at: [x, y] }) => {
      const free = taken.every(([tx, ty]) => Math.abs(ty - y) > 16 || Math.abs(tx - x) > 90);
      if (free) taken.push([x, y]);
      return free;
    });
}

/** The target: dragged by mouse and finger, moved by arrow keys; where it stands is the z of the pull. */
function TargetHandle({ map, camera }: Drawn) {
  const handle = useRef<HTMLDivElement>(null);
  const held = useRef(false);
  const [x, y] = onScreen(camera, map.targetPlace.value);
  const said = targetText(map);
  if (map.frozen)
    return (
      <>
        <span class="sw--target sw--still" style={{ left: `${x}px`, top: `${y}px` }} />
        <Flag camera={camera} at={[x, y]} text={`target ${said}`} />
      </>
    );
  const drag = (event: PointerEvent) => {
    if (!held.current) return;
    event.stopPropagation();
    const box = handle.current?.parentElement ?? null;
    const [px, py] = placeIn(box, event);
    map.moveTo(onPlane(camera, [clamped(px, 0, camera.width), clamped(py, 0, camera.height)]));
  };
  const end = (event: PointerEvent) => {
    event.stopPropagation();
    if (!held.current) return;
    held.current = false;
    map.hold(false);
  };
  return (
    <>
      <div
        ref={handle}
        class="sw--target"
        role="slider"
        tabIndex={0}
        aria-label="Target"
        aria-valuenow={Number(map.targetPlace.value[0].toPrecision(4))}
        aria-valuetext={said}
        style={{
          left: `${clamped(x, 0, camera.width)}px`,
          top: `${clamped(y, 0, camera.height)}px`,
        }}
        onPointerDown={(event) => {
          if (event.button !== 0) return;
          event.stopPropagation();
          held.current = true;
          event.currentTarget.setPointerCapture?.(event.pointerId);
          event.currentTarget.focus({ preventScroll: true });
          map.hovered.value = null;
          map.hold(true);
        }}
        onPointerMove={drag}
        onPointerUp={end}
        onPointerCancel={end}
        onKeyDown={(event) => {
          const way = KEYS[event.key];
          if (!way && event.key !== "Home") return;
          event.preventDefault();
          if (!way) map.home();
          else map.nudge(way[0] * (event.shiftKey ? 10 : 1), way[1] * (event.shiftKey ? 10 : 1));
        }}
      />
      <Flag camera={camera} at={[x, y]} text={`target ${said}`} />
    </>
  );
}

function Flag({ camera, at: [x, y], text }: { camera: Camera; at: Place; text: string }) {
  const left = x > camera.width - 190;
  return (
    <span
      class="sw--flag sw-num"
      aria-hidden="true"
      style={{
        top: `${clamped(y - 34, 4, camera.height - 26)}px`,
        ...(left
          ? { right: `${clamped(camera.width - x + 14, 4, camera.width - 20)}px` }
          : { left: `${clamped(x + 14, 4, camera.width - 20)}px` }),
      }}
    >
      {text}
    </span>
  );
}

/** Where the target is: the loadings on the axes, or the place on the principal plane. */
function targetText(map: MapState): string {
  const place = map.targetPlace.value;
  return ([0, 1] as const)
    .filter((at) => map.axisName(at))
    .map((at) => `${map.axisName(at).split(" ")[0]} ${formatNumber(place[at])}`)
    .join(" · ");
}

function Hovered({ map, camera, dots }: Drawn & { dots: Dots }) {
  const row = map.hovered.value;
  const told = row === null || row >= dots.size.length ? null : map.context(row);
  if (row === null || !told) return null;
  return (
    <MapTip camera={camera} at={dotAt(dots, row, camera)}>
      <ToldText told={told} />
      <p class="sw-note sw-num">{numbers(map, row)}</p>
    </MapTip>
  );
}

function ToldText({ told: { before, token, after } }: { told: Told }) {
  return (
    <p>
      {before}
      <b>{token.fragment ? `‹${token.text}›` : token.text}</b>
      {after}
    </p>
  );
}

function numbers(map: MapState, row: number): string {
  const places = map.places.value;
  const said = ([0, 1] as const)
    .filter((at) => map.axisName(at))
    .map((at) => `${map.axisName(at).split(" ")[0]} ${formatNumber(places[2 * row + at])}`);
  const share = map.tokens.value?.responsibility[row];
  return [...said, `responsibility ${formatNumber(share, 2)}`].join(" · ");
}

/** The legend, whose entries list the contexts of their tokens: what a lasso does, by keys. */
function Groups({ map }: { map: MapState }) {
  const groups = map.groups.value;
  if (map.traits.colour.value === "density")
    return map.tokens.value?.count ? (
      <p class="sw-note">The stronger the colour, the more tokens lie around.</p>
    ) : null;
  if (!groups.length) return null;
  return (
    <section class="sw-map-groups" aria-label="Groups of tokens">
      {groups.map(({ name, count, colour, rows }) => (
        <button
          key={`${colour} ${name}`}
          type="button"
          title="List their contexts"
          onClick={() => map.select(rows)}
        >
          <span
            class="sw--dot"
            style={{ "--own": colour === GREY ? "var(--ink-3)" : `var(--f${colour + 1})` }}
          />
          {name} <span class="sw-num">{count.toLocaleString("en-US")}</span>
        </button>
      ))}
    </section>
  );
}

function Contexts({ map }: { map: MapState }) {
  const rows = map.traits.selected.value.filter((row) => row < (map.tokens.value?.count ?? 0));
  if (!rows.length) return null;
  return (
    <section class="sw-map-contexts" aria-label="Contexts">
      <div class="sw--title">
        <h3>{plural(rows.length, "token")} chosen</h3>
        <button type="button" class="sw-button sw--quiet sw--small" onClick={() => map.select([])}>
          Clear
        </button>
      </div>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reachable by keys */}
      <ol class="sw-plain" tabIndex={0} aria-label="Contexts of the tokens chosen">
        {rows.slice(0, LISTED).map((row) => {
          const told = map.context(row);
          return (
            told && (
              <li key={row}>
                <ToldText told={told} />
                <span class="sw-note sw-num">{numbers(map, row)}</span>
              </li>
            )
          );
        })}
      </ol>
      {rows.length > LISTED && <p class="sw-note">The first {LISTED} are listed.</p>}
    </section>
  );
}

const clamped = (value: number, low: number, high: number): number =>
  Math.max(Math.min(value, high), low);

const subscript = (value: number): string =>
  `${value}`.replace(/\d/g, (digit) => String.fromCharCode(0x2080 + Number(digit)));
