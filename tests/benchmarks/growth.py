"""How time and memory grow: `python tests/benchmarks/growth.py`. What is asked of each is linear or better.

Of every verb the exponent `p` of `cost = size ** p`, fitted by least squares to the logarithms of the larger half of
the sizes, where fixed costs weigh least: 0 is flat, 1 is linear. Time is the processor's, in one thread, so that a busy
machine says the same. Memory is the process's peak while the verb runs, above what it had before (Linux alone tells
it). Attention makes a plain forward itself grow faster than its text: of what runs the model over a longer text, the
exponent is the difference to a plain forward's of the same text.

Models have random weights and d_model 256, since only sizes matter here.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from timing import keep

sys.path.insert(0, str(Path(__file__).parents[1]))

from support import models, toks

import steerwidgets as sw
from steerwidgets.dictionaries.activations import strongest
from steerwidgets.transformer.prompts import Token
from steerwidgets.widgets.lens.wire import lens_traits

LINEAR, SLACK = 1.0, 0.15
"""What is asked, and what a fit to few points may be off by."""
LEAST_SECONDS, LEAST_BYTES = 0.02, 2**23
"""A shorter run is repeated until it takes so long; where no size takes more memory than that, it does not grow."""
D = 256
SETTINGS: dict[str, Any] = {"hidden_size": D, "head_dim": 64, "intermediate_size": 688, "max_position_embeddings": 4096}

Run = Callable[[], object]


@dataclass(frozen=True)
class Growth:
    """A verb, and by what it grows.

    Attributes:
        verb: what is done.
        axis: what the sizes count.
        sizes: the sizes; the smallest ones alone where it shall be quick.
        make: of a size, what is run.
        plain: what it stands beside, where that itself is not linear.
    """

    verb: str
    axis: str
    sizes: Sequence[int]
    make: Callable[[int], Run]
    plain: Callable[[int], Run] | None = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two small sizes of each, to see that it works")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", help="verbs whose name holds this")
    arguments = parser.parse_args()
    # Of memory that malloc keeps for later a peak says nothing: every larger piece shall be given back at once.
    if sys.platform == "linux" and "MALLOC_MMAP_THRESHOLD_" not in os.environ:
        os.environ |= {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
        os.execv(sys.executable, [sys.executable, *sys.argv])
    torch.set_num_threads(1)
    print(f"{'verb':<40}{'by':<22}{'sizes':<20}{'time':<42}memory")
    with tempfile.TemporaryDirectory() as folder:
        for each in growths(Path(folder)):
            if arguments.only is None or arguments.only in each.verb:
                measure(each, each.sizes[:2] if arguments.quick else each.sizes, arguments.repeat)
    print(f"payloads: {payloads()}")


def measure(growth: Growth, sizes: Sequence[int], repeat: int) -> None:
    """Time and memory at every size, as figures."""
    seconds, taken, plain = [], [], []
    for size in sizes:
        run = growth.make(size)
        run()
        taken.append(memory(run))
        beside = growth.plain(size) if growth.plain is not None else None
        seconds.append(least(run, repeat))
        if beside is not None:
            beside()
            plain.append(least(beside, repeat))
    found = exponent(sizes, seconds)
    asked, told = f"<= {LINEAR + SLACK}", ""
    if plain:
        usual = exponent(sizes, plain)
        found, asked, told = found - usual, f"<= {SLACK}", f" beyond a forward's {usual:.2f}"
    name = f"{growth.verb}, by {growth.axis}"
    points = dict(zip(sizes, seconds, strict=True))
    figure = keep(f"time of {name}{' beyond a forward' if plain else ''}", [found], asked, "exponent", points)
    line = f"{growth.verb:<40}{growth.axis:<22}{f'{sizes[0]:,} to {sizes[-1]:,}':<20}"
    line += f"{f'{found:.2f}{told} {figure.verdict}':<42}"
    if None not in taken:
        most = [max(each or 0, LEAST_BYTES) for each in taken]
        grown = exponent(sizes, most)
        points = dict(zip(sizes, most, strict=True))
        figure = keep(f"memory of {name}", [grown], f"<= {LINEAR + SLACK}", "exponent", points)
        line += f"{grown:.2f} {figure.verdict}, at most {most[-1] / 2**20:.0f} MiB"
    print(line, flush=True)


def exponent(sizes: Sequence[int], costs: Sequence[float]) -> float:
    """The slope of the logarithms, over the larger half."""
    half = len(sizes) // 2 if len(sizes) > 3 else 0
    x, y = ([math.log(max(each, 1e-9)) for each in values[half:]] for values in (sizes, costs))
    middle_x, middle_y = sum(x) / len(x), sum(y) / len(y)
    above = sum((a - middle_x) * (b - middle_y) for a, b in zip(x, y, strict=True))
    return above / sum((a - middle_x) ** 2 for a in x)


def least(run: Run, repeat: int) -> float:
    """Seconds of processor time of one run, the least of several."""
    begun = time.process_time()
    run()
    count = max(1, math.ceil(LEAST_SECONDS / max(time.process_time() - begun, 1e-6)))
    found = []
    for _ in range(repeat):
        begun = time.process_time()
        for _ in range(count):
            run()
        found.append((time.process_time() - begun) / count)
    return min(found)


def memory(run: Run) -> int | None:
    """Bytes at the peak of a run above those before it; None where the system does not tell."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        before = _status("VmRSS")
        run()
        return _status("VmHWM") - before
    except (OSError, KeyError):
        return None


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * int({line.partition(":")[0]: line for line in lines}[name].split()[1])


