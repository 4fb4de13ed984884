"""A panel in a real kernel, today's and Colab's: streaming, cancel, malformed messages, interrupts."""

import pytest

MALFORMED = [
    None,
    "text",
    7,
    [],
    {},
    {"type": "nonsense", "id": "a"},
    {"type": "request"},
    {"type": "request", "id": ["a"], "name": "find"},
    {"type": "request", "id": "b", "name": "nonsense"},
    {"type": "request", "id": "c", "name": "generate", "args": "text"},
    {"type": "request", "id": "d", "name": "generate", "args": {"settings": {"temperature": "hot"}}},
    {"type": "request", "id": "e", "name": "generate", "args": {"steers": [1]}},
    {"type": "request", "id": "f", "name": "generate", "args": {"prompt": {"a": 1}}},
    {"type": "request", "id": "g", "name": "resync", "args": {"run": [1]}},
    {"type": "cancel"},
]


def test_versions(kernel):
    """The old kernel is really an old one."""
    code = (
        "import ipykernel, ipywidgets, traitlets\nprint(*(m.__version__ for m in (ipykernel, ipywidgets, traitlets)))"
    )
    versions = kernel.run(code)
    assert versions == "6.17.1 7.7.1 5.7.1\n" if kernel.name == "colab" else versions.startswith("7.")


def test_text_streams_while_a_cell_runs(kernel, page, busy):
    run = page.generate(300)
    page.streamed(run)
    busy.start()
    page.streamed(run, 3)
    assert not busy.is_over
    busy.let_go()
    page.cancel(run)
    assert page.end(run)["type"] == "cancelled"


def test_a_run_is_heard_in_order_and_whole(page):
    run = page.generate(40)
    assert page.end(run) == {"type": "result", "id": run, "value": {}}
    kinds = [message["type"] for message in page.of(run)]
    assert kinds[0] == "accepted"
    assert kinds[-1] == "result"
    stream = page.of(run, "progress", "delta")
    assert [message["seq"] for message in stream] == list(range(len(stream)))
    ids = [[], []]
    for delta in page.of(run, "delta"):
        for part in delta["rows"]:
            assert part["start"] == len(ids[part["row"]])
            ids[part["row"]] += [token["id"] for token in part["tokens"]]
    assert ids == [[token["id"] for token in row["tokens"]] for row in page.traits["result"]["rows"]]
    assert len(page.of(run, "delta")) > 3
    assert page.traits["status"]["state"] == "done"


def test_cancel(kernel, page):
    run = page.generate(2000)
    page.streamed(run, 2)
    page.cancel(run)
    assert page.end(run)["type"] == "cancelled"
    rows = kernel.wait(lambda: page.traits.get("result"), "the partial result")["rows"]
    assert {row["ended"] for row in rows} == {"stopped"}
    assert 0 < len(rows[0]["tokens"]) < 2000
    again = page.generate(3)
    assert page.end(again)["type"] == "result"


@pytest.mark.parametrize("message", MALFORMED, ids=lambda m: str(m)[:50])
def test_a_malformed_message_is_answered_by_one_error(kernel, page, message):
    page.send(message)
    error = kernel.wait(lambda: [m for m in page.messages if m["type"] == "error"], "an error")[0]
    assert error["id"] == (message.get("id") if isinstance(message, dict) else None)
    assert error["error"]["message"]
    assert page.call("find", query="sea")["value"]["total"] == 1
    assert len([m for m in page.messages if m["type"] == "error"]) == 1


def test_what_is_no_widget_message_at_all_leaves_the_kernel_alive(kernel, page):
    for data in ({}, {"method": "nonsense"}, {"method": "update"}, {"method": "custom"}, {"method": 5}):
        page.deliver(data)
    for state in ({"prompt": 5}, {"steers": [1, None]}, {"steers": "x"}, {"watched": "none/0"}, {"nonsense": 1}):
        page.update(**state)
    kernel.send("comm_msg", {"comm_id": "nobody", "data": {}})
    assert page.call("find", query="sea")["value"]["total"] == 1


