"""Messages and traits that no page of ours sends: one error each, as a sentence, and the panel works on."""

import re

import pytest
from widgets.front_end import ENDS

GOOD_STEER = {"id": "s", "key": "?", "op": "add", "params": {"alpha": 1.0}, "enabled": True}
NOT_FOR_READERS = re.compile(
    r"Error\b|Exception\b|Traceback|has no attribute|not iterable|not subscriptable|unhashable|'NoneType'|"
    r"unexpected keyword|must be (str|int)|invalid literal|codec can't|cannot convert|argument must"
)


def assert_sentence(text):
    assert text[:1].isupper() or text[:1] in "'\"" or re.match(r"^[a-z_]+ has to be", text), text
    assert not NOT_FOR_READERS.search(text), text
    assert len(text) < 400, text


def assert_alive(panel, page):
    """The panel still searches and runs."""
    assert page.call("find", query="sea")["type"] == "result"
    inputs = {"prompt": "Hello", "chat": True, "settings": {"max_new_tokens": 2}, "steers": [], "positions": {}}
    assert page.call("generate", **inputs, watched="")["type"] == "result"
    assert panel.status["state"] == "done"


@pytest.mark.parametrize(
    ("message", "heard_id"),
    [
        (None, None),
        ("text", None),
        (7, None),
        ([], None),
        ([{"type": "request"}], None),
        ({}, None),
        ({"id": "a"}, "a"),
        ({"type": "request"}, None),
        ({"type": "nonsense", "id": "a"}, "a"),
        ({"type": ["request"], "id": "a"}, "a"),
        ({"type": "request", "id": "", "name": "find"}, ""),
        ({"type": "request", "id": 5, "name": "find"}, 5),
        ({"type": "request", "id": {"a": [1]}, "name": "find"}, {"a": [1]}),
        ({"type": "request", "id": ["a"], "name": "find"}, ["a"]),
        ({"type": "request", "id": "a"}, "a"),
        ({"type": "request", "id": "a", "name": None}, "a"),
        ({"type": "request", "id": "a", "name": "nonsense"}, "a"),
        ({"type": "request", "id": "a", "name": ["generate"]}, "a"),
        ({"type": "request", "id": "a", "name": "generate", "args": None}, "a"),
        ({"type": "request", "id": "a", "name": "generate", "args": []}, "a"),
        ({"type": "request", "id": "a", "name": "generate", "args": "prompt"}, "a"),
        ({"type": "cancel"}, None),
        ({"type": "cancel", "id": 5}, 5),
        ({"type": "cancel", "id": ["a"]}, ["a"]),
    ],
)
def test_a_message_of_no_known_form_is_answered_by_one_error(panel, page, message, heard_id):
    page.send(message)
    [answer] = page.messages
    assert (answer["type"], answer["id"]) == ("error", heard_id)
    assert answer["error"]["kind"] == "BadRequest"
    assert_sentence(answer["error"]["message"])
    assert_alive(panel, page)


def steer(**changes):
    return {"steers": [{**GOOD_STEER, **changes}]}


@pytest.mark.parametrize(
    "args",
    [
        {"prompt": ""},
        {"prompt": " \n"},
        {"prompt": None},
        {"prompt": 5},
        {"prompt": ["a", "list"]},
        {"prompt": {"role": "user"}},
        {"prompt": "half a character \ud83d"},
        {"settings": None},
        {"settings": "hot"},
        {"settings": [1]},
        {"settings": {"temperature": float("nan")}},
        {"settings": {"temperature": -1}},
        {"settings": {"temperature": "0.7"}},
        {"settings": {"temperature": None}},
        {"settings": {"temperature": True}},
        {"settings": {"top_p": 0}},
        {"settings": {"top_k": 1.5}},
        {"settings": {"max_new_tokens": 0}},
        {"settings": {"max_new_tokens": 1e300}},
        {"settings": {"seed": float("inf")}},
        {"settings": {"seed": []}},
        {"settings": {"nonsense": 1}},
        {"steers": None},
        {"steers": "steers"},
        {"steers": 5},
        {"steers": {"a": 1}},
        {"steers": [None]},
        {"steers": ["a"]},
        {"steers": [{}]},
        steer(),
        steer(key=None),
        steer(key=["a"]),
        steer(key="cav:0000000000000000/0"),
        steer(key="first", op="nonsense"),
        steer(key="first", op=None),
        steer(key="first", op=["add"]),
        steer(key="first", params=None),
        steer(key="first", params=[1]),
        steer(key="first", params="alpha"),
        steer(key="first", params={"alpha": None}),
        steer(key="first", params={"alpha": "4"}),
        steer(key="first", params={"alpha": float("nan")}),
        steer(key="first", params={"alpha": 1.0, "beta": 2.0}),
        steer(key="first", op="clip", params={"lo": 2.0, "hi": 1.0}),
        steer(key="first", when=3),
        steer(key="first", when=[]),
        steer(key="first", when={}),
        steer(key="first", when={"feature": "cav:0000000000000000/0", "is": ">", "than": 1.0}),
        steer(key="first", when={"feature": ["a"], "is": ">", "than": 1.0}),
        steer(key="first", when={"feature": "a", "is": "=", "than": 1.0}),
        steer(key="first", when={"feature": "a", "is": ">", "than": None}),
        steer(key="first", when={"all": [{}, {}]}),
        steer(key="first", when={"any": None}),
        steer(key="first", fade=3),
        steer(key="first", fade={"to": "0", "over": 3}),
        steer(key="first", fade={"to": 0, "over": 0}),
        steer(key="first", fade={"to": 0, "over": None}),
        steer(key="index 999999"),
        steer(key="index -1"),
        {"positions": None},
        {"positions": "all"},
        {"positions": []},
        {"positions": {"where": "nonsense"}},
        {"positions": {"where": None}},
        {"positions": {"where": ["all"]}},
        {"positions": {"where": "indices", "indices": "abc"}},
        {"positions": {"where": "indices", "indices": 5}},
        {"positions": {"where": "indices", "indices": [-1]}},
        {"positions": {"where": "indices", "indices": [1.5]}},
        {"positions": {"where": "indices", "indices": [[1]]}},
        {"positions": {"where": "indices", "indices": None}},
        {"positions": {"where": "role"}},
        {"positions": {"where": "role", "role": "tool"}},
        {"positions": {"where": "role", "role": ["user"]}},
        {"positions": {"where": "first", "count": None}},
        {"positions": {"where": "first", "count": 3, "of": "prompt"}},
        {"positions": {"where": "both", "parts": []}},
        {"positions": {"where": "both", "parts": [{"where": "both"}, {}]}},
        {"positions": {"where": "both", "parts": "all"}},
        {"watched": 5},
        {"watched": ["a"]},
        {"watched": {"a": 1}},
        {"watched": "cav:0000000000000000/0"},
    ],
    ids=lambda args: str(args)[:60],
)
def test_a_run_of_wrong_inputs_is_answered_by_one_sentence(panel, page, cavs, args):
    panel.steers = [{**steer_, "params": {"alpha": 1.0}} for steer_ in panel.steers]
    steers = args.get("steers")
    for item in steers if isinstance(steers, list) else []:
        if isinstance(item, dict) and isinstance(key := item.get("key"), str):
            keys = {"first": cavs[0].key, "index 999999": f"{cavs.fingerprint}/999999", "index -1": "cav/-1"}
            item["key"] = keys.get(key, key)
    # Positions act through a steer: where a case brings none, the panel's own stands.
    request = page.ask("generate", **{"prompt": "Hello", "settings": {"max_new_tokens": 2}} | args)
    answer = page.end(request)
    assert answer["type"] == "error", answer
    assert len(page.of(request, *ENDS)) == 1
    assert_sentence(answer["error"]["message"])
    assert panel.status["state"] == "error"
    assert_alive(panel, page)


