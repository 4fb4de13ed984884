import "./file_button.css";
import type { ComponentChildren } from "preact";
import { useLost } from "./restarted";

interface Props {
  name: string;
  accept: string;
  onFile(file: File): void;
  children: ComponentChildren;
}

/** A file of the reader's own machine: the browser's control under the look of a button. */
export function FileButton({ name, accept, onFile, children }: Props) {
  const lost = useLost();
  return (
    <label class="sw-button sw--small sw-file">
      {children}
      <input
        type="file"
        aria-label={name}
        title={lost || name}
        accept={accept}
        disabled={lost !== ""}
        onChange={(event) => {
          const [file] = event.currentTarget.files ?? [];
          if (file) onFile(file);
          event.currentTarget.value = "";
        }}
      />
    </label>
  );
}
