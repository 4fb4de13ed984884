"""Measures steering beside what a user would take instead, in one run: `python tests/benchmarks/peers.py`.

The embedded model, one prompt, one number of tokens, one row; all sides run once in every round, and every ratio is
theirs / ours. Adding a vector: a hook by hand, pyvene, nnsight. A clamp of one SAE feature: the SAE of sae_lens with
its error term, hooked onto the model, as the tutorial on steering with SAEs does it (two encodes, two decodes). A pair:
two generations, one after the other, of each. A peer that is not installed is named and left out.

Not here, since they can't be installed beside transformers 5 (`pip install --dry-run` of 2026-11 finds no version):
repeng and steering-vectors. Both add a vector in a forward hook as the hook by hand does, so that their time is its
time at best. sae_lens' `HookedSAETransformer` runs other code than transformers for the model itself, so that a ratio
would be of two models; its SAE is what is measured. tuned-lens' lens reads one layer after the other as a loop would,
and needs trained translators of the model.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from run import PROMPT, endless, plain
from timing import keep, ratios, timed

import steerwidgets as sw
from steerwidgets.generation.rows import Plan, generate_rows

LAYER, FEATURE, STRENGTH, VALUE = 15, 7, 6.0, 20.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--width", type=int, default=65_536)
    arguments = parser.parse_args()
    lm = sw.LanguageModel.demo()
    endless(lm)
    print(f"{lm.name}, {torch.get_num_threads()} thread(s), {arguments.tokens} tokens")
    adding(lm, arguments.tokens, arguments.repeat)
    clamping(lm, arguments.tokens, arguments.repeat, arguments.width)


def adding(lm: sw.LanguageModel, tokens: int, repeat: int) -> None:
    """An added vector, by each way that is installed."""
    vector = torch.randn(lm.architecture.d_model, generator=torch.Generator().manual_seed(0))
    vector /= vector.norm()
    recipe = sw.Recipe.of(sw.Direction(vector, sw.Site(LAYER), "random").add(STRENGTH))
    alone, generate = plain(lm, 1, tokens), {}

    def by_hand() -> None:
        with hooked(lm, lambda h: h + STRENGTH * vector):
            alone()

    generate["a hook by hand"] = by_hand
    for name, make in {"pyvene": of_pyvene, "nnsight": of_nnsight}.items():
        try:
            side = make(lm, vector, tokens)
        except ImportError as error:
            print(f"  {name} is left out: {error}")
        else:
            generate[name] = side
    sides = {"plain": alone, "ours": run(lm, tokens, recipe), "our pair": run(lm, tokens, sw.Recipe(), recipe)}
    taken = timed(sides | generate, repeat)
    for name in generate:
        told(f"adding a vector, {name} / ours", ratios(taken[name], taken["ours"]))
        two = [steered + baseline for steered, baseline in zip(taken[name], taken["plain"], strict=True)]
        told(f"two generations, one with {name} / our pair", ratios(two, taken["our pair"]))


def clamping(lm: sw.LanguageModel, tokens: int, repeat: int, width: int) -> None:
    """One clamped feature of a wide SAE."""
    try:
        from sae_lens import StandardSAE, StandardSAEConfig
    except ImportError as error:
        print(f"  sae_lens is left out: {error}")
        return
    d = lm.architecture.d_model
    theirs = StandardSAE(StandardSAEConfig(d_in=d, d_sae=width, device="cpu", apply_b_dec_to_input=False))
    drawn = torch.randn(width, d, generator=torch.Generator().manual_seed(0)) / d**0.5
    with torch.no_grad():
        theirs.W_dec.copy_(drawn)
        theirs.W_enc.copy_(drawn.T)
    ours = sw.SAE.from_sae_lens(theirs, layer=LAYER)
    recipe = sw.Recipe.of(ours[FEATURE].clamp(VALUE))
    alone = plain(lm, 1, tokens)

    def clamped(h: torch.Tensor) -> torch.Tensor:
        error = h - theirs.decode(theirs.encode(h))
        acts = theirs.encode(h)
        acts[..., FEATURE] = VALUE
        return theirs.decode(acts) + error

    h = torch.randn(1, 3, d, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        change = ours[FEATURE].change("clamp", {"c": VALUE}, h)
        torch.testing.assert_close(h + change, clamped(h), atol=1e-3, rtol=1e-3)

    def reference() -> None:
        with hooked(lm, clamped), torch.no_grad():
            alone()

    sides = {"ours": run(lm, tokens, recipe), "our pair": run(lm, tokens, sw.Recipe(), recipe), "theirs": reference}
    taken = timed(sides, repeat)
    told(f"clamp of {width:,}, sae_lens' SAE / ours", ratios(taken["theirs"], taken["ours"]))
    two = [2 * each for each in taken["theirs"]]
    told(f"two generations with that clamp ({width:,}) / our pair", ratios(two, taken["our pair"]), ">= 2.3")


def run(lm: sw.LanguageModel, tokens: int, *recipes: sw.Recipe) -> Callable[[], object]:
    plans = [Plan(lm.encode(PROMPT), recipe) for recipe in recipes]
    return lambda: generate_rows(lm, plans, sw.Sampling(max_new_tokens=tokens))


@contextmanager
def hooked(lm: sw.LanguageModel, change: Callable[[torch.Tensor], torch.Tensor]) -> Iterator[None]:
    def hook(_module: Any, _args: Any, output: Any) -> Any:
        return (change(output[0]), *output[1:]) if isinstance(output, tuple) else change(output)

    handle = lm.architecture.blocks[LAYER].register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def settings_of(lm: sw.LanguageModel, tokens: int) -> dict[str, Any]:
    ids = torch.tensor([lm.encode(PROMPT).token_ids])
    length = {"max_new_tokens": tokens, "min_new_tokens": tokens, "do_sample": True, "temperature": 0.7, "top_k": 50}
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)} | length


def of_pyvene(lm: sw.LanguageModel, vector: torch.Tensor, tokens: int) -> Callable[[], object]:
    """`AdditionIntervention` with the vector as its source, at every token of prompt and answer."""
    import pyvene as pv

    class Adding(pv.ConstantSourceIntervention):
        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings, keep_last_dim=True)

        def forward(self, base: Any, source: Any = None, subspaces: Any = None) -> Any:
            return base + STRENGTH * vector

    config = [{"layer": LAYER, "component": "block_output", "intervention": Adding()}]
    made = pv.IntervenableModel(config, model=lm.model)
    settings = settings_of(lm, tokens)
    base = {name: settings.pop(name) for name in ("input_ids", "attention_mask")}

    def generate() -> object:
        with torch.no_grad():
            return made.generate(base, unit_locations=None, intervene_on_prompt=True, **settings)

    return generate


def of_nnsight(lm: sw.LanguageModel, vector: torch.Tensor, tokens: int) -> Callable[[], object]:
    """An edit of a block's output in every forward pass of a generation."""
    from nnsight import TransformersModel

    made = TransformersModel(lm.model, tokenizer=lm.tokenizer, task="text-generation")
    settings = settings_of(lm, tokens)
    ids = settings.pop("input_ids")

    def generate() -> None:
        with torch.no_grad(), made.generate(ids, **settings) as tracer:
            for _step in tracer.iter[:tokens]:
                made.model.layers[LAYER].output[:] += STRENGTH * vector

    return generate


def told(name: str, values: list[float], reach: str = "") -> None:
    figure = keep(name, values, reach)
    print(f"  {name:<66} {figure.told:<28} {reach:<8} {figure.verdict}", flush=True)


if __name__ == "__main__":
    main()
