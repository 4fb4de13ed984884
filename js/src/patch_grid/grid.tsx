import "./grid.css";
import type { Token } from "../host/tokens";
import { cellText } from "../lens/text";
import { CellGrid, type Frame } from "../ui/cell_grid";
import { type CellLook, CellRow } from "../ui/cell_row";
import type { Place as At } from "../ui/cells";
import { type Palette, paint } from "../ui/colour";
import { flags } from "../ui/flags";
import type { Column, Patch } from "./patch";
import { shareText } from "./words";

const SCALE = { domain: 1, signed: true };

/** Blocks × tokens: in each cell the share that its patch brings over. */
export function PatchCells({ patch, painter }: { patch: Patch; painter: PatchPainter }) {
  const rows = patch.rows.value;
  const columns = patch.columns.value;
  const pinned = patch.pinned.value;
  const hovered = patch.hovered.value;
  const place = (at: At | null) => {
    const column = at && columns[at.column];
    return column ? { layer: rows[at.row] as number, column: column.id } : null;
  };
  const across = (id: number | undefined) => columns.findIndex((column) => column.id === id);
  const row = pinned ? rows.findIndex((layer) => layer <= pinned.last) : -1;
  return (
    <CellGrid
      name="Patching"
      rows={rows.length}
      columns={columns.length}
      pinned={row < 0 ? null : { row, column: across(pinned?.column) }}
      onPoint={(at) => patch.point(place(at))}
      onPin={(at, extend) => patch.pin(place(at), extend)}
      heads={(frame) => <Heads {...frame} columns={columns} />}
      row={(frame) => {
        const block = rows[frame.row] as number;
        const within = pinned !== null && block >= pinned.first && block <= pinned.last;
        return (
          <CellRow
            key={block}
            {...frame}
            kind="patch"
            name={`${block}`}
            said={`block ${block}`}
            painter={painter}
            active={hovered?.layer === block ? across(hovered.column) : -1}
            pinned={within ? across(pinned.column) : -1}
          />
        );
      }}
    />
  );
}

/** Made anew whenever anything that it paints from changes, and only then. */
export class PatchPainter {
  readonly #patch: Patch;
  readonly #palette: Palette;
  readonly #rows: readonly number[];
  readonly #columns: readonly Column[];

  constructor(patch: Patch, palette: Palette) {
    this.#patch = patch;
    this.#palette = palette;
    this.#rows = patch.rows.value;
    this.#columns = patch.columns.value;
    patch.traits.result.value; // what it paints
  }

  look(row: number, at: number): CellLook {
    const share = this.#patch.share(row, at);
    const column = this.#columns[at];
    const colour = paint(Number.isFinite(share) ? share : null, SCALE, this.#palette);
    const where = column?.token ? `after ${column.name}` : column?.name;
    const said =
      column && column.at < 0
        ? "not paired"
        : Number.isFinite(share)
          ? `share ${shareText(share)}`
          : "not measured yet";
    return {
      lead: "",
      body: shareText(share),
      background: colour?.background,
      ink: colour?.ink || undefined,
      classes: flags({ beyond: colour?.clipped, unpaired: column && column.at < 0 }),
      name: `block ${this.#rows[row]} ${where}, ${said}`,
    };
  }
}

/** The names of the columns: the token of the text that is patched, and the one that its residual comes from. */
function Heads({ columns, left, width, height, first, last }: Frame & { columns: Column[] }) {
  const shown = columns.slice(first, last);
  return (
    // biome-ignore lint/a11y/useFocusableInteractive: column names are not to be reached
    // biome-ignore lint/a11y/useSemanticElements: most of the grid does not exist at any time
    <div class="sw-cells-heads" role="row" aria-rowindex={1} style={{ height: `${height}px` }}>
      {/* biome-ignore lint/a11y/useFocusableInteractive: likewise */}
      {/* biome-ignore lint/a11y/useSemanticElements: likewise */}
      <div class="sw--corner" role="columnheader" aria-colindex={1} style={{ width: `${left}px` }}>
        <span>block</span>
      </div>
      {shown.map(({ token, other, name, id }, i) => {
        const said = token
          ? `${name}, position ${id}${other ? `, from ${cellName(other)}` : ""}`
          : name;
        return (
          // biome-ignore lint/a11y/useFocusableInteractive: likewise
          // biome-ignore lint/a11y/useSemanticElements: likewise
          <div
            key={id}
            class="sw--column"
            role="columnheader"
            aria-colindex={first + i + 2}
            aria-label={said}
            title={said}
            style={{ left: `${left + (first + i) * width}px`, width: `${width - 1}px` }}
          >
            {token ? <Name token={token} /> : <span>{name}</span>}
            {other && <Name token={other} kind="sw-patch-other" />}
          </div>
        );
      })}
    </div>
  );
}

function cellName(token: Token): string {
  const { lead, body } = cellText(token);
  return lead + body;
}

function Name({ token, kind = "" }: { token: Token; kind?: string }) {
  const { lead, body } = cellText(token);
  return (
    <span class={`${token.fragment ? "sw--fragment" : ""} ${kind}`}>
      {lead && <i>{lead}</i>}
      {body}
    </span>
  );
}
