/** Lets the browser save a page, or a text or bytes of another type. */
export function download(
  content: string | Uint8Array<ArrayBuffer>,
  filename: string,
  beside: Element,
  type = "text/html",
): void {
  const url = URL.createObjectURL(new Blob([content], { type }));
  const link = document.createElement("a");
  Object.assign(link, { href: url, download: filename, hidden: true });
  beside.after(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
