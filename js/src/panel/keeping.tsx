import "./keeping.css";
import { useState } from "preact/hooks";
import { Button } from "../ui/button";
import { Failure } from "../ui/failure";
import { Select } from "../ui/select";
import { Importing } from "./importing";
import type { Panel } from "./panel";

/** Presets, and recipes that are pasted or read from a file. */
export function Keeping({ panel }: { panel: Panel }) {
  const presets = panel.traits.presets.value;
  const [name, setName] = useState("");
  const [chosen, setChosen] = useState("");
  const [said, setSaid] = useState("");
  const [error, setError] = useState("");
  const ask = async (args: Record<string, string>, done: string, then = () => {}) => {
    setSaid("");
    const failure = await panel.preset(args);
    setError(failure);
    if (failure) return false;
    setSaid(done);
    then();
    return true;
  };
  const preset = presets.includes(chosen) ? chosen : "";
  return (
    <div class="sw-keeping">
      <Importing
        what="Recipe"
        placeholder="Paste a recipe or a preset"
        onText={(text, file) =>
          ask({ do: "import", text }, file ? `${file} was taken over.` : "Taken over.")
        }
        onProblem={setError}
      />
      <div class="sw--row">
        <input
          class="sw-field"
          aria-label="Name of the preset"
          placeholder="Name, to keep recipe and settings as a preset"
          maxLength={60}
          value={name}
          onInput={(event) => setName(event.currentTarget.value)}
        />
        <Button
          kind="small"
          asks
          aria-disabled={!name.trim()}
          onClick={() =>
            name.trim() && ask({ do: "save", name }, `Kept as “${name.trim()}”.`, () => setName(""))
          }
        >
          Save preset
        </Button>
        {presets.length > 0 && (
          <>
            <Select
              label="Preset"
              value={preset}
              options={[["", "presets"] as const, ...presets.map((each) => [each, each] as const)]}
              onChoose={setChosen}
            />
            <Button
              kind="small"
              asks
              aria-disabled={!preset}
              onClick={() => preset && ask({ do: "load", name: preset }, `“${preset}” is loaded.`)}
            >
              Load preset
            </Button>
            <Button
              kind="icon"
              asks
              aria-label="Remove preset"
              aria-disabled={!preset}
              onClick={() => preset && ask({ do: "remove", name: preset }, `“${preset}” is gone.`)}
            >
              ×
            </Button>
          </>
        )}
      </div>
      {error && <Failure sentence={error} onDismiss={() => setError("")} />}
      <p class="sw-note" aria-live="polite">
        {said}
      </p>
    </div>
  );
}
