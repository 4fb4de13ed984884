"""The table of hostile files: `python tests/hostile/table.py [seed] [loader …]`, with `--all` every bad answer."""

from __future__ import annotations

import collections
import os
import sys
import tempfile
import time
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from hostile import files, oracle

COLUMNS = ("fine", "clear", "raw", "wrapped", "quoted", "vague", "swallowed", "slow")


def answers(seed: int = 0, loaders: tuple[str, ...] = ()) -> list[oracle.Answer]:
    """How every case was answered, and whether code in a pickle was run."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        mark = Path(folder) / "mark"
        os.environ["HOSTILE_MARK"] = str(mark)
        for number, case in enumerate(files.cases(seed)):
            if loaders and case.loader not in loaders:
                continue
            (Path(folder) / str(number)).mkdir()
            answer = oracle.answer(case, Path(folder) / str(number))
            if mark.exists():
                mark.unlink()
                answer = oracle.Answer(case, "raw", "CODE IN THE FILE WAS RUN")
            found.append(answer)
    return found


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    arguments = [each for each in sys.argv[1:] if not each.startswith("--")]
    seed = int(arguments.pop(0)) if arguments and arguments[0].isdecimal() else 0
    begun = time.perf_counter()
    found = answers(seed, tuple(arguments))
    by_loader = collections.defaultdict(collections.Counter)
    for each in found:
        by_loader[each.case.loader][each.kind] += 1
    print(f"{'loader':18}{'files':>6}" + "".join(f"{column:>10}" for column in COLUMNS))
    total = sum(by_loader.values(), collections.Counter())
    for name, counts in [*by_loader.items(), ("all", total)]:
        print(f"{name:18}{counts.total():6}" + "".join(f"{counts[column]:10}" for column in COLUMNS))
    print(f"{time.perf_counter() - begun:.0f} s")
    shown: collections.Counter[tuple[str, str]] = collections.Counter()
    for each in sorted(found, key=lambda each: (each.case.loader, each.kind)):
        shown[each.case.loader, each.kind] += 1
        if not each.good and ("--all" in sys.argv or shown[each.case.loader, each.kind] <= 4):
            print(each)


if __name__ == "__main__":
    main()
