"""AxBench's ReFT-r1 tutorial as it runs on pyvene: its `Encoder` reads and its `Steer` writes what ReFT does."""

import pytest
import pyvene as pv
import torch
from support.both import PROMPT
from support.models import D_MODEL

import steerwidgets as sw

LAYER, CONCEPTS, CONCEPT, MAG = 1, 50, 7, 8.0
COMPONENT = {"llama": "model.layers[1].output", "gemma2": "model.layers[1].output", "gpt2": "transformer.h[1].output"}


class Encoder(pv.CollectIntervention):
    """The tutorial's, with one edit."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs, keep_last_dim=True)
        self.proj = torch.nn.Linear(self.embed_dim, kwargs["latent_dim"], bias=False)

    def forward(self, base, source=None, subspaces=None):
        # Edit: `.to(…)`. Models load in the dtype of their checkpoint by default since transformers 5 (bfloat16 for
        # Gemma 2), where the tutorial got float32, and PyTorch does not multiply it with float32 weights.
        return torch.relu(self.proj(base.to(self.proj.weight.dtype)))


class Steer(pv.SourcelessIntervention):
    """The tutorial's, without any edit."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs, keep_last_dim=True)
        self.proj = torch.nn.Linear(self.embed_dim, kwargs["latent_dim"], bias=False)

    def forward(self, base, source=None, subspaces=None):
        steering_vec = torch.tensor(subspaces["mag"]) * self.proj.weight[subspaces["idx"]].unsqueeze(dim=0)
        return base + steering_vec


def unit_rows(width=D_MODEL, concepts=CONCEPTS):
    drawn = torch.randn(concepts, width, generator=torch.Generator().manual_seed(3))
    return drawn / drawn.norm(dim=-1, keepdim=True)


def filled(kind, params):
    """As the tutorial makes them: sizes exchanged, then the weight put in the place of the one that was made."""
    intervention = kind(embed_dim=params.shape[0], latent_dim=params.shape[1])
    intervention.proj.weight.data = params.float()
    return intervention


def collected(model, component, encoder, ids):
    """The tutorial's reading of one text."""
    pv_model = pv.IntervenableModel({"component": component, "intervention": encoder}, model=model)
    acts = pv_model.forward({"input_ids": torch.tensor([list(ids)])}, return_dict=True).collected_activations[0]
    # Edit: `[0]`. pyvene 0.1.8 keeps the batch axis, [batch, position, concept]; the tutorial had [position, concept].
    return acts[0].detach()


def steered(model, component, steer, ids, idx, mag, **settings):
    """The tutorial's generation, greedy."""
    pv_model = pv.IntervenableModel({"component": component, "intervention": steer}, model=model)
    # Edit: do_sample=False for True, to compare token for token, and no early_stopping, which belongs to beam search.
    _, response = pv_model.generate(
        {"input_ids": torch.tensor([list(ids)])},
        unit_locations=None,
        intervene_on_prompt=True,
        subspaces=[{"idx": idx, "mag": mag}],
        do_sample=False,
        **settings,
    )
    return tuple(response[0, len(ids) :].tolist())


@pytest.fixture(params=COMPONENT)
def tiny(request, fresh):
    """A model of the test's own, since pyvene freezes it, and the component."""
    return fresh(request.param), COMPONENT[request.param]


def test_detection(tiny):
    (lm, component), params = tiny, unit_rows()
    acts = collected(lm.model, component, filled(Encoder, params), PROMPT)
    read = lm.read(list(PROMPT), sw.ReFT(params, layer=LAYER))
    assert acts.shape == (len(PROMPT), CONCEPTS)
    torch.testing.assert_close(read.values, acts, atol=1e-4, rtol=1e-4)
    assert (acts > 0).any(dim=0).sum() > 10


@pytest.mark.parametrize("use_cache", [True, False])
def test_steering(tiny, use_cache):
    (lm, component), params = tiny, unit_rows()
    settings = {"max_new_tokens": 8, "eos_token_id": None, "pad_token_id": 2, "use_cache": use_cache}
    response = steered(lm.model, component, filled(Steer, params), PROMPT, CONCEPT, MAG, **settings)
    ids, reft = torch.tensor([PROMPT]), sw.ReFT(params, layer=LAYER)
    texts = []
    for recipe in (reft[CONCEPT].add(MAG), None):
        with lm.steer(recipe):
            texts.append(tuple(lm.model.generate(ids, do_sample=False, **settings)[0, len(PROMPT) :].tolist()))
    assert texts[0] == response
    assert texts[1] != response


def test_a_bfloat16_model_needs_the_edit(fresh):
    class Unedited(Encoder):
        def forward(self, base, source=None, subspaces=None):
            return torch.relu(self.proj(base))

    lm = fresh("gemma2", dtype=torch.bfloat16)
    component, params = COMPONENT["gemma2"], unit_rows()
    with pytest.raises(RuntimeError, match="same dtype"):
        collected(lm.model, component, filled(Unedited, params), PROMPT)
    acts = collected(lm.model, component, filled(Encoder, params), PROMPT)
    read = lm.read(list(PROMPT), sw.ReFT(params, layer=LAYER))
    torch.testing.assert_close(read.values, acts, atol=1e-4, rtol=1e-4)
    settings = {"max_new_tokens": 6, "eos_token_id": None, "pad_token_id": 2}
    response = steered(lm.model, component, filled(Steer, params), PROMPT, CONCEPT, MAG, **settings)
    with lm.steer(sw.ReFT(params, layer=LAYER)[CONCEPT].add(MAG)):
        ours = lm.model.generate(torch.tensor([PROMPT]), do_sample=False, **settings)
    assert tuple(ours[0, len(PROMPT) :].tolist()) == response


