// Whether the kernel that a model belongs to is still there. After a restart nobody there knows the model any more.
import { type ReadonlySignal, signal } from "@preact/signals";
import { type HostModel, isFrozen, listen } from "./host";
import { renewSubshell } from "./subshell";

// ms between the kernel's having read a request and its having said so; twice what the way there took, within limits
const GRACE = { least: 3000, most: 30_000 };
// ms until the kernel is asked whether it is there: while it restarts, what it says of a message may reach nobody
const AGAIN = { first: 8000, most: 120_000 };

/** What is lost: the kernel that knew the model, or the way from this page to any kernel. */
export type Lost = "" | "kernel" | "page";

interface Status {
  content?: { execution_state?: string };
  /** The header of what was sent. */
  parent_header?: { subshell_id?: string | null };
}

export class Connection {
  /** Stays as it is: only a cell that runs again makes new models. */
  readonly lost: ReadonlySignal<Lost>;
  /** Sends a request; `answered` says whether the kernel has accepted it. */
  readonly send: (content: object, answered?: () => boolean) => void;

  constructor(model: HostModel, until: AbortSignal) {
    const lost = signal<Lost>("");
    const waits = new Set<ReturnType<typeof setTimeout>>();
    const frozen = isFrozen(model);
    const lose = (what: Lost) => {
      if (!until.aborted && !frozen) lost.value ||= what;
    };
    const after = (wait: number, then: () => void) => {
      const timer = setTimeout(() => {
        waits.delete(timer);
        then();
      }, wait);
      waits.add(timer);
    };
    let heard = 0;
    let renewal: Promise<boolean> | undefined;
    this.lost = lost;
    this.send = (content, answered) => {
      if (lost.peek()) return;
      send(content, answered ?? (() => true));
      if (answered) askWhile(() => !answered(), AGAIN.first);
    };
    /** It may go another way than the request did, past a cell that runs: what it says is said of itself alone. */
    const askWhile = (waiting: () => boolean, wait: number) => {
      after(wait, () => {
        if (!waiting() || lost.peek()) return;
        const before = heard;
        send({ type: "ping", id: "ping" }, () => heard > before);
        askWhile(waiting, Math.min(2 * wait, AGAIN.most));
      });
    };
    const send = (content: object, answered: () => boolean) => {
      const sent = performance.now();
      const first = !renewal;
      // A kernel that works on a cell has not read the message yet, however long that takes: idle comes after reading.
      // Colab's comes after sending, and is no message of the kernel's.
      const status = ({ content: said, parent_header: header }: Status = {}) => {
        if (said?.execution_state !== "idle" || !header) return;
        after(graceAfter(performance.now() - sent), () => {
          if (answered()) return;
          if (header.subshell_id && first) again(content, answered);
          else lose("kernel");
        });
      };
      try {
        // marimo calls what Jupyter looks into.
        model.send(
          content,
          Object.assign(() => {}, { iopub: { status } }),
        );
      } catch {
        lose("kernel"); // JupyterLab's models have been cut off from their comms.
      }
    };
    /** JupyterLab may have talked to a subshell that is gone, with the kernel there as it was. */
    const again = async (content: object, answered: () => boolean) => {
      renewal ??= renewSubshell(model);
      if (await renewal) send(content, answered);
      else lose("page");
    };
    listen(model, "msg:custom", () => heard++, until);
    // ipywidgets says it when a model is cut off; its models that are not have this event never.
    listen(model, "comm_live_update", () => model.comm_live || lose("kernel"), until);
    until.addEventListener("abort", () => waits.forEach(clearTimeout), { once: true });
  }
}

function graceAfter(way: number): number {
  return Math.min(Math.max(2 * way, GRACE.least), GRACE.most);
}

const connections = new WeakMap<HostModel, Connection>();

/** The one connection of a model. */
export function connectionOf(model: HostModel, until: AbortSignal): Connection {
  const found = connections.get(model) ?? new Connection(model, until);
  connections.set(model, found);
  return found;
}
