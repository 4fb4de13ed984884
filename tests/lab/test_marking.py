"""Marking: what counts as the same answer, functions of the teacher's, sealed answers."""

from __future__ import annotations

import hashlib

import pytest

from steerwidgets.lab.marking import as_number, marked, seal


@pytest.mark.parametrize(
    ("expected", "answer", "right"),
    [
        ("the sea", "  The  Sea. ", True),
        ("the sea", "the see", False),
        ("straße", "STRASSE", True),
        (2, 2.0000001, True),
        (2, 2.1, False),
        (["sea", "ocean"], "Ocean!", True),
        ({3, 4}, 4.0, True),
        (["sea"], "river", False),
        ("2", 2.0, False),
        (2, "2", False),
    ],
)
def test_values(expected, answer, right):
    assert marked(expected, answer) == (right, "")


def test_a_number_may_be_off_by_a_tolerance():
    assert marked(0.7, 0.74, tolerance=0.05)[0]
    assert not marked(0.7, 0.76, tolerance=0.05)[0]


@pytest.mark.parametrize(
    ("said", "result"), [(True, (True, "")), (0, (False, "")), ("Too large.", (False, "Too large."))]
)
def test_a_function_gives_true_false_or_a_hint(said, result):
    assert marked(lambda _answer: said, "x") == result


def test_a_sealed_answer_is_marked_and_not_read():
    sealed = seal("The Ocean")
    assert "cean" not in sealed
    assert marked(sealed, " the ocean. ") == (True, "")
    assert marked(sealed, "the sea") == (False, "")
    assert seal("The Ocean") != sealed  # each has a salt of its own
    _, salt, digest = sealed.split(":")
    by_hand = hashlib.pbkdf2_hmac("sha256", b"the ocean", bytes.fromhex(salt), 100_000)
    assert by_hand.hex() == digest


@pytest.mark.parametrize("nothing", ["", " . ", 3])
def test_nothing_is_not_sealed(nothing):
    with pytest.raises(ValueError, match=r"sw\.lab\.seal takes the answer as a text"):
        seal(nothing)


@pytest.mark.parametrize(
    ("typed", "number"),
    [
        (" 0,5 ", 0.5),
        ("−3", -3.0),
        ("50%", 50.0),
        ("1e3", 1000.0),
        ("x", None),
        ("", None),
        ("inf", None),
        ("nan", None),
        ("72 degrees", 72.0),
        ("72°", 72.0),
        ("35 %", 35.0),
        (".5", 0.5),
        ("1/20", 0.05),
        ("1 / 4", 0.25),
        ("1/0", None),
        ("1/2/3", None),
        ("1/sqrt(2)", None),
        ("7 of 9", None),
    ],
)
def test_numbers_as_people_type_them(typed, number):
    assert as_number(typed) == number
