"""Measures a list of a million features: `python tests/benchmarks/find.py`. A row of it is a page of 100 features.

Time is from the request's arguments to the answer, the first time and for the next page; bytes are those of the answer
by column, as the page asks for it.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Iterable
from typing import Any

import torch
from labels import made, vocabulary
from timing import keep

import steerwidgets as sw
from steerwidgets.dictionaries.base import Dictionary
from steerwidgets.widgets.recipe_editor.finder import FeatureFinder
from steerwidgets.widgets.recipe_editor.shelf import FeatureShelf

PAGE, REACH_MS, REACH_KB = 100, 50, 20


class Million(Dictionary):
    """Features that all point the same way: what a list costs does not depend on where they point."""

    kind = "SAE"

    def __init__(self, labels: sw.Labels) -> None:
        self.site, self._size, self._one = sw.Site(1), len(labels), torch.ones(576)
        self.labels = labels
        drawn = torch.Generator().manual_seed(0)
        maximum = 40 * torch.rand(self._size, generator=drawn)
        density = torch.rand(self._size, generator=drawn) ** 4
        self.statistics = sw.FeatureStatistics(maximum, density=density, corpus="a corpus", tokens=10**9)

    @property
    def size(self) -> int:
        return self._size

    @property
    def d_model(self) -> int:
        return len(self._one)

    def vector(self, index: int) -> torch.Tensor:
        return self._one

    def feature(self, index: int) -> sw.Feature:
        return sw.Feature(**self._entry(index))

    def encode(self, h: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def weights(self) -> Iterable[torch.Tensor]:
        return [self._one]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--features", type=int, default=1_000_000)
    parser.add_argument("--times", type=int, default=10)
    arguments = parser.parse_args()
    generator = random.Random(0)
    words = vocabulary(generator)
    dictionary = Million(sw.Labels(list(made(arguments.features, words, generator))))
    finder = FeatureFinder(FeatureShelf(dictionary))
    query = {"query": "references to"}
    print(f"{'search':<44}{'first':>9}{'next page':>12}{'bytes':>9}   (<= {REACH_MS} ms, {REACH_KB} KB)")
    for name, search in {
        "no query": {},
        "words": query,
        "by density": {"sort": "density"},
        "by maximum, rare ones": {"sort": "maximum", "filters": {"density": [0, 0.001]}},
        "by index, the last first": {"sort": "index", "descending": True},
        "words, rare ones": query | {"sort": "density", "filters": {"density": [0, 0.01]}},
    }.items():
        measure(name, finder, search, arguments.times)


def measure(name: str, finder: FeatureFinder, search: dict[str, Any], times: int) -> None:
    first, _ = timed(finder, search, 0)
    pages = [timed(finder, search, (page + 1) * PAGE) for page in range(times)]
    size = len(json.dumps(pages[0][1], ensure_ascii=False, separators=(",", ":")))
    keep(f"feature list, {name}, first page", [first], f"<= {REACH_MS}", "ms")
    keep(f"feature list, {name}, on the wire", [size / 1000], f"<= {REACH_KB}", "KB")
    print(f"{name:<44}{first:>6.0f} ms{statistics.median(ms for ms, _ in pages):>9.0f} ms{size:>9,}")


def timed(finder: FeatureFinder, search: dict[str, Any], offset: int) -> tuple[float, dict[str, Any]]:
    begun = time.perf_counter()
    answer = finder.find(search | {"offset": offset, "limit": PAGE, "compact": True})
    return 1e3 * (time.perf_counter() - begun), answer


if __name__ == "__main__":
    main()
