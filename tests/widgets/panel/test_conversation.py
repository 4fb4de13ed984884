"""A panel's conversation: system prompt, turns, reply, edit and resend, and what a changed recipe outdates."""

import pytest

import steerwidgets as sw

TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Name a city."},
    {"role": "assistant", "content": "Rome."},
    {"role": "user", "content": "Another one?"},
]


def test_messages_are_a_conversation(make_panel, lm, cavs):
    panel = make_panel(prompt=TALK, recipe=cavs[0].add(4))
    assert (panel.system, panel.prompt, len(panel.turns)) == ("Be brief.", "Another one?", 2)
    assert panel.conversation == TALK
    out = panel.generate()
    expected = lm.compare(TALK, cavs[0].add(4), max_new_tokens=8)
    assert out.prompt == expected.prompt
    assert out.steered.text == expected.steered.text
    assert len(panel.prompt_tokens["tokens"]) == len(expected.prompt)
    measured = lm.measure(TALK, cavs[0].add(4))
    assert panel.readouts[panel.steers[0]["id"]]["ratio"] == measured[0].ratio
    assert panel.logit_difference().promoted == lm.logit_difference(TALK, cavs[0].add(4), 8, least=1e-3).promoted


def test_without_the_chat_template_the_prompt_stands_alone(make_panel, lm, cavs):
    panel = make_panel(prompt=TALK, recipe=cavs[0].add(4))
    panel.chat = False
    assert panel.generate().prompt == lm.encode("Another one?", chat=False)
    with pytest.raises(ValueError, match="switch chat on"):
        panel.reply()


def test_a_reply_takes_the_answer_in(panel, lm, cavs):
    out = panel.generate()
    first = panel.prompt
    assert panel.reply() == [
        {"role": "user", "content": first},
        {"role": "assistant", "content": out.steered.text},
        {"role": "user", "content": ""},
    ]
    assert panel.prompt == ""
    panel.prompt = "And then?"
    again = panel.generate()
    assert again.steered.text == lm.compare(panel.conversation, cavs[0].add(4), max_new_tokens=8).steered.text
    panel.reply("baseline")
    assert [turn.get("row") for turn in panel.turns] == [None, "steered", None, "baseline"]


def test_a_reply_is_to_what_is_shown_whatever_was_typed_since(panel):
    out = panel.generate()
    asked = panel.prompt
    panel.prompt = "Something else entirely."
    assert panel.reply()[:2] == [
        {"role": "user", "content": asked},
        {"role": "assistant", "content": out.steered.text},
    ]


def test_an_edit_goes_back_and_is_sent_again(panel):
    first = panel.generate()
    asked = panel.prompt
    panel.reply()
    panel.prompt = "And then?"
    panel.generate()
    panel.reply()
    assert panel.edit(2) == "And then?"
    assert (panel.prompt, len(panel.turns)) == ("And then?", 2)
    assert panel.edit(0) == asked
    assert panel.turns == []
    assert panel.generate().steered.text == first.steered.text


def test_a_changed_recipe_outdates_what_it_wrote_and_nothing_else(panel, cavs):
    panel.generate()
    panel.reply("baseline")
    panel.prompt = "And then?"
    panel.generate()
    panel.reply("steered")
    assert panel.outdated == []
    panel.recipe = cavs[0].add(9)
    assert panel.outdated == [3]
    panel.recipe = cavs[0].add(4)
    assert panel.outdated == []
    panel.recipe = None
    assert panel.outdated == [3]
    panel.edit(2)
    assert panel.outdated == []


def test_a_saved_page_and_a_run_say_the_conversation(panel, tmp_path):
    panel.system = "Be brief."
    panel.generate()
    panel.reply()
    panel.prompt = "And then?"
    panel.generate()
    assert (panel.result["system"], len(panel.result["turns"])) == ("Be brief.", 2)
    assert len(panel.runs[-1]["turns"]) == 2
    assert "Be brief." in panel.to_html(tmp_path / "page.html").read_text("utf-8")


def test_the_snippet_runs_the_conversation(panel, lm, cavs):
    panel.system = "Be 'brief'."
    panel.generate()
    panel.reply()
    panel.prompt = 'And "then"?'
    panel.beside = {"asked": "Talk about the sea.", "random": 2}
    panel.generate()
    names = {"model": lm.model, "tokenizer": lm.tokenizer}
    exec(panel.snippet, names)
    out = names["out"]
    shown = [row["text"] for row in panel.result["rows"]]
    assert [out.baseline.text, out.steered.text, *(row.text for row in out.beside)] == shown


def test_the_page_replies_and_edits(panel, page):
    panel.generate()
    panel.prompt = "typed while the kernel was busy"
    assert page.call("reply", row="steered")["type"] == "result"
    assert (len(panel.turns), panel.prompt) == (2, "typed while the kernel was busy")
    assert page.call("edit", turn=0)["type"] == "result"
    assert (len(panel.turns), bool(panel.prompt)) == (0, True)


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        (lambda p: p.edit(0), "Only a message of the user's can be edited, and 0 is none: there is none yet"),
        (lambda p: p.reply(), "press Generate"),
        (lambda p: (p.generate(), p.reply("louder")), "shows the rows baseline, steered, but 'louder'"),
        (lambda p: (p.generate(), p.reply(), p.edit(1)), "and 1 is none: the user's are 0"),
    ],
)
def test_what_there_is_not_is_one_sentence(panel, ask, sentence):
    with pytest.raises(ValueError, match=sentence):
        ask(panel)
    panel.prompt = "Hi"
    assert panel.generate().steered.text


@pytest.mark.parametrize(
    "turns", [3, ["hi"], [{"role": "judge", "content": "x"}], [{"role": "user", "content": 3}], [{}]]
)
def test_turns_that_are_none_are_one_sentence(panel, page, turns):
    ended = page.call("generate", turns=turns)
    assert ended["type"] == "error"
    assert "urns" in ended["error"]["message"]
    page.update(turns=turns if isinstance(turns, list) else [])
    page.update(turns=[])
    assert panel.generate().steered.text


@pytest.mark.parametrize(
    "prompt", [[], [{"role": "assistant", "content": "x"}], [{"role": "tool", "content": "x"}, TALK[1]], 3]
)
def test_what_is_no_conversation_is_refused(lm, cavs, prompt):
    with pytest.raises(TypeError, match="A panel's prompt takes"):
        sw.SteeringPanel(lm, cavs, prompt=prompt)
