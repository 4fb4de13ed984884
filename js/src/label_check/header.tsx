import "../ui/header.css";
import "../ui/progress.css";
import "./header.css";
import { SaveButton } from "../ui/save_button";
import { type Check, shareDone } from "./check";
import type { Screen } from "./types";

/** What is checked, how far one is, which mode is asked, and the seed that all share. */
export function CheckHeader({ check, screen }: { check: Check; screen: Screen }) {
  const { dictionary, layer, size, seed, modes, site, reader } = check.traits.facts.value;
  const share = shareDone(screen);
  return (
    <header class="sw-header sw-check-header">
      <div class="sw--line">
        <h2>Label check</h2>
        <span class="sw-chip sw-num" title={site}>
          {dictionary} {layer} · {size?.toLocaleString("en-US")}
        </span>
        <span class="sw-chip sw-num">
          {screen.practice ? (
            "to try"
          ) : (
            <>
              queue{" "}
              <b>
                {screen.feature} of {screen.features}
              </b>
            </>
          )}
        </span>
        {reader && <span class="sw-chip">{reader}</span>}
        <div class="sw--right">
          <ol class="sw-plain sw--modes" aria-label="Modes">
            {modes?.map((mode) => (
              <li key={mode} aria-current={mode === screen.mode ? "step" : undefined}>
                {mode}
              </li>
            ))}
          </ol>
          <span class="sw-chip sw-num" title="Everyone who has this seed gets the same items">
            class seed <b>{seed}</b>
          </span>
          {check.frozen ? <span class="sw-chip">frozen copy</span> : <SaveButton from={check} />}
        </div>
      </div>
      <div
        class="sw--progress"
        role="progressbar"
        aria-label="Queue"
        aria-valuenow={Math.round(share * 100)}
        aria-valuemin={0}
        aria-valuemax={100}
      >
        <span style={{ "--share": share }} />
      </div>
    </header>
  );
}
