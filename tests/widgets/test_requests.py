"""What a page asks and what it hears: order, sequence, cancel, queueing, and errors as sentences."""

import torch
from widgets.conftest import vectors
from widgets.front_end import ENDS, FrontEnd, joined

import steerwidgets as sw


def run_args(panel, **changes):
    names = ("prompt", "chat", "settings", "steers", "positions", "watched")
    args = {name: getattr(panel, name) for name in names}
    settings = args["settings"] | {key: changes.pop(key) for key in list(changes) if key in args["settings"]}
    return args | {"settings": settings} | changes


def test_a_run_is_accepted_streams_and_ends_in_a_result(panel, page):
    run = page.ask("generate", **run_args(panel))
    assert page.end(run) == {"type": "result", "id": run, "value": {}}
    kinds = [message["type"] for message in page.of(run)]
    assert kinds[0] == "accepted"
    assert kinds[-1] == "result"
    assert set(kinds[1:-1]) == {"progress", "delta"}
    stream = page.of(run, "progress", "delta")
    assert [message["seq"] for message in stream] == list(range(len(stream)))
    states = [message["state"] for message in page.of(run, "progress")]
    assert sorted(set(states), key=states.index) == ["running", "scoring"]


def test_deltas_add_up_to_the_result(panel, page):
    run = page.ask("generate", **run_args(panel, max_new_tokens=60))
    page.end(run)
    rows = panel.result["rows"]
    deltas = page.of(run, "delta")
    assert joined(deltas) == [[token["id"] for token in row["tokens"]] for row in rows]
    assert len(rows[0]["tokens"]) == 60
    watched = [[], []]
    for delta in deltas:
        for part in delta["watched"]:
            assert part["start"] == len(watched[part["row"]])
            watched[part["row"]] += part["values"]
    assert watched == [row["watched"] for row in rows]
    assert deltas[-1]["divergence"] == panel.result["divergence"]


def test_characters_of_several_tokens_are_told_as_bytes_until_they_are_whole(panel, page):
    page.call("generate", **run_args(panel, max_new_tokens=60, temperature=1.5))
    tokens = [token for row in panel.result["rows"] for token in row["tokens"]]
    streamed = [
        token
        for delta in page.of("request-1", "delta")
        for part in delta["rows"]
        for token in part["tokens"]
        if token["fragment"]
    ]
    assert streamed
    assert all(set(token["text"]) <= set("0123456789ABCDEF ") for token in streamed)
    assert all("\ufffd" not in token["text"] for token in tokens if not token["fragment"])


def test_the_result_is_set_before_its_message(panel, page):
    run = page.ask("generate", **run_args(panel))
    page.end(run)
    published = [name for kind, content in page.log if kind == "state" for name in content]
    assert "result" in published
    last_result = max(i for i, (kind, content) in enumerate(page.log) if kind == "state" and "result" in content)
    message = next(i for i, (kind, content) in enumerate(page.log) if kind == "message" and content["type"] == "result")
    assert last_result < message
    assert panel.status == {"state": "done", "message": ""}


def test_all_inputs_travel_with_the_request(panel, page, lm, cavs):
    steer = {"id": "x", "key": cavs[1].key, "op": "project", "params": {"c": -2.0}, "enabled": True}
    positions = {"where": "indices", "indices": [3, 4], "special": False}
    args = run_args(panel, prompt="Other.", chat=False, steers=[steer], positions=positions, seed=9, max_new_tokens=5)
    page.call("generate", **args)
    recipe = cavs[1].project(-2).at([3, 4], special=False)
    plain = lm.compare("Other.", recipe, chat=False, seed=9, max_new_tokens=5)
    assert [row["text"] for row in panel.result["rows"]] == [plain.baseline.text, plain.steered.text]
    assert panel.result["positions"] == positions


