"""Measures label search in many labels, in memory: `python tests/benchmarks/labels.py`.

Labels are made: words by Zipf's law, three to fourteen to a label, as those that language models write of features. A
query's time is from the call to a list of 50 matches and their count, as a key press asks for them.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from timing import keep

import steerwidgets as sw

COMMON = [
    "the",
    "of",
    "and",
    "words",
    "related",
    "to",
    "phrases",
    "references",
    "in",
    "or",
    "that",
    "indicating",
    "associated",
    "with",
    "terms",
    "text",
    "code",
    "a",
]
REACH_MS, REACH_KB = 50, 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labels", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=40)
    arguments = parser.parse_args()
    generator = random.Random(0)
    words = vocabulary(generator)
    texts = list(made(arguments.labels, words, generator))
    begun = time.perf_counter(), time.process_time()
    labels = sw.Labels(texts)
    wall, cpu = time.perf_counter() - begun[0], time.process_time() - begun[1]
    print(f"{labels!r} built in {wall:.1f} s, {cpu:.1f} s of them on the processor")
    print(f"{'queries':<34}{'p50':>9}{'p95':>9}{'most':>9}   (<= {REACH_MS} ms)   on the wire (<= {REACH_KB} KB)")
    for name, queries in kinds(words, texts, arguments.queries, generator).items():
        measure(name, labels, queries)
    for name, value in {"a list": texts, "{index: label}": dict(enumerate(texts))}.items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "labels.json"
            path.write_text(json.dumps(value), encoding="utf-8")
            begun_at = time.perf_counter()
            json.loads(path.read_text(encoding="utf-8"))
            plain = time.perf_counter() - begun_at
            begun_at = time.perf_counter()
            sw.Labels.load(path)
            loaded = time.perf_counter() - begun_at
        print(f"read from JSON, {name}: {loaded:.1f} s, json.loads alone {plain:.1f} s")
    index = [generator.randrange(len(labels)) for _ in range(1000)]
    begun_at = time.perf_counter()
    for each in index:
        assert labels[each] == texts[each]
    print(f"labels[i]: {1e6 * (time.perf_counter() - begun_at) / len(index):.0f} µs")


def vocabulary(generator: random.Random) -> list[str]:
    ends = ["a", "e", "i", "o", "u", "an", "er", "in", "on"]
    syllables = [
        a + b
        for a in [
            "b",
            "c",
            "d",
            "f",
            "g",
            "h",
            "j",
            "k",
            "l",
            "m",
            "n",
            "p",
            "r",
            "s",
            "t",
            "v",
            "w",
            "st",
            "tr",
            "ch",
            "sh",
        ]
        for b in ends
    ]
    words = dict.fromkeys(COMMON)
    while len(words) < 40_000:
        words["".join(generator.choices(syllables, k=generator.choice((1, 2, 2, 3, 3, 4))))] = None
    return list(words)


def made(number: int, words: list[str], generator: random.Random) -> Iterator[str]:
    weights = list(itertools.accumulate(1 / (rank + 3) for rank in range(len(words))))
    for _ in range(number):
        yield " ".join(generator.choices(words, cum_weights=weights, k=generator.randint(3, 14)))


def kinds(words: list[str], texts: list[str], number: int, generator: random.Random) -> dict[str, list[str]]:
    middle = [word[1:-1] for word in generator.choices(words[200:], k=8 * number) if len(word) > 5][:number]
    return {
        "one letter": list("abcdefghijklmnoprstvw"),
        "two letters": [word[:2] for word in generator.choices(words, k=number)],
        "three letters": [word[:3] for word in generator.choices(words, k=number)],
        "common words": COMMON,
        "two common words": [" ".join(generator.sample(COMMON, 2)) for _ in range(number)],
        "four common words": [" ".join(generator.sample(COMMON, 4)) for _ in range(number)],
        "beginnings of common words": [word[:-1] for word in COMMON if len(word) > 4],
        "rare words": generator.choices(words[10_000:], k=number),
        "a rare and a common word": [f"{generator.choice(words[10_000:])} {generator.choice(COMMON)}" for _ in middle],
        "words of one label": [" ".join(generator.choice(texts).split()[:3]) for _ in range(number)],
        "substrings": middle,
        "substrings of common words": ["hrase", "elated", "ords", "ssoc", "ndic", "erms", "ith", "hat", "eferen"],
        "two substrings": [" ".join(generator.sample(middle, 2)) for _ in range(number)],
        "letter and word": [f"{generator.choice('abst')} {generator.choice(COMMON)}" for _ in range(number)],
        "nothing": ["zzzz", "qqq the", "xylophones", "the zzz", "hrase zzz"],
    }


def measure(name: str, labels: sw.Labels, queries: list[str]) -> None:
    taken, sent = [], 0
    for query in queries:
        begun = time.perf_counter()
        found, total = labels.search(query, limit=50), labels.count(query)
        taken.append(1000 * (time.perf_counter() - begun))
        rows = [{"index": match.index, "label": match.text, "rank": round(match.rank, 3)} for match in found]
        sent = max(sent, len(json.dumps({"features": rows, "total": str(total)})))
    p95 = statistics.quantiles(taken, n=20, method="inclusive")[-1]  # else it passes the largest of a few
    keep(f"label search, {name}, 95th percentile", [p95], f"<= {REACH_MS}", "ms")
    keep(f"label search, {name}, on the wire", [sent / 1000], f"<= {REACH_KB}", "KB")
    print(f"{name:<34}{statistics.median(taken):>6.1f} ms{p95:>6.1f} ms{max(taken):>6.1f} ms{sent / 1000:>24.1f} KB")


if __name__ == "__main__":
    main()
