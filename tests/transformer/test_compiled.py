"""PyTorch ignores hooks that are put on a compiled module: refused in one sentence, never silently unsteered."""

import pytest
import torch
from support.both import PROMPT, vector
from support.hooks import all_hooks
from support.models import blocks_of

import steerwidgets as sw
from steerwidgets.transformer.architecture import CompiledModelError

STEER = sw.Direction(vector(1), sw.Site(1)).add(2)


def compile_eagerly(what):
    return torch.compile(what, backend="eager")


def in_place(module):
    module.compile(backend="eager")


WAYS = {
    "model.compile()": lambda lm: in_place(lm.model),
    "base.compile()": lambda lm: in_place(lm.model.model),
    "block.compile()": lambda lm: in_place(blocks_of(lm.model)[1]),
    "another block": lambda lm: in_place(blocks_of(lm.model)[3]),
    "model.model = compile": lambda lm: setattr(lm.model, "model", compile_eagerly(lm.model.model)),
    "block = compile": lambda lm: lm.model.model.layers.__setitem__(1, compile_eagerly(lm.model.model.layers[1])),
    "model.forward = compile": lambda lm: setattr(lm.model, "forward", compile_eagerly(lm.model.forward)),
    "block.forward = compile": lambda lm: setattr(
        lm.model.model.layers[1], "forward", compile_eagerly(lm.model.model.layers[1].forward)
    ),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("when", ["before", "after"])
def test_refused(fresh, way, when, tokenizer):
    lm = fresh()
    WAYS[way](lm)
    if when == "before":
        lm = sw.LanguageModel(lm.model, tokenizer("chatml"))
    before = all_hooks(lm.model)
    uses = (
        lambda: lm.compare(PROMPT, STEER, max_new_tokens=1),
        lambda: lm.steer(STEER).__enter__(),
        lambda: lm.residuals(list(PROMPT), [sw.Site(1)]),
    )
    for use in uses:
        with pytest.raises(CompiledModelError, match=r"is compiled.*torch\.compile.*as it was before"):
            use()
    assert all_hooks(lm.model) == before


def test_the_compiled_model_itself_is_refused(fresh, tokenizer):
    lm = sw.LanguageModel(compile_eagerly(fresh().model), tokenizer("chatml"))
    with pytest.raises(CompiledModelError, match=r"before torch.compile"):
        lm.compare(PROMPT, STEER, max_new_tokens=1)


@pytest.mark.parametrize("stream", ["mlp_out", "attn_out", "mlp_acts"])
@pytest.mark.parametrize("way", ["in place", "wrapped"])
def test_a_compiled_part_of_a_block_is_refused_or_really_steered(fresh, stream, way):
    """Someone compiles only the MLPs and the attentions: the change has to arrive, or be refused."""
    lm = fresh()
    width = 48 if stream == "mlp_acts" else 32
    steer = sw.Direction(vector(1, width), sw.Site(1, stream)).add(2)
    ids = torch.tensor([PROMPT])
    with torch.no_grad():
        with lm.steer(steer):
            expected = lm.model(input_ids=ids).logits
        for block in blocks_of(lm.model):
            for name in ("mlp", "self_attn"):
                if way == "wrapped":
                    setattr(block, name, compile_eagerly(getattr(block, name)))
                else:
                    in_place(getattr(block, name))
        lm.model(input_ids=ids)  # compiles
        try:
            with lm.steer(steer):
                got = lm.model(input_ids=ids).logits
        except CompiledModelError:
            return
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)


def test_an_empty_recipe_needs_no_hook(fresh):
    lm = fresh()
    in_place(lm.model)
    with lm.steer(None) as steering:
        assert not steering.attached
