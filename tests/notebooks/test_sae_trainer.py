"""Training of sparse autoencoders: its gradients against autograd on the dense formula, and what comes out."""

import pytest
import torch
from embedded.sae.trainer import SAESettings, SAETrainer

import steerwidgets as sw
from steerwidgets.lens.reconstruction import reconstruction

WIDTH, FEATURES, K = 24, 64, 4
SITE = sw.Site(3)


@pytest.fixture(scope="module")
def inputs():
    """Sparse mixtures of 40 directions about a mean far from 0, as residuals are."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.nn.functional.normalize(torch.randn(40, WIDTH, generator=generator), dim=-1)
    weights = torch.rand(8_000, 40, generator=generator) * (torch.rand(8_000, 40, generator=generator) < 0.08)
    return 50 * weights @ truth + 30 * torch.randn(WIDTH, generator=generator)


def trained(inputs, *, steps=250, seed=0, **settings):
    trainer = SAETrainer(inputs[:2000], SAESettings(FEATURES, K, steps, lr=3e-3, fast=False, seed=seed, **settings))
    for batch in batches(inputs, steps):
        last = trainer.step(batch)
    return trainer, last


def batches(inputs, steps, first=0):
    for step in range(first, steps):
        yield inputs[torch.randint(len(inputs), (256,), generator=torch.Generator().manual_seed(step))]


def test_gradients_are_those_of_the_dense_formula(inputs):
    trainer = SAETrainer(inputs[:500], SAESettings(FEATURES, K, fast=False))
    x = inputs[:64] * trainer.scale
    with torch.no_grad():
        pre = (x - trainer.b_dec) @ trainer.W_enc.T + trainer.b_enc
    active = trainer._active(pre)
    error = trainer.backward(x, active)
    W_enc, b_enc, W_dec, b_dec = (
        parameter.detach().clone().requires_grad_()
        for parameter in (trainer.W_enc, trainer.b_enc, trainer.W_dec, trainer.b_dec)
    )
    kept = torch.zeros_like(pre)
    kept[active.inputs, active.features] = 1
    dense = (((x - b_dec) @ W_enc.T + b_enc) * kept) @ W_dec + b_dec
    ((dense - x).square().sum() / len(x)).backward()
    assert torch.allclose(error, (dense - x).detach(), atol=1e-5)
    for dense_one, sparse_one in (
        (W_enc, trainer.W_enc),
        (b_enc, trainer.b_enc),
        (W_dec, trainer.W_dec),
        (b_dec, trainer.b_dec),
    ):
        assert torch.allclose(dense_one.grad, sparse_one.grad, atol=1e-6)


def test_keeps_the_largest_of_the_batch(inputs):
    trainer = SAETrainer(inputs[:500], SAESettings(FEATURES, K, fast=False))
    pre = torch.randn(32, FEATURES, generator=torch.Generator().manual_seed(1))
    for threshold in (0.0, 1.0, 50.0):  # a running threshold of any size only speeds the search up
        trainer.threshold = threshold
        active = trainer._active(pre)
        expected = pre.flatten().sort(descending=True).values[: 32 * K]
        assert torch.equal(active.values.sort(descending=True).values, expected)
        assert torch.equal(pre[active.inputs, active.features], active.values)


def test_learns_and_is_exported_in_units_of_the_residual(inputs):
    trainer, last = trained(inputs)
    sae = trainer.to_sae(SITE)
    found = reconstruction(sae, [inputs], inputs.mean(0))
    assert last.fvu < 0.15
    assert found.fvu == pytest.approx(last.fvu, abs=0.05), "as JumpReLU it is as good as BatchTopK was"
    assert found.l0 == pytest.approx(K, rel=0.25)
    assert torch.allclose(sae.tensors()["W_dec"].norm(dim=-1), torch.ones(FEATURES), atol=1e-5)


def test_dead_features_come_back(inputs):
    """Ten features too faint to be among any batch's largest get no gradient but that of the auxiliary loss."""
    dead = []
    for after in (10**9, 2_000):
        trainer = SAETrainer(inputs[:2000], SAESettings(FEATURES, K, 250, lr=3e-3, fast=False, dead_after=after))
        with torch.no_grad():
            trainer.W_enc[:10] *= 0.02
        for batch in batches(inputs, 250):
            trainer.step(batch)
        dead.append(round(FEATURES * reconstruction(trainer.to_sae(SITE), [inputs], inputs.mean(0)).dead))
    assert dead[0] >= 10
    assert dead[1] <= 2


def test_goes_on_from_a_checkpoint_as_if_never_stopped(inputs, tmp_path):
    whole, _ = trained(inputs, steps=60)
    first = SAETrainer(inputs[:2000], SAESettings(FEATURES, K, 60, lr=3e-3, fast=False))
    for batch in batches(inputs, 30):
        first.step(batch)
    torch.save(first.state(), tmp_path / "checkpoint.pt")
    second = SAETrainer(inputs[:2000], SAESettings(FEATURES, K, 60, lr=3e-3, fast=False))
    second.restore(torch.load(tmp_path / "checkpoint.pt", weights_only=True))
    for batch in batches(inputs, 60, first=30):
        second.step(batch)
    assert torch.equal(second.W_enc, whole.W_enc)
    assert second.threshold == whole.threshold


def test_inputs_without_spread_are_refused():
    with pytest.raises(ValueError, match="all 10 given are the same"):
        SAETrainer(torch.ones(10, WIDTH), SAESettings(FEATURES, K))


def test_the_auxiliary_gradient_reaches_dead_features_only(inputs):
    trainer = SAETrainer(inputs[:500], SAESettings(FEATURES, K, fast=False, dead_after=0))
    trainer.last_fired[:] = 0
    trainer.last_fired[5:9] = 10**6
    x = inputs[:64] * trainer.scale
    with torch.no_grad():
        pre = (x - trainer.b_dec) @ trainer.W_enc.T + trainer.b_enc
    error = trainer.backward(x, trainer._active(pre))
    before = trainer.W_enc.grad.clone()
    trainer._auxiliary(x, pre, -error, torch.arange(5, 9))
    changed = (trainer.W_enc.grad - before).abs().sum(-1) > 0
    assert changed[5:9].any()
    assert not changed[:5].any()
    assert not changed[9:].any()
