"""Indexes of parts of a corpus merge to what one run over all of it gives."""

import itertools

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import corpora, sae

import steerwidgets as sw

POOL = [*corpora.texts(9, longest=12), "", "The ocean is wide and the city is by the sea, they say, and nobody knows."]


def dictionaries():
    return [sae.make("topk", k=5), sw.CAV(torch.eye(32)[:3], list("abc"), layer=2)]


def build(lm, path, texts, **given):
    # A batch for each text, so that arithmetic is the same to the last bit however the texts are cut.
    ways = {"batch_tokens": 1, "on_progress": lambda _: None, "examples": 3, "per_quantile": 2, "random": 2} | given
    return sw.corpus.build(lm, dictionaries(), texts, path, **ways)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(st.sampled_from(POOL), min_size=1, max_size=14),
    cuts=st.lists(st.integers(0, 14), min_size=1, max_size=3),
    order=st.randoms(use_true_random=False),
)
def test_parts_make_the_whole(llama, tmp_path_factory, texts, cuts, order):
    folder = tmp_path_factory.mktemp("merge")
    whole = build(llama, folder / "whole", texts)
    edges = sorted({0, *cuts, len(texts)})
    parts = [texts[begin:end] for begin, end in itertools.pairwise(edges)]
    paths = [folder / str(number) for number in range(len(parts))]
    for path, part in zip(paths, parts, strict=True):
        build(llama, path, part)
    order.shuffle(paths)
    merged = sw.corpus.merge(paths[:2], folder / "some")
    if paths[2:]:
        merged = sw.corpus.merge([folder / "some", *paths[2:]], folder / "merged")
    corpora.assert_same(merged, whole, dictionaries())
    assert merged.of(dictionaries()[0])[3].nearest == whole.of(dictionaries()[0])[3].nearest


def test_what_does_not_belong_together_is_refused(llama, tmp_path):
    first, second, other = (tmp_path / name for name in ("first", "second", "other"))
    build(llama, first, POOL[:4])
    build(llama, second, POOL[4:])
    build(llama, other, POOL[4:], quantiles=3)
    with pytest.raises(ValueError, match=r"quantiles is 3, not 5"):
        sw.corpus.merge([first, other], tmp_path / "merged")
    with pytest.raises(ValueError, match="would count twice"):
        sw.corpus.merge([first, first], tmp_path / "merged")
    merged = sw.corpus.merge([first, second], tmp_path / "merged")
    with pytest.raises(ValueError, match="would count twice"):
        sw.corpus.merge([merged.path, second], tmp_path / "again")
    with pytest.raises(ValueError, match="needs an empty folder"):
        sw.corpus.merge([first, second], merged.path)
    with pytest.raises(ValueError, match="merged from others"):
        build(llama, merged.path, POOL)
    with pytest.raises(ValueError, match="several corpus indexes in a list"):
        sw.corpus.merge(str(first), tmp_path / "again")
    with pytest.raises(FileNotFoundError, match="no corpus index"):
        sw.corpus.merge([first, tmp_path / "none"], tmp_path / "again")
