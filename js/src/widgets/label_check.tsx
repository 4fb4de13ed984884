import "../ui/frame.css";
import "./label_check.css";
import { useLayoutEffect, useMemo, useRef } from "preact/hooks";
import { AskedItem } from "../label_check/asked";
import { Check } from "../label_check/check";
import { CheckHeader } from "../label_check/header";
import { CheckSide, Facts } from "../label_check/side";
import { ToldFeature } from "../label_check/told";
import { isChoice } from "../label_check/types";
import { Failure } from "../ui/failure";
import { featureHues } from "../ui/hues";
import { type Mounted, mount } from "../ui/mount";
import { Provenance } from "../ui/provenance";

export default mount(Check, View, "sw-check");

function View({ state: check, theme, root }: Mounted<Check>) {
  const frame = useRef<HTMLDivElement>(null);
  const { palette } = theme.value;
  const screen = check.screen.value;
  const paint = useMemo(() => {
    const [hue] = featureHues(root, palette, 1);
    return hue && { hue, palette };
  }, [palette]);
  useLayoutEffect(() => {
    if (!screen || !check.arrive(screen.step)) return;
    const judged = screen.kind === "item" && !isChoice(screen.mode);
    const first = judged ? rowOf(frame.current, 0) : null;
    (first ?? frame.current?.querySelector<HTMLElement>("[data-arrive]"))?.focus();
  }, [screen?.step]);
  if (!screen || !paint)
    return (
      <div class="sw-frame">
        <p class="sw-empty">Waiting for the first item…</p>
      </div>
    );
  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: keys for the controls inside it
    <div class="sw-frame" ref={frame} onKeyDown={(event) => onKey(check, frame.current, event)}>
      <CheckHeader check={check} screen={screen} />
      <div class="sw-main">
        {check.failure.value && (
          <Failure
            sentence={check.failure.value}
            onDismiss={() => {
              check.failure.value = "";
            }}
          />
        )}
        {screen.kind === "item" && (
          <AskedItem key={screen.step} check={check} screen={screen} paint={paint} />
        )}
        {screen.kind === "reveal" && <ToldFeature check={check} screen={screen} paint={paint} />}
        {screen.kind === "end" && <End check={check} />}
        <Provenance facts={check.traits.provenance.value} />
      </div>
      <CheckSide check={check} screen={screen} />
    </div>
  );
}

function End({ check }: { check: Check }) {
  const { session = [] } = check.traits.side.value;
  return (
    <section class="sw-check-end" aria-label="Done">
      <h3 class="sw--ask" tabIndex={-1} data-arrive>
        Done: every label of the queue is checked.
      </h3>
      <p class="sw-note">
        Save the answers for whoever collects them; sw.labels.agreement(files) says how far readers
        agree.
      </p>
      {session.length > 0 && <Facts name="Scores" rows={session} />}
    </section>
  );
}

/** Keys that act wherever the focus is, but where text is typed; what a button or link does with Enter stays its own. */
function onKey(check: Check, frame: HTMLElement | null, event: KeyboardEvent): void {
  const target = event.target as HTMLElement;
  const typing = target.matches("textarea, input:not([type=radio]), select");
  if (typing || event.ctrlKey || event.metaKey || event.altKey || check.frozen) return;
  const row = Number(target.closest<HTMLElement>("[data-row]")?.dataset.row ?? check.row.peek());
  if (event.key === "Enter") {
    if (target.matches("button, a, summary")) return;
    check.next();
  } else if (event.key === "s" || event.key === "S") check.skip();
  else if (/^[1-9]$/.test(event.key)) {
    const to = check.digit(Number(event.key), row);
    if (to !== null) rowOf(frame, to)?.focus();
  } else if ((event.key === "ArrowUp" || event.key === "ArrowDown") && isJudging(check, target)) {
    rowOf(frame, row + (event.key === "ArrowUp" ? -1 : 1))?.focus();
  } else return;
  event.preventDefault();
}

/** Whether the focus is on a text that is judged: there the arrows go from text to text. */
function isJudging(check: Check, target: HTMLElement): boolean {
  const screen = check.screen.peek();
  return screen?.kind === "item" && !isChoice(screen.mode) && target.closest("[data-row]") !== null;
}

function rowOf(frame: HTMLElement | null, row: number): HTMLElement | null {
  const within = frame?.querySelector<HTMLElement>(`[data-row="${row}"]`);
  return (
    within?.querySelector<HTMLElement>("input:checked") ??
    within?.querySelector<HTMLElement>("input") ??
    null
  );
}
