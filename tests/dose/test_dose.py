"""Dose and response: its texts are those of sweeps, its numbers those of plain arithmetic, its range an honest one."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import re
import statistics
import threading

import numpy as np
import pytest
from support.both import vector

import steerwidgets as sw
from steerwidgets.dose.judges import Verdict
from steerwidgets.dose.result import DoseResult
from steerwidgets.dose.rows import ASKED, BASELINE, random_key, steered_key
from steerwidgets.dose.run import DoseRun, default_strengths
from steerwidgets.dose.trials import Answer
from steerwidgets.generation.rows import GeneratedText
from steerwidgets.transformer.prompts import Token

SEA = sw.Direction(vector(1), sw.Site(1), "the sea")
PROMPTS = ["Name a city by the sea.", "The user asks.", "You are a helpful assistant, please."]
COUNT = 6


def has_e(_prompt, text):
    return float(text.count("e") > 0)


@pytest.fixture(scope="module")
def dosed():
    import conftest
    from support import models, toks

    conftest._one_thread()
    lm = sw.LanguageModel(models.make("llama"), toks.byte_level())
    settings = {"seeds": 2, "judge": has_e, "random": 3, "baseline_seeds": 4, "max_new_tokens": COUNT}
    return lm, lm.dose(SEA.add, [0, 0.6, -0.4, 0.2], prompts=PROMPTS, hold_back=1, **settings)


def test_every_row_is_that_of_a_sweep(dosed):
    """All strengths, random directions, baseline and the row that is asked, with the noise of their seed."""
    lm, dose = dosed
    assert dose.strengths == (-0.4, 0.0, 0.2, 0.6)
    assert dose.prompts == tuple(PROMPTS[:2])
    assert dose.held_back == tuple(PROMPTS[2:])
    settings = {"max_new_tokens": COUNT}
    for (turn, (seed, (index, prompt))), strength in itertools.product(
        enumerate(itertools.product((0, 1), enumerate(PROMPTS[:2]))), dose.strengths
    ):
        control = sw.Recipe.of(SEA.add(strength)).random_direction((turn + dose.strengths.index(strength)) % 3)
        asked = sw.Asked("Talk about the sea.")
        baseline, steered, by_chance, prompted = lm.sweep(
            prompt, [None, SEA.add(strength), control, asked], seed=seed, **settings
        )
        for key, row in (
            (BASELINE, baseline),
            (steered_key(strength), steered),
            (random_key(strength), by_chance),
            (ASKED, prompted),
        ):
            [answer] = [a for a in dose.answers if (a.key, a.prompt, a.seed) == (key, index, seed)]
            assert answer.row.token_ids == row.token_ids


def test_the_baseline_has_further_seeds_of_its_own(dosed):
    lm, dose = dosed
    answers = dose.of("baseline")
    assert sorted({answer.seed for answer in answers}) == [0, 1, 2, 3]
    assert len(answers) == 8
    for answer in answers:
        [row] = lm.sweep(PROMPTS[answer.prompt], [None], seed=answer.seed, max_new_tokens=COUNT)
        assert answer.row.token_ids == row.token_ids


def test_rows_are_plain_arithmetic_over_the_answers(dosed):
    lm, dose = dosed
    for row in dose.table:
        answers = dose.of("steered", row.strength)
        assert len(answers) == 4
        assert (row.on_topic.k, row.on_topic.n) == (sum("e" in a.text for a in answers), 4)
        chance = dose.of("random", row.strength)
        assert (row.random.k, row.random.n) == (sum("e" in a.text for a in chance), 4)
        pairs = [list(itertools.pairwise(a.row.token_ids)) for a in answers]
        assert row.distinct_2.value == pytest.approx(statistics.fmean(len({*p}) / len(p) for p in pairs))
        runs = [
            lm.compare(PROMPTS[a.prompt], SEA.add(row.strength), seed=a.seed, max_new_tokens=COUNT) for a in answers
        ]
        surprise = [statistics.fmean(run.surprise) for run in runs]
        assert row.surprise.value == pytest.approx(statistics.fmean(surprise), abs=1e-4)
        tokens = [kl for run in runs for kl in run.kl]
        assert row.kl.value == pytest.approx(statistics.fmean(tokens), abs=1e-4)
        assert row.kl_p95 == pytest.approx(float(np.percentile(tokens, 95)), abs=1e-4)
        assert row.ratio == pytest.approx(statistics.median(a.ratio for a in answers))
    assert dose.table[1].ratio == dose.table[1].kl_p95 == 0
    assert dose.prompted.n == 4


def test_a_strength_that_changes_nothing_is_the_baseline_and_costs_nothing(dosed):
    _, dose = dosed
    same = {(a.prompt, a.seed): a.row for a in dose.of("baseline")}
    for kind in ("steered", "random"):
        assert all(a.row is same[a.prompt, a.seed] for a in dose.of(kind, 0))


# Rules, on answers made up for them


def answer(key, prompt, seed, *, on, surprise=2.0, distinct=0.9, marks=None, kl=(0.1,)):
    verdict = Verdict(float(on), on_topic=bool(on), marks=marks)
    return Answer(key, prompt, seed, None, distinct, surprise, kl, 0.2, verdict)


def made(steered, *, n=12, random=None, origin=0.0, label="sea · add"):
    """A result of six prompts and two seeds; `steered` gives for each strength (k on topic, surprise, distinct-2)."""
    places = list(itertools.product(range(6), range(n // 6)))
    answers = [
        answer(BASELINE, p, s, on=False, surprise=2.0 + 0.1 * s + 0.05 * p, distinct=0.9 + 0.01 * s)
        for p, s in itertools.product(range(6), range(8))
    ]
    for strength, (k, surprise, distinct) in steered.items():
        for i, (p, s) in enumerate(places):
            answers.append(answer(steered_key(strength), p, s, on=i < k, surprise=surprise, distinct=distinct))
            by_chance = (random or {}).get(strength, 0)
            answers.append(answer(random_key(strength), p, s, on=i < by_chance))
    prompts = tuple(f"prompt {i}" for i in range(6))
    return DoseResult(
        label,
        "× v",
        tuple(sorted(steered)),
        origin,
        prompts,
        (),
        (0, 1),
        "judge",
        "",
        tuple(answers),
        False,
        {},
        {},
        None,
    )


def test_the_baselines_own_range_is_over_seeds_pooled_over_prompts():
    dose = made({10: (0, 2.0, 0.9)})
    of_prompts = [[a.surprise for a in dose.of("baseline") if a.prompt == p] for p in range(6)]
    mean, sd = statistics.fmean(map(statistics.fmean, of_prompts)), statistics.stdev(of_prompts[0])
    assert dose.baseline.surprise == pytest.approx((mean - 2 * sd, mean + 2 * sd))
    assert dose.baseline.distinct_2[0] < 0.935 < dose.baseline.distinct_2[1]
    assert (dose.baseline.on_topic.k, dose.baseline.on_topic.n) == (0, 48)


FINE = (2.4, 0.93)


@pytest.mark.parametrize(
    ("steered", "random", "useful", "breaks"),
    [
        # Nothing on topic, text whole.
        ({0: (0, *FINE), 20: (1, *FINE), 40: (2, *FINE)}, None, None, None),
        # On topic from 30, surprising from 50 on.
        (
            {10: (0, *FINE), 20: (3, *FINE), 30: (9, *FINE), 40: (11, *FINE), 50: (12, 4.0, 0.93), 60: (12, 6.0, 0.4)},
            None,
            (30, 40),
            50,
        ),
        # Loops: a low surprise breaks as a high one does, and so do few distinct pairs.
        ({30: (9, *FINE), 40: (12, 0.4, 0.93), 50: (12, 2.4, 0.3)}, None, (30, 30), 40),
        # Out once, in again: it breaks for good after that.
        ({10: (9, 4.0, 0.93), 20: (9, *FINE), 30: (9, *FINE), 40: (9, 4.0, 0.9)}, None, (20, 30), 40),
        # Random directions do as well: useful for nothing.
        ({10: (9, *FINE), 20: (10, *FINE)}, {10: 8, 20: 9}, None, None),
        # One gap: the longer run, and of two as long the gentler one.
        ({10: (9, *FINE), 20: (1, *FINE), 30: (9, *FINE), 40: (9, *FINE)}, None, (30, 40), None),
        ({10: (9, *FINE), 20: (1, *FINE), 30: (9, *FINE)}, None, (10, 10), None),
        ({-30: (9, *FINE), -20: (9, *FINE), 20: (0, *FINE), 30: (0, 9.0, 0.9)}, None, (-30, -20), 30),
    ],
)
def test_useful_is_a_range_and_breaks_is_for_good(steered, random, useful, breaks):
    dose = made(steered, random=random)
    assert dose.useful == useful
    assert dose.breaks == breaks


def test_text_breaks_towards_negative_strengths_too():
    dose = made({-60: (0, 9.0, 0.9), -40: (0, 8.0, 0.9), -20: (0, *FINE), 20: (0, *FINE)})
    assert (dose.breaks, dose.breaks_below) == (None, -40)
    scaled = made({-1: (0, 9.0, 0.9), 0: (0, 9.0, 0.9), 1: (0, *FINE), 2: (0, 9.0, 0.9)}, origin=1.0)
    assert (scaled.breaks, scaled.breaks_below) == (2, 0)


def test_of_one_baseline_answer_for_each_prompt_nothing_is_said_of_fluency(llama):
    dose = llama.dose(SEA.add, [0.5, 9], prompts=PROMPTS, judge=has_e, baseline_seeds=1, random=0, max_new_tokens=3)
    assert [row.fluent for row in dose.table] == [None, None]
    assert dose.useful is dose.breaks is None
    assert "not fluent" not in repr(dose)


def test_an_interval_that_only_touches_is_not_above():
    """9 of 12 is 47–91 %, and 2 of 12 random ones reach 45 %: above; 3 of 12 reach 53 %: not."""
    assert made({10: (9, *FINE)}, random={10: 2}).useful == (10, 10)
    assert made({10: (9, *FINE)}, random={10: 3}).useful is None


def test_axbench_chooses_on_one_half_and_reports_on_the_other():
    """Strength 20 is best where it is chosen, 40 where it is not: what is reported is 20's score on the other half."""
    marks = {10: ((1, 1, 1), (1, 1, 1)), 20: ((2, 2, 2), (0, 2, 2)), 40: ((2, 2, 0), (2, 2, 2))}
    answers = [
        answer(steered_key(strength), prompt, 0, on=True, marks=tuple(map(float, marks[strength][prompt % 2])))
        for strength in marks
        for prompt in range(6)
    ]
    dose = made({10: (0, *FINE)})
    dose = DoseResult(
        **{name: getattr(dose, name) for name in dose.__dataclass_fields__}
        | {"answers": (*dose.of("baseline"), *answers), "strengths": (10.0, 20.0, 40.0)}
    )
    found = dose.axbench
    assert (found.strength, found.chosen_on, found.score.value) == (20, 2.0, 0.0)
    assert dose.table[0].overall.value == 1.0
    with pytest.raises(ValueError, match="AxBench's rule needs the marks concept, instruct and fluency"):
        made({10: (0, *FINE)}).axbench  # noqa: B018 - it raises


