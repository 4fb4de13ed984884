"""Measures steerwidgets beside what a user would take instead: `python tests/benchmarks/peers.py [--peer NAME]`.

The embedded model, one prompt, one number of tokens, one row; every ratio is theirs / ours, of rounds in which all
sides run once. Adding a vector: a hook by hand, pyvene, nnsight, nnterp, repeng, steering-vectors. A clamp of one SAE
feature: the SAE of sae_lens with its error term, hooked onto the model, as the tutorial on steering with SAEs does it
(two encodes, two decodes). A pair: two generations, one after the other, of each. The logit lens: a loop by hand,
tuned-lens, nnterp. What a page gets to colour a text's tokens: CircuitsVis.

nnterp, repeng and steering-vectors ask for older packages than ours. `make bench` puts their own code alone into
`build/bench/peers`, and it runs with the packages of this environment.

Each peer runs in a process of its own for `--limit` seconds at most, and its figures are kept as they come. One that is
not installed, fails or takes longer is told by a sentence in the table, and the others go on.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from run import PROMPT, endless, plain
from timing import keep, ratios, say, timed

import steerwidgets as sw
from steerwidgets.generation.rows import Plan, generate_rows

LAYER, FEATURE, STRENGTH, VALUE, LENS_TOKENS, SHOWN_TOKENS = 15, 7, 6.0, 20.0, 64, 1000
WITHOUT_THEIR_PINS = Path("build/bench/peers")
_OTHER_MODEL = "runs other code than transformers for the model itself, so that a ratio would be of two models"
NOT_MEASURED = {
    "sae_lens' HookedSAETransformer": f"{_OTHER_MODEL}; its SAE is what is measured.",
    "SAEDashboard's runner, sae_vis": f"{_OTHER_MODEL}: both take TransformerLens' model alone.",
    "logitlenskit": "is not on PyPI.",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--width", type=int, default=65_536)
    parser.add_argument("--limit", type=float, default=600, help="seconds for each peer")
    parser.add_argument("--peer", choices=PEERS, help="this one alone, here")
    arguments = parser.parse_args()
    if arguments.peer is not None:
        one(arguments.peer, arguments)
        return
    wrong = []
    for name in PEERS:
        command = [sys.executable, __file__, *sys.argv[1:], "--peer", name]
        try:
            code = subprocess.run(command, timeout=arguments.limit, check=False).returncode
        except subprocess.TimeoutExpired:
            told_of(name, f"did not end within {arguments.limit:g} s.")
            continue
        if code < 0:
            told_of(name, f"its process was ended by signal {-code}.")
        elif code:
            wrong.append(name)
    for name, sentence in NOT_MEASURED.items():
        told_of(name, sentence)
    if wrong:
        raise SystemExit(f"These do not do what ours does: {', '.join(wrong)}.")


def one(name: str, arguments: argparse.Namespace) -> None:
    """Measure one peer; what keeps it from running is told, and what it does differently fails."""
    sys.path.append(str(WITHOUT_THEIR_PINS.resolve()))
    try:
        lm = sw.LanguageModel.demo()
        endless(lm)
        print(f"{name}: {torch.get_num_threads()} thread(s), {arguments.tokens} tokens", flush=True)
        PEERS[name](lm, arguments)
    except AssertionError:
        raise
    except ImportError as error:
        told_of(name, f"can't be imported here: {error}.")
    except Exception as error:
        why = next(iter(str(error).strip().splitlines()), "")[:160]
        told_of(name, f"did not run: {type(error).__name__}: {why}".rstrip(". ") + ".")


def told_of(name: str, sentence: str) -> None:
    say(name, sentence)
    print(f"  {name} {sentence}", flush=True)


def adding(name: str, make: Callable[..., Callable[[], object]]) -> Callable[..., None]:
    """An added vector, by one way to do it."""

    def measure(lm: sw.LanguageModel, arguments: argparse.Namespace) -> None:
        tokens = arguments.tokens
        vector = unit(lm)
        recipe = sw.Recipe.of(sw.Direction(vector, sw.Site(LAYER), "random").add(STRENGTH))
        sides = {"ours": run(lm, tokens, recipe), "our pair": run(lm, tokens, sw.Recipe(), recipe)}
        sides |= {"plain": plain(lm, 1, tokens), "theirs": make(lm, vector, tokens)}
        taken = timed(sides, arguments.repeat)
        told(f"adding a vector, {name} / ours", ratios(taken["theirs"], taken["ours"]))
        two = [steered + baseline for steered, baseline in zip(taken["theirs"], taken["plain"], strict=True)]
        told(f"two generations, one with {name} / our pair", ratios(two, taken["our pair"]))

    return measure


def of_hook(lm: sw.LanguageModel, vector: torch.Tensor, tokens: int) -> Callable[[], object]:
    """What a user writes without any library."""
    alone = plain(lm, 1, tokens)

    def generate() -> None:
        with hooked(lm, lambda h: h + STRENGTH * vector):
            alone()

    return generate


def clamping(lm: sw.LanguageModel, arguments: argparse.Namespace) -> None:
    """One clamped feature of a wide SAE."""
    from sae_lens import StandardSAE, StandardSAEConfig

    tokens, width, d = arguments.tokens, arguments.width, lm.architecture.d_model
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
    taken = timed(sides, arguments.repeat)
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


def of_nnterp(lm: sw.LanguageModel, vector: torch.Tensor, tokens: int) -> Callable[[], object]:
    """Its `steer` in every forward pass of a generation."""
    made, settings = standardized(lm), settings_of(lm, tokens)
    ids = settings.pop("input_ids")

    def generate() -> None:
        with torch.no_grad(), made.generate(ids, **settings) as tracer:
            for _step in tracer.iter[:tokens]:
                made.steer(LAYER, vector, STRENGTH)

    return generate


def standardized(lm: sw.LanguageModel) -> Any:
    from nnterp import StandardizedTransformer

    return StandardizedTransformer(lm.model, tokenizer=lm.tokenizer, check_renaming=False)


def of_repeng(lm: sw.LanguageModel, vector: torch.Tensor, tokens: int) -> Callable[[], object]:
    """A control vector. The block is wrapped for as long as it runs, since a wrapped one takes no hook of ours."""
    import numpy as np

    vars(np)["float_"] = np.float64  # which numpy 2 has dropped, and repeng names
    from repeng import ControlModel

    alone = plain(lm, 1, tokens)

    def generate() -> None:
        made = ControlModel(lm.model, [LAYER])
        try:
            made.set_raw_control({LAYER: STRENGTH * vector})
            alone()
        finally:
            made.unwrap()

    return generate


def of_steering_vectors(lm: sw.LanguageModel, vector: torch.Tensor, tokens: int) -> Callable[[], object]:
    from steering_vectors import SteeringVector

    made, alone = SteeringVector({LAYER: vector}), plain(lm, 1, tokens)

    def generate() -> None:
        with made.apply(lm.model, multiplier=STRENGTH):
            alone()

    return generate


def unit(lm: sw.LanguageModel) -> torch.Tensor:
    drawn = torch.randn(lm.architecture.d_model, generator=torch.Generator().manual_seed(0))
    return drawn / drawn.norm()


def lens(name: str, make: Callable[..., Callable[[torch.Tensor], list[torch.Tensor]]]) -> Callable[..., None]:
    """Every block's ten likeliest tokens at every position; `make` gives what makes the blocks' logits of ids."""

    def measure(lm: sw.LanguageModel, arguments: argparse.Namespace) -> None:
        ids = (list(lm.encode(PROMPT, chat=False).token_ids) * LENS_TOKENS)[:LENS_TOKENS]
        rows, logits = torch.tensor([ids]), make(lm)

        def theirs() -> list[Any]:
            with torch.no_grad():
                return [each.log_softmax(-1).topk(10) for each in logits(rows)]

        ours = lm.logit_lens(ids, k=10)
        first = theirs()[LAYER].values
        torch.testing.assert_close(ours.log_probs[ours.layers.index(LAYER)].float(), first, atol=1e-2, rtol=1e-2)
        taken = timed({"ours": lambda: lm.logit_lens(ids, k=10), "theirs": theirs}, arguments.repeat)
        told(f"lens of {LENS_TOKENS} tokens, {name} / ours", ratios(taken["theirs"], taken["ours"]))

    return measure


def by_states(
    lm: sw.LanguageModel, unembed: Callable[[torch.Tensor, int], torch.Tensor]
) -> Callable[[torch.Tensor], list[torch.Tensor]]:
    """Logits of every state that transformers gives out but the last, which is normed already."""

    def logits(rows: torch.Tensor) -> list[torch.Tensor]:
        states = lm.model(input_ids=rows, output_hidden_states=True, use_cache=False).hidden_states
        return [unembed(h[0], layer) for layer, h in enumerate(states[1:-1])]

    return logits


def lens_by_hand(lm: sw.LanguageModel) -> Callable[[torch.Tensor], list[torch.Tensor]]:
    """The final norm and the unembed, block by block."""
    return by_states(lm, lambda h, _layer: lm.model.get_output_embeddings()(lm.model.model.norm(h)))


def lens_of_tuned_lens(lm: sw.LanguageModel) -> Callable[[torch.Tensor], list[torch.Tensor]]:
    """Its `LogitLens`, which has no translators to be trained."""
    from tuned_lens.nn.lenses import LogitLens

    return by_states(lm, LogitLens.from_model(lm.model).forward)


def lens_of_nnterp(lm: sw.LanguageModel) -> Callable[[torch.Tensor], list[torch.Tensor]]:
    """Its `project_on_vocab` of every block's output, in one trace."""
    made, layers = standardized(lm), range(len(lm.architecture.blocks))

    def logits(rows: torch.Tensor) -> list[torch.Tensor]:
        with made.trace(rows):
            found = [made.project_on_vocab(made.layers_output[layer])[0] for layer in layers].save()
        return found  # noqa: RET504 - a name of this frame is what a trace saves into

    return logits


