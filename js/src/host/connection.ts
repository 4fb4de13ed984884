// Whether the kernel that a model belongs to is still there. After a restart nobody there knows the model any more.
import { type ReadonlySignal, signal } from "@preact/signals";
import { type HostModel, listen } from "./host";

const GRACE = 3000; // ms between the kernel's having read a request and its having said so

export class Connection {
  /** True once the kernel was restarted: it stays so, since only a cell that runs again makes new models. */
  readonly lost: ReadonlySignal<boolean>;
  /** Sends a request; `answered` says whether the kernel has accepted it. */
  readonly send: (content: object, answered?: () => boolean) => void;

  constructor(model: HostModel, until: AbortSignal) {
    const lost = signal(false);
    const waits = new Set<ReturnType<typeof setTimeout>>();
    const lose = () => {
      if (!until.aborted && !model.frozen) lost.value = true;
    };
    const check = (answered: () => boolean) => {
      const wait = setTimeout(() => {
        waits.delete(wait);
        if (!answered()) lose();
      }, GRACE);
      waits.add(wait);
    };
    this.lost = lost;
    this.send = (content, answered = () => true) => {
      if (lost.peek()) return;
      // A kernel that works on a cell has not read the message yet, however long that takes: idle comes after reading.
      const status = (message?: { content?: { execution_state?: string } }) => {
        if (message?.content?.execution_state === "idle") check(answered);
      };
      try {
        model.send(content, { iopub: { status } });
      } catch {
        lose(); // JupyterLab's models have been cut off from their comms.
      }
    };
    // ipywidgets says it when a model is cut off; its models that are not have this event never.
    listen(model, "comm_live_update", () => model.comm_live || lose(), until);
    until.addEventListener("abort", () => waits.forEach(clearTimeout), { once: true });
  }
}

const connections = new WeakMap<HostModel, Connection>();

/** The one connection of a model. */
export function connectionOf(model: HostModel, until: AbortSignal): Connection {
  const found = connections.get(model) ?? new Connection(model, until);
  connections.set(model, found);
  return found;
}