# The iso-KL dose


def test_iso_kl_is_found_by_bisection_on_what_is_not_judged(dosed):
    lm, dose = dosed

    def at(strength):
        out = lm.compare(PROMPTS[2], SEA.add(strength), seed=0, max_new_tokens=COUNT)
        return float(np.percentile(out.kl, 95))

    wanted = at(0.6) / 2
    found = dose.iso_kl(wanted)
    assert found == dose.iso_kl(wanted)
    assert 0 < found < 0.6
    assert at(found) == pytest.approx(wanted, rel=0.06) or at(found - 0.01) < wanted < at(found + 0.01)
    assert dose.iso_kl(at(0.6) + 1) is None
    with pytest.raises(ValueError, match=r"^The KL of an iso-KL dose is a number of nats above 0, but 0 was given\.$"):
        dose.iso_kl(0)


def test_one_prompt_can_not_be_judged_and_held_back(llama):
    dose = llama.dose(SEA.add, [1], prompts=PROMPTS[:1], max_new_tokens=2, random=0, judge=has_e)
    with pytest.raises(
        ValueError, match=r"^An iso-KL dose is found on prompts that are not judged, but all 1 were; give"
    ):
        dose.iso_kl()
    with pytest.raises(ValueError, match=r"^hold_back=1 of 1 prompt leaves none to judge; give more prompts"):
        llama.dose(SEA.add, [1], prompts=PROMPTS[:1], hold_back=1, judge=has_e)
    own = llama.dose(SEA.add, [1], prompts=PROMPTS[:1], hold_back=PROMPTS[1:], max_new_tokens=3, random=0, judge=has_e)
    assert own.iso_kl(0.1) < 1


