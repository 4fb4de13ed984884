import "../ui/token.css";
import "./row.css";
import type { HeatToken } from "../host/tokens";
import { parts as names } from "../ui/flags";
import { splitLead, TURNS } from "../ui/format";
import type { Direction, Line, Piece } from "../ui/lines";
import { Memo } from "../ui/memo";
import { withMarks } from "../ui/token";
import type { Painter } from "./painter";

// Flat, and the same while nothing changes on this line: a moving pointer renders two lines, not all.
interface Props {
  index: number;
  line: Line;
  direction: Direction;
  height: number;
  tokens: readonly HeatToken[];
  painter: Painter;
  selected: ReadonlySet<number>;
  /** The token under the pointer or the focus, where it is on this line. */
  active: number | null;
  /** The one token of the text that the Tab key reaches, likewise. */
  stop: number | null;
}

/** One line of tokens. */
export class HeatRow extends Memo<Props> {
  override render({ index, line, direction, height }: Props) {
    return (
      // biome-ignore lint/a11y/useFocusableInteractive: the cells of a grid take the focus, not its rows
      // biome-ignore lint/a11y/useSemanticElements: lines of running text are no table to lay out
      <div
        class="sw-line"
        dir={direction}
        role="row"
        aria-rowindex={index + 1}
        style={{ top: `${index * height}px`, height: `${height}px` }}
      >
        {line.map((piece, at) => this.#cell(piece, at === 0))}
      </div>
    );
  }

  #cell(piece: Piece, first: boolean) {
    const { tokens, painter, selected, active, stop } = this.props;
    const { token: index, start, end } = piece;
    const token = tokens[index] as HeatToken;
    const goesOn = start > 0;
    const text = token.text.slice(start, end);
    const joined = !first && painter.joined(index);
    const parts = token.fragment || joined ? { lead: "", body: text } : splitLead(text);
    const look = painter.look(index);
    const cell = [
      "sw-token",
      TURNS.test(text) ? "apart" : "",
      token.generated ? "generated" : "",
      painter.begins(index) && !goesOn ? "begins" : "",
    ];
    const classes = [
      "sw-word",
      ...look.classes,
      token.fragment ? "fragment" : "",
      token.counted ? "" : "uncounted",
      joined ? "joined" : "",
      index === active ? "active" : "",
      selected.has(index) ? pin(selected, index) : "",
    ];
    return (
      // biome-ignore lint/a11y/useSemanticElements: lines of running text are no table to lay out
      <span
        key={`${index}.${start}`}
        class={names(cell.join(" "))}
        role="gridcell"
        aria-label={painter.name(index) + (goesOn ? ", continued" : "")}
        aria-selected={selected.has(index)}
        tabIndex={index === stop && !goesOn ? 0 : -1}
        data-index={index}
        data-start={start}
      >
        {first && parts.lead ? <span class="sw-lead">{parts.lead}</span> : parts.lead}
        <span class={names(classes.join(" "))} style={look.style}>
          {withMarks(parts.body)}
        </span>
      </span>
    );
  }
}

/** Pins that stand side by side share one frame. */
function pin(selected: ReadonlySet<number>, index: number): string {
  const [after, before] = [selected.has(index - 1), selected.has(index + 1)];
  if (!after && !before) return "pinned";
  return `pinned run${after ? "" : " from"}${before ? "" : " to"}`;
}
