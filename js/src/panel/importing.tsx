import "./importing.css";
import { useState } from "preact/hooks";
import { Button } from "../ui/button";
import { FileButton } from "../ui/file_button";

const MOST = 4 * 2 ** 20; // bytes of a file that is read

interface Props {
  /** What is imported, as a box is called: "Recipe". */
  what: string;
  placeholder: string;
  /** Takes a text over; false keeps it in the box. */
  onText(text: string, from: string): Promise<boolean>;
  onProblem(sentence: string): void;
}

/** Something in JSON, pasted or from a file. */
export function Importing({ what, placeholder, onText, onProblem }: Props) {
  const [text, setText] = useState("");
  const take = async () => {
    if (text.trim() && (await onText(text, ""))) setText("");
  };
  const read = async (file: File) => {
    if (file.size > MOST)
      onProblem(`${file.name} is larger than any ${what.toLowerCase()}; choose another file.`);
    else await onText(await file.text(), file.name);
  };
  return (
    <div class="sw-importing">
      <textarea
        class="sw-field"
        aria-label={`${what} to import`}
        placeholder={placeholder}
        rows={1}
        value={text}
        onInput={(event) => setText(event.currentTarget.value)}
      />
      <Button kind="small" asks aria-disabled={!text.trim()} onClick={take}>
        Import
      </Button>
      <FileButton name={`${what} file`} accept=".json,application/json" onFile={read}>
        from a file
      </FileButton>
    </div>
  );
}