# What is shown of it


@pytest.mark.parametrize("axis", ["strength", "ratio", "iso_kl"])
def test_the_chart_shows_the_table(dosed, axis):
    _, dose = dosed
    if axis == "iso_kl":
        dose.__dict__.setdefault("_doses", {})[1.0] = 0.3
    top, middle, bottom = dose.plot(axis).axes
    steered = top.get_lines()[0]
    assert steered.get_ydata().tolist() == [row.on_topic.share for row in dose.table]
    expected = {
        "strength": [-0.4, 0, 0.2, 0.6],
        "ratio": [math.copysign(row.ratio, row.strength) for row in dose.table],
        "iso_kl": [-0.4 / 0.3, 0, 0.2 / 0.3, 2],
    }
    assert steered.get_xdata().tolist() == pytest.approx(expected[axis])
    assert middle.get_lines()[0].get_ydata().tolist() == [row.surprise.value for row in dose.table]
    assert bottom.get_ylabel() == "distinct-2"
    assert any("asked for in the prompt" in text.get_text() for text in top.get_legend().get_texts())
    with pytest.raises(ValueError, match=r"^The axis of a dose is strength, ratio, iso_kl, but 'alpha' was given\.$"):
        dose.plot("alpha")


def test_it_prints_and_is_saved(dosed, tmp_path):
    _, dose = dosed
    said = repr(dose)
    assert said.startswith("the sea · add: 2 prompts × 2 seeds, judged by has_e\nstrength  on topic")
    assert "asked for in the prompt:" in said
    dose.save(tmp_path / "dose.json")
    kept = json.loads((tmp_path / "dose.json").read_text(encoding="utf-8"))
    assert kept["rows"][0]["strength"] == -0.4
    assert len(kept["answers"]) == len(dose.answers)
    assert kept["rows"][1]["on_topic"]["n"] == 4
    assert kept["settings"]["max_new_tokens"] == COUNT


