"""What is saved loads again as it was; a file of any bytes is a valid object or one clear sentence of ours."""

import functools
import tempfile
from pathlib import Path

import torch
from hostile import base, oracle
from hypothesis import given
from hypothesis import strategies as st
from support import kinds
from support.drawn import examples, tried

import steerwidgets as sw
from steerwidgets.dictionaries.effects import KnownEffects
from steerwidgets.lab.record import LabRecord
from steerwidgets.label_checks.answers import Answers

TEXT = st.text(max_size=12)
NUMBERS = st.floats(-1e6, 1e6, width=32)


def folder():
    return tempfile.TemporaryDirectory()


def matrices(rows, columns):
    return st.integers(0, 10**6).map(
        lambda seed: 3 * torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    )


# Round trips


@given(st.data(), st.integers(1, 5), st.integers(1, 9), st.integers(0, 40), st.sampled_from(["resid_post", "mlp_out"]))
@examples(40)
def test_cavs(data, size, width, layer, stream):
    labels = data.draw(st.lists(TEXT.filter(str.strip), min_size=size, max_size=size, unique=True))
    made = sw.CAV(data.draw(matrices(size, width)), labels, layer=layer, stream=stream)
    with folder() as where:
        made.save(Path(where) / "c.safetensors")
        again = sw.CAV.load(Path(where) / "c.safetensors")
    assert torch.equal(again.vectors, made.vectors)
    assert (list(again.labels), again.site, again.fingerprint) == (list(made.labels), made.site, made.fingerprint)


@given(st.sampled_from(kinds.FILED), st.data())
@examples(30)
def test_dictionaries_with_any_labels(kind, data):
    size = len(base.dictionary(kind))
    labels = data.draw(st.lists(TEXT, min_size=size, max_size=size))
    made, error = tried(lambda: kinds.make(kind, base.lm(), labels=labels))
    if error is not None:
        assert oracle.judged(error, ("label",))[0] == "clear", repr(error)
        return
    with folder() as where:
        again = type(made).load(kinds.save(made, Path(where)))
    assert again.fingerprint == made.fingerprint
    assert [each.label for each in again] == [each.label for each in made]
    h = torch.randn(3, made.d_model, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(again.encode(h), made.encode(h))


@given(st.dictionaries(st.integers(0, 60), TEXT, max_size=9))
@examples(40)
def test_labels_in_a_file(labels):
    with folder() as where:
        made = sw.Labels(labels, size=61, file=Path(where) / "kept.labels")
        expected = [made[index] for index in range(61)]
        made.close()
        again = sw.Labels.open(Path(where) / "kept.labels")
        assert [again[index] for index in range(61)] == expected
        again.close()


@given(st.lists(st.floats(0, 1e6, width=32), min_size=1, max_size=6), TEXT, st.none() | st.integers(0, 10**12))
@examples(40)
def test_statistics(maximum, corpus, tokens):
    made = sw.FeatureStatistics(torch.tensor(maximum), corpus=corpus, tokens=tokens)
    with folder() as where:
        made.save(Path(where) / "s.safetensors")
        again = sw.FeatureStatistics.load(Path(where) / "s.safetensors")
    assert torch.equal(again.maximum, made.maximum)
    assert (again.corpus, again.tokens) == (made.corpus, made.tokens)


@given(st.lists(TEXT, max_size=4), st.text(max_size=30), st.none() | NUMBERS)
@examples(30)
def test_a_labs_answers(names, answer, number):
    with folder() as where:
        path = Path(where) / "a.lab.json"
        record = LabRecord(lab="lab", student=answer, seed=3, began=1.0, saved=2.0)
        for name in names:
            record = record.with_kept(name, {"text": answer, "number": number, "list": [answer, None, True]})
        record.save(path)
        again = LabRecord.load(path)
    clean = answer.encode("utf-8", "replace").decode()
    assert again.student == clean
    assert all(each == {"text": clean, "number": number, "list": [clean, None, True]} for each in again.kept.values())
    assert len(again.kept) == len(set(names))


# Any bytes

LOADERS = {
    "c.safetensors": sw.CAV.load,
    "c.pt": lambda path: sw.CAV.load(path, layer=1),
    "c.gguf": lambda path: sw.CAV.load(path, layer=1),
    "sae.safetensors": lambda path: sw.SAE.load(path, layer=1),
    "params.npz": lambda path: sw.SAE.load(path, layer=1),
    "sae.pt": lambda path: sw.SAE.load(path, layer=1),
    "cfg.json": lambda path: sw.SAE.load(path.parent),
    "weight.pt": lambda path: sw.ReFT.load(path.parent, layer=1),
    "metadata.jsonl": lambda path: sw.ReFT.load(path.parent, layer=1),
    "m.pt": sw.MFA.load,
    "labels.json": sw.Labels.load,
    "labels.jsonl": sw.Labels.load,
    "labels.csv": sw.Labels.load,
    "labels.json.gz": sw.Labels.load,
    "kept.labels": sw.Labels.open,
    "s.safetensors": sw.FeatureStatistics.load,
    "d.safetensors": sw.FeatureData.load,
    "e.safetensors": KnownEffects.load,
    "lens.pt": sw.FittedLens.load,
    "params.pt": lambda path: sw.FittedLens.load(path.parent),
    "config.json": lambda path: sw.FittedLens.load(path.parent),
    "index.json": lambda path: sw.corpus.open(path.parent),
    "a.lab.json": LabRecord.load,
    "answers.json": Answers.load,
    "presets.json": lambda path: sw.SteeringPanel(base.lm(), base.dictionary("CAV")).load(path),
}


@functools.cache
def valid():
    """Bytes of valid files, for those that begin as one does and go on as they like."""
    found = [data for kind in ("SAE", "CAV", "MFA", "ReFT") for data in base.saved(kind).values()]
    return [*found, base.control_vector(), b'{"format": "steerwidgets.recipe/1", "steers": [', b"SQLite format 3\x00"]


@st.composite
def files(draw):
    """Any bytes; the beginning of a valid file with any after them; a valid one with some overwritten."""
    anything = draw(st.binary(max_size=80) | st.text(max_size=40).map(str.encode))
    if draw(st.integers(0, 2)) == 0:
        return anything
    whole = bytearray(draw(st.sampled_from(valid())))
    at = draw(st.integers(0, min(len(whole), 600)))
    if draw(st.booleans()):
        return bytes(whole[:at]) + anything
    whole[at : at + len(anything)] = anything[: max(0, len(whole) - at)]
    return bytes(whole)


@given(st.sampled_from(list(LOADERS)), files())
@examples(300)
def test_any_bytes_are_a_valid_object_or_a_sentence(name, data):
    with folder() as where:
        path = Path(where) / name
        path.write_bytes(data)
        made, error = tried(lambda: LOADERS[name](path))
        words = (name, path.stem, Path(where).name, "file", "folder", "recipe")
        assert error is None or oracle.judged(error, words)[0] == "clear", f"{name}: {error!r}"
        repr(made)
        if hasattr(made, "close"):
            made.close()
