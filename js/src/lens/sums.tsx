import "./sums.css";
import type { Lens } from "./lens";

interface Props {
  lens: Lens;
  left: number;
  width: number;
  height: number;
  rows: number;
  first: number;
  last: number;
}

/** Under the grid: the block from which each column says its answer, and where the chosen token comes in. */
export function LensSums({ lens, left, width, height, rows, first, last }: Props) {
  const run = lens.run.value;
  const { id, name } = lens.chosen.value;
  const within = lens.traits.within.value;
  if (!run) return null;
  const answers = (position: number) => {
    const block = run.settled[position] as number;
    return block < 0 ? "–" : `${block}`;
  };
  const entries = (position: number) => {
    const layer = id === null ? -1 : run.enters(id, within, position);
    return layer < 0 ? "–" : `${run.layers[layer]}`;
  };
  const lines = [
    { title: "answer from", said: "the final answer is top-1 from block", of: answers },
    ...(id === null
      ? []
      : [
          {
            title: `top ${within} from`,
            said: `${name} enters the top ${within} at block`,
            of: entries,
          },
        ]),
  ];
  const columns = Array.from({ length: Math.max(last - first, 0) }, (_, i) => first + i);
  return (
    // biome-ignore lint/a11y/useSemanticElements: most of the grid does not exist at any time
    <div class="sw-lens-sums" role="rowgroup" style={{ height: `${lines.length * height}px` }}>
      {lines.map(({ title, said, of }, line) => (
        // biome-ignore lint/a11y/useFocusableInteractive: a summary is not to be reached cell by cell
        // biome-ignore lint/a11y/useSemanticElements: most of the grid does not exist at any time
        <div
          key={title}
          class="sw--line"
          role="row"
          aria-rowindex={rows + 2 + line}
          style={{ height: `${height}px` }}
        >
          {/* biome-ignore lint/a11y/useFocusableInteractive: likewise */}
          {/* biome-ignore lint/a11y/useSemanticElements: likewise */}
          <div class="sw-cells-side" role="rowheader" title={said} style={{ width: `${left}px` }}>
            {title}
          </div>
          {columns.map((column) => (
            // biome-ignore lint/a11y/useFocusableInteractive: likewise
            // biome-ignore lint/a11y/useSemanticElements: likewise
            <div
              key={column}
              class="sw--sum"
              role="gridcell"
              aria-colindex={column + 2}
              aria-label={`${said} ${of(column)}`}
              style={{ left: `${left + column * width}px`, width: `${width - 1}px` }}
            >
              {of(column)}
            </div>
          ))}
        </div>
      ))}
    </div>
  );
}