# A file of it

SAYS = {
    "other version": (
        {"format": "steerwidgets.dose/1"},
        r"^The format of dose\.json is .*/1', .* another version",
    ),
    "other file": (
        {"format": "steerwidgets.runs/1"},
        r"^The format of dose\.json should be .* but it is 's.*runs/1'",
    ),
    "a field too many": ({"surprise": 1}, r"In dose\.json, surprise is not known"),
    "no prompt": ({"prompts": []}, r"In dose\.json, prompts should be some"),
    "strengths in disorder": ({"strengths": [1, 0]}, r"In dose\.json, strengths should be some, from the lowest up"),
    "a dose of no nats": ({"iso_kl": {"x": 1}}, r"In dose\.json, iso_kl\.x should be under a number of nats above 0"),
}
SPOILT = {
    "another kind": ({"kind": "evil"}, "kind should be one of"),
    "a prompt that is not there": ({"prompt": 2}, "prompt should be a whole number from 0 to 1"),
    "a strength that was not tried": ({"strength": 0.3}, "strength should be one of the strengths that were tried"),
    "KL of some tokens": ({"kl": [0.1]}, f"kl should be {COUNT} numbers, one for each token, or none"),
    "texts of some tokens": ({"tokens": ["a"]}, f"tokens should be {COUNT} texts, one for each of token_ids"),
    "a fragment beyond": ({"fragments": [99]}, "fragments should be places of tokens"),
    "marks of another kind": ({"marks": [1, 2, 3]}, "marks should be concept, instruct, fluency, each 0, 1 or 2"),
    "a score of 2": ({"score": 2}, "score should be a finite number from 0 to 1"),
}