def test_stop_acts_within_one_token(panel, page, gate, hooks, lock_is_free):
    before = hooks()
    run = page.ask("generate", **run_args(panel, max_new_tokens=500))
    gate.let(10)
    page.wait(lambda: sum(map(len, joined(page.of(run, "delta")))) >= 1, "text")
    page.wait(lambda: gate.is_used_up, "the model to use up its steps")
    page.cancel(run)
    gate.let(1)
    assert page.end(run) == {"type": "cancelled", "id": run}
    rows = panel.result["rows"]
    assert [len(row["tokens"]) for row in rows] in ([10, 10], [11, 11])
    assert [row["ended"] for row in rows] == ["stopped", "stopped"]
    assert joined(page.of(run, "delta")) == [[token["id"] for token in row["tokens"]] for row in rows]
    assert panel.status["state"] == "stopped"
    assert hooks() == before
    assert lock_is_free()
    gate.open()
    assert page.call("generate", **run_args(panel))["type"] == "result"
    assert panel.status["state"] == "done"


def test_a_request_that_waits_behind_another_can_be_cancelled(panel, page, gate):
    first = page.ask("generate", **run_args(panel, max_new_tokens=500))
    second = page.ask("generate", **run_args(panel))
    gate.held.wait(30)
    page.cancel(second)
    assert page.end(second, within=5)["type"] == "cancelled"
    assert not page.of(first, *ENDS)
    page.cancel(first)
    gate.open()
    assert page.end(first)["type"] == "cancelled"
    assert [message["state"] for message in page.of(second, "progress")] == ["waiting"]
    assert not page.of(second, "delta")


def test_cancelling_what_is_over_or_never_was_changes_nothing(panel, page):
    run = page.ask("generate", **run_args(panel))
    page.end(run)
    count = len(page.messages)
    page.cancel(run)
    page.cancel("never asked")
    assert len(page.messages) == count
    assert panel.status["state"] == "done"
    assert page.call("find", query="sea")["type"] == "result"


def test_two_panels_on_one_model_queue(make_panel, cavs, lm, gate):
    panels = [make_panel(recipe=cavs[0].add(4)), make_panel(recipe=cavs[1].add(4))]
    first, second = (FrontEnd(panel) for panel in panels)
    one = first.ask("generate", **run_args(panels[0]))
    assert gate.held.wait(30)
    two = second.ask("generate", **run_args(panels[1]))
    second.wait(lambda: second.of(two, "progress"), "word that it waits")
    assert second.of(two, "progress")[0]["state"] == "waiting"
    assert panels[1].status["state"] == "waiting"
    assert panels[1].status["message"]
    gate.open()
    assert first.end(one)["type"] == "result"
    assert second.end(two)["type"] == "result"
    alone = [lm.compare(p.prompt, p.recipe, max_new_tokens=8).steered.text for p in panels]
    assert [panel.result["rows"][1]["text"] for panel in panels] == alone


def test_a_panel_that_waits_for_the_model_can_be_stopped(make_panel, cavs, gate):
    panels = [make_panel(recipe=cavs[0].add(4)), make_panel(recipe=cavs[1].add(4))]
    first, second = (FrontEnd(panel) for panel in panels)
    one = first.ask("generate", **run_args(panels[0]))
    two = second.ask("generate", **run_args(panels[1]))
    second.wait(lambda: second.of(two, "progress"), "word that it waits")
    second.cancel(two)
    assert second.end(two, within=5)["type"] == "cancelled"
    assert panels[1].status["state"] == "stopped"
    assert not first.of(one, *ENDS)
    gate.open()
    assert first.end(one)["type"] == "result"


def test_a_view_that_came_late_gets_the_whole_text(panel, page, gate):
    run = page.ask("generate", **run_args(panel, max_new_tokens=500))
    gate.let(5)
    page.wait(lambda: gate.is_used_up and page.of(run, "delta"), "some text")
    whole = page.call("resync", run=run)["value"]
    shown = [[token["id"] for token in row["tokens"]] for row in whole["rows"]]
    assert len(shown[0]) >= 4
    page.cancel(run)
    gate.open()
    page.end(run)
    assert [ids[: len(s)] for ids, s in zip(joined(page.of(run, "delta")), shown, strict=True)] == shown
    late = page.call("resync", run=run)
    assert late["error"]["message"] == "That run is over; its result is in the panel."


def test_search(panel, page, cavs):
    assert page.call("find", query="SEA sail", limit=9)["value"]["features"][0]["key"] == cavs[0].key
    assert page.call("find", query="cav cook")["value"]["total"] == 1
    assert page.call("find", query="no such words")["value"] == {"features": [], "total": 0}


