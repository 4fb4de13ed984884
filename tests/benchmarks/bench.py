"""All benchmarks one after the other, each in its own process: `make bench`, or `python tests/benchmarks/bench.py`.

Prints one table of the figures with their spread, what is asked of them and whether it is reached; writes
`build/bench/bench.json` with the machine, the date and the versions, and draws the ratios as `build/bench/bench.svg`,
how much longer others take as `build/bench/peers.svg` and what grows as `build/bench/growth.svg`, each as `.png` too.
`--quick` runs everything small, to see that each script works: its figures say nothing. `--only rows lens` runs some.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from timing import RESULTS

HERE = Path(__file__).parent
PACKAGES = ("steerwidgets", "torch", "transformers", "numpy", "sae-lens", "pyvene", "nnsight", "anywidget")
SCRIPTS: dict[str, tuple[list[str], list[str]]] = {
    "run": ([], ["--tokens", "3", "--repeat", "1"]),
    "rows": ([], ["--tokens", "3", "--repeat", "1", "--rows", "1", "2"]),
    "peers": ([], ["--tokens", "3", "--repeat", "1", "--width", "4096"]),
    "sae": (["--widths", "16k", "65k", "262k"], ["--widths", "16k", "--repeat", "1"]),
    "lens": (["--tokens", "14", "128", "1000"], ["--tokens", "14", "--repeat", "1"]),
    "patching": ([], ["--repeat", "1", "--tokens", "4", "--streams", "resid_post"]),
    "corpus": ([], ["--tokens", "500", "--wide", "512"]),
    "labels": ([], ["--labels", "20000", "--queries", "3"]),
    "find": ([], ["--features", "20000", "--times", "2"]),
    "growth": ([], ["--quick", "--repeat", "1"]),
    "browser": ([], []),
    "gpu": ([], ["--tiny", "--only-one"]),
}
"""Each script with its arguments, and with those that make it quick."""
THEIRS = ("/ ours", "/ our pair")
"""How the names of rows end that hold another's time against ours."""
NOT_QUICK = ("browser",)
"""A browser and a server cannot be made small."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="everything small: whether each script works")
    parser.add_argument("--only", nargs="+", choices=SCRIPTS, help="some scripts alone")
    parser.add_argument("--out", type=Path, default=Path("build/bench"), help="the folder of the results")
    arguments = parser.parse_args()
    names = arguments.only or [name for name in SCRIPTS if not (arguments.quick and name in NOT_QUICK)]
    rows, failed = [], []
    for name in names:
        begun = time.perf_counter()
        print(f"--- {name}", flush=True)
        found, code = run(name, SCRIPTS[name][arguments.quick])
        rows += [{"script": name} | row for row in found]
        failed += [name] if code else []
        print(f"    {len(found)} figures, {time.perf_counter() - begun:.0f} s", flush=True)
    print("\n" + table(rows))
    arguments.out.mkdir(parents=True, exist_ok=True)
    result = {"machine": machine(), "quick": arguments.quick, "failed": failed, "rows": rows}
    (arguments.out / "bench.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    draw(result, arguments.out)
    print(f"\nWritten into {arguments.out}: {', '.join(sorted(each.name for each in arguments.out.iterdir()))}")
    if failed:
        raise SystemExit(f"These scripts failed: {', '.join(failed)}.")


def run(name: str, arguments: list[str]) -> tuple[list[dict[str, Any]], int]:
    """The figures that a script kept, and how it ended."""
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "figures"
        command = [sys.executable, str(HERE / f"{name}.py"), *arguments]
        code = subprocess.run(command, env=os.environ | {RESULTS: str(kept)}, check=False).returncode
        lines = kept.read_text(encoding="utf-8").splitlines() if kept.exists() else []
    return [json.loads(line) for line in lines], code


def table(rows: list[dict[str, Any]]) -> str:
    """One line for each figure."""
    width = max((len(row["name"]) for row in rows), default=0)
    lines = [f"{'':<{width}}  {'median':>9}  {'least to most':<22}{'asked':<10}"]
    for row in rows:
        if "said" in row:
            lines.append(f"{row['name']:<{width}}  {row['said']}")
            continue
        spread = f"{row['least']:.2f} to {row['most']:.2f}" if row["rounds"] > 1 else ""
        verdict = {None: "", True: "reached", False: "NOT REACHED"}[row["reached"]]
        number = f"{row['median']:.3f}" if not row["unit"] else f"{row['median']:.4g} {row['unit']}"
        lines.append(f"{row['name']:<{width}}  {number:>9}  {spread:<22}{row['reach']:<10}{verdict}")
    asked = [row for row in rows if row.get("reached") is not None]
    lines.append(f"{sum(row['reached'] for row in asked)} of {len(asked)} reached")
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    import torch

    info = Path("/proc/cpuinfo")
    models = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    processor = models[0].partition(":")[2].strip() if models else platform.processor()
    found: dict[str, Any] = {
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "processor": processor,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        "load": os.getloadavg()[1],
    }
    return found | {"versions": {name: version(name) for name in PACKAGES}}


def version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def draw(result: dict[str, Any], folder: Path) -> None:
    """Every ratio of which something is asked, beside what is asked; the axis is logarithmic."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "steerwidgets"  # the same figures give the same file
    from matplotlib import pyplot as plt

    grown = [row for row in result["rows"] if row.get("points")]
    if grown:
        figure = drawn_growth(grown)
        save(figure, folder / "growth")
    others = [row for row in result["rows"] if row["name"].endswith(THEIRS)]
    if others:
        save(drawn_peers(others, result["machine"]), folder / "peers")
    rows = [row for row in result["rows"] if row.get("reach") and not row["unit"] and row["median"] > 0][::-1]
    if not rows:
        return
    figure, axes = plt.subplots(figsize=(9, 1.2 + 0.3 * len(rows)), layout="constrained")
    for y, row in enumerate(rows):
        sign, limit = row["reach"].split()
        colour = "#2a7f62" if row["reached"] else "#b3452c"
        axes.plot([row["least"], row["most"]], [y, y], color=colour, linewidth=2, alpha=0.5)
        axes.plot(row["median"], y, "o", color=colour)
        axes.plot(float(limit), y, marker="<" if sign == "<=" else ">", color="#555555", markersize=7)
    axes.set_yticks(range(len(rows)), [row["name"] for row in rows], fontsize=8)
    axes.set_xscale("log")
    axes.set_xlabel("ratio: median (dot), least to most (line), and what is asked (triangle)")
    axes.grid(axis="x", alpha=0.3)
    at = result["machine"]
    axes.set_title(f"{at['processor']}, {at['threads']} threads, {at['date'][:10]}", fontsize=9, loc="left")
    save(figure, folder / "bench")


