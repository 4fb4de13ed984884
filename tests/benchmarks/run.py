"""Measures steerwidgets side by side with plain transformers, in one run: `python tests/benchmarks/run.py`.

Every figure is a ratio of medians of interleaved repetitions, so that a busy machine slows both sides alike. First
paint is measured by the browser tests, which print it.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

import steerwidgets as sw
from steerwidgets.generation import Plan, generate_rows
from steerwidgets.recipe import Recipe
from steerwidgets.sampling import Sampling

PROMPT = "Tell me about your weekend."
STATIC = Path(sw.__file__).parent / "static"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--repeat", type=int, default=5)
    arguments = parser.parse_args()
    lm = sw.LanguageModel.demo()
    rows = [*generation(lm, arguments.tokens, arguments.repeat), *imports(arguments.repeat), *bundles()]
    width = max(len(name) for name, _, _ in rows)
    for name, found, reach in rows:
        print(f"{name:<{width}}  {found:<28}  {reach}")


def generation(lm: sw.LanguageModel, tokens: int, repeat: int) -> list[tuple[str, str, str]]:
    generator = torch.Generator().manual_seed(0)
    vector = torch.randn(lm.architecture.d_model, generator=generator)
    feature = sw.Direction(vector / vector.norm(), sw.Site(15), "random")
    encoded = lm.encode(PROMPT)
    ids = torch.tensor([encoded.token_ids])
    mask = torch.ones_like(ids)
    # Nothing ends a row early: every side makes the same number of tokens.
    lm.model.generation_config.eos_token_id = None
    lm.model.config.eos_token_id = None
    lm.tokenizer.eos_token = None
    sampling = Sampling(max_new_tokens=tokens)

    def run(*recipes: Recipe) -> Callable[[], object]:
        return lambda: generate_rows(lm.engine, [Plan(encoded, recipe) for recipe in recipes], sampling)

    def plain() -> object:
        settings = {"do_sample": True, "temperature": 0.7, "top_k": 50}
        with torch.no_grad():
            return lm.model.generate(ids, attention_mask=mask, max_new_tokens=tokens, min_new_tokens=tokens, **settings)

    ops = {
        "add": feature.add(1.0),
        "add_relative": feature.add_relative(0.01),
        "ablate": feature.ablate(),
        "project": feature.project(0.5),
        "clip": feature.clip(-1, 1),
    }
    sides = {"plain": plain, "unsteered": run(Recipe()), "pair": run(Recipe(), Recipe.of(ops["add"]))}
    sides |= {op: run(Recipe.of(steer)) for op, steer in ops.items()}
    seconds = medians(sides, repeat)
    speed = tokens / seconds["plain"]
    table = [("plain model.generate", f"{speed:.1f} tokens/s", "")]
    name = "steered / unsteered tokens per second"
    table += [(f"{name}, {op}", ratio(seconds["unsteered"], seconds[op]), ">= 0.98") for op in ops]
    table.append(("baseline + steered pair / one plain generate", ratio(seconds["pair"], seconds["plain"]), "<= 1.10"))
    return table


def medians(sides: dict[str, Callable[[], object]], repeat: int) -> dict[str, float]:
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for side in sides.values():
        side()
    for _ in range(repeat):
        for name, side in sides.items():
            begun = time.perf_counter()
            side()
            taken[name].append(time.perf_counter() - begun)
    return {name: statistics.median(values) for name, values in taken.items()}


def imports(repeat: int) -> list[tuple[str, str, str]]:
    code = "import time; t = time.perf_counter(); import steerwidgets; print(time.perf_counter() - t)"
    taken = [float(subprocess.check_output([sys.executable, "-c", code])) for _ in range(repeat)]
    return [("import steerwidgets", f"{statistics.median(taken) * 1000:.0f} ms", "<= 300 ms")]


def bundles() -> list[tuple[str, str, str]]:
    return [(f"bundle {file.name}", f"{file.stat().st_size / 1024:.1f} KB", "<= 60 KB") for file in STATIC.glob("*.js")]


def ratio(a: float, b: float) -> str:
    return f"{a / b:.3f}"


if __name__ == "__main__":
    main()
