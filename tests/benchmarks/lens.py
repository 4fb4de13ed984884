"""Measures the logit lens against one forward and the bare unembed matmuls: `python tests/benchmarks/lens.py`.

Every ratio is the median of ratios taken round by round. Payloads are the bytes of the arrays that a widget sends,
beside what LogitLensKit says of its own (`docs/DATA_FORMAT.md`: 823 KB of JSON for 14 tokens × 80 layers, about 60 MB
for 1,000 tokens).
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable

import torch
from timing import keep, ratios, timed

import steerwidgets as sw

TEXT = (
    "The Eiffel Tower is in the city of Paris, and people from all over the world come to see it. When the weather is "
    "fine they climb the stairs, look over the roofs and the river, and take pictures of each other. "
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, nargs="+", default=[14, 128])
    parser.add_argument("--repeat", type=int, default=7)
    arguments = parser.parse_args()
    lm = sw.LanguageModel.demo()
    print(f"{lm.name}, {next(lm.model.parameters()).dtype}, {torch.get_num_threads()} thread(s)")
    for tokens in arguments.tokens:
        times(lm, tokens, arguments.repeat)
    for tokens, layers, theirs in ((14, 80, "823 KB"), (1000, 30, "60 MB")):
        print(f"payload, {tokens:,} tokens × {layers} layers: {payload(lm, tokens, layers)}  (LogitLensKit: {theirs})")


def times(lm: sw.LanguageModel, tokens: int, repeat: int) -> None:
    ids = (list(lm.encode(TEXT, chat=False).token_ids) * (1 + tokens // 40))[:tokens]
    rows = torch.tensor([ids])
    vector = torch.randn(lm.architecture.d_model, generator=torch.Generator().manual_seed(0))
    recipe = sw.Direction(vector / vector.norm(), sw.Site(15), "random").add(20.0)
    hidden = torch.randn(lm.architecture.layers * tokens, lm.architecture.d_model)
    unembed = lm.architecture.unembed

    def plain(count: int) -> Callable[[], object]:
        def run() -> object:
            with torch.no_grad():
                lm.architecture.base(input_ids=rows.expand(count, -1), use_cache=False)
                for _ in range(count):
                    for chunk in hidden.split(256):
                        unembed(chunk)

        return run

    sides = {
        "bare": plain(1),
        "lens": lambda: lm.logit_lens(ids),
        "tracked": lambda: lm.logit_lens(ids, track=[1, 2, 3, 4, 5]),
        "bare pair": plain(2),
        "pair": lambda: lm.logit_lens(ids, recipe),
    }
    taken = timed(sides, repeat)
    bare = statistics.median(taken["bare"])
    print(f"{tokens} tokens × {lm.architecture.layers} layers: forward and matmuls {1000 * bare:.0f} ms")
    for name, below, reach in (("lens", "bare", "<= 1.2"), ("tracked", "bare", "<= 1.2"), ("pair", "bare pair", "")):
        what = f"lens ({name}) of {tokens} tokens / forward and matmuls"
        figure = keep(what if name != "lens" else what.replace(" (lens)", ""), ratios(taken[name], taken[below]), reach)
        print(f"  {name} / {below}: {figure.told}  {reach}")


def payload(lm: sw.LanguageModel, tokens: int, layers: int) -> str:
    """Bytes of a lens of that size: the arrays grow with layers and tokens alone."""
    lens = lm.logit_lens([1, 2, 3], k=10)
    arrays = (lens.token_ids, lens.log_probs, lens.entropy, lens.kl)
    cells = len(lens.layers) * len(lens.positions)
    of_cell = sum(array.numel() * array.element_size() for array in arrays) / cells
    each = float(lens.token_ids.element_size() + lens.log_probs.element_size())
    keep("lens on the wire, a cell and candidate", [each], "<= 16", "bytes")
    return f"{of_cell * tokens * layers / 1e3:,.0f} KB, {each:.0f} bytes a candidate"


if __name__ == "__main__":
    main()