def test_search_tells_how_many_there_are_and_not_how_many_were_sent(make_panel):
    panel = make_panel(sw.CAV(vectors(700), [f"concept {i}" for i in range(700)], layer=1))
    found = FrontEnd(panel).call("find", query="concept", limit=20)["value"]
    assert len(found["features"]) == 20
    assert found["total"] == 700


def test_export_html_is_a_whole_page_with_the_texts(panel, page):
    page.call("generate", **run_args(panel))
    value = page.call("export_html")["value"]
    assert value["filename"].endswith(".html")
    assert value["html"].lstrip().startswith("<!doctype html>")


def test_an_exception_of_the_users_own_hook_is_a_sentence_and_the_next_run_works(panel, page, lm, hooks, lock_is_free):
    def fail(*_args):
        raise RuntimeError("my own hook went wrong")

    before = hooks()
    page.call("generate", **run_args(panel))
    good = panel.result
    handle = lm.model.model.layers[2].register_forward_hook(fail)
    ended = page.call("generate", **run_args(panel))
    handle.remove()
    assert ended["type"] == "error"
    assert "my own hook went wrong" in ended["error"]["message"]
    assert panel.status["state"] == "error"
    assert panel.result == good
    assert "my own hook went wrong" in panel.last_traceback
    assert hooks() == before
    assert lock_is_free()
    assert page.call("generate", **run_args(panel))["type"] == "result"


def test_an_error_while_reading_the_prompt_does_not_end_the_worker(panel, page, lm):
    def fail(*_args):
        raise RuntimeError("my own hook went wrong")

    handle = lm.model.model.layers[0].register_forward_hook(fail)
    page.update(prompt="Something that was not read before.")
    page.wait(lambda: panel.last_traceback, "the error to be noted")
    handle.remove()
    assert page.call("generate", **run_args(panel))["type"] == "result"


def test_out_of_memory_is_told(panel, page, lm):
    def fail(*_args):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    handle = lm.model.model.layers[2].register_forward_hook(fail)
    ended = page.call("generate", **run_args(panel))
    handle.remove()
    assert "out of memory" in ended["error"]["message"]
    assert page.call("generate", **run_args(panel))["type"] == "result"


def test_close_stops_the_run(panel, page, gate, hooks, lock_is_free):
    before = hooks()
    run = page.ask("generate", **run_args(panel, max_new_tokens=500))
    gate.let(3)
    page.wait(lambda: page.of(run, "delta"), "some text")
    panel.close()
    gate.let(2)
    page.wait(lock_is_free, "the lock to be free")
    assert hooks() == before
    assert panel.result["rows"][0]["ended"] == "stopped"


def test_steering_that_overflows_is_told_in_what_a_page_can_parse(panel, page, cavs):
    steer = {"id": "x", "key": cavs[0].key, "op": "add", "params": {"alpha": 3e38}, "enabled": True}
    end = page.call("generate", **run_args(panel, steers=[steer]))
    assert end["type"] == "error"
    assert "it is too strong for the model's dtype" in end["error"]["message"]


def test_a_page_hears_that_the_kernel_is_there_whatever_runs(panel, page, gate):
    run = page.ask("generate", **run_args(panel))
    assert gate.held.wait(60)
    page.send({"type": "ping", "id": "ping"})
    assert page.of("ping") == [{"type": "pong", "id": "ping"}]
    gate.open()
    page.end(run)


def test_a_text_without_end_is_refused_before_anything_is_read(panel, page, lm):
    longest = lm.architecture.longest_text
    forwards = []
    handle = lm.model.register_forward_pre_hook(lambda *_: forwards.append(1))
    panel.prompt = "word " * 20 * longest
    (note,) = {readout["note"] for readout in panel.readouts.values()}
    assert f"was made for {longest:,} at most; shorten it" in note
    run = page.ask("generate", **run_args(panel))
    assert "shorten it" in page.end(run)["error"]["message"]
    handle.remove()
    assert not forwards
    panel.prompt = "Hello"
    assert not any(readout["note"] for readout in panel.readouts.values())