def test_a_file_gives_the_same_table_and_chart(dosed, tmp_path):
    _, dose = dosed
    dose.iso_kl(1e-6)
    dose.save(tmp_path / "dose.json")
    kept = sw.DoseResult.load(tmp_path / "dose.json")
    assert kept.table == dose.table
    assert repr(kept) == repr(dose)
    assert (kept.baseline, kept.prompted, kept.useful) == (dose.baseline, dose.prompted, dose.useful)
    for mine, theirs in zip(kept.answers, dose.answers, strict=True):
        same = ("key", "prompt", "seed", "distinct_2", "kl", "ratio", "verdict", "text")
        assert [getattr(mine, name) for name in same] == [getattr(theirs, name) for name in same]
        assert (mine.row.token_ids, mine.row.tokens, mine.row.ended) == (
            theirs.row.token_ids,
            theirs.row.tokens,
            theirs.row.ended,
        )
    assert kept.to_json() == dose.to_json()
    lines = [
        [line.get_xydata().tolist() for axes in each.plot().axes for line in axes.get_lines()] for each in (kept, dose)
    ]
    assert lines[0] == lines[1]
    assert kept.iso_kl(1e-6) == dose.iso_kl(1e-6)
    with pytest.raises(ValueError, match=r"^A result from a file has no model to find the iso-KL dose of 0\.7 nats"):
        kept.iso_kl(0.7)
    assert kept.judged_by(lambda _prompt, _text: 1.0).table[1].on_topic.k == 4


def test_a_result_without_scores_or_with_marks_is_kept_too(tmp_path):
    dose = made({10: (9, *FINE)})
    row = GeneratedText((3, 4), "a b", (Token(3, "a"), Token(4, "E2 9C", fragment=True)), "eos")
    answers = [dataclasses.replace(each, row=row, kl=(0.1, math.nan)) for each in dose.answers]
    answers[0] = dataclasses.replace(answers[0], verdict=None, kl=(), surprise=math.nan)
    answers[-1] = dataclasses.replace(answers[-1], verdict=Verdict(0.5, on_topic=True, marks=(1.0, 1.0, 1.0)))
    dataclasses.replace(dose, answers=tuple(answers)).save(tmp_path / "dose.json")
    kept = sw.DoseResult.load(tmp_path / "dose.json")
    assert kept.answers[0].verdict is None
    assert math.isnan(kept.answers[0].surprise)
    assert kept.answers[-1].verdict == answers[-1].verdict
    assert kept.answers[1].row == row


@pytest.mark.parametrize("name", SAYS)
def test_another_file_is_one_sentence(dosed, tmp_path, name):
    changes, says = SAYS[name]
    value = json.loads(dosed[1].to_json()) | changes
    (tmp_path / "dose.json").write_text(json.dumps(value), encoding="utf-8")
    with pytest.raises(ValueError, match=says):
        sw.DoseResult.load(tmp_path / "dose.json")


@pytest.mark.parametrize("name", SPOILT)
def test_a_damaged_answer_is_one_sentence(dosed, name):
    changes, says = SPOILT[name]
    value = json.loads(dosed[1].to_json())
    at = next(i for i, each in enumerate(value["answers"]) if each["kind"] == "steered")
    value["answers"][at] |= changes
    with pytest.raises(ValueError, match=re.escape(f"In answer {at + 1} of this dose–response, {says}")):
        sw.DoseResult.from_json(json.dumps(value))
    with pytest.raises(TypeError, match=r"^sw\.DoseResult\.from_json takes JSON text, but"):
        sw.DoseResult.from_json(value)


# Running


def test_a_stop_before_the_first_answer_concludes_nothing(llama):
    stop = threading.Event()
    stop.set()
    dose = llama.dose(SEA.add, [0, 1], prompts=["Name a city."], stop=stop, max_new_tokens=4)
    assert dose.stopped
    assert "stopped before its first answer: nothing is known" in repr(dose)
    assert "useful" not in repr(dose)


def test_a_stop_keeps_what_is_done(llama):
    stop, seen = threading.Event(), []

    def on_progress(done, total):
        seen.append((done, total))
        stop.set()

    settings = {"prompts": PROMPTS, "judge": has_e, "max_new_tokens": 3, "random": 0, "baseline_seeds": 1}
    dose = llama.dose(SEA.add, [0, 1], stop=stop, on_progress=on_progress, **settings)
    assert seen == [(4, 8)]
    assert dose.stopped
    assert {answer.prompt for answer in dose.answers} == {0}
    assert [row.on_topic.n for row in dose.table] == [1, 1]
    assert "stopped" in repr(dose)
    whole = llama.dose(SEA.add, [0, 1], **settings)
    assert not whole.stopped
    assert whole.answers[:4] == dose.answers


