import "./token_text.css";
import type { Token as TokenData } from "../host/tokens";
import type { Palette, Scale } from "./colour";
import { type Pointing, rovingHandlers } from "./roving";
import { Token } from "./token";

interface Props extends Pointing {
  name: string;
  tokens: TokenData[];
  values: (number | null)[];
  scale: Scale | null;
  palette: Palette;
  valueName: string;
  /** The first token where this text differs from the other. */
  fork: number | null;
  active: number | null;
  pinned: number | null;
}

/** Text whose tokens are coloured by a value, and can be pointed at with pointer and keys. */
export function TokenText(props: Props) {
  const { name, tokens, values, scale, palette, valueName, fork, active, pinned } = props;
  const stop = Math.min(active ?? pinned ?? 0, tokens.length - 1);
  return (
    <div
      class="sw-text"
      dir="auto"
      role="listbox"
      aria-label={`${name} tokens`}
      {...rovingHandlers(tokens.length, props)}
    >
      {tokens.map((token, index) => (
        <Token
          key={index}
          index={index}
          token={token}
          value={values[index] ?? null}
          valueName={valueName}
          domain={scale?.domain ?? null}
          signed={scale?.signed ?? false}
          zero={scale?.zero ?? null}
          palette={palette}
          fork={index === fork}
          active={index === active}
          pinned={index === pinned}
          stop={index === stop}
        />
      ))}
    </div>
  );
}
