import "./sampling.css";
import { NumberBox } from "../ui/number_box";
import { Switch } from "../ui/switch";
import type { Panel } from "./panel";
import type { Settings } from "./types";

interface Setting {
  name: keyof Settings;
  label: string;
  /** What the chip says, where the label is too long for it. */
  text?: string;
  min: number;
  max: number;
  step: number;
  title: string;
}

const SETTINGS: Setting[] = [
  {
    name: "temperature",
    label: "Temperature",
    min: 0,
    max: 5,
    step: 0.1,
    title: "0 takes the likeliest token",
  },
  { name: "top_p", label: "Top-p", text: "top-p", min: 0, max: 1, step: 0.05, title: "1 is off" },
  {
    name: "top_k",
    label: "Top-k",
    min: 0,
    max: 1000000,
    step: 1,
    title: "0 is off",
  },
  {
    name: "frequency_penalty",
    label: "Frequency penalty",
    text: "penalty",
    min: -2,
    max: 2,
    step: 0.1,
    title: "taken off a token's logit for each time it has come; 0 is off",
  },
  {
    name: "max_new_tokens",
    label: "Max new tokens",
    text: "tokens",
    min: 1,
    max: 4096,
    step: 1,
    title: "the most tokens to generate",
  },
  {
    name: "seed",
    label: "Seed",
    min: 0,
    max: 2147483647,
    step: 1,
    title: "both rows draw the same noise from it",
  },
];

export function Sampling({ panel }: { panel: Panel }) {
  const { settings, chat, model_info } = panel.traits;
  const templated = model_info.value.has_chat_template;
  return (
    <div class="sw-sampling">
      <span
        class="sw-chip"
        title={
          templated
            ? "Put the prompt through the chat template"
            : "This tokenizer has no chat template"
        }
      >
        chat
        <Switch
          label="Chat template"
          on={templated && chat.value}
          disabled={!templated}
          onToggle={(on) => panel.setChat(on)}
        />
      </span>
      {SETTINGS.map(({ name, label, text, title, ...limits }) => (
        <label key={name} class="sw-chip" title={title}>
          {text ?? label.toLowerCase()}
          <NumberBox
            label={label}
            value={settings.value[name]}
            {...limits}
            onValue={(value) => value !== null && panel.setSetting(name, value)}
          />
        </label>
      ))}
    </div>
  );
}
