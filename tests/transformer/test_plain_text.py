"""Text as tables, and text that pages and files can hold: no halves of characters, no turn that goes on."""

import json

import pytest
import torch
from support.models import D_MODEL
from widgets.front_end import FrontEnd

import steerwidgets as sw
from steerwidgets.transformer.plain_text import closed, quoted, table, whole
from steerwidgets.transformer.prompts import Token

HALF = "half \ud800 of \udcff"


@pytest.fixture(scope="module")
def cavs():
    vectors = torch.randn(3, D_MODEL, generator=torch.Generator().manual_seed(0))
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


def test_activations_print_a_row_for_each_token_and_say_which_do_not_count(llama, cavs):
    activations = llama.read("abc", cavs)
    lines = repr(activations).splitlines()
    assert lines[0].split("  ")[-1].strip() == "a long label"
    assert len(lines) == 1 + len(activations.tokens)
    for line, counts in zip(lines[1:], activations.mask, strict=True):
        assert line.endswith("not counted") == (not counts)


def test_many_features_are_not_all_printed(llama):
    assert repr(llama.read("abc", sw.Neurons(llama, layer=0))).endswith("more features")


def test_findings_print_feature_value_and_token(llama, cavs):
    fires = llama.search("abc", cavs, k=2)
    first = repr(fires).splitlines()[1]
    assert fires.features[0].label in first
    assert quoted(fires.tokens[0]) in first
    assert fires.tokens == tuple(llama.tokens(llama.encode("abc", chat=False).token_ids)[i] for i in fires.positions)


def test_logit_tables_print_their_columns_side_by_side(llama, cavs):
    top = llama.top_logits(cavs[0], k=3)
    assert repr(top).splitlines()[0].split() == ["promoted", "direct", "path", "suppressed", "direct", "path"]
    difference = llama.logit_difference("abc", cavs[0].add(4), k=3)
    lines = repr(difference).splitlines()
    assert lines[0].split() == ["promoted", "logit", "suppressed", "logit", "changed", "logit"]
    assert lines[5].split() == ["likely", "before", "probability", "likely", "after", "probability"]
    assert len(lines) == 9


def test_the_likeliest_tokens_before_and_after_are_those_of_the_model(llama, cavs):
    steer = cavs[0].add(4)
    difference = llama.logit_difference("abc", steer, k=3, chat=False)
    ids = torch.tensor([list(llama.encode("abc", chat=False).token_ids)])
    with torch.no_grad():
        plain = llama.model(ids).logits[0, -1].softmax(-1)
        with llama.steer(steer):
            steered = llama.model(ids).logits[0, -1].softmax(-1)
    for found, expected in ((difference.before, plain), (difference.after, steered)):
        top = expected.topk(3)
        assert [token.id for token, _ in found] == top.indices.tolist()
        assert [value for _, value in found] == pytest.approx(top.values.tolist(), abs=1e-5)


def test_a_steer_with_many_numbers_names_those_that_are_set():
    direction = sw.Direction(torch.ones(4), sw.Site(0), "x")
    assert repr(direction.clip(hi=2)) == "'x'.clip(None, 2)"


def test_a_generated_row_prints_its_text(llama):
    row = llama.sweep("abc", [None], max_new_tokens=3)[0]
    assert repr(row.text) in repr(row)


def test_halves_are_replaced_and_pairs_are_joined():
    assert whole(HALF) == "half \ufffd of \ufffd"
    assert whole("\ud83c\udf0a") == "🌊"
    given = {"a\udc80": ["sea ☕", 1.5, None, b"\xff"], "b": ("\ud800",)}
    assert whole(given) == {"a\ufffd": ["sea ☕", 1.5, None, b"\xff"], "b": ["\ufffd"]}


def test_labels_and_file_names_with_halves_reach_the_page_and_the_file(lm, tmp_path):
    cavs = sw.CAV(torch.eye(2, 32), [HALF, "the sea"], layer=1, max_activations=[3, 4], max_activation_of=HALF)
    for widget in (sw.SteeringPanel(lm, cavs, recipe=cavs[0].add(1)), sw.TokenHeatmap(lm, cavs, "The sea", [0])):
        state = json.dumps(widget.get_state(), ensure_ascii=False)
        assert "half \ufffd of" in state
        state.encode()
        assert "half \ufffd of" in widget.to_html(tmp_path / "page.html").read_text("utf-8")
        (tmp_path / "page.json").write_text(widget.to_json(), "utf-8")
        widget.close()


def test_errors_with_halves_are_answered(lm):
    panel = sw.SteeringPanel(lm, sw.CAV(torch.ones(1, 32), [HALF], layer=1))
    page = FrontEnd(panel)
    ended = page.call("prompt_tokens", text=HALF)
    json.dumps(ended, ensure_ascii=False).encode()
    panel.close()


def test_turns_of_writing_direction_end_with_the_text():
    assert closed("a\u202eb") == "a\u202eb\u202c"
    assert closed("\u202e\u2066\u2067x") == "\u202e\u2066\u2067x\u2069\u2069\u202c"
    # A closed isolate closes what was opened within it.
    assert closed("\u2067\u202eb\u2069c") == "\u2067\u202eb\u2069c"
    for plain in ("the sea", "\u05d9\u05dd", "x\u202c\u2069", "\u202ax\u202c"):
        assert closed(plain) == plain
