"""Halves of characters, which no page and no file can hold."""

import json

import torch
from widgets.front_end import FrontEnd

import steerwidgets as sw
from steerwidgets.transformer.plain_text import closed, whole

HALF = "half \ud800 of \udcff"


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
