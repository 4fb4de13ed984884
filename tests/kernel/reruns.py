"""A cell that makes a widget, run again and again in a real kernel, and what the kernel has more of afterwards.

By hand: `python tests/kernel/reruns.py 200` prints a table; names of widgets after it choose, and a path is of another
version to measure.
"""

from __future__ import annotations

import ast
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))

from kernel.kernels import SETUP, Kernel, Page

MORE: Final = """
import ctypes, gc, os, tempfile
import comm, ipywidgets
from support import checked
pace.remove()
text = "The ship sailed at dawn."
os.environ["STEERWIDGETS_DATA"] = tempfile.mkdtemp()
sae = checked.indexed(lm, texts=60)
lab = sw.Lab("sea", student="Ada", folder=tempfile.mkdtemp())
thanks = [f"thank you {word} for it" for word in ("so much", "all", "kindly", "again", "truly", "dearly")]
trains = [f"the train to {word} leaves" for word in ("York", "Bath", "Leeds", "Hull", "Ely", "Kent")]
few = {"random": 1, "baseline_seeds": 1, "hold_back": 0, "max_new_tokens": 3}
gc.collect()
gc.freeze()  # what is loaded by now is 10⁶ objects, and a collection that goes through them takes a third of a second
def counted():
    for _ in range(3):
        gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(open("/proc/self/statm").read().split()[1])
    return {
        "KB": pages * 4,
        "threads": threading.active_count(),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "comms": len(comm.get_comm_manager().comms),
        "widgets": sum(issubclass(type(each), sw.widgets.base.Widget) for each in gc.get_objects()),
    }
"""

FEW: Final = 6
"""Descriptors that a kernel may have more of at any time."""
ENDS_WITHIN: Final = 5
"""Seconds that a thread which was told to end may take."""
CLOSES_WITHIN: Final = 15
"""Seconds; ipykernel closes the sockets of threads that ended every ten."""

CELLS: Final = {
    "SteeringPanel": "panel = sw.SteeringPanel(lm, cavs, recipe=cavs[0].add(4), max_new_tokens=8)\npanel.generate();",
    "LogitLens": "lens = sw.LogitLens(lm, text, cavs[0].add(4))",
    "TokenHeatmap": "heatmap = sw.TokenHeatmap(lm, cavs, text, features=[0])",
    "FeaturePicker": "picker = sw.FeaturePicker(lm, cavs, prompt=text)",
    "PatchGrid": "grid = sw.PatchGrid(lm, text, 'The ship sank at dawn.', metric='kl')\ngrid.run();",
    "FeatureCard": "card = sw.FeatureCard(lm, cavs, 0)",
    "SubspaceMap": "features_map = sw.SubspaceMap(lm, cavs, 0)",
    "DoseResponse": "chart = sw.DoseResponse(lm, cavs[0].add, [0, 4], prompts=[text], judge=sw.Words(['e']), **few)\n"
    "chart.run();",
    "ConceptTrainer": "trainer = sw.ConceptTrainer(lm, thanks, trains, name='thanks', dictionaries=cavs)\n"
    "trainer.train();",
    "LabelCheck": "check = sw.LabelCheck(lm, sae, features=[3, 4], seed=1)",
    "LabQuestion": "asked = lab.check('Which word fires?', 'sea', hint='Ships.', key='word')",
}


def name_of(cell: str) -> str:
    return cell.partition(" = ")[0]


def counted(kernel: Kernel) -> dict[str, int]:
    return ast.literal_eval(kernel.run("print(counted())").splitlines()[-1])


def run_again(kernel: Kernel, cell: str, times: int, *, close: bool) -> None:
    """Run a cell that shows a widget, as JupyterLab does; ask the page's side for something slow each time."""
    name = name_of(cell)
    before = f"if {name!r} in globals(): {name}.close()\n" if close else ""
    for _ in range(times):
        run = kernel.start_cell(f"{before}{cell}\n{name}", cell_id=f"cell of {name}")
        kernel.finish(run)
        [shown] = kernel.of(run, "execute_result", "display_data")
        page = Page(kernel, shown["content"]["data"]["application/vnd.jupyter.widget-view+json"]["model_id"])
        page.end(page.ask("no such request"))
        if name == "panel":
            page.end(page.generate(2))
        kernel.heard.clear()


def growth(kernel: Kernel, cell: str, times: int, *, close: bool, warm: int = 10) -> dict[str, int]:
    """What there is more of after some runs of a cell, the first few of which are not counted."""
    run_again(kernel, cell, warm, close=close)
    before = counted(kernel)
    run_again(kernel, cell, times, close=close)
    return at_last(before, kernel, {"threads": 0, "comms": 0, "widgets": 0}, within=ENDS_WITHIN)


def at_last(before: dict[str, int], kernel: Kernel, most: Mapping[str, int], within: float) -> dict[str, int]:
    """What there is more of once that is at most so much, or the time for it is over."""
    deadline = time.monotonic() + within
    while True:
        after = counted(kernel)
        more = {name: after[name] - before[name] for name in after}
        if all(more[name] <= most[name] for name in most) or time.monotonic() > deadline:
            return more
        time.sleep(0.1)


def main() -> None:
    times, chosen = int(sys.argv[1]), sys.argv[2:]
    names = [name for name in CELLS if name in chosen] or [*CELLS]
    with tempfile.TemporaryDirectory() as folder:
        kernel = Kernel("installed", [each for each in chosen if each not in CELLS], Path(folder))
        try:
            kernel.run(SETUP + MORE)
            for name in names:
                for close in (True, False):
                    before = counted(kernel)
                    found = growth(kernel, CELLS[name], times, close=close)
                    more = at_last(before, kernel, {"descriptors": FEW}, within=CLOSES_WITHIN)
                    found["descriptors"] = more["descriptors"]
                    print(name, "with close" if close else "without", found, flush=True)
        finally:
            kernel.stop()


if __name__ == "__main__":
    main()
