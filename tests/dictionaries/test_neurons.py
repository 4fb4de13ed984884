"""The MLP's neurons as a dictionary, against plain pre-hooks on the MLP's last matrix."""

import pytest
import torch
from support.both import PROMPT, vector
from support.naive import stream_module

import steerwidgets as sw

LAYER, INDEX = 1, 7
FOUR = pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "neox_serial"])


def hooked(model, change, ids=PROMPT):
    """Logits of one uncached pass with the neurons of a block replaced, and what they were."""
    module, _ = stream_module(model, LAYER, "mlp_acts")
    seen = []

    def hook(_module, args):
        seen.append(args[0].clone())
        new = args[0].clone()
        change(new)
        return (new,)

    handle = module.register_forward_pre_hook(hook)
    try:
        with torch.no_grad():
            return model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0], seen[0][0]
    finally:
        handle.remove()


def untouched(_acts):
    pass


def to_three(acts):
    acts[..., INDEX] = 3.0


def to_zero(acts):
    acts[..., INDEX] = 0.0


def plus_two(acts):
    acts[..., INDEX] += 2.0


def times_minus_four(acts):
    acts[..., INDEX] *= -4.0


def capped(acts):
    acts[..., INDEX] = acts[..., INDEX].clamp(0.05, 0.1)


def relative(acts):
    share = 0.5 * acts.norm(dim=-1)
    share[:, 0] = 0  # position 0 is an attention sink
    acts[..., INDEX] += share


STEERS = {
    "set": (lambda n: n.set(3.0), to_three),
    "ablate": (lambda n: n.ablate(), to_zero),
    "set to 0": (lambda n: n.set(0.0), to_zero),
    "add": (lambda n: n.add(2.0), plus_two),
    "scale": (lambda n: n.scale(-4.0), times_minus_four),
    "clip": (lambda n: n.clip(0.05, 0.1), capped),
    "add_relative": (lambda n: n.add_relative(0.5), relative),
}


@FOUR
def test_reading_gives_the_values_that_enter_the_last_matrix(lm):
    neurons = sw.Neurons(lm, layer=LAYER)
    _, expected = hooked(lm.model, untouched)
    assert (neurons.size, neurons.d_model) == (expected.shape[1],) * 2
    torch.testing.assert_close(lm.read(list(PROMPT), neurons).values, expected, atol=1e-5, rtol=1e-5)
    some = lm.read(list(PROMPT), neurons, [3, INDEX]).values
    torch.testing.assert_close(some, expected[:, [3, INDEX]], atol=1e-5, rtol=1e-5)


@FOUR
@pytest.mark.parametrize("name", STEERS)
def test_steering_equals_a_plain_hook(lm, name):
    make, reference = STEERS[name]
    steer = make(sw.Neurons(lm, layer=LAYER)[INDEX])
    expected, _ = hooked(lm.model, reference)
    assert (expected - hooked(lm.model, untouched)[0]).abs().max() > 1e-3
    with torch.no_grad(), lm.steer(steer):
        logits = lm.model(input_ids=torch.tensor([PROMPT]), use_cache=False).logits[0]
    torch.testing.assert_close(logits, expected, atol=3e-4, rtol=1e-4)


@FOUR
def test_generation_token_for_token(lm):
    steers = sw.Neurons(lm, layer=LAYER)[INDEX].set(3.0)
    ids = list(PROMPT)
    for _ in range(6):
        token = int(hooked(lm.model, to_three, ids)[0][-1].argmax())
        if token in lm.end_ids:
            break
        ids.append(token)
    assert lm.compare(PROMPT, steers, temperature=0, max_new_tokens=6).steered.token_ids == tuple(ids[len(PROMPT) :])


@FOUR
def test_output_is_what_the_block_adds_for_it(lm):
    """One more unit of a neuron moves the MLP's output by its column; after a norm, along it."""
    neuron = sw.Neurons(lm, layer=LAYER)[INDEX]
    site = sw.Site(LAYER, "mlp_out")
    column = neuron.output
    assert column.site == site
    module, _ = stream_module(lm.model, LAYER, "mlp_acts")
    weight = module.weight if module.weight.shape[0] == len(column.vector) else module.weight.T
    expected = weight[:, INDEX].detach()
    if lm.architecture.config.model_type == "gemma2":
        block = lm.model.model.layers[LAYER]
        expected = expected * (1 + block.post_feedforward_layernorm.weight.detach())
    torch.testing.assert_close(column.vector, expected, atol=1e-4, rtol=1e-4)
    assert len(lm.top_logits(column, 5).promoted) == 5


