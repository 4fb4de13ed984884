"""What is on disk: opened at once, read one feature at a time, and refused where it is damaged."""

import json
import shutil

import numpy as np
import pyarrow.parquet
import pytest
import torch
from support import corpora, models, sae

import steerwidgets as sw
from steerwidgets.corpus import building, part_files

WIDE = 5000


def wide(size=WIDE, k=8):
    drawn = torch.Generator().manual_seed(0)
    W = torch.randn(size, models.D_MODEL, generator=drawn)
    zeros = torch.zeros(size), torch.zeros(models.D_MODEL)
    return sw.SAE(W.T.contiguous(), zeros[0], W, zeros[1], "topk", k=k, layer=1)


@pytest.fixture(scope="module")
def lm():
    from conftest import _model, _tokenizer

    return sw.LanguageModel(_model("llama"), _tokenizer("chatml"))


@pytest.fixture(scope="module")
def built(lm, tmp_path_factory):
    """A dictionary so wide that its pairs are sampled, and its places in two files."""
    path = tmp_path_factory.mktemp("wide") / "index"
    return sw.corpus.build(lm, wide(), corpora.texts(80), path, batch_tokens=500, on_progress=lambda _: None)


@pytest.fixture
def copied(built, tmp_path):
    return shutil.copytree(built.path, tmp_path / "copy")


def test_opening_reads_the_description_alone(built, monkeypatch):
    read = []
    monkeypatch.setattr(part_files, "open_parquet", read.append)
    monkeypatch.setattr(part_files, "Arrays", read.append)
    index = sw.corpus.open(built.path)
    assert read == []
    assert (index.texts, index.tokens, index.name) == (built.texts, built.tokens, "corpus")
    assert [(entry.kind, entry.size) for entry in index.dictionaries] == [("SAE", WIDE)]


