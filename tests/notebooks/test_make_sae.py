"""How the embedded SAE is made, on a tiny model and corpus: what is read, what is left out, what features show."""

import json

import numpy as np
import pytest
import torch
from embedded.features import make_features
from embedded.sae import activations, make_sae
from embedded.sae.choose_layer import chosen_block
from embedded.sae.trainer import SAESettings
from support import sae as tiny

import steerwidgets as sw
from steerwidgets.lens.reconstruction import counted

SITE = sw.Site(1)
ROWS, LENGTH = 40, 16


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    """Two shards of random tokens: what the model wrote, and texts; one row in five is held out."""
    monkeypatch.setattr(activations, "BUILD", tmp_path)
    monkeypatch.setattr(activations, "CORPUS", tmp_path / "corpus")
    monkeypatch.setattr(activations, "ROWS", 16)
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "sources.json").write_text(json.dumps(["chat", "wordnet", "bible"]))
    random = np.random.default_rng(0)
    for name, sources in (("chat-0", [0]), ("debian", [1, 2])):
        np.savez(
            tmp_path / "corpus" / f"{name}.npz",
            tokens=random.integers(0, 300, (ROWS, LENGTH)).astype(np.int32),
            mask=random.random((ROWS, LENGTH)) < 0.9,
            source=random.choice(sources, ROWS).astype(np.uint8),
            heldout=np.arange(ROWS) % 5 == 0,
        )
    return tmp_path


@pytest.fixture
def parts(corpus, llama):
    for path, part, rows in activations.missing_parts(SITE):
        activations._read_part(llama, SITE, path, part, rows)
    return activations.parts_of(SITE)


def test_reads_what_counts_and_nothing_held_out(parts, llama):
    assert [part.name for part in parts] == [f"{shard}-000{n}" for shard in ("chat-0", "debian") for n in range(3)]
    for part in parts:
        shard, places, values = part.shard(), part.places(), torch.from_numpy(part.values()).float()
        assert sum(part.sources.values()) == len(values) == len(places)
        assert not shard.heldout[places[:, 0]].any()
        assert shard.mask[tuple(places.T)].all()
        assert (places[:, 1] > 0).all()
        row = places[0, 0]
        exact = llama.residuals(shard.tokens[row].tolist(), [SITE]).values[SITE][0]
        mine = places[:, 0] == row
        assert torch.allclose(values[mine], exact[places[mine, 1]], rtol=0.1, atol=0.1 * float(exact.abs().max()))


def test_a_part_is_read_once(parts):
    assert activations.missing_parts(SITE) == []


def test_massive_activations_do_not_count():
    norms = torch.full((3, 6), 10.0)
    norms[0, 2], norms[1, 0], norms[2, 4] = 51.0, 900.0, 49.0
    keep = counted(norms, torch.ones(3, 6, dtype=torch.bool))
    assert keep[:, 0].sum() == 0
    assert not keep[0, 2]
    assert keep[2, 4]
    assert keep.sum() == 3 * 5 - 1


def test_chats_are_seen_twice_as_often_and_a_skip_goes_on(parts):
    found = make_sae.Activations.read(SITE)
    chats = sum(sum(part.sources.values()) for part in parts if "chat" in part.sources)
    assert len(found.order) == len(found.values) + chats
    epoch = len(found.order) // 64
    whole = found.batches(64, seed=3)
    first = [next(whole) for _ in range(2 * epoch)]
    for skip in (1, epoch, epoch + 1):
        assert torch.equal(next(found.batches(64, seed=3, skip=skip)), first[skip])
    assert not torch.equal(first[0], first[epoch]), "each epoch in an order of its own"


def test_parts_that_training_began_with_must_be_there(parts):
    with pytest.raises(FileNotFoundError, match="chat-9"):
        make_sae.Activations.read(SITE, ["chat-9"])


def test_training_stopped_and_gone_on_gives_the_same_sae(parts, tmp_path, monkeypatch):
    monkeypatch.setattr(make_sae, "SITE", SITE)
    monkeypatch.setattr(make_sae, "BATCH", 64)
    settings = SAESettings(features=24, k=3, steps=12, fast=False)
    make_sae.train(settings, tmp_path / "whole")

    class Stopped(Exception): ...

    def stop_after(steps):
        step = make_sae.SAETrainer.step

        def stopping(trainer, batch):
            if trainer.done == steps:
                raise Stopped
            return step(trainer, batch)

        return stopping

    monkeypatch.setattr(make_sae, "CHECKPOINT_SECONDS", 0)
    with monkeypatch.context() as patch:
        patch.setattr(make_sae.SAETrainer, "step", stop_after(7))
        with pytest.raises(Stopped):
            make_sae.train(settings, tmp_path / "halves")
    make_sae.train(settings, tmp_path / "halves")
    whole, halves = (sw.SAE.load(tmp_path / name / "sae_lens") for name in ("whole", "halves"))
    assert whole.fingerprint == halves.fingerprint
    assert not (tmp_path / "halves" / "checkpoint.pt").exists()


def test_features_show_what_a_plain_count_shows(parts, llama):
    dictionary = tiny.make("jumprelu", threshold=3.0)
    fired = make_features.read_corpus(dictionary, parts, 10**9)
    dense = torch.cat([dictionary.encode(torch.from_numpy(part.values()).float()) for part in parts])
    known = make_features.statistics(fired, dictionary.size)
    assert known.tokens == len(dense)
    assert torch.allclose(known.density, (dense > 0).float().mean(0))
    data = make_features.feature_data(dictionary, llama, fired, "tiny")
    places = [(part, *place) for part in parts for place in part.places().tolist()]
    for index in range(dictionary.size):
        values = dense[:, index]
        active = values[values > 0]
        if not len(active):
            assert data[index].examples == ()
            assert known.of("maximum", index) is None
            continue
        assert known.of("maximum", index) == pytest.approx(float(active.max()), rel=1e-5)
        assert known.of("typical", index) == pytest.approx(float(np.median(active.numpy())), rel=1e-5)
        assert known.of("p995", index) == pytest.approx(float(np.quantile(active.numpy(), 0.995)), rel=1e-4)
        assert sum(data[index].counts) == pytest.approx(len(active), rel=0.1, abs=2)
        strongest = data[index].examples[0]
        part, row, position = places[int(values.argmax())]
        text = part.shard().tokens[row]
        assert strongest.token_ids == tuple(text[max(0, position - 12) : position + 13])
        assert strongest.peak == min(position, 12)
        assert strongest.source == part.shard().sources[row]
        assert strongest.values[strongest.peak] == pytest.approx(float(values.max()), rel=2e-3)
        tops = [max(example.values) for example in data[index].examples]
        assert tops == sorted(tops, reverse=True)
    few = make_features.shortened(data, 2)
    assert [len(few[index].examples) for index in range(40)] == [min(2, len(data[i].examples)) for i in range(40)]


def test_a_near_tie_of_blocks_is_the_concepts_block():
    assert chosen_block({12: 0.65, 15: 0.62}) == 15
    assert chosen_block({12: 0.75, 15: 0.62}) == 12
