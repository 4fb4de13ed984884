"""DoseResponse from code: what it runs, shows, judges anew, sends, and refuses; its frozen copy."""

from __future__ import annotations

import dataclasses
import json

import pytest
from support.both import vector
from widgets.front_end import FrontEnd

import steerwidgets as sw

SEA = sw.Direction(vector(1), sw.Site(1), "the sea")
PROMPTS = ["Name a city by the sea.", "The user asks."]


def has_e(_prompt, text):
    return float("e" in text)


def make(lm, **changes):
    settings = {"prompts": PROMPTS, "judge": has_e, "max_new_tokens": 4, "random": 2, "baseline_seeds": 2}
    return sw.DoseResponse(lm, SEA.add, [0, 0.5, 1], **(settings | changes))


def test_its_run_is_lm_dose(llama):
    chart = make(llama)
    assert chart.result == {}
    dose = chart.run()
    own = llama.dose(
        SEA.add, [0, 0.5, 1], prompts=PROMPTS, judge=has_e, seeds=2, random=2, baseline_seeds=2, max_new_tokens=4
    )
    assert dose.answers == own.answers
    assert chart.dose is dose
    shown = chart.result
    assert [row["strength"] for row in shown["rows"]] == [0, 0.5, 1]
    for row, expected in zip(shown["rows"], dose.table, strict=True):
        assert (row["on_topic"]["k"], row["on_topic"]["n"]) == (expected.on_topic.k, expected.on_topic.n)
        assert row["on_topic"]["interval"] == pytest.approx(expected.on_topic.interval, abs=5e-4)
        assert row["surprise"]["value"] == pytest.approx(expected.surprise.value, abs=5e-4)
        assert row["useful"] is expected.useful
    texts = [answer for answer in shown["answers"] if answer["kind"] == "steered"]
    assert [answer["text"] for answer in texts] == [a.text for a in dose.answers if a.key[0] == "steered"]
    assert all(len(answer["kl"]) == len(answer["tokens"]) for answer in texts)
    assert chart.status["state"] == "done"
    assert chart.status["answers"] == len(dose.answers)
    assert chart.selected in dose.strengths
    assert json.loads(chart.to_json())["result"]["label"] == "the sea · add"
    assert "on topic" in chart.summary()


def test_by_default_it_asks_everyday_prompts_and_holds_two_back(llama):
    chart = sw.DoseResponse(llama, SEA.add, [1])
    assert len(chart.facts["prompts"]) == 6
    assert len(chart.facts["held_back"]) == 2
    assert chart.inputs["seeds"] == 2
    assert chart.inputs["tokens"] == 48
    assert chart.inputs["asked"] == "Talk about the sea."
    # 3 rows of each of 12 batches but for the random one (baseline, steered, random, asked), and 6 further seeds.
    assert chart.facts["total"] == 6 * 2 * 4 + 6 * 6


def test_the_page_runs_it_with_what_stands_there(llama):
    chart = make(llama)
    page = FrontEnd(chart)
    inputs = dict(chart.inputs) | {"strengths": [0.5], "seeds": 1, "tokens": 3, "asked": "", "prompts": PROMPTS[:1]}
    assert page.call("run", inputs=inputs)["type"] == "result"
    assert [row["strength"] for row in chart.result["rows"]] == [0.5]
    assert chart.result["prompted"] is None
    assert {len(a["tokens"]) for a in chart.result["answers"] if a["kind"] == "steered"} == {3}
    assert chart.inputs == inputs


def test_prompts_that_are_held_back_stay_so(llama):
    chart = make(llama, prompts=[*PROMPTS, "Hello."], hold_back=1)
    page = FrontEnd(chart)
    assert chart.facts["held_back"] == ["Hello."]
    assert page.call("run", inputs=dict(chart.inputs) | {"prompts": ["One?", "Another?", "Third?"]})["type"] == "result"
    assert (chart.dose.prompts, chart.dose.held_back) == (("One?", "Another?", "Third?"), ("Hello.",))
    messages = [{"role": "user", "content": "Hello."}]
    chart = make(llama, prompts=[messages, [60, 61]])
    assert FrontEnd(chart).call("run", inputs=chart.inputs)["type"] == "result"
    assert chart.dose.of("baseline")[0].row.plan.prompt == llama.encode(messages)


