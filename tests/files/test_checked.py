"""The one checker of what comes from outside: JSON, typed fields, tensors, and values in messages."""

import json
import math

import numpy as np
import pytest
import torch

from steerwidgets.files.fields import Fields
from steerwidgets.files.json_text import parse_json, refuse_deep
from steerwidgets.files.shown import shown
from steerwidgets.files.tensors import checked, dense, finite

FIELDS = Fields(
    {"k": 3, "on": True, "no": None, "name": "sea", "x": 1.5, "list": [1], "table": {"a": "b"}, "big": 1e39},
    "In a.json",
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", r"it is empty"),
        ('{"a": 1,\n "b": }', r"breaks at line 2, column 7"),
        ("[" * 5_000, "nested deeper than 64"),
        ("[" * 100 + "]" * 100, "nested deeper than 64"),
        ('{"a": 1, "a": 2}', "says 'a' twice"),
        ("<!DOCTYPE html>", "web page"),
        ("version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (b"\xff{}", "not UTF-8"),
    ],
)
def test_broken_json_is_told_in_our_own_words(text, says):
    with pytest.raises(ValueError, match=says) as caught:
        parse_json(text, "a.json")
    assert str(caught.value).startswith("a.json")
    assert "Expecting" not in str(caught.value)


def test_whole_json_is_taken():
    assert parse_json('{"a": [1, null, "x"]}', "a.json") == {"a": [1, None, "x"]}
    assert parse_json("9" * 5_000, "a.json") == math.inf
    assert parse_json("[" * 60 + "]" * 60, "a.json")
    for scalar in ("null", "3", "true", '"x"'):
        assert parse_json(scalar, "a.json") == json.loads(scalar)


def test_nesting_of_wide_values_is_looked_at_too():
    refuse_deep([["x"] * 1_000, {"a": ["x", 1]}], "It")
    deep = "x"
    for _ in range(100):
        deep = ["a text first", deep]
    with pytest.raises(ValueError, match="nested deeper"):
        refuse_deep(deep, "It")


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda f: f.whole("on"), "on should be a whole number, but True"),
        (lambda f: f.whole("x"), r"x should be a whole number, but 1\.5"),
        (lambda f: f.whole("k", low=4), "k should be a whole number from 4 on, but 3"),
        (lambda f: f.flag("name"), "name should be true or false, but 'sea'"),
        (lambda f: f.text("k"), "k should be a text, but 3"),
        (lambda f: f.text("name", choices=("a", "b")), "one of 'a', 'b', but 'sea'"),
        (lambda f: f.number("big"), "big should be a finite number, but 1e"),
        (lambda f: f.number("gone"), "gone should be given, but is missing"),
        (lambda f: f.items("name"), "name should be a list"),
        (lambda f: f.inner("list"), "list should be a table"),
        (lambda f: f.inner("table").whole("a"), r"table\.a should be a whole number"),
        (lambda f: f.only("k"), "is not known"),
    ],
)
def test_a_field_of_another_kind_is_named_with_what_was_expected(ask, says):
    with pytest.raises(ValueError, match=says) as caught:
        ask(FIELDS)
    assert str(caught.value).startswith("In a.json")
    assert str(caught.value).endswith("make the file again.")


def test_null_is_as_left_out():
    assert FIELDS.whole("no", 7) == FIELDS.whole("gone", 7) == 7
    assert FIELDS.texts("table") == {"a": "b"}


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (torch.ones(2, 3) > 0, "holds bool"),
        (torch.ones(2, 3).long(), "holds int64"),
        (torch.ones(2, 3).to(torch.complex64), "holds complex64"),
        (np.ones((2, 3), int), "should be a tensor"),
        (torch.ones(2, 3).to_sparse(), "sparse"),
        (torch.ones(2, 3, device="meta"), "without numbers"),
        ([[1, 2, 3], [4, 5]], "rows of numbers of one length"),
        ("weights", "'weights' was given"),
        (None, "null was given"),
        (torch.ones(3, 3), r"W is \[row: 2, column\], but one of shape \[3, 3\]"),
        (torch.ones(2, 0), r"one of shape \[2, 0\]"),
        (torch.tensor([[1.0, 2], [3, math.nan]]), r"NaN or infinite values \(row 1\)"),
    ],
)
def test_a_tensor_that_is_none_to_compute_with_is_refused(value, says):
    with pytest.raises(ValueError, match=says):
        checked(value, "W", (("row", 2), "column"))


def test_tensors_that_are_fine():
    assert checked([[1, 2], [3, 4]], "W", ("row", "column")).dtype == torch.float32
    assert dense(np.ones(3, ">f4"), "W").tolist() == [1, 1, 1]
    assert finite(torch.full((4, 4), 3.4e38), "W").shape == (4, 4)  # whose sum is not
    assert finite(torch.ones(3).to(torch.float8_e4m3fn), "W").dtype == torch.float8_e4m3fn


def test_values_are_short_in_messages():
    for value in ("x" * 9_000, list(range(9_000)), {str(i): i for i in range(900)}, 10**9_000, torch.ones(900), None):
        assert len(shown(value)) <= 120
        assert "\n" not in shown(value)
    assert shown(None) == "null"
    assert shown(torch.ones(2, 3)) == "float32 [2, 3]"
