import "./bars.css";
import type { Token } from "../host/tokens";
import { Button } from "../ui/button";
import { cellText } from "./text";

export interface Bar {
  key: string | number;
  token?: Token | undefined;
  name?: string;
  note?: string;
  /** Below zero the bar has the other colour. */
  size: number;
  value: string;
  title?: string;
  add?: { label: string; act(): void };
}

interface Props {
  label: string;
  rows: readonly Bar[];
  /** The size of a full bar. */
  most: number;
}

/** Names with a bar and a number each, the numbers under one another. */
export function Bars({ label, rows, most }: Props) {
  return (
    <ul class="sw-lens-bars sw-plain" aria-label={label}>
      {rows.map(({ key, token, name, note, size, value, title, add }) => {
        const { lead, body } = cellText(token);
        return (
          <li key={key} title={title}>
            <span class={token?.fragment ? "sw--name sw--fragment" : "sw--name"}>
              {lead && <i>{lead}</i>}
              {token ? body : name}
              {note && <small> → {note}</small>}
            </span>
            <span class={size < 0 ? "sw--bar sw--negative" : "sw--bar"} aria-hidden="true">
              <span style={{ width: `${Math.min(Math.abs(size) / most, 1) * 100}%` }} />
            </span>
            <span class="sw--number sw-num">{value}</span>
            {add && (
              <Button kind="icon" aria-label={add.label} title={add.label} onClick={add.act}>
                +
              </Button>
            )}
          </li>
        );
      })}
    </ul>
  );
}
