"""Measures steerwidgets side by side with plain transformers, in one run: `python tests/benchmarks/run.py`.

Every figure is the median of ratios that are taken round by round, so that a busy machine slows both sides alike. First
paint is measured by the browser tests, which print it.
"""

from __future__ import annotations

import argparse
import gzip
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from timing import Figure, keep, ratios, timed

import steerwidgets as sw
from steerwidgets.generation.rows import Plan, generate_rows

PROMPT = "Tell me about your weekend."
STATIC = Path(sw.__file__).parent / "static"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--repeat", type=int, default=7)
    arguments = parser.parse_args()
    lm = sw.LanguageModel.demo()
    rows = [*generation(lm, arguments.tokens, arguments.repeat), *imports(arguments.repeat), *bundles()]
    width = max(len(each.name) for each in rows)
    for each in rows:
        print(f"{each.name:<{width}}  {each.told:<28}  {each.reach:<10} {each.verdict}")


def generation(lm: sw.LanguageModel, tokens: int, repeat: int) -> list[Figure]:
    generator = torch.Generator().manual_seed(0)
    vector = torch.randn(lm.architecture.d_model, generator=generator)
    feature = sw.Direction(vector / vector.norm(), sw.Site(15), "random")
    encoded = lm.encode(PROMPT)
    endless(lm)
    sampling = sw.Sampling(max_new_tokens=tokens)

    def run(*recipes: sw.Recipe) -> Callable[[], object]:
        return lambda: generate_rows(lm, [Plan(encoded, recipe) for recipe in recipes], sampling)

    ops = {
        "add": feature.add(1.0),
        "add_relative": feature.add_relative(0.01),
        "ablate": feature.ablate(),
        "project": feature.project(0.5),
        "clip": feature.clip(-1, 1),
    }
    sides = {"plain": plain(lm, 1, tokens), "plain pair": plain(lm, 2, tokens), "unsteered": run(sw.Recipe())}
    sides |= {"pair": run(sw.Recipe(), sw.Recipe.of(ops["add"]))} | {
        op: run(sw.Recipe.of(steer)) for op, steer in ops.items()
    }
    taken = timed(sides, repeat)
    speed = tokens / statistics.median(taken["plain"])
    table = [keep("plain model.generate, 1 row", [speed], "", "tokens/s")]
    name = "steered / unsteered tokens per second"
    table += [keep(f"{name}, {op}", ratios(taken["unsteered"], taken[op]), ">= 0.98") for op in ops]
    table.append(keep("baseline + steered pair / one plain generate", ratios(taken["pair"], taken["plain"]), "<= 1.08"))
    table.append(keep("the same / one plain generate of two rows", ratios(taken["pair"], taken["plain pair"])))
    return table


def endless(lm: sw.LanguageModel) -> None:
    """Nothing ends a row early any more: every side makes the same number of tokens."""
    lm.model.generation_config.eos_token_id = None
    lm.model.config.eos_token_id = None
    lm.tokenizer.eos_token = None


def plain(lm: sw.LanguageModel, rows: int, tokens: int) -> Callable[[], object]:
    """Plain transformers with so many rows of the prompt."""
    ids = torch.tensor([lm.encode(PROMPT).token_ids], device=lm.model.device).expand(rows, -1)
    settings = {"do_sample": True, "temperature": 0.7, "top_k": 50}
    length = {"max_new_tokens": tokens, "min_new_tokens": tokens}

    def run_plain() -> object:
        with torch.no_grad():
            return lm.model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **length, **settings)

    return run_plain


def imports(repeat: int) -> list[Figure]:
    code = "import time; t = time.perf_counter(); import steerwidgets; print(time.perf_counter() - t)"
    taken = [float(subprocess.check_output([sys.executable, "-c", code])) for _ in range(repeat)]
    return [keep("import steerwidgets", [1000 * each for each in taken], "<= 300", "ms")]


def bundles() -> list[Figure]:
    files = sorted(STATIC.glob("*.js"), key=lambda file: file.stat().st_size)
    minified = [file.stat().st_size / 1024 for file in files]
    zipped = [len(gzip.compress(file.read_bytes())) / 1024 for file in files]
    return [
        keep("the largest bundle of a widget", [max(minified)], "<= 120", "KB"),
        keep("the same, gzip", [max(zipped)], "<= 40", "KB"),
    ]


if __name__ == "__main__":
    main()