def test_a_feature_reads_one_row_group(built, monkeypatch):
    read = []
    group = pyarrow.parquet.ParquetFile.read_row_group

    def counted(file, number, **given):
        read.append(number)
        return group(file, number, **given)

    monkeypatch.setattr(pyarrow.parquet.ParquetFile, "read_row_group", counted)
    monkeypatch.setattr(pyarrow.parquet.ParquetFile, "read", None)
    data = sw.corpus.open(built.path).of(wide())
    assert data[4500].index == 4500
    data[17]
    data[18]
    assert read == [(4500 - 4096) // 16, 1, 1]
    files = sorted(built.path.rglob("*.parquet"))
    assert [pyarrow.parquet.ParquetFile(path).num_row_groups for path in files] == [256, -(-(WIDE - 4096) // 16)]
    assert all(
        pyarrow.parquet.read_table(path)["feature"].to_pylist() == sorted(column)
        for path, column in ((path, pyarrow.parquet.read_table(path)["feature"].to_pylist()) for path in files)
    )


def test_features_that_go_together_in_a_wide_dictionary(built, lm):
    """Where a feature has at most 32 places, all of them are looked at, and the shares are exact."""
    reference = corpora.Reference(lm, wide(), corpora.texts(80))
    fires = torch.cat([(v > 0)[c] for v, c in zip(reference.values, reference.counted, strict=True)])
    counts = fires.sum(0)
    checked = 0
    for feature in range(0, WIDE, 97):
        if not 0 < counts[feature] <= 32:
            continue
        together = (fires & fires[:, [feature]]).sum(0)
        expected = together / (counts * counts[feature]).clamp(min=1).sqrt()
        expected[feature] = 0
        # Others that fire more often are looked at in part only.
        sure = counts <= 32
        for other, value in built.of(wide())[feature].coactive:
            if sure[other]:
                assert value == pytest.approx(float(expected[other]), rel=1e-4)
                checked += 1
    assert checked > 20


def test_nothing_grows_with_the_corpus(lm, tmp_path, monkeypatch):
    held = []
    add = building.Gathering.add

    def watched(gathering, batch, firing):
        add(gathering, batch, firing)
        held.append(gathering.rows)

    monkeypatch.setattr(building.Gathering, "add", watched)
    monkeypatch.setattr("steerwidgets.corpus.gathering._PENDING", 200)
    texts = corpora.texts(400)
    seen = 0

    def stream():
        nonlocal seen
        for text in texts:
            seen += 1
            yield text

    ahead = []
    dictionary = sae.make("topk", k=5)
    kept = {"examples": 3, "per_quantile": 2, "random": 2}
    told = lambda progress: ahead.append(seen - progress.done) if progress.stage == "reading" else None
    index = sw.corpus.build(lm, dictionary, stream(), tmp_path / "index", batch_tokens=100, on_progress=told, **kept)
    # At most 3 and 14 cells of 2 of each feature, and as many again that wait to be sorted.
    assert max(held) < 2 * sae.SIZE * (3 + 14 * 2) + 200
    assert max(held[len(held) // 2 :]) < 1.5 * max(held[: len(held) // 2])
    assert max(ahead) < 40
    assert index.texts == 400


def test_memory_that_fills_is_written(lm, tmp_path, monkeypatch):
    monkeypatch.setattr(building, "_ROWS", 300)
    written = []
    write = building.write_gathered
    monkeypatch.setattr(building, "write_gathered", lambda *given: (written.append(given[0]), write(*given))[1])
    dictionaries = [sae.make("topk", k=5)]
    texts = corpora.texts(60)
    often = sw.corpus.build(lm, dictionaries, texts, tmp_path / "often", batch_tokens=100, on_progress=lambda _: None)
    assert len(written) > 5
    monkeypatch.undo()
    once = sw.corpus.build(lm, dictionaries, texts, tmp_path / "once", batch_tokens=100, on_progress=lambda _: None)
    corpora.assert_same(often, once, dictionaries)


def test_damaged_and_foreign_files_are_refused(copied, built):
    part = copied / "part-000002" / "0"
    for path in (part / "counts.safetensors", part / "summary.safetensors", part / "places-00000.parquet"):
        whole = path.read_bytes()
        for torn in (whole[: len(whole) // 2], b"", b"something else"):
            path.write_bytes(torn)
            with pytest.raises(
                ValueError, match=f"{path.name} of the corpus index .* can't be read .*; build it again"
            ):
                sw.corpus.open(copied).of(wide())[3]
        path.unlink()
        with pytest.raises(ValueError, match=f"{path.name} of the corpus index"):
            sw.corpus.open(copied).of(wide())[3]
        path.write_bytes(whole)
    assert sw.corpus.open(copied).of(wide())[3] == built.of(wide())[3]


def test_damaged_and_foreign_descriptions_are_refused(copied, tmp_path):
    path = copied / "index.json"
    said = json.loads(path.read_text())
    for text in ("{", "[]", "{}", json.dumps(said | {"format": "a cake"}), path.read_text()[:-20]):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"index\.json in .* is damaged, or not of a corpus index"):
            sw.corpus.open(copied)
    path.write_text(json.dumps(said | {"version": 9}))
    with pytest.raises(ValueError, match="has version 9, and this steerwidgets reads version 1"):
        sw.corpus.open(copied)
    for changed in ({"settings": {}}, {"parts": ["../../elsewhere"]}, {"read": {"books": 3}}, {"cake": 1}):
        path.write_text(json.dumps(said | changed))
        with pytest.raises(ValueError, match=r"index\.json in .* is damaged"):
            sw.corpus.open(copied)
    with pytest.raises(FileNotFoundError, match="no corpus index at"):
        sw.corpus.open(tmp_path / "nothing")


def test_pyarrow_is_asked_for(lm, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "steerwidgets\[corpus\]"'):
        sw.corpus.build(lm, wide(), ["A text."], tmp_path / "index", on_progress=lambda _: None)
    assert not (tmp_path / "index").exists()


def test_places_read_back_as_they_were(tmp_path):
    drawn = np.random.default_rng(0)
    length = drawn.integers(1, 6, 50).astype(np.int16)
    inside = np.arange(5) < length[:, None]
    places = {
        "feature": np.sort(drawn.integers(0, 40, 50)).astype(np.int32),
        "kind": drawn.integers(0, 3, 50).astype(np.int8),
        "value": drawn.random(50).astype(np.float32),
        "position": drawn.integers(0, 9, 50).astype(np.int32),
        "source": drawn.integers(0, 2, 50).astype(np.int32),
        "peak": drawn.integers(0, 5, 50).astype(np.int16),
        "length": length,
        "tokens": np.where(inside, drawn.integers(0, 2**31, (50, 5)), 0).astype(np.int32),
        "values": np.where(inside, drawn.random((50, 5)), 0).astype(np.float32),
    }
    places |= {name: drawn.integers(0, 2**64, 50, dtype=np.uint64) for name in ("priority", "context", "text")}
    starts = np.searchsorted(places["feature"], np.arange(41))
    part_files.write_places(tmp_path / "places", places, starts, ["ä", "<b>"])
    found, sources = part_files.read_places(tmp_path / "places", None)
    assert [sources[number] for number in found["source"]] == [["ä", "<b>"][number] for number in places["source"]]
    for name, column in places.items():
        if name != "source":
            assert found[name].dtype == column.dtype
            assert (found[name] == column).all()
