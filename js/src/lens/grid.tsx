import "./cells.css";
import { CellGrid } from "../ui/cell_grid";
import { CellRow } from "../ui/cell_row";
import type { Place } from "../ui/cells";
import { LensHeads } from "./heads";
import type { Cell, Lens } from "./lens";
import type { LensPainter } from "./painter";
import { rowAtOrAbove } from "./rows";
import { LensSums } from "./sums";

/** Blocks × tokens: in each cell what that block would say next. */
export function LensGrid({ lens, painter }: { lens: Lens; painter: LensPainter }) {
  const rows = lens.rows.value;
  const run = lens.run.value;
  const pinned = placeOf(rows, lens.pinned.value);
  const active = placeOf(rows, lens.hovered.value);
  const cellAt = (place: Place | null): Cell | null =>
    place && { layer: rows[place.row] as number, position: place.column };
  return (
    <CellGrid
      name="Logit lens"
      rows={rows.length}
      columns={run?.positions ?? 0}
      lines={lens.chosen.value.id === null ? 1 : 2}
      pinned={pinned}
      onPoint={(place) => lens.point(cellAt(place))}
      onPin={(place) => lens.pin(cellAt(place))}
      heads={(frame) => <LensHeads lens={lens} {...frame} />}
      row={(frame) => {
        const block = run?.layers[rows[frame.row] as number] as number;
        const steered = lens.steeredLayers.value.includes(block);
        return (
          <CellRow
            key={block}
            {...frame}
            kind="lens"
            name={steered ? `${block}◂` : `${block}`}
            said={steered ? `block ${block}, steered here` : `block ${block}`}
            marked={steered}
            painter={painter}
            active={active?.row === frame.row ? active.column : -1}
            pinned={pinned?.row === frame.row ? pinned.column : -1}
          />
        );
      }}
      foot={(frame) => <LensSums lens={lens} {...frame} rows={rows.length} />}
    />
  );
}

/** Where a cell stands; the row of a layer that has none is the next deeper one's. */
function placeOf(rows: readonly number[], cell: Cell | null): Place | null {
  if (!cell) return null;
  const row = rowAtOrAbove(rows, cell.layer);
  return row < 0 ? null : { row, column: cell.position };
}
