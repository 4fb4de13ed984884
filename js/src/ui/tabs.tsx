import "./tabs.css";
import type { ComponentChildren } from "preact";
import { focusItem, indexOf, moveTo } from "./roving";
import { useId } from "./use_id";

export interface TabOf<Value extends string> {
  value: Value;
  text: string;
  /** How many things stand in it; said beside its name where there are some. */
  count?: number;
}

interface Props<Value extends string> {
  label: string;
  tabs: readonly TabOf<Value>[];
  open: Value;
  onOpen(value: Value): void;
  /** What stands in the open one. */
  children: ComponentChildren;
}

/** Several views in the place of one; the arrow keys go from tab to tab. */
export function Tabs<Value extends string>({ label, tabs, open, onOpen, children }: Props<Value>) {
  const id = useId();
  const keys = (event: KeyboardEvent & { currentTarget: HTMLElement }) => {
    const target = moveTo(event.key, indexOf(event) ?? 0, tabs.length);
    const tab = target === null ? undefined : tabs[target];
    if (!tab || target === null) return;
    event.preventDefault();
    onOpen(tab.value);
    focusItem(event.currentTarget, target);
  };
  return (
    <div class="sw-tabs">
      <div class="sw--list" role="tablist" aria-label={label} onKeyDown={keys}>
        {tabs.map(({ value, text, count }, index) => (
          <button
            key={value}
            type="button"
            role="tab"
            id={`${id}-${value}`}
            data-index={index}
            aria-selected={value === open}
            aria-controls={`${id}-shown`}
            tabIndex={value === open ? 0 : -1}
            onClick={() => onOpen(value)}
          >
            {text}
            {!!count && (
              <span class="sw--count sw-num" aria-hidden="true">
                {count}
              </span>
            )}
          </button>
        ))}
      </div>
      <div class="sw--shown" role="tabpanel" id={`${id}-shown`} aria-labelledby={`${id}-${open}`}>
        {children}
      </div>
    </div>
  );
}
