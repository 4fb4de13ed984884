"""Transcoders against sae_lens for what they compute, and against plain hooks on two modules for how they steer."""

import pytest
import sae_lens
import torch
from support.both import PROMPT, forward
from support.models import D_MODEL
from support.naive import stream_module

import steerwidgets as sw

SIZE, LAYER = 40, 1
CLOSE = {"atol": 2e-4, "rtol": 1e-4}
ARCHITECTURES = ("transcoder", "skip_transcoder", "jumprelu_transcoder", "jumprelu_skip_transcoder")


def theirs(architecture, d_out=D_MODEL):
    cls, config = sae_lens.registry.get_sae_class(architecture)
    cfg = config(d_in=D_MODEL, d_sae=SIZE, d_out=d_out, apply_b_dec_to_input=False)
    cfg.metadata.hook_name, cfg.metadata.hook_name_out = f"blocks.{LAYER}.mlp.hook_in", f"blocks.{LAYER}.hook_mlp_out"
    made, drawn = cls(cfg), torch.Generator().manual_seed(0)
    for name, parameter in sorted(made.named_parameters()):
        noise = torch.randn(parameter.shape, generator=drawn) / 3
        parameter.data = noise.abs() if name == "threshold" else noise
    return made.requires_grad_(False)


def plain(model, reference, changes):
    """Hooks on the MLP's input and output, in plain tensors; `changes` are functions of an activation by feature."""
    read, is_input = stream_module(model, LAYER, "mlp_in")
    written, _ = stream_module(model, LAYER, "mlp_out")
    assert is_input
    seen = {}

    def before(_module, args):
        seen["a"] = reference.encode(args[0])

    def after(_module, _args, output):
        out, a = output.clone(), seen["a"]
        for index, change in changes.items():
            out = out + change(a[..., index])[..., None] * reference.W_dec[index]
        return out

    return [read.register_forward_pre_hook(before), written.register_forward_hook(after)]


CHANGES = {
    "clamp": (lambda f: f.clamp(3.0), lambda a: 3.0 - a),
    "scale": (lambda f: f.scale(-1.0), lambda a: -2 * a),
    "ablate": (lambda f: f.ablate(), lambda a: -a),
    "add": (lambda f: f.add(2.0), lambda a: torch.full_like(a, 2.0)),
}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("d_out", [D_MODEL, 24])
def test_what_they_compute(architecture, d_out, tmp_path):
    reference = theirs(architecture, d_out)
    h = 2 * torch.randn(3, 4, D_MODEL, generator=torch.Generator().manual_seed(1))
    reference.save_model(tmp_path)
    loaded = sw.SAE.load(tmp_path)
    for ours in (sw.SAE.from_sae_lens(reference), loaded):
        torch.testing.assert_close(ours.encode(h), reference.encode(h), **CLOSE)
        torch.testing.assert_close(ours.decode(ours.encode(h), h), reference(h), **CLOSE)
        assert (ours.site, ours.writes_at) == (sw.Site(LAYER, "mlp_in"), sw.Site(LAYER, "mlp_out"))
        assert len(ours[3].vector) == d_out
        with pytest.raises(ValueError, match="no error term"):
            ours.error(h)
    if "skip" in architecture:
        with pytest.raises(ValueError, match="skip connection, so decode needs what it reads"):
            loaded.decode(loaded.encode(h))
    loaded.save(tmp_path / "ours")
    torch.testing.assert_close(sae_lens.SAE.load_from_disk(tmp_path / "ours")(h), reference(h), **CLOSE)
    assert sw.SAE.load(tmp_path / "ours").fingerprint == loaded.fingerprint


@pytest.mark.parametrize("op", CHANGES)
@pytest.mark.parametrize("architecture", ["skip_transcoder", "jumprelu_transcoder"])
def test_features_steer_where_they_write(lm, architecture, op):
    reference = theirs(architecture)
    ours = sw.SAE.from_sae_lens(reference)
    make, change = CHANGES[op]
    recipe = make(ours[3]) + make(ours[5])
    assert recipe.sites == (sw.Site(LAYER, "mlp_out"),)
    before = forward(lm, sw.Recipe(), PROMPT)
    steered = forward(lm, recipe, PROMPT, len(PROMPT))
    handles = plain(lm.model, reference, {3: change, 5: change})
    try:
        expected = forward(lm, sw.Recipe(), PROMPT)
        out = lm.model.generate(torch.tensor([PROMPT]), max_new_tokens=6, do_sample=False, pad_token_id=2)
        without = lm.model.generate(
            torch.tensor([PROMPT]), max_new_tokens=6, do_sample=False, pad_token_id=2, use_cache=False
        )
    finally:
        for handle in handles:
            handle.remove()
    assert (expected - before).abs().max() > 0.01
    torch.testing.assert_close(steered, expected, **CLOSE)
    assert torch.equal(out, without)
    for cached in (True, False):
        with lm.steer(recipe):
            ours_out = lm.model.generate(
                torch.tensor([PROMPT]), max_new_tokens=6, do_sample=False, pad_token_id=2, use_cache=cached
            )
        assert torch.equal(ours_out, out)
    assert lm.compare(PROMPT, recipe, temperature=0, max_new_tokens=6).steered.token_ids == tuple(
        out[0, len(PROMPT) :].tolist()
    )