def drawn_peers(rows: list[dict[str, Any]], at: dict[str, Any]) -> Any:
    """Every peer's time in units of ours, a bar each; the line is ours. Clear ground, so that any page can hold it."""
    from matplotlib import pyplot as plt

    rows = sorted(rows, key=lambda row: row["median"])
    ink = "#7d7d7d"
    figure, axes = plt.subplots(figsize=(8.5, 0.9 + 0.3 * len(rows)), layout="constrained", facecolor="none")
    axes.set_facecolor("none")
    places = range(len(rows))
    axes.barh(places, [row["median"] for row in rows], height=0.62, color="#3d7fb8")
    for place, row in zip(places, rows, strict=True):
        axes.plot([row["least"], row["most"]], [place, place], color=ink, linewidth=1)
        end, beside = (max(row["median"], row["most"]), place), {"textcoords": "offset points", "va": "center"}
        axes.annotate(f"{row['median']:.2g}×", end, (4, 0), color=ink, fontsize=8, **beside)
    axes.axvline(1, color=ink, linewidth=1, linestyle="--")
    axes.set_yticks(places, [row["name"] for row in rows], fontsize=8, color=ink)
    axes.set_xlabel(f"times as long as steerwidgets · {at['processor']}, {at['threads']} threads, {at['date'][:10]}")
    axes.xaxis.label.set(color=ink, fontsize=8)
    axes.tick_params(colors=ink, labelsize=8)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(ink)
    return figure


def drawn_growth(rows: list[dict[str, Any]]) -> Any:
    """Cost against size, both logarithmic and from 1 on, a panel for each axis; linear is the grey line."""
    from matplotlib import pyplot as plt

    axes_of = list(dict.fromkeys(row["name"].rpartition(", by ")[2].removesuffix(" beyond a forward") for row in rows))
    columns = 3
    count = -(-len(axes_of) // columns)
    figure, panels = plt.subplots(count, columns, figsize=(12, 3.2 * count), layout="constrained", squeeze=False)
    for panel, axis in zip(panels.flat, axes_of, strict=False):
        for row in rows:
            what, _, of = row["name"].rpartition(", by ")
            if of.removesuffix(" beyond a forward") == axis:
                sizes, costs = zip(*row["points"], strict=True)
                style = {"linestyle": "--" if what.startswith("memory") else "-", "marker": "o", "markersize": 3}
                label = f"{what}: {row['median']:.2f}"
                panel.plot([x / sizes[0] for x in sizes], [y / costs[0] for y in costs], label=label, **style)
        most = panel.get_xlim()[1]
        panel.plot([1, most], [1, most], color="#999999", linewidth=1, zorder=0)
        panel.set_xscale("log", base=2)
        panel.set_yscale("log", base=2)
        panel.set_title(axis, fontsize=9, loc="left")
        panel.legend(fontsize=6)
    for panel in panels.flat[len(axes_of) :]:
        panel.set_visible(False)
    figure.supxlabel("size, in units of the smallest", fontsize=9)
    figure.supylabel("cost, in units of that at the smallest", fontsize=9)
    return figure


def save(figure: Any, path: Path) -> None:
    """As SVG and as PNG."""
    from matplotlib import pyplot as plt

    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
    figure.savefig(path.with_suffix(".png"), dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    main()
