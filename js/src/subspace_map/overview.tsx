import "./overview.css";
import { useMemo } from "preact/hooks";
import { formatPercent } from "../ui/format";
import type { Theme } from "../ui/theme";
import { type Camera, type Dots, onScreen } from "./camera";
import { Cloud, dotAt } from "./cloud";
import { boundsOf, type Place } from "./geometry";
import { colourList, MANY, RADII, SMALL, sizesOf } from "./look";
import { type Features, GREY, type MapState } from "./map";
import { MapTip } from "./tip";
import type { Facts, Near } from "./types";

interface Props {
  map: MapState;
  facts: Facts;
  features: Features;
  root: Element;
  theme: Theme;
  /** It is the map itself, with what is near; else a small one beside the tokens. */
  whole: boolean;
}

/** All features as points, sized by weight, the chosen one ringed; those near it joined to it. */
export function Overview({ map, facts, features, root, theme, whole }: Props) {
  const { places, weight, index, links } = features;
  const dots = useMemo<Dots>(
    () => ({
      places,
      colour: new Uint8Array(index.length),
      size: sizesOf(weight, index.length, whole ? 8 : 7),
      colours: [colourList(root, theme.palette, "groups")[GREY] as string],
      radii: index.length > MANY ? SMALL : RADII,
    }),
    [features, theme, whole],
  );
  const bounds = useMemo(() => boundsOf(places, false), [places]);
  const chosen = map.chosenRow.value;
  const near = whole ? map.near.value : null;
  const named = `${whole ? "Map of features" : "All components"}: ${index.length.toLocaleString("en-US")} points, the ${facts.weighs} as size`;
  const lines = useMemo(
    () => (whole && links.length ? linkLines(places, links, theme.dark) : undefined),
    [places, links, theme, whole],
  );
  return (
    <section class="sw-map-overview" aria-label={whole ? "Features" : "All components"}>
      {!whole && <h3>All components</h3>}
      <Cloud
        label={named}
        dots={dots}
        bounds={bounds}
        height={whole ? 560 : 132}
        drag={whole ? "pan" : "none"}
        owns={map.drag.value !== null}
        plain={!whole}
        of={features}
        {...(lines && { lines })}
        onHover={(row) => {
          if (map.pointed.peek() !== row) map.pointed.value = row;
        }}
        onPick={(row) => row !== null && map.look(index[row] as number)}
      >
        {(camera) => (
          <>
            <svg width={camera.width} height={camera.height} aria-hidden="true">
              {near && <Edges near={near} camera={camera} />}
              {chosen >= 0 && !near && <Ring at={dotAt(dots, chosen, camera)} />}
            </svg>
            <Pointed map={map} camera={camera} dots={dots} weighs={facts.weighs} />
          </>
        )}
      </Cloud>
    </section>
  );
}

interface PointedProps {
  map: MapState;
  camera: Camera;
  dots: Dots;
  weighs: string;
}

function Pointed({ map, camera, dots, weighs }: PointedProps) {
  const row = map.pointed.value;
  const found = row === null ? null : map.labelOf(row);
  if (row === null || !found) return null;
  return (
    <MapTip camera={camera} at={dotAt(dots, row, camera)}>
      <p>
        <b>{found.index}</b> {found.label}
        {found.weight !== null && (
          <span class="sw-note">
            {" "}
            · {weighs} {formatPercent(found.weight)}
          </span>
        )}
      </p>
    </MapTip>
  );
}

function Ring({ at: [x, y] }: { at: Place }) {
  return <circle class="sw--ring" cx={x} cy={y} r={9} />;
}

function Edges({ near, camera }: { near: Near; camera: Camera }) {
  const from = onScreen(camera, near.at);
  return (
    <>
      {near.rows.map((row) => {
        const to = onScreen(camera, row.at);
        return (
          <path
            key={row.index}
            class={row.together === null ? "sw--edge" : "sw--edge sw--together"}
            opacity={0.35 + 0.65 * Math.max(row.cosine, row.together ?? 0)}
            d={`M${from}L${to}`}
          />
        );
      })}
      {near.rows.map((row) => {
        const [x, y] = onScreen(camera, row.at);
        return <circle key={row.index} class="sw--near" cx={x} cy={y} r={4.5} />;
      })}
      <Ring at={from} />
      {apart(near, camera).map(({ index, label, at: [x, y] }) => (
        <text key={index} x={x + 9} y={y + 4}>
          {label.length > 28 ? `${label.slice(0, 27)}…` : label}
        </text>
      ))}
    </>
  );
}

/** The names that cover no other one, the nearest first. */
function apart(near: Near, camera: Camera) {
  const taken: Place[] = [];
  const all = [{ index: near.index, label: near.label, at: near.at }, ...near.rows];
  return all
    .map(({ index, label, at }) => ({ index, label, at: onScreen(camera, at) }))
    .filter(({ at: [x, y] }) => {
      const free = taken.every(([tx, ty]) => Math.abs(ty - y) > 15 || Math.abs(tx - x) > 150);
      if (free) taken.push([x, y]);
      return free;
    });
}

/** Faint lines from each feature to its nearest. */
function linkLines(places: Float32Array, links: Int32Array, dark: boolean) {
  return (context: CanvasRenderingContext2D, camera: Camera) => {
    context.strokeStyle = dark ? "rgb(255 255 255 / 0.16)" : "rgb(0 0 0 / 0.14)";
    context.lineWidth = 1;
    context.beginPath();
    for (let i = 0; i < links.length; i += 2) {
      for (const end of [0, 1] as const) {
        const row = links[i + end] as number;
        const place = onScreen(camera, [places[2 * row] as number, places[2 * row + 1] as number]);
        if (end) context.lineTo(...place);
        else context.moveTo(...place);
      }
    }
    context.stroke();
  };
}