@pytest.mark.parametrize(
    "args",
    [
        {"query": None},
        {"query": 5},
        {"query": ["sea"]},
        {"query": {"a": 1}},
        {"limit": None},
        {"limit": "many"},
        {"limit": float("nan")},
        {"limit": float("inf")},
        {"limit": [1]},
        {"limit": -5},
        {"limit": 0},
        {"limit": 10**30},
        {"limit": 1e300},
    ],
    ids=str,
)
def test_a_search_of_wrong_arguments_finds_or_says_what_is_wrong(panel, page, args):
    answer = page.call("find", **{"query": "sea"} | args)
    if answer["type"] == "error":
        assert_sentence(answer["error"]["message"])
    else:
        assert len(answer["value"]["features"]) <= 3
    assert_alive(panel, page)


@pytest.mark.parametrize("run", [None, 5, ["a"], {"a": 1}, "never"], ids=str)
def test_a_resync_of_no_run_is_told(panel, page, run):
    answer = page.call("resync", run=run)
    assert answer["type"] == "error"
    assert_sentence(answer["error"]["message"])
    assert_alive(panel, page)


def test_an_id_that_is_running_is_refused_and_the_run_goes_on(panel, page, gate):
    first = page.ask("generate", prompt="Hello")
    page.send({"type": "request", "id": first, "name": "generate", "args": {}})
    refused = page.wait(lambda: page.of(first, "error"), "the refusal")
    assert_sentence(refused[0]["error"]["message"])
    gate.open()
    page.wait(lambda: page.of(first, "result"), "the run")
    assert_alive(panel, page)


def test_traits_of_wrong_types_do_no_harm(panel, page):
    for state in ({"prompt": 5}, {"steers": "x"}, {"settings": None}, {"positions": []}, {"nonsense": 1}):
        page.update(**state)
    assert_alive(panel, page)


@pytest.mark.parametrize(
    "state",
    [
        {"steers": [1, None]},
        {"steers": [{"id": "a", "key": "cav:0000000000000000/0", "op": "add", "params": {}}]},
        {"steers": [{"id": ["a"], "key": {"a": 1}, "op": 5, "params": "x"}]},
        {"watched": "cav:0000000000000000/0"},
        {"positions": {"where": "nonsense"}},
        {"positions": {"where": "indices", "indices": 5}},
        {"settings": {"temperature": "hot"}},
        {"settings": {}},
        {"prompt": "half a character \ud83d"},
        {"prompt": ""},
    ],
    ids=lambda state: str(state)[:60],
)
def test_traits_of_wrong_values_do_no_harm(panel, page, cavs, state):
    """An observer that raises would be an exception in the kernel's message loop, printed into some cell."""
    panel.set_state(state)
    assert_alive(panel, page)
    good = {
        "steers": [{**GOOD_STEER, "key": cavs[1].key}],
        "watched": "",
        "positions": {"where": "all"},
        "prompt": "Hi",
    }
    page.update(**good)
    page.wait(lambda: panel.readouts.get("s", {}).get("ratio"), "readouts of a good recipe")
    assert panel.prompt_tokens["prompt"] == "Hi"
