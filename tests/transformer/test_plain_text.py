import pytest
import torch
from support import models, toks

import steerwidgets as sw
from steerwidgets.transformer.plain_text import quoted, table
from steerwidgets.transformer.prompts import Token


@pytest.fixture(scope="module")
def lm():
    return sw.LanguageModel(models.make("llama"), toks.byte_level())


@pytest.fixture(scope="module")
def cavs():
    vectors = torch.randn(3, models.D_MODEL, generator=torch.Generator().manual_seed(0))
    return sw.CAV(vectors, ["sea", "sky", "a long label"], layer=1)


def test_columns_are_aligned_and_numbers_stand_to_the_right():
    lines = table(["name", "n"], [["a", 1.0], ["longer", 12345.678]]).splitlines()
    assert lines == ["name            n", "a               1", "longer  1.235e+04"]


def test_wide_characters_take_two_columns():
    lines = table(["token", "x"], [["海", "1"], ["ab", "2"]]).splitlines()
    assert lines == ["token  x", "海     1", "ab     2"]


def test_long_tables_say_what_they_leave_out():
    assert table(["i"], [[i] for i in range(2000)], most=2).splitlines() == ["i", "0", "1", "… and 1,998 more"]


def test_an_empty_table_has_its_headers():
    assert table(["a", "b"], []) == "a  b"


def test_tokens_show_spaces_and_breaks_and_bytes():
    assert [quoted(Token(1, " a\n")), quoted(Token(2, "E2 9C", fragment=True))] == [r"' a\n'", "E2 9C"]


def test_activations_print_a_row_for_each_token_and_say_which_do_not_count(lm, cavs):
    activations = lm.read("abc", cavs)
    lines = repr(activations).splitlines()
    assert lines[0].split("  ")[-1].strip() == "a long label"
    assert len(lines) == 1 + len(activations.tokens)
    for line, counts in zip(lines[1:], activations.mask, strict=True):
        assert line.endswith("not counted") == (not counts)


def test_many_features_are_not_all_printed(lm):
    assert repr(lm.read("abc", sw.Neurons(lm, layer=0))).endswith("more features")


def test_findings_print_feature_value_and_token(lm, cavs):
    fires = lm.search("abc", cavs, k=2)
    first = repr(fires).splitlines()[1]
    assert fires.features[0].label in first
    assert quoted(fires.tokens[0]) in first
    assert fires.tokens == tuple(lm.tokens(lm.encode("abc", chat=False).token_ids)[i] for i in fires.positions)


def test_logit_tables_print_their_columns_side_by_side(lm, cavs):
    top = lm.top_logits(cavs[0], k=3)
    assert repr(top).splitlines()[0].split() == ["promoted", "direct", "path", "suppressed", "direct", "path"]
    difference = lm.logit_difference("abc", cavs[0].add(4), k=3)
    lines = repr(difference).splitlines()
    assert lines[0].split() == ["promoted", "logit", "suppressed", "logit", "changed", "logit"]
    assert lines[5].split() == ["likely", "before", "probability", "likely", "after", "probability"]
    assert len(lines) == 9


def test_the_likeliest_tokens_before_and_after_are_those_of_the_model(lm, cavs):
    steer = cavs[0].add(4)
    difference = lm.logit_difference("abc", steer, k=3, chat=False)
    ids = torch.tensor([list(lm.encode("abc", chat=False).token_ids)])
    with torch.no_grad():
        plain = lm.model(ids).logits[0, -1].softmax(-1)
        with lm.steer(steer):
            steered = lm.model(ids).logits[0, -1].softmax(-1)
    for found, expected in ((difference.before, plain), (difference.after, steered)):
        top = expected.topk(3)
        assert [token.id for token, _ in found] == top.indices.tolist()
        assert [value for _, value in found] == pytest.approx(top.values.tolist(), abs=1e-5)


def test_a_steer_with_many_numbers_names_those_that_are_set():
    direction = sw.Direction(torch.ones(4), sw.Site(0), "x")
    assert repr(direction.clip(hi=2)) == "'x'.clip(None, 2)"


def test_a_generated_row_prints_its_text(lm):
    row = lm.sweep("abc", [None], max_new_tokens=3)[0]
    assert repr(row.text) in repr(row)
