import "./progress.css";

interface Props {
  /** How much of how much is done; null while nothing runs. */
  of: { readonly done: number; readonly total: number } | null;
}

/** A line below a header; what it says is said in words beside it. */
export function Progress({ of }: Props) {
  const share = of?.total ? of.done / of.total : 0;
  return (
    <div class={of ? "sw--progress sw--on" : "sw--progress"} aria-hidden="true">
      <span class={of && !share ? "sw--unknown" : ""} style={{ "--share": share }} />
    </div>
  );
}