def test_a_result_of_a_file_is_shown_and_can_be_run_again(llama, tmp_path):
    first = make(llama)
    dose = first.run()
    dose.save(tmp_path / "dose.json")
    chart = make(llama, prompts=["Another prompt."], judge=[lambda _prompt, _text: 1.0])
    page = FrontEnd(chart)
    chart.show(sw.DoseResult.load(tmp_path / "dose.json"))
    assert chart.result == first.result
    assert chart.inputs == first.inputs
    assert chart.facts["judge"] is None
    assert chart.facts["baseline_seeds"] == 2
    assert (chart.status["state"], chart.selected) == ("done", first.selected)
    assert page.call("judge", judge=0)["type"] == "result"
    assert chart.facts["judge"] == 0
    assert all(row["on_topic"]["k"] == row["on_topic"]["n"] for row in chart.result["rows"])
    assert [a["text"] for a in chart.result["answers"]] == [a["text"] for a in first.result["answers"]]
    chart.run()
    assert [a.row.token_ids for a in chart.dose.answers] == [a.row.token_ids for a in dose.answers]


def test_a_result_of_something_else_is_one_sentence_and_nothing_is_lost(llama):
    chart = make(llama)
    dose = chart.run()
    before = dict(chart.result)
    other = sw.DoseResponse(llama, SEA.project, [1, 2], prompts=PROMPTS, judge=has_e)
    with pytest.raises(ValueError, match=r"^This result is of 'the sea · add', but the chart is of "):
        other.show(dose)
    elsewhere = dataclasses.replace(dose, provenance=dose.provenance | {"model": "google/gemma-2-2b"})
    llama_name = llama.model.config.name_or_path
    llama.model.config.name_or_path = "meta-llama/Llama-3.2-1B"
    try:
        with pytest.raises(ValueError, match=r"^This result is of google/gemma-2-2b, but the chart's model is "):
            make(llama).show(elsewhere)
    finally:
        llama.model.config.name_or_path = llama_name
    with pytest.raises(ValueError, match=r"^This result holds no answer"):
        chart.show(dataclasses.replace(dose, answers=()))
    with pytest.raises(TypeError, match=r"^chart\.show takes a result, but"):
        chart.show("dose.json")
    assert chart.result == before


BAD = {
    "no prompts": ({"prompts": []}, "There is no prompt; give at least one"),
    "no texts": ({"prompts": [3]}, "The prompts are a list of texts, but"),
    "no numbers": ({"strengths": ["a"]}, "A strength is a finite number, but 'a' is among them"),
    "no seeds": ({"seeds": 0}, "lm.dose needs seeds, each once"),
    "no tokens": ({"tokens": 0}, "max_new_tokens has to be a whole number"),
    "asked": ({"asked": None}, "The instruction of the prompted row is a text"),
    "more": ({"more": 1}, "The inputs of a dose are strengths, prompts, seeds, tokens, asked, but"),
}


@pytest.mark.parametrize("name", BAD)
def test_inputs_that_make_no_run_are_one_sentence_and_nothing_is_lost(llama, name):
    changes, says = BAD[name]
    chart = make(llama)
    chart.run()
    before = chart.result
    page = FrontEnd(chart)
    answer = page.call("run", inputs=dict(chart.inputs) | changes)
    assert answer["type"] == "error"
    assert answer["error"]["message"].startswith(says)
    assert chart.result == before
    assert chart.status["state"] == "error"
    assert page.call("run", inputs=chart.inputs)["type"] == "result"


def test_a_stop_keeps_what_is_done(llama):
    chart = make(llama)
    shown = []

    def stop_after_one(change):
        if change["new"]:
            shown.append(len(change["new"]["answers"]))
            chart.stop()

    chart.observe(stop_after_one, "result")
    page = FrontEnd(chart)
    assert page.call("run", inputs=chart.inputs)["type"] == "cancelled"
    assert chart.status["state"] == "stopped"
    assert chart.dose.stopped
    assert 0 < len(chart.dose.answers) < chart.facts["total"]
    assert chart.result["stopped"]


