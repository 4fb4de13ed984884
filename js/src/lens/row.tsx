import "./row.css";
import { flags } from "../ui/flags";
import { Memo } from "../ui/memo";
import type { LensPainter } from "./painter";
import { cellText } from "./text";

// Flat, and the same while nothing changes in this row: a moving pointer renders two rows, not all.
interface Props {
  row: number;
  block: number;
  steered: boolean;
  top: number;
  height: number;
  width: number;
  left: number;
  first: number;
  last: number;
  painter: LensPainter;
  /** Columns of this row that are under the pointer, pinned, reached by Tab; −1 for none. */
  active: number;
  pinned: number;
  stop: number;
}

/** The cells of one block that are in sight. */
export class LensRow extends Memo<Props> {
  override render({ row, block, steered, top, height, left, first, last, stop }: Props) {
    const columns = Array.from({ length: Math.max(last - first, 0) }, (_, i) => first + i);
    // The cell that has the focus has to stay when it is scrolled out of sight.
    if (stop >= 0 && (stop < first || stop >= last)) columns.push(stop);
    return (
      // biome-ignore lint/a11y/useFocusableInteractive: the cells of a grid take the focus, not its rows
      // biome-ignore lint/a11y/useSemanticElements: most of the grid does not exist at any time
      <div
        class="sw-lens-row"
        role="row"
        aria-rowindex={row + 2}
        style={{ top: `${top}px`, height: `${height}px` }}
      >
        {/* biome-ignore lint/a11y/useFocusableInteractive: a name of a row is not to be reached */}
        {/* biome-ignore lint/a11y/useSemanticElements: likewise */}
        <div
          class={steered ? "sw-lens-head sw--steered" : "sw-lens-head"}
          role="rowheader"
          aria-colindex={1}
          aria-label={steered ? `block ${block}, steered here` : `block ${block}`}
          title={steered ? `block ${block}: steered here` : `block ${block}`}
          style={{ width: `${left}px` }}
        >
          {block}
          {steered && "◂"}
        </div>
        {columns.map((column) => this.#cell(column))}
      </div>
    );
  }

  #cell(column: number) {
    const { row, painter, left, width, height, active, pinned, stop } = this.props;
    const look = painter.look(row, column);
    const { lead, body } = cellText(look.token);
    const state = flags({ active: column === active, pinned: column === pinned });
    return (
      // biome-ignore lint/a11y/useSemanticElements: most of the grid does not exist at any time
      <div
        key={column}
        class={`sw-lens-cell ${look.classes} ${state}`}
        role="gridcell"
        aria-colindex={column + 2}
        aria-label={look.name}
        aria-selected={column === pinned}
        tabIndex={column === stop ? 0 : -1}
        data-row={row}
        data-column={column}
        style={{
          left: `${left + column * width}px`,
          width: `${width - 1}px`,
          height: `${height - 1}px`,
          background: look.background,
          color: look.ink,
        }}
      >
        <span>
          {lead && <i>{lead}</i>}
          {body}
        </span>
      </div>
    );
  }
}