def test_padded_rows_and_rows_of_their_own(lm):
    """Left-padded rows of a batch, and a sweep whose rows share one reading."""
    reference = theirs("jumprelu_transcoder")
    ours = sw.SAE.from_sae_lens(reference)
    ids = torch.tensor([[2, 2, *PROMPT[:-2]], list(PROMPT)])
    mask = (torch.arange(len(PROMPT)) >= torch.tensor([[2], [0]])).long()
    with torch.no_grad(), lm.steer(ours[3].clamp(3.0)):
        places = (mask.cumsum(-1) - 1).clamp(min=0)
        both = lm.model(input_ids=ids, attention_mask=mask, position_ids=places).logits
    alone = forward(lm, ours[3].clamp(3.0), PROMPT[:-2])
    torch.testing.assert_close(both[0, 2:].float(), alone, **CLOSE)
    swept = lm.sweep(PROMPT, [ours[3].clamp(c) for c in (0.0, 4.0, -3.0)], temperature=0, max_new_tokens=4)
    for row, c in zip(swept, (0.0, 4.0, -3.0), strict=True):
        pair = lm.compare(PROMPT, ours[3].clamp(c), temperature=0, max_new_tokens=4)
        assert row.token_ids == pair.steered.token_ids


def test_conditions_files_and_controls(llama):
    ours = sw.SAE.from_sae_lens(theirs("transcoder"), labels={"sea": 3})
    steer = ours["sea"].clamp(2.0).when(ours[5] > 0.5)
    again = sw.Recipe.from_json(sw.Recipe.of(steer).to_json(), [ours])
    assert list(again) == [steer]
    torch.testing.assert_close(forward(llama, again, PROMPT), forward(llama, steer, PROMPT))
    a = ours.encode(llama.read(PROMPT, ours).residual)[:, 5]
    changed = (forward(llama, steer, PROMPT) - forward(llama, sw.Recipe(), PROMPT)).abs().amax(-1) > 1e-6
    assert changed.tolist()[: int((a > 0.5).nonzero()[0])] == [False] * int((a > 0.5).nonzero()[0])
    control = steer.random_direction(1)
    assert (forward(llama, control, PROMPT) - forward(llama, steer, PROMPT)).abs().max() > 1e-3
    with pytest.raises(ValueError, match="can't be written out in a recipe: a transcoder's feature"):
        sw.Recipe.of(steer).to_json(inline=True)
    with pytest.raises(ValueError, match="both set 'sea'"):
        ours[3].clamp(1) + ours[3].ablate()
    assert llama.compare(PROMPT, steer, max_new_tokens=2).steered.token_ids


def test_a_site_before_the_one_that_is_read_is_refused():
    tensors = {"W_enc": torch.eye(32), "b_enc": torch.zeros(32), "W_dec": torch.eye(32), "b_dec": torch.zeros(32)}
    back = sw.SAE(**tensors, site=sw.Site(2, "mlp_in"), output_site=sw.Site(1, "mlp_out"))
    assert back[3].add(1.0).feature.site == sw.Site(1, "mlp_out"), "what only adds reads nothing"
    with pytest.raises(ValueError, match="steered at block 1 mlp_out, before the forward pass comes to block 2 mlp_in"):
        back[3].clamp(1.0)
    with pytest.raises(ValueError, match="W_skip= belongs to a transcoder"):
        sw.SAE(**tensors, layer=1, W_skip=torch.eye(32))


def test_the_panel_steers_and_watches_one(llama):
    """What is watched of a transcoder's feature is what it reads, though it steers elsewhere."""
    ours = sw.SAE.from_sae_lens(theirs("transcoder"), labels={"sea": 3})
    panel = sw.SteeringPanel(llama, [ours], prompt="Hi", recipe=ours["sea"].clamp(4.0))
    try:
        panel.generate()
        assert panel.comparison.steered.token_ids
        assert panel.recipe.steers[0].feature.site == sw.Site(LAYER, "mlp_out")
        [told] = llama.measure("Hi", panel.recipe)
        assert told.ratio > 0
        assert told.achieved is None, "what it writes moves nothing of what it reads"
        out = llama.compare(PROMPT, panel.recipe, watch=[ours["sea"]], temperature=0, max_new_tokens=3).steered
        values = [value for (value,) in (each for each in out.watched if each is not None)]
        ids = [*PROMPT, *out.token_ids][: len(PROMPT) + len(values)]
        # Nothing before block 1's MLP depends on what was written behind it, so an unsteered read sees the same.
        read = ours["sea"].activation(llama.residuals(ids, [ours.site]).values[ours.site][0])
        torch.testing.assert_close(torch.tensor(values), read[-len(values) :], atol=1e-3, rtol=1e-3)
    finally:
        panel.close()
