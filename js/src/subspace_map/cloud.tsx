import "./cloud.css";
import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { parts } from "../ui/flags";
import {
  type Camera,
  cameraOf,
  type Dots,
  hit,
  onPlane,
  onScreen,
  paintDots,
  panned,
  WHOLE,
  zoomed,
} from "./camera";
import { type Bounds, isWithin, type Place } from "./geometry";

const REACH = 8; // px around a point that count as on it
const STILL = 4; // px that a click may move
const CLOSE = 1.25;

interface Props {
  /** What it is, for who can't see it. */
  label: string;
  dots: Dots;
  bounds: Bounds;
  height: number;
  /** What dragging does. */
  drag: "lasso" | "pan" | "none";
  /** A finger draws, too, and scrolls no more. */
  owns?: boolean;
  plain?: boolean;
  /** Changes when it shall show the whole again. */
  of: unknown;
  /** Draws lines among the dots. */
  lines?: (context: CanvasRenderingContext2D, camera: Camera) => void;
  /** What stands over the dots. */
  children?(camera: Camera): ComponentChildren;
  onHover(row: number | null): void;
  onPick?(row: number | null): void;
  onLasso?(rows: number[]): void;
}

/** Thousands of points on a canvas: zoomed by buttons, keys and pinch, panned or lassoed by dragging. */
export function Cloud(props: Props) {
  const { label, dots, bounds, height, drag, owns, plain, of, lines, onHover } = props;
  const box = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const lined = useRef<HTMLCanvasElement>(null);
  const width = useSignal(0);
  const look = useSignal(WHOLE);
  const lasso = useSignal<Place[]>([]);
  const held = useRef<{ from: Place; last: Place; moved: boolean } | null>(null);
  const camera = cameraOf(bounds, width.value || 600, height, look.value);

  useLayoutEffect(() => {
    const element = box.current;
    if (!element) return undefined;
    const read = () => {
      width.value = Math.floor(element.clientWidth);
    };
    const watcher = new ResizeObserver(read);
    watcher.observe(element);
    read();
    return () => watcher.disconnect();
  }, []);
  useEffect(() => {
    look.value = WHOLE;
  }, [of]);
  useLayoutEffect(() => {
    // Drawn in the next frame, once, however often anything changed until then.
    const frame = requestAnimationFrame(() => {
      draw(canvas.current, camera, (context, ratio) => paintDots(context, dots, camera, ratio));
      if (lines) draw(lined.current, camera, (context) => lines(context, camera));
    });
    return () => cancelAnimationFrame(frame);
  }, [dots, bounds, height, width.value, look.value, lines]);
  // Preact's own listener is passive in some hosts, and a page that zooms as well can't be read.
  useEffect(() => {
    const element = box.current;
    const wheel = (event: WheelEvent) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      zoom(Math.exp(-event.deltaY / 300), placeIn(element, event));
    };
    element?.addEventListener("wheel", wheel, { passive: false });
    return () => element?.removeEventListener("wheel", wheel);
  }, []);

  const zoom = (times: number, at?: Place) => {
    const middle: Place = [width.peek() / 2, height / 2];
    look.value = zoomed(look.peek(), times, at ?? middle, width.peek(), height);
  };
  const rowAt = (at: Place) => {
    const row = hit(dots, camera, at, REACH);
    return row < 0 ? null : row;
  };
  const down = (event: PointerEvent) => {
    if (event.button !== 0) return;
    const at = placeIn(box.current, event);
    held.current = { from: at, last: at, moved: false };
    if (drag !== "none" && (event.pointerType === "mouse" || owns))
      box.current?.setPointerCapture?.(event.pointerId);
  };
  const move = (event: PointerEvent) => {
    const at = placeIn(box.current, event);
    const hand = held.current;
    if (!hand || drag === "none") {
      onHover(rowAt(at));
      return;
    }
    hand.moved ||= Math.hypot(at[0] - hand.from[0], at[1] - hand.from[1]) > STILL;
    if (!hand.moved) return;
    if (drag === "pan" || event.shiftKey)
      look.value = panned(look.peek(), at[0] - hand.last[0], at[1] - hand.last[1]);
    else lasso.value = [...(lasso.peek().length ? lasso.peek() : [hand.from]), at];
    hand.last = at;
  };
  const up = (event: PointerEvent) => {
    const hand = held.current;
    held.current = null;
    if (!hand) return;
    const drawn = lasso.peek();
    lasso.value = [];
    if (!hand.moved) props.onPick?.(rowAt(placeIn(box.current, event)));
    else if (drawn.length > 2) props.onLasso?.(inside(dots, camera, drawn));
  };
  const cancel = () => {
    held.current = null;
    lasso.value = [];
  };
  return (
    <div
      ref={box}
      class={parts(
        `sw-map-cloud ${plain ? "plain" : ""} ${owns ? "own" : ""} ${drag === "pan" ? "hand" : ""}`,
      )}
      style={{ height: `${height}px` }}
      onPointerDown={down}
      onPointerMove={move}
      onPointerUp={up}
      onPointerCancel={cancel}
      onPointerLeave={() => onHover(null)}
    >
      <canvas
        ref={canvas}
        role="img"
        aria-label={label}
        style={{ width: `${camera.width}px`, height: `${height}px` }}
      />
      {lines && (
        <canvas ref={lined} style={{ width: `${camera.width}px`, height: `${height}px` }} />
      )}
      {props.children?.(camera)}
      {lasso.value.length > 1 && (
        <svg width={camera.width} height={height} aria-hidden="true">
          <polygon
            class="sw--lasso"
            points={lasso.value.map((place) => place.join(",")).join(" ")}
          />
        </svg>
      )}
      {!plain && (
        <div class="sw-map-zoom">
          <Zoom name="Zoom in" sign="+" onPress={() => zoom(CLOSE)} />
          <Zoom name="Zoom out" sign="−" onPress={() => zoom(1 / CLOSE)} />
          <Zoom
            name="Show all"
            sign="⤢"
            onPress={() => {
              look.value = WHOLE;
            }}
          />
        </div>
      )}
    </div>
  );
}

