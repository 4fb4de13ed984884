const WIDTH = 4; // px of a bar
const HEIGHT = 16;
const FULL = 64; // four steps a pixel

/** How often a feature takes which value: log counts over even steps up to its maximum. */
export function Sparkline({ bars, text }: { bars: number[]; text: string }) {
  const path = bars.map((bar, at) => {
    const height = bar ? Math.max(1, (bar / FULL) * HEIGHT) : 0;
    return `M${at * WIDTH} ${HEIGHT}v${-height}h${WIDTH - 1}v${height}z`;
  });
  return (
    <svg class="sw-sparkline" viewBox={`0 0 ${bars.length * WIDTH} ${HEIGHT}`} role="img">
      <title>{text}</title>
      <path d={path.join("")} />
    </svg>
  );
}
