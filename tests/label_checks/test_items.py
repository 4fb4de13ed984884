"""Items: their composition, their sameness, their truth against a naive reading of each text, thin evidence."""

import collections
import functools

import pytest
import torch
from support import checked, kinds, toks
from support.evidence import Gathered, read

from steerwidgets.label_checks.items import MODES, NEGATIVES, ItemMaker
from steerwidgets.label_checks.where_it_should_fire import content_words

SEED = 2026


_world = checked.world


@pytest.fixture
def lm():
    return _world()[0]


@pytest.fixture
def sae():
    return _world()[1]


@functools.cache
def _items(seed=SEED):
    lm, sae = _world()
    maker = ItemMaker(lm, sae, seed)
    return [maker.of(index) for index in range(sae.size - 2)]


def naive(lm, dictionary, index, ids):
    """The feature on a text by itself, by transformers' own hidden states; 0 where a token does not count."""
    h, counts = read(lm, dictionary, list(ids))
    return dictionary.encode(h)[:, index].masked_fill(~counts, 0.0)


def of(mode):
    return [item for each in _items() if (item := each.of(mode)) is not None]


def test_modes_come_in_the_order_of_the_protocol():
    assert MODES == ("odd one out", "which fire", "which tokens", "which label")
    for each in _items():
        modes = [item.mode for item in each.items]
        assert modes == [mode for mode in MODES if mode in modes]


def test_every_text_reads_as_its_item_says(lm, sae):
    read_ = 0
    for each in _items()[:12]:
        for item in each.items:
            for text in item.texts:
                values = naive(lm, sae, item.index, text.token_ids)
                assert torch.allclose(values, torch.tensor(text.values), atol=2e-4)
                assert text.fires == (float(values.max()) > 0)
                assert (text.decile is not None) == text.fires
                assert text.text == "".join(p.text for p in lm.tokens(text.token_ids) if not p.fragment)
                read_ += 1
    assert read_ > 200


def test_deciles_are_tenths_of_the_range_to_the_maximum(sae):
    for item in of("which fire"):
        for text in item.texts:
            if text.fires:
                share = 10 * text.value / sae.maximum(item.index)
                assert text.decile - 1 - 1e-3 <= share <= text.decile + 1e-3 or text.decile in (1, 10)


def test_which_fire_has_one_positive_of_each_decile_and_three_kinds_of_negatives():
    whole = 0
    for each in _items():
        item = each.of("which fire")
        kinds_ = collections.Counter(text.kind for text in item.texts)
        deciles = collections.Counter(text.decile for text in item.texts if text.fires)
        assert kinds_["fires"] <= 10
        assert kinds_.total() - kinds_["fires"] <= 10
        assert item.label == each.label
        assert item.truth == tuple(int(text.fires) for text in item.texts)
        if not each.notes:
            whole += 1
            assert deciles == dict.fromkeys(range(1, 11), 1)
            assert {kind: kinds_[kind] for kind in NEGATIVES} == NEGATIVES
    assert whole >= 1, [each.notes for each in _items()]


def test_what_is_missing_is_said_and_filled_with_what_there_is():
    for each in _items():
        item = each.of("which fire")
        kinds_ = collections.Counter(text.kind for text in item.texts)
        for kind, number in NEGATIVES.items():
            if kinds_[kind] < number:
                assert any(f"of {number} silent texts" in note for note in each.notes)
        deciles = {text.decile for text in item.texts if text.fires}
        if len(deciles) < 10:
            assert any("no example of decile" in note for note in each.notes)


def test_silent_texts_with_the_labels_words_have_one():
    found = [(item, text) for item in of("which fire") for text in item.texts if text.kind == "label's words"]
    assert found
    for item, text in found:
        assert any(word in text.text.casefold() for word in content_words(item.label))


