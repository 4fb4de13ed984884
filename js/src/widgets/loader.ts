// What a host imports for every model: it imports the widget's program once for each page.
//
// A page keeps whatever it has imported for as long as it is open, and hosts import the module of each model under an
// address of its own. So that a cell which runs again leaves next to nothing, this module is all that they import.
import type { HostModel } from "../host/host";

interface Given {
  model: HostModel;
  signal?: AbortSignal;
}

interface Widget {
  initialize?(given: Given): unknown;
  render?(given: Given): unknown;
}

type Program = () => Widget;

const shared = globalThis as { steerwidgetsPrograms?: Map<string, Promise<Program>> };
shared.steerwidgetsPrograms ??= new Map();
const programs = shared.steerwidgetsPrograms;

async function imported(text: string): Promise<Program> {
  const url = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
  try {
    return (await import(url)).default;
  } catch (error) {
    programs.delete(text);
    throw error;
  } finally {
    URL.revokeObjectURL(url);
  }
}

function programOf(model: HostModel): Promise<Program> {
  const text = String(model.get("_program"));
  const found = programs.get(text) ?? imported(text);
  programs.set(text, found);
  return found;
}

/** A widget for one model, as its program makes it. */
export default () => {
  let made: Promise<Widget> | undefined;
  const widget = ({ model }: Given) => {
    made ??= programOf(model).then((make) => make());
    return made;
  };
  return {
    initialize: async (given: Given) => (await widget(given)).initialize?.(given),
    async render(given: Given) {
      const { render } = await widget(given);
      // A view that went away meanwhile would never hear of it.
      if (!given.signal?.aborted) return render?.(given);
    },
  };
};