function Zoom({ name, sign, onPress }: { name: string; sign: string; onPress(): void }) {
  return (
    <button
      type="button"
      class="sw-icon"
      aria-label={name}
      title={name}
      onPointerDown={(event) => event.stopPropagation()}
      onPointerUp={(event) => event.stopPropagation()}
      onClick={onPress}
    >
      {sign}
    </button>
  );
}

function draw(
  canvas: HTMLCanvasElement | null,
  camera: Camera,
  paint: (context: CanvasRenderingContext2D, ratio: number) => void,
): void {
  const context = canvas?.getContext?.("2d");
  if (!canvas || !context) return;
  const ratio = Math.min(window.devicePixelRatio || 1, 2);
  // Setting its size empties it.
  canvas.width = Math.round(camera.width * ratio);
  canvas.height = Math.round(camera.height * ratio);
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  paint(context, ratio);
}

function inside(dots: Dots, camera: Camera, drawn: readonly Place[]): number[] {
  const polygon = drawn.map((place) => onPlane(camera, place));
  const rows: number[] = [];
  for (let i = 0; i < dots.size.length; i++) {
    if (isWithin(polygon, dots.places[2 * i] as number, dots.places[2 * i + 1] as number))
      rows.push(i);
  }
  return rows;
}

/** Where an event is in an element, in px. */
export function placeIn(element: Element | null, event: MouseEvent): Place {
  const frame = element?.getBoundingClientRect();
  return [event.clientX - (frame?.left ?? 0), event.clientY - (frame?.top ?? 0)];
}

/** Where a point of the dots is in the drawing. */
export function dotAt(dots: Dots, row: number, camera: Camera): Place {
  return onScreen(camera, [dots.places[2 * row] as number, dots.places[2 * row + 1] as number]);
}
