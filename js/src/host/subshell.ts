// JupyterLab sends a widget's messages to a subshell of the kernel, and sometimes to one that is gone: a comm that opens
// while the last other one closes takes over a subshell that is about to be deleted (JupyterLab 4.6, Notebook 7.6), and a
// page that was not told of a restart goes on with those of the kernel before.
import type { HostModel } from "./host";

/** What JupyterLab's comms offer; see `IComm` of @jupyterlab/services. */
interface Comm {
  commsOverSubshells?: string;
  readonly subshellId?: string | null;
}

interface JupyterModel extends HostModel {
  comm?: { jsServicesComm?: Comm };
  save(values: object, options: { patch: true }): void;
}

const written = new WeakMap<HostModel, Set<string>>();

/** Notes that this page has set a trait: what it sent may have reached nobody. */
export function noteWritten(model: HostModel, name: string): void {
  const names = written.get(model) ?? new Set();
  written.set(model, names.add(name));
}

// ms
const PATIENCE = 10_000;
const LOOK_EVERY = 50;

/** Lets a model have a subshell of its own, and tells it again what this page has set; whether there is one. */
export async function renewSubshell(model: HostModel): Promise<boolean> {
  const own = await jupyterModel(model);
  const comm = own?.comm?.jsServicesComm;
  const gone = comm?.subshellId;
  if (!own || !comm || !gone) return false;
  comm.commsOverSubshells = "perComm";
  for (let waited = 0; waited < PATIENCE; waited += LOOK_EVERY) {
    await new Promise((done) => setTimeout(done, LOOK_EVERY));
    if (!comm.subshellId || comm.subshellId === gone) continue;
    const values = [...(written.get(model) ?? [])].map((name) => [name, model.get(name)]);
    if (values.length) own.save(Object.fromEntries(values), { patch: true });
    return true;
  }
  return false;
}

async function jupyterModel(model: HostModel): Promise<JupyterModel | undefined> {
  const id = model.get("_own_id");
  if (typeof id !== "string" || !id) return undefined;
  try {
    // What a widget is given as its model has no comm of its own.
    return (await model.widget_manager?.get_model(id)) as JupyterModel | undefined;
  } catch {
    return undefined;
  }
}
