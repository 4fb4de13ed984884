"""Measures what rows of one batch cost, as ratios to one plain `model.generate`: `python tests/benchmarks/rows.py`.

Sweep, pair, three and four rows, each with the linear layers as PyTorch computes them (before) and as they are measured
to be faster (after), and plain transformers with as many rows. All sides run once in every round; on a busy machine
`--cpu` counts the processor's time of one thread instead of the clock's.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from run import PROMPT, endless, plain
from timing import keep, ratios

import steerwidgets as sw
from steerwidgets.generation.rows import Plan, generate_rows
from steerwidgets.transformer import few_rows

NAMES = {1: "one unsteered row", 2: "pair", 3: "three rows", 4: "four rows", 12: "sweep of 12"}
REACH = {1: "<= 1.00", 2: "<= 1.08", 12: "<= 2.50"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--rows", type=int, nargs="+", default=list(NAMES))
    parser.add_argument("--cpu", action="store_true")
    arguments = parser.parse_args()
    if arguments.cpu:
        torch.set_num_threads(1)
    clock = time.thread_time if arguments.cpu else time.perf_counter
    lm = sw.LanguageModel.demo()
    endless(lm)
    sides = {("plain", 1): plain(lm, 1, arguments.tokens)}
    for rows in arguments.rows:
        sides["plain", rows] = plain(lm, rows, arguments.tokens)
        for way in ("before", "after"):
            sides[way, rows] = sweep(lm, rows, arguments.tokens, few_rows.MOST if way == "after" else 0)
    taken: dict[tuple[str, int], list[float]] = {side: [] for side in sides}
    for run in sides.values():
        run()
    for _ in range(arguments.repeat):
        for side, run in sides.items():
            begun = clock()
            run()
            taken[side].append(clock() - begun)
    one = taken["plain", 1]
    speed = arguments.tokens / statistics.median(one)
    print(f"one plain generate: {speed:.1f} tokens/s, {torch.get_num_threads()} threads")
    for rows in arguments.rows:
        cells = (f"{way} {ratio(taken[way, rows], one)}" for way in ("plain", "before", "after"))
        name, reach = NAMES.get(rows, f"{rows} rows"), REACH.get(rows, "")
        keep(f"{name} / one plain generate", ratios(taken["after", rows], one), reach)
        print(f"{name:<18} {'   '.join(cells)}   {reach}", flush=True)


def sweep(lm: sw.LanguageModel, rows: int, tokens: int, most: int) -> Callable[[], object]:
    vector = torch.randn(lm.architecture.d_model, generator=torch.Generator().manual_seed(0))
    feature = sw.Direction(vector / vector.norm(), sw.Site(15), "random")
    encoded = lm.encode(PROMPT)
    plans = [Plan(encoded, sw.Recipe.of(feature.add(float(row)) if row else None)) for row in range(rows)]
    sampling = sw.Sampling(max_new_tokens=tokens)

    def run() -> None:
        before, few_rows.MOST = few_rows.MOST, most
        try:
            generate_rows(lm, plans, sampling)
        finally:
            few_rows.MOST = before

    return run


def ratio(above: list[float], below: list[float]) -> str:
    """The median of the rounds' ratios, and the ratio of the least times, which a busy machine moves less."""
    each = statistics.median(a / b for a, b in zip(above, below, strict=True))
    return f"{each:.2f} (least {min(above) / min(below):.2f})"


if __name__ == "__main__":
    main()
