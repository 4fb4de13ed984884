import "./restarted.css";
import { createContext } from "preact";
import { useContext } from "preact/hooks";
import type { Connection, Lost } from "../host/connection";

const SENTENCES: Record<Lost, string> = {
  "": "",
  kernel: "The kernel was restarted: run this cell again.",
  page: "The kernel was restarted from elsewhere: load this page again, then run this cell again.",
};

export const Kernel = createContext<Connection | null>(null);

/** What is to be done, where the kernel knows nothing of this widget any more. */
export function useLost(): string {
  return SENTENCES[useContext(Kernel)?.lost.value ?? ""];
}

/** Stands above every widget of which the kernel knows nothing any more. */
export function Restarted() {
  const what = useContext(Kernel)?.lost.value;
  if (!what) return null;
  return (
    <p class="sw-restarted" role="alert">
      {SENTENCES[what]} {what === "kernel" && "What stands below is from before."}
    </p>
  );
}