def test_neighbours_texts_are_examples_of_the_nearest_features(sae):
    found = [(item, text) for item in of("which fire") for text in item.texts if text.kind == "neighbour"]
    assert found
    for item, text in found:
        near = [other for other, _ in sae.evidence(item.index).nearest][:5]
        evidence = [sae.evidence(other) for other in near]
        theirs = {
            example.token_ids
            for each in evidence
            for example in (*each.examples, *each.random, *(e for band in each.quantiles for e in band.examples))
        }
        assert text.token_ids in theirs


def test_the_odd_one_is_silent_beside_four_of_one_decile_and_shows_no_label():
    items = of("odd one out")
    assert items
    for item in items:
        [odd] = [at for at, text in enumerate(item.texts) if not text.fires]
        assert (item.truth, len(item.texts), item.label, item.choices) == ((odd,), 5, "", ())
        assert len({text.decile for text in item.texts if text.fires}) == 1
        assert item.chance == 1 / 5
    assert len({item.truth for item in items}) > 2  # not always in one place


def test_the_odd_one_out_gives_nothing_of_which_fire_away():
    for each in _items():
        odd, fire = each.of("odd one out"), each.of("which fire")
        if odd is not None and fire is not None:
            assert not {text.token_ids for text in odd.texts} & {text.token_ids for text in fire.texts}


def test_right_marks_are_the_tokens_from_three_tenths_of_the_maximum_and_wrong_ones_as_many_silent_tokens():
    items = of("which tokens")
    assert items
    for item in items:
        assert 0 < sum(item.truth) < len(item.truth) or len(item.truth) < 2
        for text, truth in zip(item.texts, item.truth, strict=True):
            right = tuple(at for at, value in enumerate(text.values) if value >= 0.3 * text.value)
            if truth:
                assert text.marked == right
            else:
                assert len(text.marked) == len(right)
                assert all(text.values[at] == 0 for at in text.marked)
    assert any(sum(item.truth) == 3 and len(item.truth) == 6 for item in items)


def test_the_true_label_stands_among_five_different_ones():
    items = of("which label")
    assert items
    for each in _items():
        item = each.of("which label")
        assert item.choices[item.truth[0]] == each.label
        assert len({choice.casefold() for choice in item.choices}) == 5
        assert item.label == ""
        assert all(text.fires for text in item.texts)


def test_the_same_seed_gives_everyone_the_same_items_whatever_was_asked_before(lm, sae):
    mine = ItemMaker(lm, sae, SEED)
    for index in (17, 3, 9):
        assert mine.of(index) == _items()[index]
        assert [item.id for item in mine.of(index).items] == [item.id for item in _items()[index].items]


def test_another_seed_gives_other_items(lm, sae):
    other = ItemMaker(lm, sae, SEED + 1).of(3)
    assert {item.id for item in other.items}.isdisjoint(item.id for item in _items()[3].items)


def test_a_feature_without_a_label_is_asked_for_the_odd_one_alone(lm, sae):
    found = ItemMaker(lm, sae, SEED).of(sae.size - 1)
    assert {item.mode for item in found.items} <= {"odd one out"}
    assert any("no label" in note for note in found.notes)


def test_labels_that_are_given_take_the_place_of_the_dictionarys(lm, sae):
    given = {3: "oceans", 4: "four", 5: "five", 6: "six", 7: "seven"}
    found = ItemMaker(lm, sae, SEED, given).of(3)
    assert found.label == "oceans"
    assert set(found.of("which label").choices) == set(given.values())


def test_everyone_checks_the_imported_label_whatever_they_call_a_feature(lm, monkeypatch, tmp_path):
    monkeypatch.setenv("STEERWIDGETS_DATA", str(tmp_path))
    sae = _world()[1]
    sae.__dict__.pop("user_labels", None)
    try:
        sae.user_labels.set(3, label="mine")
        sae.user_labels.set(sae.size - 1, label="the only one")
        maker = ItemMaker(lm, sae, SEED)
        assert maker.label(3) == checked.labels()[3]
        assert maker.label(sae.size - 1) == "the only one"
    finally:
        sae.__dict__.pop("user_labels", None)


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_every_kind_with_evidence_has_items_and_says_what_is_left_out(lm, kind):
    size = min(kinds.SIZE, kinds.make(kind, lm).size)
    names = {index: f"label {index}" for index in range(size)}
    made = checked.indexed(lm, kinds.make(kind, lm, labels=names), texts=60)
    maker = ItemMaker(lm, made, SEED)
    found = [maker.of(index) for index in names]
    # A head's output is never far below its longest, so that no text is silent.
    assert any(each.items for each in found) or kind == "Head"
    assert all(each.items or each.notes for each in found)
    for item in (item for each in found for item in each.items):
        for text in item.texts:
            h = lm.residuals(text.token_ids, [made.site]).values[made.site][0]
            values = made.encode(h)[1:, item.index]  # the first token is a sink
            assert torch.allclose(values, torch.tensor(text.values[1:]), atol=2e-3)