def test_ctrl_c_keeps_what_is_done(llama):
    settings = {"prompts": PROMPTS, "max_new_tokens": 3, "random": 0, "baseline_seeds": 1}
    calls = []

    def interrupted(_prompt, _text):
        calls.append(1)
        if len(calls) > 4:
            raise KeyboardInterrupt
        return 1.0

    dose = llama.dose(SEA.add, [0, 1], judge=interrupted, **settings)
    assert dose.stopped
    assert len(dose.answers) == 4
    with pytest.raises(KeyboardInterrupt):
        llama.dose(SEA.add, [0, 1], judge=interrupted, **settings)
    assert not llama.lock.is_mine


def test_the_baselines_own_range_is_known_before_any_strength(llama):
    run = DoseRun(llama, SEA.add, [1], PROMPTS, judge=has_e, seeds=2, baseline_seeds=4, settings={"max_new_tokens": 2})
    first = [[trial.key for _, trial in batch.trials] for batch in run.batches[:3]]
    assert first == [[BASELINE] * 2, [BASELINE] * 2, [BASELINE, steered_key(1), random_key(1), ASKED]]


def test_another_judge_judges_the_same_answers(llama):
    run = DoseRun(llama, SEA.add, [0, 1], PROMPTS, judge=has_e, settings={"max_new_tokens": 3}, random=0)
    first = list(run.run())[-1]
    second = first.judged_by(lambda _prompt, _text: 1.0)
    assert [a.row for a in first.answers] == [a.row for a in second.answers]
    assert second.table[1].on_topic.k == second.table[1].on_topic.n
    assert second.judge == "your judge"


def test_a_function_may_make_a_recipe(llama):
    other = sw.Direction(vector(2), sw.Site(2), "two")
    dose = llama.dose(
        lambda a: SEA.add(a) + other.add(-a), [1], prompts=PROMPTS[:1], judge=has_e, max_new_tokens=2, random=2
    )
    assert dose.table[0].on_topic.n == 1
    assert dose.asked == ""
    assert dose.label == "recipe"


def test_messages_and_token_ids_are_prompts(llama):
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "The user asks."}]
    settings = {"judge": has_e, "max_new_tokens": 2, "random": 0, "baseline_seeds": 1}
    dose = llama.dose(SEA.add, [1], prompts=[messages, PROMPTS[0]], **settings)
    assert dose.prompts == ("The user asks.", PROMPTS[0])
    assert len(dose.of("asked")) == 2
    ids = llama.dose(SEA.add, [1], prompts=[[60, 61, 62]], **settings)
    assert (ids.asked, ids.of("asked")) == ("", [])


def test_default_strengths_go_to_twice_what_was_seen_to_work():
    cavs = sw.CAV([vector(1), vector(2)], ["a", "b"], layer=1, suggested=[("add", {"alpha": 30.0}), None])
    assert default_strengths(cavs["a"].add) == [6.0 * i for i in range(11)]
    assert default_strengths(SEA.project)[0] == 1
    assert len(default_strengths(cavs["b"].add)) == 11


# Bad input

BAD = {
    "no op": (
        lambda: (SEA, [1]),
        r"^lm\.dose takes an op of a feature, but the Direction 'the sea' was given; give an op",
    ),
    "a steer": (lambda: (SEA.add(4), [1]), r"^lm\.dose takes an op that makes a steer of a strength, but the Steer"),
    "no number": (
        lambda: (SEA.ablate, [1]),
        r"^lm\.dose tries several strengths, but ablate takes no single number; give",
    ),
    "no steer": (
        lambda: (abs, [1]),
        r"^lm\.dose takes an op that gives a steer or recipe, but the number 1.0 was given",
    ),
    "nan": (
        lambda: (SEA.add, [1, float("nan")]),
        r"^A strength is a finite number, but nan is among them; give several",
    ),
    "text": (lambda: (SEA.add, ["20"]), r"^A strength is a finite number, but '20' is among them"),
    "one number": (lambda: (SEA.add, 20), r"^lm\.dose takes a list of strengths, but the number 20 was given; give"),
    "none": (lambda: (SEA.add, []), r"^lm\.dose needs at least one strength; give several numbers"),
    "unknown op": (lambda: (abs, None), r"^Nothing is known of the strengths of this op; give an op"),
    "too large": (lambda: (SEA.add, [1e39]), r"^'the sea'\.add: alpha has to be a finite number"),
}