def test_edits_of_the_page_bring_readouts_and_snippet(kernel, page):
    page.update(prompt="Something else", settings={"temperature": 0.0, "max_new_tokens": 5, "seed": 3})
    kernel.wait(lambda: page.traits.get("prompt_tokens", {}).get("prompt") == "Something else", "the prompt's tokens")
    kernel.wait(lambda: page.traits.get("readouts"), "readouts")
    assert "'Something else'" in page.traits["snippet"]
    assert kernel.run("panel0.prompt, panel0.settings['seed']") == "('Something else', 3)"


def test_the_kernel_does_other_things_while_it_generates(kernel, page):
    run = page.generate(2000)
    page.streamed(run)
    assert kernel.run("'mean' + 'while'") == "'meanwhile'"
    assert kernel.run("sum(range(10))") == "45"
    assert not page.of(run, *page.ENDS)
    page.cancel(run)
    page.end(run)


def test_interrupting_a_cell_leaves_the_run_of_the_page_alone(kernel, page, busy):
    run = page.generate(200)
    busy.start()
    kernel.interrupt()
    kernel.wait(lambda: busy.is_over, "the interrupted cell")
    assert kernel.of(busy.cell, "error")[0]["content"]["ename"] == "KeyboardInterrupt"
    assert page.end(run)["type"] == "result"


def test_ctrl_c_stops_a_run_from_code_and_keeps_its_text(kernel, page):
    page.update(settings={"max_new_tokens": 3000})
    cell = kernel.start_cell("panel0.generate()")
    kernel.wait(lambda: len([m for m in page.messages if m["type"] == "delta"]) > 2, "text of the run from code")
    kernel.interrupt()
    kernel.wait(lambda: kernel.is_done(cell), "the end of the cell")
    assert kernel.of(cell, "error")[0]["content"]["ename"] == "KeyboardInterrupt"
    kernel.wait(lambda: page.traits.get("status", {}).get("state") == "stopped", "the status")
    rows = page.traits["result"]["rows"]
    assert {row["ended"] for row in rows} == {"stopped"}
    assert 0 < len(rows[0]["tokens"]) < 3000
    hooks = "sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in lm.model.modules())"
    assert kernel.run(hooks) == "1"  # the pace of the model
    assert page.end(page.generate(3))["type"] == "result"


def test_two_panels_on_one_model_queue(kernel, open_page):
    first, second = open_page(), open_page("sw.SteeringPanel(lm, cavs, recipe=cavs[1].add(4))")
    one = first.generate(60)
    first.streamed(one)
    two = second.generate(5)
    kernel.wait(lambda: second.of(two, "progress"), "word that it waits")
    assert second.of(two, "progress")[0]["state"] == "waiting"
    assert first.end(one)["type"] == "result"
    assert second.end(two)["type"] == "result"
    alone = "lm.compare('Hello', panel1.recipe, max_new_tokens=5, seed=1)"
    assert kernel.run(f"{alone}.steered.text == panel1.comparison.steered.text") == "True"


def test_a_cell_says_nothing_that_it_was_not_told_to(kernel, page):
    """Neither the worker nor a handler prints into whatever cell runs just then."""
    cell = kernel.start_cell("time.sleep(0)")
    run = page.generate(10)
    page.end(run)
    kernel.finish(cell)
    page.update(prompt="Something that was not read yet")
    kernel.wait(lambda: page.traits.get("prompt_tokens", {}).get("prompt", "").startswith("Something"), "the tokens")
    assert not [m for m in kernel.heard if m["msg_type"] in ("stream", "error")]


def test_an_exception_of_the_users_own_hook_is_a_sentence(kernel, page):
    kernel.run("def fail(*_): raise RuntimeError('my own hook went wrong')")
    kernel.run("bad = lm.model.register_forward_pre_hook(fail)")
    answer = page.end(page.generate(3))
    kernel.run("bad.remove()")
    assert answer["type"] == "error"
    assert "my own hook went wrong" in answer["error"]["message"]
    assert page.end(page.generate(3))["type"] == "result"


def test_a_saved_page_comes_back_through_the_comm(page):
    page.end(page.generate(3))
    value = page.call("export_html")["value"]
    assert value["html"].lstrip().startswith("<!doctype html>")
