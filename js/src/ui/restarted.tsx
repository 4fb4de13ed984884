import "./restarted.css";
import { createContext } from "preact";
import { useContext } from "preact/hooks";
import type { Connection } from "../host/connection";

export const RESTARTED = "The kernel was restarted: run this cell again.";

export const Kernel = createContext<Connection | null>(null);

/** Whether the kernel of this widget is another one now. */
export function useLost(): boolean {
  return useContext(Kernel)?.lost.value ?? false;
}

/** Stands above every widget of which the kernel knows nothing any more. */
export function Restarted() {
  if (!useLost()) return null;
  return (
    <p class="sw-restarted" role="alert">
      {RESTARTED} What stands below is from before.
    </p>
  );
}
