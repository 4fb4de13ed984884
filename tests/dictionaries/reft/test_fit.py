"""Training ReFT-r1: AxBench's loss and step in plain loops, resuming, stopping, and the model left as it was."""

import json
import math
import threading
from pathlib import Path

import pytest
import torch
from embedded.concepts.steering_cavs import is_on_concept
from support.hooks import all_hooks
from support.models import D_MODEL, blocks_of

import steerwidgets as sw
from steerwidgets.dictionaries.cav.directions import auroc
from steerwidgets.dictionaries.reft.trainer import Settings, strength_and_rest

LAYER = 1
WORDS = {
    "sea": ["the ocean", "by the sea", "an ocean city"],
    "code": ["return the value", "print result", "def main()"],
}


def examples(kind, count, seed=0):
    """Little texts of words of one kind."""
    generator = torch.Generator().manual_seed(seed + len(kind))
    picks = torch.randint(3, (count, 3), generator=generator).tolist()
    return [" and ".join(WORDS[kind][i] for i in row) for row in picks]


SEA, CODE = examples("sea", 8), examples("code", 8)
QUICK = Settings(epochs=2, batch_size=4, top_k=3, learning_rate=0.02, l1=0.05, start="random", seed=3)


def fit(lm, **changes):
    options = {"label": "sea", "layer": LAYER, "settings": QUICK, "held_out": 0}
    return sw.ReFT.fit(lm, SEA, CODE, **(options | changes))


def reference(lm, settings, steps):
    """AxBench `LsReFT.train` in plain loops: one row at a time, no padding, torch's own optimiser and schedule."""
    model = lm.model
    rows = [lm.encode(text, chat=False).token_ids for text in (*SEA, *CODE)]
    # Like the trainer: seeded start, seeded order of all examples.
    order = [torch.randperm(16, generator=torch.Generator().manual_seed(settings.seed + 1 + e)) for e in range(2)]
    start = torch.randn(D_MODEL, generator=torch.Generator().manual_seed(settings.seed))
    weight = torch.nn.Parameter((start / start.norm())[None])
    optimizer = torch.optim.AdamW([weight], lr=settings.learning_rate, weight_decay=0)
    total = 8
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / total)
    losses = []
    for step in range(steps):
        epoch, place = divmod(step, 4)
        nll, count, l1 = 0.0, 0, 0.0
        for i in order[epoch][place * 4 : place * 4 + 4].tolist():
            ids = torch.tensor([rows[i]])
            kept = {}

            def hook(_module, _args, out, kept=kept, weight=weight):
                base = out[0] if isinstance(out, tuple) else out
                norms = base[0].detach().norm(dim=-1)
                sinks = [t == 0 or float(n) > 10 * float(norms[1:].median()) for t, n in enumerate(norms)]
                own = torch.tensor([not sink for sink in sinks])
                latent = torch.relu(base[0, own] @ weight[0])
                k = min(settings.top_k, len(latent))
                top = latent.topk(k)
                rest = latent.clone()
                rest[top.indices] = 0
                kept["l1"] = rest.sum() / (len(latent) + torch.finfo(torch.float32).eps)
                new = base.clone()
                new[0, own] = base[0, own] + top.values.mean() * weight
                return (new, *out[1:]) if isinstance(out, tuple) else new

            handle = blocks_of(model)[LAYER].register_forward_hook(hook)
            logits = model(input_ids=ids, use_cache=False).logits[0]
            handle.remove()
            nll = nll - logits[:-1].log_softmax(-1).gather(-1, ids[0, 1:, None]).sum()
            count += ids.shape[1] - 1
            l1 = l1 + kept["l1"]
        loss = nll / count + step / total * settings.l1 * l1
        optimizer.zero_grad()
        (weight.grad,) = torch.autograd.grad(loss, weight)
        with torch.no_grad():
            weight /= weight.norm(dim=1, keepdim=True) + torch.finfo(torch.float32).eps
            weight.grad -= (weight.grad * weight).sum() * weight
        torch.nn.utils.clip_grad_norm_([weight], settings.clip)
        optimizer.step()
        schedule.step()
        losses.append((float((nll / count).detach()), float(l1.detach())))
    unit = weight.detach()[0]
    return unit / unit.norm(), losses


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
def test_the_steps_are_axbenchs(lm):
    stop = threading.Event()
    reft = fit(lm, stop=stop, on_step=lambda progress: stop.set() if progress.step == 6 else None)
    expected, losses = reference(lm, QUICK, 6)
    found = [(step.lm_loss, step.l1_loss) for step in reft.report.history]
    torch.testing.assert_close(torch.tensor(found), torch.tensor(losses), atol=2e-3, rtol=1e-3)
    start = torch.randn(D_MODEL, generator=torch.Generator().manual_seed(QUICK.seed))
    assert float(expected @ start / start.norm()) < 0.99, "the reference learned nothing"
    torch.testing.assert_close(reft.vector(0), expected, atol=2e-3, rtol=1e-2)
    assert float(reft.vector(0).norm()) == pytest.approx(1, abs=1e-6)


def test_strength_and_rest_by_hand():
    projection = torch.tensor([[3.0, -1.0, 2.0, 5.0], [9.0, 4.0, -2.0, 1.0]])
    counted = torch.tensor([[True, True, True, True], [False, True, True, False]])
    strength, rest = strength_and_rest(projection, counted, 2)
    assert strength.tolist() == [4.0, 2.0]
    assert float(rest) == pytest.approx(2 / 4 + 0)