# ---------------------------------------------------------------- what is measured


@functools.cache
def model(layers: int = 4) -> sw.LanguageModel:
    made = sw.LanguageModel(models.make("llama", num_hidden_layers=layers, **SETTINGS), toks.byte_level())
    made.model.generation_config.eos_token_id = None
    made.tokenizer.eos_token = None
    return made


def direction(lm: sw.LanguageModel) -> sw.Direction:
    drawn = torch.randn(lm.architecture.d_model, generator=torch.Generator().manual_seed(0))
    return sw.Direction(drawn / drawn.norm(), sw.Site(1), "random")


@functools.cache
def sae(width: int) -> sw.SAE:
    W_dec = torch.randn(width, D, generator=torch.Generator().manual_seed(0)).div_(D**0.5)
    zeros = torch.zeros(width), torch.zeros(D)
    made = sw.SAE(W_dec.T.contiguous(), zeros[0], W_dec, zeros[1], "jumprelu", threshold=0.5, layer=1)
    _ = made.fingerprint  # reads all weights once
    return made


@functools.cache
def cav(layer: int) -> sw.CAV:
    return sw.CAV(torch.randn(2, D, generator=torch.Generator().manual_seed(0)), layer=layer)


def ids(count: int) -> list[int]:
    return torch.randint(5, toks.SIZE, (count,), generator=torch.Generator().manual_seed(1)).tolist()


def forward(count: int, layers: int = 4) -> Run:
    rows, base = torch.tensor([ids(count)]), model(layers).architecture.base

    def run() -> object:
        with torch.no_grad():
            return base(input_ids=rows, use_cache=False)

    return run


def sentences(count: int) -> list[str]:
    words = itertools.cycle(" ".join(toks.SENTENCES).split())
    return [" ".join(itertools.islice(words, 12 + number % 7)) for number in range(count)]


