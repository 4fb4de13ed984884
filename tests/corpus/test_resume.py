"""A run that was killed, stopped or broke off goes on where it was, and ends as one that was not."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from support import corpora, sae

import steerwidgets as sw

TEXTS = corpora.texts(40)


def dictionaries():
    return [sae.make("topk", k=5), sw.CAV(torch.eye(32)[:3], list("abc"), layer=2)]


def build(lm, path, texts=TEXTS, on_progress=lambda _: None, **settings):
    return sw.corpus.build(lm, dictionaries(), texts, path, on_progress=on_progress, **{"batch_tokens": 100} | settings)


@pytest.fixture
def whole(llama, tmp_path):
    return build(llama, tmp_path / "whole")


def test_goes_on_after_a_kill(llama, whole, tmp_path):
    script = Path(__file__).parent / "killed.py"
    ran = subprocess.run([sys.executable, script, tmp_path], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    names = json.loads(ran.stdout.splitlines()[-1])
    assert len(names) > 5
    counted = []
    for name in names:
        with pytest.raises((ValueError, FileNotFoundError), match=r"not finished|no corpus index"):
            sw.corpus.open(tmp_path / name)
        seen = []
        index = build(llama, tmp_path / name, on_progress=seen.append)
        corpora.assert_same(index, whole, dictionaries())
        counted.append(sum(each.stage == "skipping" for each in seen))
        assert len([each for each in (tmp_path / name).iterdir() if each.is_dir()]) == 1
    # Killed before anything was on the disk, in the middle, and when all was read but not put together.
    assert (min(counted), max(counted)) == (0, len(TEXTS))
    assert len(set(counted)) > 4


def test_stops_within_a_batch_and_goes_on(llama, whole, tmp_path):
    stop, seen = threading.Event(), []

    def told(progress):
        seen.append(progress)
        if len(seen) == 11:
            stop.set()

    index = build(llama, tmp_path / "stopped", on_progress=told, stop=stop)
    assert len([each for each in seen if each.stage == "reading"]) == 11
    assert not index.complete
    assert 0 < index.texts < len(TEXTS)
    assert "not read to the end" in repr(index)
    assert index.of(dictionaries()[0]).tokens > 0
    again = build(llama, tmp_path / "stopped")
    assert again.complete
    corpora.assert_same(again, whole, dictionaries())


def test_stopped_before_anything_was_read(llama, tmp_path):
    stop = threading.Event()
    stop.set()
    index = build(llama, tmp_path / "index", stop=stop)
    assert (index.texts, index.tokens) == (0, 0)
    assert index.of(dictionaries()[0])[3].examples == ()
    assert build(llama, tmp_path / "index").texts == len(TEXTS)


def test_a_text_that_cannot_be_read_loses_nothing_before_it(llama, whole, tmp_path):
    with pytest.raises(TypeError, match=r"Text 30 can't be read\. A prompt is a string"):
        build(llama, tmp_path / "index", [*TEXTS[:30], 3.5, *TEXTS[30:]])
    seen = []
    index = build(llama, tmp_path / "index", on_progress=seen.append)
    assert sum(each.stage == "skipping" for each in seen) > 10
    corpora.assert_same(index, whole, dictionaries())


def test_more_texts_and_more_tokens(llama, whole, tmp_path):
    first = build(llama, tmp_path / "index", max_tokens=300)
    assert 300 <= first.tokens < 300 + 4 * 100 + 100
    assert first.complete
    same = build(llama, tmp_path / "index", max_tokens=300)
    assert same.texts == first.texts
    corpora.assert_same(build(llama, tmp_path / "index"), whole, dictionaries())
    once_more = build(llama, tmp_path / "index", iter(TEXTS))
    corpora.assert_same(once_more, whole, dictionaries())


def test_other_arguments_are_refused(llama, fresh, tmp_path):
    path = tmp_path / "index"
    build(llama, path)
    with pytest.raises(ValueError, match="whose examples is 20, not 5; give the same"):
        build(llama, path, examples=5)
    with pytest.raises(ValueError, match="first 40 texts are not those"):
        build(llama, path, ["Another one.", *TEXTS])
    with pytest.raises(ValueError, match="first 40 texts are not those"):
        build(llama, path, TEXTS[:10])
    with pytest.raises(ValueError, match=r"dictionaries are SAE at .*, CAV at .*, not SAE"):
        sw.corpus.build(llama, dictionaries()[0], TEXTS, path, batch_tokens=100)
    with pytest.raises(ValueError, match="model has other weights"):
        build(fresh(seed=1), path)


def test_one_run_at_a_time(llama, tmp_path):
    def told(_):
        with pytest.raises(RuntimeError, match="Another run is building"):
            build(llama, tmp_path / "index")

    build(llama, tmp_path / "index", TEXTS[:3], on_progress=told)
