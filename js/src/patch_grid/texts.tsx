import "./texts.css";
import { visible } from "../ui/format";
import { useId } from "../ui/use_id";
import type { Patch } from "./patch";
import { shareText } from "./words";

const SIDES = ["source", "target"] as const;
const TITLES = ["Source", "Target"] as const;

/** The two texts, and the two tokens whose logits are compared. */
export function PatchTexts({ patch }: { patch: Patch }) {
  const inputs = patch.inputs.value;
  if (!inputs) return null;
  const keys = (event: KeyboardEvent) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    patch.run();
  };
  const given = patch.traits.facts.value.given ?? ["", ""];
  return (
    <div class="sw-patch-texts">
      {SIDES.map((side, i) => (
        <div key={side} class={`sw--${side}`}>
          <label>
            <span class="sw--title">{TITLES[i]}</span>
            <textarea
              class="sw-field"
              dir="auto"
              rows={1}
              placeholder={
                given[i]
                  ? `${given[i]} were given. Write a text here to take another one.`
                  : "Write a text here."
              }
              readOnly={patch.frozen}
              value={inputs[side]}
              onInput={(event) => patch.type({ [side]: event.currentTarget.value, pairs: null })}
              onKeyDown={keys}
            />
          </label>
          {inputs.metric !== "kl" && <Answer patch={patch} side={i as 0 | 1} />}
        </div>
      ))}
    </div>
  );
}

/** A token: what the model says after the text, unless another one is written. */
function Answer({ patch, side }: { patch: Patch; side: 0 | 1 }) {
  const id = useId();
  const inputs = patch.inputs.value;
  const plan = patch.plan.value;
  if (!inputs) return null;
  const found = plan?.answers?.[side];
  const given = inputs.answers[side];
  const said = plan?.candidates?.[side] ?? [];
  const others = plan?.candidates?.[1 - side] ?? [];
  const probability = said.find((each) => each.id === found?.id)?.probability;
  const typed = patch.edited.value !== null && typeof given === "string";
  const shown = given === "" || typed || !found ? `${given}` : visible(found);
  return (
    <label class="sw--answer">
      <span>answer</span>
      <input
        class="sw-field"
        type="text"
        list={id}
        autocomplete="off"
        aria-label={`${TITLES[side]}’s answer`}
        title="A token; ␣ stands for a space. Empty: what the model says itself."
        placeholder={said[0] ? visible(said[0]) : "what the model says"}
        readOnly={patch.frozen}
        value={shown}
        onInput={(event) => {
          const answers = [...inputs.answers] as typeof inputs.answers;
          answers[side] = event.currentTarget.value;
          patch.type({ answers });
        }}
      />
      <datalist id={id}>
        {[...said, ...others].map((token, i) => (
          <option key={i} value={visible(token)}>
            {shareText(token.probability)}
          </option>
        ))}
      </datalist>
      {probability !== undefined && (
        <span class="sw-note sw-num" title="Its probability after this text">
          {shareText(probability)}
        </span>
      )}
    </label>
  );
}