@pytest.mark.parametrize("name", BAD)
def test_strengths_and_ops_that_are_none_are_one_sentence(llama, name):
    given, says = BAD[name]
    op, strengths = given()
    with pytest.raises((TypeError, ValueError), match=says) as caught:
        llama.dose(op, strengths, prompts=PROMPTS, judge=has_e)
    assert str(caught.value).count("\n") == 0


BAD_SETTINGS = {
    "no prompts": ({"prompts": []}, r"^There is no prompt; give at least one"),
    "one text": (
        {"prompts": "Name a city."},
        r"^lm\.dose takes a list of prompts, but the text 'Name a city\.' was given",
    ),
    "one message": ({"prompts": [{"role": "user", "content": "x"}]}, r"a list of messages was given; one prompt"),
    "seed": ({"seed": 3}, r"^lm\.dose takes seeds=, so many of them or a list, and no seed=\.$"),
    "no seeds": ({"seeds": 0}, r"^lm\.dose needs seeds, each once, but 0 was given"),
    "twice": ({"seeds": [1, 1]}, r"^lm\.dose needs seeds, each once"),
    "seeds without noise": ({"seeds": 2, "temperature": 0}, r"^At temperature=0 all seeds give the same answer"),
    "half a seed": ({"seeds": 1.5}, r"^lm\.dose takes seeds, but the number 1\.5 was given"),
    "random": ({"random": -1}, r"^random of lm\.dose is a whole number, 0 or more, but -1 was given\.$"),
    "asked": ({"asked": 3}, r"^lm\.dose takes an instruction, but the number 3 was given; give asked="),
    "judge": ({"judge": "sea"}, r"^lm\.dose takes a judge, but the text 'sea' was given"),
    "says": ({"judge": lambda *_: "yes"}, r"^A judge gives a number from 0 to 1"),
    "hold back": ({"hold_back": 3}, r"^hold_back=3 of 3 prompts leaves none to judge"),
    "setting": ({"temprature": 1}, r"^There is no sampling setting 'temprature'"),
}


@pytest.mark.parametrize("name", BAD_SETTINGS)
def test_bad_settings_are_one_sentence(llama, name):
    changes, says = BAD_SETTINGS[name]
    with pytest.raises((TypeError, ValueError), match=says):
        llama.dose(SEA.add, [1], **({"prompts": PROMPTS, "judge": has_e, "max_new_tokens": 2} | changes))


def test_at_temperature_0_an_answer_is_counted_once(llama):
    dose = llama.dose(SEA.add, [0.4], prompts=PROMPTS, judge=has_e, temperature=0, max_new_tokens=2)
    assert len([answer for answer in dose.answers if answer.key == BASELINE]) == len(dose.prompts)


SYSTEM = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Name a city."}]


def test_a_prompt_that_a_recipe_does_not_fit_is_told_before_any_is_answered(llama):
    done = []
    with pytest.raises(ValueError, match=r'acts on the role "system", but the messages are of assistant, user'):
        llama.dose(
            lambda a: SEA.add(a).at(sw.role("system")),
            [1],
            prompts=[SYSTEM, "Name a city."],
            hold_back=0,
            judge=has_e,
            on_progress=lambda *numbers: done.append(numbers),
            max_new_tokens=2,
        )
    with pytest.raises(ValueError, match=r'acts on the role "system"'):
        llama.table(
            [SYSTEM, "Name a city."],
            {"sea": SEA.add(1).at(sw.role("system"))},
            on_progress=lambda *numbers: done.append(numbers),
            max_new_tokens=2,
        )
    assert not done


def test_nothing_says_how_to_judge(llama):
    bare = sw.Direction(vector(1), sw.Site(1), "it")
    with pytest.raises(ValueError, match=r"^Nothing says what answers under it · add should be about, so nothing can"):
        llama.dose(bare.add, [1], prompts=PROMPTS)
    assert llama.dose(SEA.add, [1], prompts=PROMPTS[:1], max_new_tokens=2, random=0).judge
