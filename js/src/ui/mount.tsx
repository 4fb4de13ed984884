// A widget's entry, and what its outermost element does: the class its styles hang on, the theme, keys to itself.
import "./base.css";
import type { ReadonlySignal } from "@preact/signals";
import { type ComponentType, render } from "preact";
import { type Connection, connectionOf } from "../host/connection";
import { type HostModel, lifetime } from "../host/host";
import { onArrival } from "./arrival";
import { keepKeys } from "./keys";
import { Kernel, Restarted } from "./restarted";
import { type Theme, watchTheme } from "./theme";

interface Given {
  model: HostModel;
  /** Hosts of anywidget 0.9 pass none, and call what is returned instead. */
  signal?: AbortSignal;
}

/** What the view of a widget gets. */
export interface Mounted<State> {
  state: State;
  theme: ReadonlySignal<Theme>;
  root: HTMLElement;
}

/**
 * The factory that a widget's module gives its host, which makes one for each model: what its views share is held by
 * the closure. Hosts may render a view without having initialized anything.
 */
export function mount<State>(
  StateOf: new (model: HostModel, until: AbortSignal) => State,
  View: ComponentType<Mounted<State>>,
  name: string,
) {
  return () => {
    let made: { state: State; connection: Connection } | undefined;
    const make = (model: HostModel, until: AbortSignal) => ({
      connection: connectionOf(model, until),
      state: new StateOf(model, until),
    });
    return {
      initialize({ model, signal }: Given) {
        const life = lifetime(signal);
        made = make(model, life.signal);
        return life.end;
      },
      render({ model, el, signal }: Given & { el: HTMLElement }) {
        const life = lifetime(signal);
        made ??= make(model, life.signal);
        const { state, connection } = made;
        const root = createRoot(el, name, life.signal);
        onArrival(root, life.signal, () => bringSheet(root, String(model.get("_css") ?? "")));
        const view = <View state={state} theme={watchTheme(root, life.signal)} root={root} />;
        const whole = (
          <Kernel.Provider value={connection}>
            <Restarted />
            {view}
          </Kernel.Provider>
        );
        render(whole, root);
        life.signal.addEventListener("abort", () => render(null, root), { once: true });
        return life.end;
      },
    };
  };
}

function createRoot(el: HTMLElement, name: string, until: AbortSignal): HTMLElement {
  const root = document.createElement("div");
  root.className = `sw ${name}`;
  keepKeys(root, until);
  el.append(root);
  until.addEventListener("abort", () => root.remove(), { once: true });
  return root;
}

const sheet = new CSSStyleSheet();

/** The sheet is where the host has put it, which is not inside of a shadow root that somebody else has made. */
function bringSheet(root: HTMLElement, css: string): void {
  const within = root.getRootNode();
  if (!(within instanceof ShadowRoot) || within.adoptedStyleSheets.includes(sheet)) return;
  sheet.replaceSync(css);
  within.adoptedStyleSheets.push(sheet);
}
