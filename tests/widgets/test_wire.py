"""The shared fixture `protocol.json`: the same arrays and messages are read by js/test."""

import base64
import json
from pathlib import Path

import numpy as np
import pytest
from widgets.front_end import ENDS, FrontEnd
from widgets.test_requests import run_args

from steerwidgets.widgets.arrays import DTYPES, decode_array, encode_array

FIXTURE = json.loads((Path(__file__).parent.parent / "fixtures" / "protocol.json").read_text("utf-8"))
ARRAYS = FIXTURE["arrays"]
TALK = FIXTURE["conversation"]


@pytest.mark.parametrize("example", ARRAYS, ids=lambda e: f"{e['dtype']}{e['shape']}")
def test_an_array_is_sent_as_the_fixture_says(example):
    array = np.array(example["values"], dtype=example["dtype"]).reshape(example["shape"])
    wire = encode_array(array)
    assert (wire["dtype"], wire["shape"]) == (example["dtype"], example["shape"])
    assert bytes(wire["data"]) == base64.b64decode(example["base64"])


@pytest.mark.parametrize("example", ARRAYS, ids=lambda e: f"{e['dtype']}{e['shape']}")
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_an_array_is_read_as_the_fixture_says(example, kind):
    wire = {"data": kind(base64.b64decode(example["base64"])), "dtype": example["dtype"], "shape": example["shape"]}
    array = decode_array(wire)
    assert array.dtype == np.dtype(example["dtype"])
    assert list(array.shape) == example["shape"]
    assert array.ravel().tolist() == example["values"]
    assert array.flags.writeable


def test_the_fixture_has_every_dtype_that_is_sent():
    assert {example["dtype"] for example in ARRAYS} == set(DTYPES)


def test_arrays_of_any_layout_are_sent_in_order():
    array = np.arange(12, dtype=">f4").reshape(3, 4).T[::-1]
    assert (decode_array(encode_array(array)) == array).all()


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"data": b"", "dtype": "complex64", "shape": [0]},
        {"data": b"1234", "dtype": "float32"},
        {"data": b"1234", "dtype": "float32", "shape": [2]},
        {"data": b"123", "dtype": "float32", "shape": [1]},
        {"data": b"12345678", "dtype": "float32", "shape": [-1]},
        {"data": b"12345678", "dtype": "float32", "shape": [-1, -2]},
    ],
)
def test_what_is_no_array_is_refused(value):
    with pytest.raises(ValueError, match=r"\w+"):
        decode_array(value)


def fields(message):
    """The shape of a message: names, and the types of their values."""
    if isinstance(message, dict):
        return {name: fields(value) for name, value in message.items()}
    if isinstance(message, list):
        return [fields(message[0])] if message else []
    return "number or null" if message is None or type(message) in (int, float) else type(message).__name__


def said(kind, **wanted):
    found = [
        entry["message"]
        for entry in TALK
        if entry["from"] == "kernel"
        and entry["message"]["type"] == kind
        and all(entry["message"].get(name) == value for name, value in wanted.items())
    ]
    assert found, f"the fixture has no {kind} {wanted}"
    return found


def test_the_kernel_speaks_as_in_the_fixture(panel, page):
    run = page.ask("generate", **run_args(panel, max_new_tokens=3))
    page.end(run)
    assert fields(page.of(run, "accepted")[0]) == fields(said("accepted")[0])
    assert fields(page.of(run, "result")[0]) == fields(said("result")[0])
    running, scoring = page.of(run, "progress")[0], page.of(run, "progress")[-1]
    assert fields(running) == fields(said("progress", state="running")[0])
    assert fields(scoring) == fields(said("progress", state="scoring")[0])
    deltas, example = page.of(run, "delta"), said("delta")[0]
    assert all(set(delta) == set(example) for delta in deltas)
    # On a busy machine every step is a delta of its own, and the last one has nothing new.
    rows = next(delta["rows"] for delta in deltas if delta["rows"])
    watched = next(delta["watched"] for delta in deltas if delta["watched"])
    assert fields(rows) == fields(example["rows"])
    assert set(watched[0]) == set(example["watched"][0])
    refused = page.call("resync", run="none")
    assert fields(refused) == fields(said("error")[0])


def test_the_kernel_understands_what_the_page_says_in_the_fixture(make_panel, cavs):
    panel = make_panel(recipe=cavs[0].add(4))
    page = FrontEnd(panel)
    for entry in TALK:
        if entry["from"] == "view":
            message = json.loads(json.dumps(entry["message"]).replace("cav:15:0", cavs[0].key))
            page.send(message)
    asked = {entry["message"]["id"] for entry in TALK if entry["message"]["type"] == "request"}
    for request in asked:
        page.end(request)
        assert len(page.of(request, *ENDS)) == 1
    assert page.of("r1", "result"), page.of("r1")
    assert len(panel.result["rows"][0]["tokens"]) == 4
