"""Messages on a subshell (ipykernel 7): they arrive on another thread, in the middle of a cell."""

import pytest

WHO = """
import threading
served = []
def note(change): served.append(threading.current_thread().name)
panel0.observe(note, "prompt")
"""


@pytest.fixture
def subshell(kernel):
    """A subshell as JupyterLab makes one for the comms of a notebook; None where the kernel has none."""
    return kernel.new_subshell() if kernel.has_subshells else None


def test_the_installed_kernel_has_subshells_and_colabs_has_none(kernel):
    assert kernel.has_subshells == (kernel.name == "installed")


def test_a_request_in_the_middle_of_a_cell_streams_before_the_cell_ends(kernel, open_page, busy, subshell):
    page = open_page(subshell=subshell)
    page.end(page.generate(2))
    busy.start()
    run = page.generate(2000)
    if subshell is None:  # an old kernel sees it after the cell; the page then says that it waits
        busy.let_go()
    page.streamed(run, 3)
    assert busy.is_over == (subshell is None)
    page.cancel(run)
    assert page.end(run)["type"] == "cancelled"
    assert busy.is_over == (subshell is None)
    busy.let_go()


def test_stop_in_the_middle_of_a_cell(kernel, open_page, busy, subshell):
    page = open_page(subshell=subshell)
    run = page.generate(2000)
    page.streamed(run)
    busy.start()
    page.streamed(run, 3)
    page.cancel(run)
    if subshell is None:
        busy.let_go()
    assert page.end(run, within=15)["type"] == "cancelled"
    assert busy.is_over == (subshell is None)
    busy.let_go()


def test_stop_in_the_page_ends_a_run_from_code(kernel, open_page, subshell):
    page = open_page(subshell=subshell)
    tokens = 3000 if subshell else 150
    page.update(settings={"max_new_tokens": tokens})
    page.call("find", query="sea")
    cell = kernel.start_cell("panel0.generate().steered.ended")
    delta = kernel.wait(lambda: [m for m in page.messages if m["type"] == "delta"], "text")[0]
    page.cancel(delta["id"])
    kernel.wait(lambda: kernel.is_done(cell), "the end of the cell", within=15)
    # Where there are no subshells the message is read when the cell is over: too late to stop it.
    assert kernel.finish(cell) == ("'stopped'" if subshell else "'length'")
    assert page.end(delta["id"])["type"] == ("cancelled" if subshell else "result")


def test_typing_during_a_cell(kernel, open_page, busy, subshell):
    page = open_page(subshell=subshell)
    busy.start()
    for end in range(1, 12):
        page.update(prompt="Typed text."[:end])
    if subshell is None:
        busy.let_go()
    kernel.wait(
        lambda: page.traits.get("prompt_tokens", {}).get("prompt") == "Typed text.", "the last prompt", within=15
    )
    busy.let_go()
    assert kernel.run("panel0.prompt") == "'Typed text.'"


def test_setting_traits_from_a_cell_while_the_page_edits_and_runs(kernel, open_page, subshell):
    """Code on the main thread, messages on the subshell's, the run on the worker's: the last word counts."""
    page = open_page(subshell=subshell)
    kernel.run("other = sw.CAV(torch.ones(1, 32), ['elsewhere'], layer=2)")
    run = page.generate(150)
    page.streamed(run)
    code = """
    for i in range(20):
        panel0.settings = {**panel0.settings, "seed": i}
        panel0.recipe = (other if i % 2 else cavs)[0].add(i + 1)
    """
    cell = kernel.start_cell("\n".join(line[4:] for line in code.splitlines()))
    for seed in range(20):
        page.update(prompt=f"Prompt {seed}")
    kernel.wait(lambda: kernel.is_done(cell), "the cell", within=30)
    kernel.finish(cell)
    assert page.end(run, within=30)["type"] == "result"
    kernel.wait(lambda: page.traits.get("prompt_tokens", {}).get("prompt") == "Prompt 19", "the last prompt")
    assert kernel.run("panel0.recipe") == "'elsewhere'.add(20)"
    assert kernel.run("panel0.prompt") == "'Prompt 19'"


def test_messages_on_both_shells_in_turns(kernel, open_page, busy, subshell):
    """ipykernel 7.4 sends a message to the subshell that the comm last spoke from, whatever it is tagged with."""
    page = open_page(subshell=subshell)
    kernel.run(WHO)
    run = page.generate(400, subshell=None)
    page.streamed(run)
    asked = [page.ask("find", chosen, query="food") for chosen in (subshell, None) * 5]
    busy.start()
    asked += [page.ask("find", chosen, query="sea") for chosen in (None, subshell) * 5]
    for number, chosen in enumerate((subshell, None) * 3):
        page.deliver({"method": "update", "state": {"prompt": f"p{number}"}, "buffer_paths": []}, chosen)
    busy.let_go()
    assert [page.end(request)["type"] for request in asked] == ["result"] * 20
    page.cancel(run, None)
    assert page.end(run)["type"] == "cancelled"
    assert all(len(page.of(request, *page.ENDS)) == 1 for request in [*asked, run])
    # Of two shells, neither waits for the other: the last word may be either's.
    kernel.wait(lambda: kernel.run("len(served)") == "6", "all edits")
    assert kernel.run("panel0.prompt") in ("'p4'", "'p5'")


def test_malformed_messages_on_a_subshell(kernel, open_page, busy, subshell):
    page = open_page(subshell=subshell)
    page.call("find", query="sea")
    busy.start()
    for message in (None, [], {"type": "request"}, {"type": "request", "id": "x", "name": "none"}):
        page.send(message)
    page.deliver({"method": "nonsense"})
    if subshell is None:
        busy.let_go()
    kernel.wait(lambda: len([m for m in page.messages if m["type"] == "error"]) == 4, "four errors")
    assert page.call("find", query="sea")["type"] == "result"
    busy.let_go()
