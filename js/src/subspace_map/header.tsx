import "../ui/header.css";
import { Button } from "../ui/button";
import { formatDuration, plural } from "../ui/format";
import { Progress } from "../ui/progress";
import { SaveButton } from "../ui/save_button";
import { Segmented } from "../ui/segmented";
import type { MapState } from "./map";
import type { Facts, Status } from "./types";

/** Which feature, how many there are, how tokens are laid out and coloured, and the one next step. */
export function MapHeader({ map, facts }: { map: MapState; facts: Facts }) {
  const doing = map.doing.value;
  const tokens = map.tokens.value;
  const component = map.traits.component.value;
  const title = `${component} · ${facts.label}`;
  return (
    <header class="sw-header">
      <div class="sw--line">
        <span class="sw-badge">
          {facts.kind} {facts.layer}
        </span>
        <h2 title={title}>{title}</h2>
        <span class="sw-chip sw-num">
          {facts.rank
            ? `${facts.size.toLocaleString("en-US")} components × ${facts.rank}`
            : plural(facts.size, "feature")}
        </span>
        {tokens && <span class="sw-chip sw-num">{plural(tokens.count, "token")} here</span>}
        <div class="sw--right">
          <p class="sw-note sw-num" role="status" aria-live="polite">
            {statusText(map)}
          </p>
          {facts.rank > 0 && tokens && <TokenChoices map={map} />}
          {!facts.rank && !map.frozen && <Layout map={map} />}
          {map.frozen ? (
            <span class="sw-chip" title="Pointing, panning and zooming work without a kernel">
              frozen copy
            </span>
          ) : (
            <>
              <SaveButton from={map} />
              {facts.rank > 0 && <Reading map={map} facts={facts} />}
            </>
          )}
        </div>
      </div>
      <Progress of={doing} />
    </header>
  );
}

function TokenChoices({ map }: { map: MapState }) {
  return (
    <>
      <Segmented
        label="Axes"
        value={map.axes.value}
        options={[
          ["loadings", "loadings"],
          ["pca", "PCA"],
        ]}
        onChoose={(axes) => map.choose("axes", axes)}
      />
      <Segmented
        label="Colour"
        value={map.traits.colour.value}
        options={[
          ["token", "token"],
          ["cluster", "cluster"],
          ["density", "density"],
        ]}
        onChoose={(colour) => map.choose("colour", colour)}
      />
      {!map.frozen && (
        <Segmented
          label="Drag to"
          value={map.drag.value ?? "lasso"}
          options={[
            ["lasso", "lasso"],
            ["pan", "pan"],
          ]}
          onChoose={(drag) => {
            map.drag.value = drag;
          }}
        />
      )}
    </>
  );
}

function Layout({ map }: { map: MapState }) {
  return (
    <>
      {map.doing.value?.what === "layout" && (
        <Button asks title="Leave it: the features stay as they lie" onClick={() => map.stop()}>
          Stop
        </Button>
      )}
      <Segmented
        label="Layout"
        value={map.method.value}
        options={[
          ["pca", "PCA"],
          ["umap", "UMAP"],
        ]}
        onChoose={(method) => map.layOut(method)}
      />
    </>
  );
}

function Reading({ map, facts }: { map: MapState; facts: Facts }) {
  const doing = map.doing.value;
  const running = doing?.what === "read";
  const unread = !map.hasRead.value;
  return (
    <>
      {running && (
        <Button asks onClick={() => map.stop()}>
          Stop
        </Button>
      )}
      <Button
        kind={unread ? "primary" : ""}
        asks
        aria-disabled={doing !== null || facts.problem !== ""}
        onClick={() => !doing && !facts.problem && map.read()}
      >
        {unread ? "Read texts" : "Read again"}
      </Button>
    </>
  );
}

function statusText(map: MapState): string {
  const doing = map.doing.value;
  if (!doing) return doneText(map.traits.status.value);
  if (doing.stopping) return "Stopping…";
  if (doing.slow) return "The kernel is busy…";
  if (doing.waiting) return doing.waiting;
  if (doing.what === "layout") {
    const seconds = Number(doing.told?.seconds ?? 0);
    return `Laying the features out…${seconds ? ` ${formatDuration(seconds)} so far` : ""}`;
  }
  if (doing.what !== "read") return "";
  if (!doing.done) return "Reading…";
  const of = `${doing.done.toLocaleString("en-US")} of at most ${doing.total.toLocaleString("en-US")} tokens`;
  return doing.secondsLeft === null ? of : `${of} · ${formatDuration(doing.secondsLeft)} at most`;
}

function doneText(status: Status): string {
  const { state, read, texts, cut, max_length, full, examples, seconds } = status;
  if (state === "waiting") return status.message;
  if (read === undefined) return state === "stopped" ? "Stopped before anything was read" : "";
  const said = [
    `${plural(read, "token")} of ${plural(texts ?? 0, examples ? "example" : "text")}`,
    examples && "cut out of their texts",
    state === "stopped" && "stopped early",
    full && "reading ended there (max_tokens)",
    cut && `${cut} cut at ${max_length} tokens`,
    seconds != null && `read in ${formatDuration(seconds)}`,
  ];
  return said.filter(Boolean).join(" · ");
}
