"""Linear layers the other way around: the same numbers, in this thread alone, and modules as they were afterwards."""

import copy
import signal
import sys
import threading

import pytest
import torch
from support.both import PROMPT, vector
from support.hooks import in_thread
from torch import nn

import steerwidgets as sw
from steerwidgets.transformer import few_rows

FAMILIES = ("llama", "qwen2", "gemma2", "gemma3", "gpt2", "neox_parallel")
D = sw.Direction(vector(1), sw.Site(1), "one")


@pytest.fixture
def always(monkeypatch):
    """The other way is taken wherever it may be."""
    monkeypatch.setattr(few_rows, "_chosen", {})
    monkeypatch.setattr(few_rows, "_GAIN", float("inf"))
    monkeypatch.setattr(few_rows, "_ROUNDS", range(1, 1 + 1))


@pytest.fixture
def served(monkeypatch):
    """The threads in which a layer was computed the other way."""
    threads, other_way = [], few_rows._other_way

    def noted(layer, x, columns):
        threads.append(threading.get_ident())
        return other_way(layer, x, columns)

    monkeypatch.setattr(few_rows, "_other_way", noted)
    return threads


def as_they_are(model):
    return {name: (type(module), dict(vars(module))) for name, module in model.named_modules()}


def hidden(model):
    return [name for name, module in model.named_modules() if "forward" in vars(module)]