def shown(lm: sw.LanguageModel, _arguments: argparse.Namespace) -> None:
    """What travels for a text's tokens in one colour, script and sheet included."""
    from circuitsvis.tokens import colored_tokens
    from ipywidgets.widgets.widget import _remove_buffers

    tokens = [f" word{number}" for number in range(SHOWN_TOKENS)]
    values = torch.rand(SHOWN_TOKENS, generator=torch.Generator().manual_seed(0))
    theirs = len(colored_tokens(tokens, values).local_src.encode())
    state, _, buffers = _remove_buffers(sw.TokenHeatmap.from_arrays(tokens, values[:, None].numpy()).get_state())
    ours = len(json.dumps(state).encode()) + sum(len(each) for each in buffers)
    told(f"bytes of {SHOWN_TOKENS:,} tokens coloured, those of CircuitsVis over ours", [theirs / ours])


def told(name: str, values: list[float], reach: str = "") -> None:
    figure = keep(name, values, reach)
    print(f"  {name:<66} {figure.told:<28} {reach:<8} {figure.verdict}", flush=True)


PEERS: dict[str, Callable[..., None]] = {
    "a hook by hand": adding("a hook by hand", of_hook),
    "pyvene": adding("pyvene", of_pyvene),
    "nnsight": adding("nnsight", of_nnsight),
    "nnterp": adding("nnterp", of_nnterp),
    "repeng": adding("repeng", of_repeng),
    "steering-vectors": adding("steering-vectors", of_steering_vectors),
    "sae_lens": clamping,
    "a lens by hand": lens("a loop by hand", lens_by_hand),
    "tuned-lens": lens("tuned-lens", lens_of_tuned_lens),
    "nnterp's lens": lens("nnterp", lens_of_nnterp),
    "CircuitsVis": shown,
}


if __name__ == "__main__":
    main()
