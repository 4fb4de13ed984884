import { useState } from "preact/hooks";
import { Button } from "./button";
import { download } from "./download";

interface Props {
  from: {
    exportHtml(): Promise<{ html: string; filename: string }>;
    fail(error: unknown): void;
  };
}

/** Asks the kernel for the page that needs none, and lets the browser keep it. */
export function SaveButton({ from }: Props) {
  const [saving, setSaving] = useState(false);
  const save = async (anchor: Element) => {
    setSaving(true);
    try {
      const { html, filename } = await from.exportHtml();
      download(html, filename, anchor);
    } catch (error) {
      from.fail(error);
    } finally {
      setSaving(false);
    }
  };
  return (
    <Button
      kind="quiet"
      asks
      aria-busy={saving}
      onClick={(event) => !saving && save(event.currentTarget)}
    >
      {saving ? "Saving…" : "Save as HTML"}
    </Button>
  );
}
