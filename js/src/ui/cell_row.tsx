import { flags } from "./flags";
import { Memo } from "./memo";

/** What a cell looks like, and what it is called. */
export interface CellLook {
  /** Spaces before the text, made visible. */
  lead: string;
  body: string;
  background: string | undefined;
  ink: string | undefined;
  classes: string;
  name: string;
}

// Flat, and the same while nothing changes in this row: a moving pointer renders two rows, not all.
interface Props {
  row: number;
  /** Whose marks its cells have: the class `sw-…-cell`. */
  kind: string;
  name: string;
  said: string;
  marked?: boolean;
  top: number;
  height: number;
  width: number;
  left: number;
  first: number;
  last: number;
  painter: { look(row: number, column: number): CellLook };
  /** Columns of this row that are under the pointer, pinned, reached by Tab; −1 for none. */
  active: number;
  pinned: number;
  stop: number;
}

/** The cells of one row that are in sight. */
export class CellRow extends Memo<Props> {
  override render({ row, name, said, marked, top, height, left, first, last, stop }: Props) {
    const columns = Array.from({ length: Math.max(last - first, 0) }, (_, i) => first + i);
    // The cell that has the focus has to stay when it is scrolled out of sight.
    if (stop >= 0 && (stop < first || stop >= last)) columns.push(stop);
    return (
      // biome-ignore lint/a11y/useFocusableInteractive: the cells of a grid take the focus, not its rows
      // biome-ignore lint/a11y/useSemanticElements: most of the grid does not exist at any time
      <div
        class="sw-cells-row"
        role="row"
        aria-rowindex={row + 2}
        style={{ top: `${top}px`, height: `${height}px` }}
      >
        {/* biome-ignore lint/a11y/useFocusableInteractive: a name of a row is not to be reached */}
        {/* biome-ignore lint/a11y/useSemanticElements: likewise */}
        <div
          class={marked ? "sw-cells-side sw--marked" : "sw-cells-side"}
          role="rowheader"
          aria-colindex={1}
          aria-label={said}
          title={said}
          style={{ width: `${left}px` }}
        >
          {name}
        </div>
        {columns.map((column) => this.#cell(column))}
      </div>
    );
  }

  #cell(column: number) {
    const { row, kind, painter, left, width, height, active, pinned, stop } = this.props;
    const { lead, body, classes, name, background, ink } = painter.look(row, column);
    const state = flags({ active: column === active, pinned: column === pinned });
    return (
      // biome-ignore lint/a11y/useSemanticElements: most of the grid does not exist at any time
      <div
        key={column}
        class={`sw-cell sw-${kind}-cell ${classes} ${state}`}
        role="gridcell"
        aria-colindex={column + 2}
        aria-label={name}
        aria-selected={column === pinned}
        tabIndex={column === stop ? 0 : -1}
        data-row={row}
        data-column={column}
        style={{
          left: `${left + column * width}px`,
          width: `${width - 1}px`,
          height: `${height - 1}px`,
          background,
          color: ink,
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
