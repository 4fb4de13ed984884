import "./status_line.css";
import { useEffect, useRef, useState } from "preact/hooks";
import { same } from "../host/store";
import { formatDuration, formatNumber, plural } from "../ui/format";
import { Progress } from "../ui/progress";
import type { Panel } from "./panel";
import type { LiveRun } from "./run";
import { isResult } from "./shown";
import type { Result } from "./types";

export const FROZEN = "A frozen copy: run its cell in the notebook to generate.";
const CALM = 400; // ms between two announcements of the same phase

export function StatusLine({ panel }: { panel: Panel }) {
  const run = panel.live.value;
  const whole = panel.traits.model_info.value.lacks?.stream;
  const text = useCalm(
    run ? runText(run, whole) : restText(panel),
    run ? `${run.phase} ${run.slow}` : "rest",
  );
  return (
    <div class="sw-status">
      <p role="status" aria-live="polite" class="sw-num">
        {text}
      </p>
      <Progress of={run} />
    </div>
  );
}

function runText(run: LiveRun, whole?: string): string {
  if (run.slow) return "Waiting for the kernel: it is busy with a cell, or gone.";
  switch (run.phase) {
    case "starting":
      return "Starting…";
    case "waiting":
      return run.waitsFor;
    case "scoring":
      return "Measuring the difference at every step…";
    case "stopping":
      return "Stopping…";
    default:
      if (whole && !run.done) return whole;
      return [
        `${run.done} of ${run.total}`,
        run.tokensPerSecond === null ? "" : `${formatNumber(run.tokensPerSecond)}/s`,
        run.secondsLeft === null ? "" : `${formatDuration(run.secondsLeft)} left`,
      ]
        .filter(Boolean)
        .join(" · ");
  }
}

function restText(panel: Panel): string {
  if (panel.frozen) return FROZEN;
  const result = panel.traits.result.value;
  const { state, message } = panel.traits.status.value;
  if (state === "error") return "Stopped by an error.";
  if (!isResult(result)) return message || "Ready.";
  const longest = Math.max(...result.rows.map((row) => row.tokens.length));
  const verb = result.rows.some((row) => row.ended === "stopped") ? "Stopped after " : "";
  return [
    `${verb}${plural(longest, "token")}`,
    `${formatNumber(result.tokens_per_second)}/s`,
    formatDuration(result.seconds),
    isStale(panel, result) ? "made before the last changes" : "",
  ]
    .filter(Boolean)
    .join(" · ");
}

/** The controls no longer say what these texts were made with. What only colours them does not count. */
function isStale(panel: Panel, result: Result): boolean {
  const { watched, ...asked } = panel.inputs();
  return Object.entries(asked).some(([name, now]) => {
    const then = result[name as keyof Result];
    return then !== undefined && !same(then, now);
  });
}

/** The text, changing at most every CALM ms within a phase: a screen reader reads every change out. */
function useCalm(text: string, phase: string): string {
  const [, refresh] = useState(0);
  const kept = useRef({ text, phase, at: 0 });
  const wait = kept.current.at + CALM - performance.now();
  if (kept.current.phase !== phase || wait <= 0)
    kept.current = { text, phase, at: performance.now() };
  useEffect(() => {
    if (kept.current.text === text) return undefined;
    const timer = setTimeout(() => refresh((count) => count + 1), wait);
    return () => clearTimeout(timer);
  }, [text, phase]);
  return kept.current.text;
}