@pytest.mark.parametrize("kind", [Encoder, Steer])
def test_the_exchanged_sizes(kind):
    """`embed_dim` is the number of concepts and `latent_dim` the width, so everything that trusts them is wrong."""
    params = unit_rows()
    made = kind(embed_dim=params.shape[0], latent_dim=params.shape[1])
    # Before the weight is overwritten, it is transposed, and does not take a residual.
    assert made.proj.weight.shape == (D_MODEL, CONCEPTS)
    if kind is Encoder:
        with pytest.raises(RuntimeError, match="cannot be multiplied"):
            made(torch.randn(1, 3, D_MODEL))
    # Afterwards its own forward is right, since that looks at the weight alone, though the Linear's sizes lie.
    put = filled(kind, params)
    assert put.proj.weight.shape == (CONCEPTS, D_MODEL)
    assert (int(put.proj.in_features), int(put.proj.out_features)) == (CONCEPTS, D_MODEL)
    # pyvene keeps the wrong width with the weights, and they do not go back into an intervention made the same way.
    state = put.state_dict()
    assert int(state["embed_dim"]) == int(state["interchange_dim"]) == CONCEPTS
    with pytest.raises(RuntimeError, match=r"size mismatch for proj\.weight"):
        made.load_state_dict(state)
    # Made the right way round they do, and compute the same.
    right = kind(embed_dim=D_MODEL, latent_dim=CONCEPTS)
    right.load_state_dict(state)
    h, where = torch.randn(1, 3, D_MODEL), {"idx": CONCEPT, "mag": MAG}
    torch.testing.assert_close(right(h, subspaces=where), put(h, subspaces=where))
    # Our loader goes by the matrix, and reads either.
    for source in (put, right, state):
        reft = sw.ReFT.from_pyvene(source, layer=LAYER)
        assert (reft.size, reft.d_model) == (CONCEPTS, D_MODEL)
        assert torch.equal(reft.weight, params)


def test_the_wrong_width_cuts_what_pyvene_collects_by_itself(tiny):
    """An intervention that leaves the reading to pyvene: with fewer concepts than d_model it sees only so many axes."""

    class Plain(pv.CollectIntervention):
        def __init__(self, **kwargs):
            super().__init__(**kwargs, keep_last_dim=True)

    lm, component = tiny
    whole = lm.residuals(list(PROMPT), [sw.Site(LAYER)]).values[sw.Site(LAYER)][0]
    for concepts, seen in ((CONCEPTS, D_MODEL), (20, 20)):
        acts = collected(lm.model, component, Plain(embed_dim=concepts), PROMPT)
        torch.testing.assert_close(acts, whole[:, :seen], atol=1e-5, rtol=1e-5)


@pytest.mark.embedded
def test_both_on_the_embedded_model(embedded):
    layer, component = 15, "model.layers[15].output"
    params = unit_rows(embedded.architecture.d_model, 200)
    reft = sw.ReFT(params, layer=layer)
    before = [parameter.requires_grad for parameter in embedded.model.parameters()]
    try:
        prompt = "Would you be able to travel through time using a wormhole?"
        # Edit: `return_dict=False`. Since transformers 5 a template gives a BatchEncoding, of which no tensor is made.
        messages = [{"role": "user", "content": prompt}]
        ids = embedded.tokenizer.apply_chat_template(
            messages, tokenize=True, add_generation_prompt=True, return_dict=False
        )
        acts = collected(embedded.model, component, filled(Encoder, params), ids)
        read = embedded.read(messages, reft)
        assert read.token_ids == tuple(ids)
        torch.testing.assert_close(read.values, acts, atol=2e-3, rtol=1e-3)
        firing = reft.firing(read.residual[1:])
        assert torch.equal(firing.strongest, acts[1:].max(-1)[1])
        assert torch.equal(firing.counts, (acts[1:] > 1).sum(-1))

        out = embedded.compare(messages, reft[CONCEPT].add(60.0), temperature=0, max_new_tokens=16)
        settings = {"max_new_tokens": len(out.steered.token_ids)}
        response = steered(embedded.model, component, filled(Steer, params), ids, CONCEPT, 60.0, **settings)
        assert out.steered.token_ids == response
        assert out.divergence is not None
        # And the recipe, taken to pyvene.
        inputs = {"input_ids": torch.tensor([ids])}
        _, texts = (
            sw.Recipe.of(reft[CONCEPT].add(60.0)).to_pyvene(embedded).generate(inputs, do_sample=False, **settings)
        )
        assert tuple(texts[0, len(ids) :].tolist()) == response
    finally:
        for parameter, wanted in zip(embedded.model.parameters(), before, strict=True):
            parameter.requires_grad_(wanted)