@pytest.mark.parametrize("start", ["random", "difference"])
def test_the_steered_model_gets_better_at_the_examples(llama, start):
    settings = Settings(epochs=12, batch_size=8, top_k=3, learning_rate=0.02, start=start)
    reft = sw.ReFT.fit(
        llama, examples("sea", 24), examples("code", 24), label="sea", layer=LAYER, settings=settings, held_out=0.33
    )
    history = reft.report.history
    assert [step.step for step in history] == list(range(1, 49))
    first, last = (sum(step.lm_loss for step in part) / 4 for part in (history[:4], history[-4:]))
    assert last < first - 1
    assert reft.report.finished
    assert reft.report.held_out == (8, 8)
    assert 0 <= reft.report.auroc <= 1
    assert reft.provenance["held out"] == f"AUROC {reft.report.auroc:.3f}"
    assert reft.provenance["examples"] == "32 trained on, 8 + 8 held out"
    assert reft[0].label == "sea"
    assert reft[0].max_activation > 0


def test_stopped_and_resumed_is_the_same_as_in_one_go(llama, tmp_path):
    whole = fit(llama)
    stop = threading.Event()
    state = tmp_path / "training.safetensors"
    part = fit(llama, state=state, stop=stop, on_step=lambda progress: stop.set() if progress.step == 3 else None)
    assert (part.report.finished, len(part.report.history), part.report.steps) == (False, 3, 8)
    steps = []
    rest = fit(llama, state=state, on_step=lambda progress: steps.append(progress.step))
    assert steps == [4, 5, 6, 7, 8]
    assert torch.equal(rest.vector(0), whole.vector(0))
    assert not torch.equal(part.vector(0), whole.vector(0))
    assert [path.name for path in tmp_path.iterdir()] == ["training.safetensors"]


def test_the_state_of_another_training_is_refused(llama, tmp_path):
    state = tmp_path / "kept"
    fit(llama, state=state)
    with pytest.raises(ValueError, match=r"kept in kept is another one \(model, site, examples or settings differ\)"):
        fit(llama, state=state, layer=2)
    state.write_bytes(state.read_bytes()[:50])
    with pytest.raises(ValueError, match="kept in kept is damaged"):
        fit(llama, state=state)


def test_the_model_is_left_as_it_was(fresh):
    lm = fresh()
    frozen = next(iter(lm.model.parameters()))
    frozen.requires_grad_(False)
    before = {name: value.clone() for name, value in lm.model.state_dict().items()}

    def fail(_progress):
        raise RuntimeError("the caller's own mistake")

    with pytest.raises(RuntimeError, match="own mistake"):
        fit(lm, on_step=fail)
    fit(lm)
    assert all(torch.equal(value, before[name]) for name, value in lm.model.state_dict().items())
    assert not frozen.requires_grad
    assert all(p.requires_grad for p in lm.model.parameters() if p is not frozen)
    assert all(p.grad is None for p in lm.model.parameters())
    assert all_hooks(lm.model) == {}


def test_prompts_with_answers_learn_the_answers(llama):
    from steerwidgets.dictionaries.reft.fit import example_row

    row = example_row(llama, ("Name a city by the sea", "the ocean answers"), 64, positive=True)
    learned = [i for i, wanted in zip(row.prompt.token_ids, row.learned, strict=True) if wanted]
    assert llama.tokenizer.decode(learned) == "the ocean answers"
    pairs = [("Name a city", text) for text in SEA]
    reft = sw.ReFT.fit(llama, pairs, [("Name a city", text) for text in CODE], label="sea", layer=LAYER, settings=QUICK)
    assert reft.report.finished


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"held_out": 1.0}, "held_out is a share"),
        ({"layer": 9}, "4 blocks, counted from 0 to 3"),
        ({"stream": "resid_mid"}, "can be read but not steered"),
        ({"settings": Settings(max_tokens=1)}, "no token to learn within max_tokens=1"),
    ],
)
def test_what_can_be_wrong(llama, changes, message):
    with pytest.raises(ValueError, match=message):
        fit(llama, **changes)


def test_settings_that_are_wrong():
    with pytest.raises(ValueError, match="epochs has to be above 0, but 0 was given"):
        Settings(epochs=0)
    with pytest.raises(ValueError, match="start is 'difference' or 'random', but 'zeros'"):
        Settings(start="zeros")


def test_no_examples(llama):
    with pytest.raises(ValueError, match="examples with the concept, but none was given"):
        sw.ReFT.fit(llama, [], CODE, label="sea", layer=LAYER)


def test_auroc_against_its_definition():
    generator = torch.Generator().manual_seed(0)
    positive = torch.randint(6, (13,), generator=generator).float()
    negative = torch.randint(5, (17,), generator=generator).float()
    wins = [(p > n) + 0.5 * (p == n) for p in positive.tolist() for n in negative.tolist()]
    assert auroc(positive, negative) == pytest.approx(sum(wins) / len(wins))
    assert math.isnan(auroc(positive, torch.zeros(0)))


@pytest.mark.embedded
def test_a_concept_of_the_embedded_model(embedded):
    """A handful of steps: it detects texts that it was not trained on, and it steers."""
    folder = Path(sw.__file__).parent / "demo" / "concepts"
    texts, words = (
        json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) for name in ("texts", "word_lists")
    )
    sea = "the sea and sailing"
    reft = sw.ReFT.fit(
        embedded,
        texts["concepts"][sea]["texts"][:24],
        texts["neutral"][:24],
        label=sea,
        layer=15,
        settings=Settings(epochs=1, max_tokens=24),
        held_out=0.5,
    )
    assert len(reft.report.history) == 4
    assert reft.report.held_out == (12, 12)
    assert reft.report.auroc > 0.95
    rows = embedded.sweep("Tell me about your day.", [None, reft[sea].add(50)], temperature=0, max_new_tokens=32)
    assert [is_on_concept(row.text, words[sea]) for row in rows] == [False, True]
