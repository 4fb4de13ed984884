/** Hosts may render a view before they put it on the page, and only there it has ancestors and a size. */
export function onArrival(root: HTMLElement, until: AbortSignal, act: () => void): void {
  const arrival = new ResizeObserver(() => {
    if (!root.isConnected) return;
    arrival.disconnect();
    act();
  });
  arrival.observe(root);
  until.addEventListener("abort", () => arrival.disconnect(), { once: true });
}
