"""Measures a patching grid against one forward of its target: `python tests/benchmarks/patching.py`.

The ratio is the median of ratios taken round by round. The texts differ from their second token on, so that all
positions but the first are patched in every block.
"""

from __future__ import annotations

import argparse

import torch
from timing import keep, ratios, timed

import steerwidgets as sw

SOURCE = "The Colosseum is a famous old tower in the city of"
TARGET = "The Eiffel Tower is a famous tower in the city of"
ANSWERS = (" Rome", " Paris")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=12)
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--streams", nargs="+", default=["resid_post", "attn_out", "mlp_out"])
    arguments = parser.parse_args()
    lm = sw.LanguageModel.demo()
    print(f"{lm.name}, {next(lm.model.parameters()).dtype}, {torch.get_num_threads()} thread(s)")
    source, target = (list(lm.encode(text, chat=False).token_ids)[: arguments.tokens] for text in (SOURCE, TARGET))
    length = min(len(source), len(target))
    source, target = source[:length], target[:length]
    rows = torch.tensor([target])

    def forward() -> object:
        with torch.no_grad():
            return lm.model(rows, use_cache=False).logits

    sides = {"forward": forward} | {
        stream: lambda stream=stream: lm.patch(source, target, tokens=ANSWERS, stream=stream)
        for stream in arguments.streams
    }
    taken = timed(sides, arguments.repeat)
    grid = lm.patch(source, target, tokens=ANSWERS)
    print(f"{grid.share.shape[0]} blocks × {grid.share.shape[1]} positions; one forward {ms(taken['forward'])}")
    for stream in arguments.streams:
        name = f"patching {grid.share.shape[0]} × {grid.share.shape[1]}, {stream} / one forward"
        figure = keep(name, ratios(taken[stream], taken["forward"]), "<= 40")
        print(f"  {stream} / forward: {figure.told}  <= 40")


def ms(taken: list[float]) -> str:
    """The median."""
    return f"{1000 * sorted(taken)[len(taken) // 2]:.0f} ms"


if __name__ == "__main__":
    main()