def test_another_judge_and_the_iso_kl_dose(llama):
    chart = make(llama, judge=[has_e, sw.Words(["zzz"], name="no such word")], hold_back=PROMPTS[:1])
    assert chart.facts["judges"] == ["has_e", "no such word"]
    page = FrontEnd(chart)
    assert page.call("run", inputs=chart.inputs)["type"] == "result"
    texts = [answer["text"] for answer in chart.result["answers"]]
    assert page.call("judge", judge=1)["type"] == "result"
    assert chart.facts["judge"] == 1
    assert {row["on_topic"]["k"] for row in chart.result["rows"]} == {0}
    assert [answer["text"] for answer in chart.result["answers"]] == texts
    assert page.call("judge", judge=5)["error"]["message"] == "There are 2 judges, from 0, but 5 was asked for."
    answer = page.call("iso_kl")
    if answer["type"] == "result":
        assert chart.axis == "iso_kl"
        assert chart.iso_kl == chart.dose.iso_kl(1.0)
    else:
        assert "stays below 1 nat" in answer["error"]["message"]


def test_axbenchs_rule_is_shown_where_the_judge_gives_marks(llama):
    def marks(_prompt, text):
        return {"concept": 2 * ("e" in text), "instruct": 1, "fluency": 2}

    chart = make(llama, judge=marks)
    dose = chart.run()
    assert chart.result["axbench"]["strength"] == dose.axbench.strength
    assert chart.result["axbench"]["score"]["value"] == pytest.approx(dose.axbench.score.value, abs=5e-4)
    assert chart.result["rows"][0]["overall"]["value"] == pytest.approx(dose.table[0].overall.value, abs=5e-4)
    assert make(llama).result.get("axbench") is None


def test_without_prompts_of_its_own_there_is_no_iso_kl(llama):
    chart = make(llama)
    page = FrontEnd(chart)
    assert page.call("iso_kl")["error"]["message"].startswith("An iso-KL dose is found on prompts that are not judged")


def test_a_strength_goes_to_a_panel_in_the_place_of_another(llama):
    other = sw.Direction(vector(2), sw.Site(2), "two")
    panel = sw.SteeringPanel(llama, [SEA, other], recipe=SEA.add(9) + other.add(1))
    chart = make(llama, panel=panel)
    page = FrontEnd(chart)
    said = page.call("send", strength=0.5)["value"]["said"]
    assert said == "'the sea'.add(0.5) is in the panel's recipe now."
    assert panel.recipe == SEA.add(0.5) + other.add(1)
    assert chart.steer_requested["strength"] == 0.5
    chart.steer_in(None)
    assert "chart.steer_in(panel)" in page.call("send", strength=1)["value"]["said"]
    assert page.call("send", strength="a")["error"]["message"] == "A strength is a number, but 'a' came."
    with pytest.raises(
        TypeError, match=r"Steers go to a SteeringPanel or a FeaturePicker, .* as in chart\.steer_in\(panel\)"
    ):
        chart.steer_in(3)


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (lambda _lm: sw.DoseResponse("lm", SEA.add), r"^sw\.DoseResponse takes a LanguageModel first"),
        (lambda lm: sw.DoseResponse(lm, SEA), r"^lm\.dose takes an op of a feature"),
        (lambda lm: sw.DoseResponse(lm, SEA.add, judge="sea"), r"^sw\.DoseResponse takes a judge, but the text 'sea'"),
        (
            lambda lm: sw.DoseResponse(lm, SEA.add, judge=[has_e, 3]),
            r"^sw\.DoseResponse takes a judge, but the number 3",
        ),
        (lambda lm: sw.DoseResponse(lm, SEA.add, prompts=[]), r"^There is no prompt"),
        (lambda lm: sw.DoseResponse(lm, SEA.add, panel=3), r"^Steers go to a SteeringPanel"),
        (lambda lm: sw.DoseResponse(lm, SEA.add, temprature=3), r"^There is no sampling setting 'temprature'"),
    ],
)
def test_what_makes_no_chart_is_one_sentence(llama, made, says):
    with pytest.raises((TypeError, ValueError), match=says):
        made(llama)


def test_it_waits_for_other_runs(llama):
    chart = make(llama)
    page = FrontEnd(chart)
    with llama.lock:
        asked = page.ask("run", inputs=chart.inputs)
        page.wait(lambda: page.of(asked, "progress"), "word that it waits")
        assert page.of(asked, "progress")[0]["state"] == "waiting"
        assert chart.status["state"] == "waiting"
    assert page.end(asked)["type"] == "result"
    assert chart.status["state"] == "done"


def test_a_frozen_copy_holds_what_is_shown(llama, tmp_path):
    chart = make(llama)
    chart.run()
    text = chart.to_html(tmp_path / "dose.html").read_text(encoding="utf-8")
    assert "the sea · add" in text
    assert "</script><" not in text.split('id="state">')[1].split("</script>")[0]