def growths(folder: Path) -> list[Growth]:
    widths, lengths = (4096, 8192, 16_384, 32_768, 65_536), (64, 128, 256, 512, 1024)
    layers, rows, texts = (2, 4, 8, 16, 32), (2, 4, 8, 16, 32), (20, 40, 80, 160, 320)
    labels = (2000, 4000, 8000, 16_000, 32_000)
    long = "tokens of the text"
    return [
        Growth("clamp one feature", "width of the SAE", widths, _clamp),
        Growth("read one feature", "width of the SAE", widths, _read_one),
        Growth("search what fires", "width of the SAE", widths, _search),
        Growth("read a text", long, lengths, lambda n: lambda: model().read(ids(n), cav(1)), forward),
        Growth("search what fires", long, lengths, _search_text, forward),
        Growth("logit lens", long, lengths, lambda n: lambda: model().logit_lens(ids(n)), forward),
        Growth("a lens for the page", long, lengths, _sent),
        Growth("attribution", long, lengths, lambda n: lambda: model().attribution(ids(n), 20), forward),
        Growth("steered prompt, one token", long, lengths, _prompt, forward),
        Growth("steered text", "tokens generated", (8, 16, 32, 64, 128), _generated),
        Growth("read a text", "layers", layers, lambda n: lambda: model(n).read(ids(64), cav(n - 1))),
        Growth("logit lens", "layers", layers, lambda n: lambda: model(n).logit_lens(ids(64))),
        Growth("attribution", "layers", layers, lambda n: lambda: model(n).attribution(ids(64), 20)),
        Growth("sweep", "rows", rows, _sweep),
        Growth("steers in one recipe", "steers", rows, _many),
        Growth("corpus index", "texts", texts, lambda n: _index(n, folder)),
        Growth("index of labels", "labels", labels, lambda n: lambda: sw.Labels(sentences(n))),
        Growth("label search", "labels", labels, _label_search),
    ]


def _clamp(width: int) -> Run:
    feature, h = sae(width)[7], torch.randn(1, 128, D)
    return lambda: feature.change("clamp", {"c": 20.0}, h)


def _read_one(width: int) -> Run:
    feature, h = sae(width)[7], torch.randn(1, 128, D)
    return lambda: feature.activation(h)


def _search(width: int) -> Run:
    made, residual = sae(width), torch.randn(128, D)
    mask, tokens = torch.ones(128, dtype=torch.bool), [Token(0, "")] * 128
    return lambda: strongest(made, residual, mask, tokens, 20)


def _search_text(count: int) -> Run:
    made = sae(4096)
    return lambda: model().search(ids(count), made, k=20)


def _sent(count: int) -> Run:
    """Of a lens that was read, what travels."""
    lm = model()
    lens = lm.logit_lens(ids(count))
    return lambda: json.dumps(lens_traits(lens, None, lm.tokens))


def _prompt(count: int) -> Run:
    lm = model()
    recipe, prompt = sw.Recipe.of(direction(lm).add(2.0)), ids(count)
    return lambda: lm.sweep(prompt, [recipe], max_new_tokens=1)


def _generated(count: int) -> Run:
    lm = model()
    recipe = sw.Recipe.of(direction(lm).add(2.0))
    return lambda: lm.sweep(ids(16), [recipe], max_new_tokens=count)


def _sweep(rows: int) -> Run:
    lm = model()
    recipes = [direction(lm).add(0.1 * row) for row in range(rows)]
    return lambda: lm.sweep(ids(16), recipes, max_new_tokens=8)


def _many(count: int) -> Run:
    lm = model()
    drawn = torch.randn(count, D, generator=torch.Generator().manual_seed(2))
    recipe = sw.Recipe.of([sw.Direction(v / v.norm(), sw.Site(1), f"{i}").add(0.1) for i, v in enumerate(drawn)])
    return lambda: lm.sweep(ids(16), [recipe], max_new_tokens=8)


def _index(count: int, folder: Path) -> Run:
    lm, made, texts = model(), sae(4096), sentences(count)
    numbers = itertools.count()

    def run() -> object:
        path = folder / f"{count}-{next(numbers)}"
        return sw.corpus.build(lm, made, texts, path, on_progress=lambda _: None)

    return run


def _label_search(count: int) -> Run:
    labels = sw.Labels([f"{text} {number}" for number, text in enumerate(sentences(count))])
    return lambda: (labels.search("ocean answers", limit=50), labels.count("ocean answers"))


def payloads() -> str:
    """Bytes of a lens for the page, at one length and at twice that."""
    lm = model()
    sizes = [len(json.dumps(lens_traits(lm.logit_lens(ids(n)), None, lm.tokens))) for n in (64, 128)]
    grown = exponent((64, 128), sizes)
    keep("bytes of a lens for the page, by tokens", [grown], f"<= {LINEAR + SLACK}", "exponent")
    return f"a lens of 64 tokens {sizes[0]:,} bytes, of 128 tokens {sizes[1]:,}, exponent {grown:.2f}"


if __name__ == "__main__":
    main()
