/** Lets the browser save a page. */
export function download(html: string, filename: string, beside: Element): void {
  const url = URL.createObjectURL(new Blob([html], { type: "text/html" }));
  const link = document.createElement("a");
  Object.assign(link, { href: url, download: filename, hidden: true });
  beside.after(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
