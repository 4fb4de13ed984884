import type { Token } from "../host/tokens";
import { Memo } from "../ui/memo";
import type { Lens } from "./lens";
import { cellText, joinedText, shownText } from "./text";

interface Props {
  lens: Lens;
  left: number;
  width: number;
  height: number;
  first: number;
  last: number;
}

/** The names of the columns: the token that was read, and the one that really comes next. */
export function LensHeads(props: Props) {
  const { tokens, traits } = props.lens;
  return <Heads {...props} tokens={tokens.value} before={traits.facts.value.first ?? 0} />;
}

interface HeadsProps extends Props {
  tokens: readonly Token[];
  /** Positions of the text before the first column. */
  before: number;
}

class Heads extends Memo<HeadsProps> {
  override render({ tokens, before, left, width, height, first, last }: HeadsProps) {
    const columns = Array.from({ length: Math.max(last - first, 0) }, (_, i) => first + i);
    return (
      // biome-ignore lint/a11y/useFocusableInteractive: column names are not to be reached
      // biome-ignore lint/a11y/useSemanticElements: most of the grid does not exist at any time
      <div class="sw-cells-heads" role="row" aria-rowindex={1} style={{ height: `${height}px` }}>
        {/* biome-ignore lint/a11y/useFocusableInteractive: likewise */}
        {/* biome-ignore lint/a11y/useSemanticElements: likewise */}
        <div
          class="sw--corner"
          role="columnheader"
          aria-colindex={1}
          style={{ width: `${left}px` }}
        >
          <span>this token</span>
          <span>next token</span>
        </div>
        {columns.map((column) => {
          const [token, next] = [tokens[column], tokens[column + 1]];
          const joined = joinedText(tokens, column);
          const said = `after ${shownText(token)}${next ? `, before ${shownText(next)}` : ", the last token"}`;
          return (
            // biome-ignore lint/a11y/useFocusableInteractive: likewise
            // biome-ignore lint/a11y/useSemanticElements: likewise
            <div
              key={column}
              class="sw--column"
              role="columnheader"
              aria-colindex={column + 2}
              aria-label={said}
              title={[
                said,
                token && `position ${before + column}, id ${token.id}`,
                joined && `bytes of ${joined}`,
              ]
                .filter(Boolean)
                .join(" · ")}
              style={{ left: `${left + column * width}px`, width: `${width - 1}px` }}
            >
              <Name token={token} />
              {next ? <Name token={next} /> : <span class="sw--end">end</span>}
            </div>
          );
        })}
      </div>
    );
  }
}

function Name({ token }: { token: Token | undefined }) {
  const { lead, body } = cellText(token);
  return (
    <span class={token?.fragment ? "sw--fragment" : ""}>
      {lead && <i>{lead}</i>}
      {body}
    </span>
  );
}