def test_ops_mix_with_others_and_two_setters_are_refused(llama):
    neurons = sw.Neurons(llama, layer=LAYER)
    mixed = neurons[1].set(2) + neurons[2].ablate() + sw.Direction(vector(1), sw.Site(1)).add(1)

    def both(acts):
        acts[..., 1] = 2.0
        acts[..., 2] = 0.0

    assert len(mixed) == 3
    expected, _ = hooked(llama.model, both)
    with torch.no_grad(), llama.steer(mixed.steers[:2]):
        logits = llama.model(input_ids=torch.tensor([PROMPT]), use_cache=False).logits[0]
    torch.testing.assert_close(logits, expected, atol=3e-4, rtol=1e-4)
    with pytest.raises(ValueError, match=r"both set 'Neuron 1.1'"):
        neurons[1].set(2) + neurons[1].scale(2)
    with pytest.raises(ValueError, match=r"Neuron feature 'Neuron 1.1' does not take the op 'project'; it takes add"):
        neurons[1].project(2)


def test_scale_by_one_changes_nothing(llama):
    steer = sw.Neurons(llama, layer=LAYER)[INDEX].scale(1)
    assert steer.is_identity
    out = llama.compare(PROMPT, steer, temperature=0, max_new_tokens=5)
    assert out.baseline.token_ids == out.steered.token_ids


def test_finding_naming_and_searching(llama):
    labels = [""] * 48
    labels[5] = "commas"
    neurons = sw.Neurons(llama, LAYER, labels=labels)
    assert neurons["commas"].index == 5
    assert neurons[6].label == "Neuron 1.6"
    assert [n.index for n in neurons.search("comma")] == [5]
    assert repr(neurons) == "<Neuron of 48 features at block 1 mlp_acts>"
    fires = llama.search(list(PROMPT), neurons, k=3)
    values = llama.read(list(PROMPT), neurons)
    best = values.values[values.mask].max(0).values.topk(3)
    assert [f.index for f in fires.features] == best.indices.tolist()


def test_a_recipe_comes_back_and_models_are_told_apart(llama, fresh):
    neurons = sw.Neurons(llama, layer=LAYER)
    recipe = sw.Recipe.of(neurons[3].set(1.5))
    assert sw.Recipe.from_json(recipe.to_json(), [sw.Neurons(llama, layer=LAYER)]) == recipe
    assert neurons.fingerprint != sw.Neurons(llama, layer=2).fingerprint
    assert neurons.fingerprint != sw.Neurons(fresh(seed=1), layer=LAYER).fingerprint


def test_a_wide_mlp_costs_no_square_matrix(fresh):
    lm = fresh(intermediate_size=60_000)
    neurons = sw.Neurons(lm, layer=0)
    assert neurons.size == 60_000
    assert sum(tensor.numel() for tensor in neurons.weights()) <= 4096
    assert float(neurons[59_999].vector.sum()) == 1.0


def test_what_can_be_wrong(llama, fresh):
    with pytest.raises(ValueError, match="4 blocks, counted from 0 to 3"):
        sw.Neurons(llama, layer=4)
    with pytest.raises(ValueError, match="2 labels were given for the 48 features"):
        sw.Neurons(llama, layer=1, labels=["a", "b"])
    neurons = sw.Neurons(llama, layer=1)
    with pytest.raises(IndexError, match="features 0 to 47, but 48"):
        neurons[48]
    with pytest.raises(KeyError, match="no labels, so 'x' is not found"):
        neurons["x"]
    with pytest.raises(ValueError, match="c has to be a finite number"):
        neurons[1].set(float("inf"))
    other = fresh(intermediate_size=40)
    with pytest.raises(ValueError, match="at block 1 mlp_acts reads 48 numbers, but the activations have 40"):
        other.read(list(PROMPT), neurons)
    with pytest.raises(ValueError, match="48 numbers"):
        other.compare(PROMPT, neurons[1].set(1))