def test_a_dense_feature_is_silent_below_a_share_of_its_maximum(lm):
    made = checked.indexed(lm, kinds.make("ReFT", labels=[f"label {i}" for i in range(kinds.SIZE)]), texts=80)
    found = ItemMaker(lm, made, SEED).of(0)
    assert any("nearly everywhere" in note for note in found.notes)
    fire = found.of("which fire")
    silent = [text.value for text in fire.texts if not text.fires]
    assert 0 < max(silent) <= 0.3 * made.maximum(0) + 1e-6
    assert max(silent) < min(text.value for text in fire.texts if text.fires)


def test_a_dictionary_without_evidence_is_refused_with_the_way_out(lm):
    with pytest.raises(ValueError, match=r"nothing was gathered of .*sw\.corpus\.build"):
        ItemMaker(lm, kinds.make("CAV"), SEED)


def test_one_text_gives_what_it_can_and_says_the_rest(lm):
    made = checked.sparse(lm, checked.corpora.texts(60))
    made.feature_data = Gathered(lm, made, [toks.SENTENCES[0]])
    found = ItemMaker(lm, made, SEED).of(3)
    assert not found.of("odd one out")
    assert found.notes


@pytest.mark.parametrize("seed", [1.5, "2026", None, True])
def test_a_seed_is_a_whole_number(lm, sae, seed):
    with pytest.raises(ValueError, match="seed of a label check is a whole number"):
        ItemMaker(lm, sae, seed)


def item_of(mode):
    return of(mode)[0]


@pytest.mark.parametrize("answer", [5, -1, 1.5, True, "2", [1, 2]])
def test_a_choice_is_one_of_five(answer):
    with pytest.raises(ValueError, match="whole number from 0 to 4"):
        item_of("odd one out").checked(answer)


@pytest.mark.parametrize("answer", [3, "yes", [1.0], [2.0] * 20, ["yes"] * 20, [float("nan")] * 20])
def test_confidence_is_one_number_for_each_text(answer):
    item = item_of("which fire")
    answer = answer[:1] * len(item.texts) if isinstance(answer, list) and len(answer) > 1 else answer
    with pytest.raises(ValueError, match=r"0 to 1"):
        item.checked(answer)


def test_answers_as_they_are_kept():
    odd, fire = item_of("odd one out"), item_of("which fire")
    number = len(fire.texts)
    assert odd.checked(3) == odd.checked([3]) == (3.0,)
    assert odd.checked(None) == (None,)
    assert fire.checked(None) == (None,) * number
    assert fire.checked([True] + [False] * (number - 2) + [None]) == (1.0, *[0.0] * (number - 2), None)


def test_no_two_texts_of_an_item_are_pieces_of_one_passage():
    for each in _items():
        for item in each.items:
            texts = [text.token_ids for text in item.texts if text.kind in ("fires", "random")]
            runs = [{ids[at : at + 6] for at in range(max(1, len(ids) - 5))} for ids in texts]
            assert sum(map(len, runs)) == len(set().union(*runs)), item.mode


def test_marks_can_be_read_without_colours():
    item = item_of("which tokens")
    text = item.texts[0]
    marked = "".join(f"<<{p}>>" if at in text.marked else p for at, p in enumerate(text.pieces))
    assert text.with_marks("<<", ">>") == marked