def logits(lm, rows, *, other_way):
    ids = torch.arange(5, 5 + rows)[:, None]
    with torch.no_grad(), few_rows.few_rows(lm.architecture, rows if other_way else few_rows.MOST + 1):
        return lm.model(input_ids=ids).logits


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("rows", [1, 2, 3, 5, 12, 16])
def test_the_same_logits(lm, rows, served):
    usual = logits(lm, rows, other_way=False)
    assert not served
    found = logits(lm, rows, other_way=True)
    assert served
    assert found.is_contiguous()
    torch.testing.assert_close(found, usual, atol=1e-4, rtol=0)


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "recipes", [[None], [None, D.add(1)], [None, D.ablate(), D.add(2)], [None] * 4 + [D.add(1)] * 3]
)
def test_the_same_tokens(lm, monkeypatch, recipes, served):
    rows = lm.sweep(PROMPT, recipes, temperature=0, max_new_tokens=8)
    assert served
    monkeypatch.setattr(few_rows, "MOST", 0)
    assert rows == lm.sweep(PROMPT, recipes, temperature=0, max_new_tokens=8)


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("rows", range(1, few_rows.MOST + 1))
@pytest.mark.parametrize("width", [32, 576])
def test_equal_rows_come_out_equal(fresh, rows, width, served):
    """To the last bit, so that an identity op gives the baseline; kernels like to treat what is left over otherwise."""
    lm = fresh()
    lm.model.lm_head = nn.Linear(width, 101).eval()
    with torch.no_grad(), few_rows.few_rows(lm.architecture, rows):
        served.clear()
        found = lm.model.lm_head(torch.randn(width).expand(rows, 1, -1))
    assert served
    assert (found == found[0]).all()


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("raised", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("where", ["on_step", "a layer", "a signal"])
def test_modules_are_as_they_were_whatever_is_raised(llama, raised, where):
    before = as_they_are(llama.model)
    seen = []

    def fail(*_):
        seen.append(hidden(llama.model))
        if len(seen) == 2:
            if where == "a signal":
                signal.default_int_handler(
                    signal.SIGINT, None
                )  # as in the main thread, which a worker of tests has not
            raise raised

    handle = llama.model.lm_head.register_forward_hook(fail) if where == "a layer" else None
    expected = KeyboardInterrupt if where == "a signal" else raised
    try:
        with pytest.raises(expected):
            llama.compare(PROMPT, D.add(1), max_new_tokens=5, on_step=None if handle else fail)
    finally:
        if handle:
            handle.remove()
    assert seen[-1]
    assert as_they_are(llama.model) == before
    assert getattr(few_rows._in_thread, "run", None) is None


@pytest.mark.usefixtures("always")
def test_an_interrupt_at_every_line_leaves_modules_as_they_were(llama):
    """Ctrl-C may come between any two lines: at the n-th line of this file that runs, for every n."""
    before = as_they_are(llama.model)
    logits(llama, 2, other_way=True)  # measured

    def interrupted_at(n):
        left = [n]

        def trace(frame, event, _arg):
            if frame.f_code.co_filename != few_rows.__file__:
                return None
            if event == "line":
                left[0] -= 1
                if left[0] == 0:
                    raise KeyboardInterrupt
            return trace

        sys.settrace(trace)
        try:
            with few_rows.few_rows(llama.architecture, 2):
                pass
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(None)
        return False

    lines = 0
    while interrupted_at(lines + 1):
        lines += 1
        assert as_they_are(llama.model) == before, lines
        assert getattr(few_rows._in_thread, "run", None) is None, lines
    assert lines > 100


@pytest.mark.usefixtures("always")
def test_forwards_of_other_threads_pass_untouched(llama, served):
    ids = torch.tensor([[7], [9]])

    def forward():
        with torch.no_grad():
            return llama.model(input_ids=ids).logits

    expected, meanwhile = forward(), []

    def during(_module, _args, _out):
        if threading.get_ident() == mine and not meanwhile:
            meanwhile.append(hidden(llama.model))
            meanwhile.append(in_thread(forward))

    mine = threading.get_ident()
    handle = llama.model.lm_head.register_forward_hook(during)
    llama.compare(PROMPT, D.add(1), max_new_tokens=4)
    handle.remove()
    assert "lm_head" in meanwhile[0]
    assert torch.equal(meanwhile[1], expected)
    assert set(served) == {mine}


@pytest.mark.usefixtures("always")
def test_a_callbacks_forwards_are_the_usual_ones(llama, served):
    counts = []

    def on_step(_step):
        before = len(served)
        with torch.no_grad():
            llama.model(input_ids=torch.tensor([[7], [9]]))
        counts.append(len(served) - before)
        llama.compare(PROMPT[:3], None, max_new_tokens=2)
        counts.append(len(served) - before > 0)
        assert hidden(llama.model)  # the outer run goes on

    llama.compare(PROMPT, D.add(1), max_new_tokens=2, on_step=on_step)
    assert counts == [0, True] * 2
    assert not hidden(llama.model)


@pytest.mark.usefixtures("always")
def test_a_copy_made_meanwhile_is_its_own(llama):
    with few_rows.few_rows(llama.architecture, 2):
        copied = copy.deepcopy(llama.model)
    with torch.no_grad():
        copied.lm_head.weight.zero_()
        assert not copied(input_ids=torch.tensor([[7], [9]])).logits.any()


def bf16(model):
    model.bfloat16()


def half(model):
    model.half()


def training(model):
    model.train()


def meta(model):
    model.to("meta")


def others_forward(model):
    """As accelerate's hooks hide it."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            module.forward = module.forward


class Quantised(nn.Linear):
    """As bitsandbytes' layers are subclasses."""


class Wrapped(torch.Tensor):
    """As torchao's weights are subclasses."""


def quantised(model):
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = Quantised


def wrapped(model):
    for module in model.modules():
        if type(module) is nn.Linear:
            module.weight = nn.Parameter(module.weight.detach().as_subclass(Wrapped), requires_grad=False)


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("made", [bf16, half, training, meta, quantised, wrapped, others_forward])
def test_what_it_never_sees(fresh, made):
    lm = fresh()
    made(lm.model)
    before = as_they_are(lm.model)
    with few_rows.few_rows(lm.architecture, 2):
        assert as_they_are(lm.model) == before


@pytest.mark.usefixtures("always")
def test_gradients_and_autocast_never_see_it(llama, served):
    ids = torch.tensor([[7], [9]])
    with few_rows.few_rows(llama.architecture, 2):
        served.clear()
        assert llama.model(input_ids=ids).logits.requires_grad
    assert not served
    with torch.autocast("cpu", torch.bfloat16), few_rows.few_rows(llama.architecture, 2):
        assert not hidden(llama.model)


@pytest.mark.parametrize(("cost", "even", "taken"), [(0.9, True, True), (0.97, True, False), (0.5, False, False)])
def test_it_is_taken_where_it_is_measured_to_be_faster(llama, monkeypatch, cost, even, taken):
    measured = []

    def seconds(way, layer, _x):
        measured.append(layer)
        return 1.0 if way is nn.Linear.forward else cost

    monkeypatch.setattr(few_rows, "_chosen", {})
    monkeypatch.setattr(few_rows, "_seconds", seconds)
    monkeypatch.setattr(few_rows, "_is_even", lambda _out: even)
    with few_rows.few_rows(llama.architecture, 2):
        assert bool(hidden(llama.model)) is taken
    first = len(measured)
    with few_rows.few_rows(llama.architecture, 2):
        assert bool(hidden(llama.model)) is taken
    assert len(measured) == first > 0
    with few_rows.few_rows(llama.architecture, 3):
        assert len(measured) > first
