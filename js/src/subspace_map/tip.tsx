import "./tip.css";
import type { ComponentChildren } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";
import type { Camera } from "./camera";
import type { Place } from "./geometry";

/** What is known of the point under the pointer, beside it; never in the way of the pointer. */
export function MapTip(props: { camera: Camera; at: Place; children: ComponentChildren }) {
  const { camera, at, children } = props;
  const box = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    const element = box.current;
    if (!element) return;
    const { offsetWidth: width, offsetHeight: height } = element;
    const left = Math.max(Math.min(at[0] + 12, camera.width - width - 4), 4);
    const below = at[1] + 14;
    const top = below + height > camera.height ? at[1] - height - 12 : below;
    Object.assign(element.style, { left: `${left}px`, top: `${Math.max(top, 4)}px` });
  });
  return (
    <div ref={box} class="sw-map-tip" aria-hidden="true">
      {children}
    </div>
  );
}
