"""Patching against plain forward hooks, one run for each cell."""

import threading

import pytest
import torch
from support.naive import stream_module

import steerwidgets as sw
from steerwidgets.lens.patch_run import PatchRun, aligned

SOURCE = [5, 9, 30, 12, 7, 40, 41]
TARGET = [5, 9, 31, 13, 7, 40, 42]
FAMILIES = ["llama", "mistral", "qwen3", "gemma2", "gemma3", "gpt2", "neox_parallel"]


def tokens_of(module_output):
    return module_output[0] if isinstance(module_output, tuple) else module_output


def hooked(model, ids, layer, stream, edit):
    """The logits after a text, one of whose streams is edited in place of a copy."""
    module, is_input = stream_module(model, layer, stream)

    def before(_module, args, kwargs):
        if args:
            return (edit(args[0].clone()), *args[1:]), kwargs
        return args, kwargs | {"hidden_states": edit(kwargs["hidden_states"].clone())}

    def after(_module, _args, output):
        new = edit(tokens_of(output).clone())
        return (new, *output[1:]) if isinstance(output, tuple) else new

    handle = (
        module.register_forward_pre_hook(before, with_kwargs=True) if is_input else module.register_forward_hook(after)
    )
    try:
        with torch.no_grad():
            return model(torch.tensor([ids]), use_cache=False).logits[0, -1].float()
    finally:
        handle.remove()


def stream_of(model, ids, layer, stream):
    seen = []
    hooked(model, ids, layer, stream, lambda h: seen.append(h.clone()) or h)
    return seen[0][0]


def by_hand(model, text, other, layer, stream, position, columns=slice(None), positions=None):
    new = stream_of(model, other, layer, stream)

    def edit(h):
        for each in [position] if positions is None else positions:
            h[0, each, columns] = new[each, columns]
        return h

    return hooked(model, text, layer, stream, edit)


def share_by_hand(model, logits, a, b, text, other):
    def metric(row):
        return row[a] - row[b]

    with torch.no_grad():
        before, after = (model(torch.tensor([ids])).logits[0, -1].float() for ids in (text, other))
    return float((metric(logits) - metric(before)) / (metric(after) - metric(before)))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("stream", ["resid_post", "resid_pre", "attn_out", "mlp_out"])
def test_every_cell_is_what_a_plain_hook_gives(lm, model, stream):
    grid = lm.patch(SOURCE, TARGET, tokens=(17, 33), stream=stream)
    assert grid.share.shape == (4, len(TARGET))
    for i, layer in enumerate(grid.layers):
        for j, position in enumerate(grid.positions):
            logits = by_hand(model, TARGET, SOURCE, layer, stream, position)
            expected = share_by_hand(model, logits, 17, 33, TARGET, SOURCE)
            assert float(grid.share[i, j]) == pytest.approx(expected, abs=1e-3), (layer, position)


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "neox_parallel", "qwen3"])
def test_every_head_is_what_a_plain_hook_gives(lm, model):
    grid = lm.patch(SOURCE, TARGET, tokens=(17, 33), stream="attn_z", layers=[1, 3])
    heads = model.config.num_attention_heads
    assert grid.share.shape == (2, heads)
    width = lm.architecture.width(sw.Site(1, "attn_z")) // heads
    for i, layer in enumerate(grid.layers):
        for head in range(heads):
            columns = slice(head * width, (head + 1) * width)
            logits = by_hand(model, TARGET, SOURCE, layer, "attn_z", None, columns, range(len(TARGET)))
            expected = share_by_hand(model, logits, 17, 33, TARGET, SOURCE)
            assert float(grid.share[i, head]) == pytest.approx(expected, abs=1e-3), (layer, head)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_noise_puts_the_target_into_the_source(lm, model):
    grid = lm.patch(SOURCE, TARGET, tokens=(17, 33), noise=True)
    logits = by_hand(model, SOURCE, TARGET, 2, "resid_post", 3)
    assert float(grid.share[2, 3]) == pytest.approx(share_by_hand(model, logits, 17, 33, SOURCE, TARGET), abs=1e-3)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_kl_is_to_what_the_source_answers(lm, model):
    grid = lm.patch(SOURCE, TARGET, metric="kl")
    with torch.no_grad():
        source, target = (model(torch.tensor([ids])).logits[0, -1].log_softmax(-1) for ids in (SOURCE, TARGET))
    patched = by_hand(model, TARGET, SOURCE, 1, "resid_post", 2).log_softmax(-1)
    kl = [float((source.exp() * (source - each)).sum()) for each in (patched, target)]
    assert float(grid.share[1, 2]) == pytest.approx(1 - kl[0] / kl[1], abs=1e-3)
    assert (grid.after, grid.answers) == (0.0, None)


def test_texts_of_other_lengths_are_aligned_from_both_ends(llama, model_of_llama):
    source = [5, 9, 30, 12, 7, 40, 41]
    target = [5, 31, 13, 40, 42]
    assert aligned(source, target) == [(0, 0), (3, 1), (4, 2), (5, 3), (6, 4)]
    grid = llama.patch(source, target, tokens=(17, 33))
    new = stream_of(model_of_llama, source, 1, "resid_post")

    def edit(h):
        h[0, 2] = new[4]
        return h

    logits = hooked(model_of_llama, target, 1, "resid_post", edit)
    expected = share_by_hand(model_of_llama, logits, 17, 33, target, source)
    assert float(grid.share[1, grid.positions.index(2)]) == pytest.approx(expected, abs=1e-3)
    assert grid.partners == (0, 3, 4, 5, 6)


def test_positions_are_aligned_by_hand(llama, model_of_llama):
    grid = llama.patch(SOURCE, TARGET, tokens=(17, 33), align=[(2, 4), (-1, -1)], layers=[0])
    assert (grid.positions, grid.partners) == ((4, 6), (2, 6))
    new = stream_of(model_of_llama, SOURCE, 0, "resid_post")

    def edit(h):
        h[0, 4] = new[2]
        return h

    logits = hooked(model_of_llama, TARGET, 0, "resid_post", edit)
    expected = share_by_hand(model_of_llama, logits, 17, 33, TARGET, SOURCE)
    assert float(grid.share[0, 0]) == pytest.approx(expected, abs=1e-3)


@pytest.fixture
def model_of_llama(llama):
    return llama.model


@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2"])
@pytest.mark.parametrize("stream", ["resid_post", "attn_out", "attn_z"])
def test_a_cells_recipe_makes_the_same_change(lm, stream):
    grid = lm.patch(SOURCE, TARGET, tokens=(17, 33), stream=stream)
    difference = lm.logit_difference(list(TARGET), grid.recipe(2, 3))
    column = 3 if stream == "attn_z" else grid.positions.index(3)
    changed = float(difference.raw[17] - difference.raw[33])
    assert changed == pytest.approx(float(grid.values[2, column]) - grid.before, abs=1e-3)
    assert lm.compare(list(TARGET), grid.recipe(2, 3), max_new_tokens=2).steered.text is not None


def range_by_hand(model, text, other, blocks, stream, positions, columns=slice(None)):
    """The logits after a text whose stream is set at every one of some blocks, by hooks that all hang at once."""
    handles = []
    try:
        for layer in blocks:
            new = stream_of(model, other, layer, stream)
            module, is_input = stream_module(model, layer, stream)

            def edit(h, new=new):
                h = h.clone()
                for each in positions:
                    h[0, each, columns] = new[each, columns]
                return h

            def before(_module, args, kwargs, edit=edit):
                if args:
                    return (edit(args[0]), *args[1:]), kwargs
                return args, kwargs | {"hidden_states": edit(kwargs["hidden_states"])}

            def after(_module, _args, output, edit=edit):
                new = edit(tokens_of(output))
                return (new, *output[1:]) if isinstance(output, tuple) else new

            if is_input:
                handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
            else:
                handles.append(module.register_forward_hook(after))
        with torch.no_grad():
            return model(torch.tensor([text]), use_cache=False).logits[0, -1].float()
    finally:
        for handle in handles:
            handle.remove()


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma2", "gpt2", "neox_parallel"])
@pytest.mark.parametrize("stream", ["resid_post", "resid_pre", "attn_out", "mlp_out", "attn_z"])
def test_a_range_of_blocks_is_set_at_every_one_of_them(lm, model, stream):
    grid = lm.patch(SOURCE, TARGET, tokens=(17, 33), stream=stream, layers=[3])
    positions, columns = [3], slice(None)
    if stream == "attn_z":
        width = lm.architecture.width(sw.Site(1, "attn_z")) // model.config.num_attention_heads
        positions, columns = range(len(TARGET)), slice(3 * width, 4 * width)
    logits = range_by_hand(model, TARGET, SOURCE, (1, 2), stream, positions, columns)
    cell = grid.cell((1, 2), 3, random=0)
    assert cell.share == pytest.approx(share_by_hand(model, logits, 17, 33, TARGET, SOURCE), abs=1e-3)
    assert [token.id for token, _ in cell.next] == logits.topk(5).indices.tolist()
    assert [p for _, p in cell.next] == pytest.approx(logits.softmax(-1).topk(5).values.tolist(), abs=1e-4)
    difference = lm.logit_difference(list(TARGET), cell.recipe)
    assert float(difference.raw[17] - difference.raw[33]) == pytest.approx(cell.value - grid.before, abs=1e-3)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_cell_looked_at_is_the_grids(lm):
    grid = lm.patch(SOURCE, TARGET, tokens=(17, 33))
    cell = grid.cell(2, 3)
    assert cell.value == pytest.approx(float(grid.values[2, 3]), abs=1e-3)
    assert cell.layers == (2, 2)
    assert len(cell.random) == 5
    steer = next(iter(grid.recipe(2, 3)))
    for seed, share in enumerate(cell.random):
        difference = lm.logit_difference(list(TARGET), sw.Recipe.of(steer.random_direction(seed)))
        moved = float(difference.raw[17] - difference.raw[33])
        assert share == pytest.approx(moved / (grid.after - grid.before), abs=1e-3)


def test_all_blocks_of_the_last_token_say_what_the_source_says(llama):
    grid = llama.patch(SOURCE, TARGET)
    assert grid.cell((0, 3), 6, random=0).share == pytest.approx(1, abs=1e-4)
    assert "next" in repr(grid.cell(3, 6))


@pytest.mark.parametrize("blocks", [(2, 1), (-1, 2), (0, 4), 4, -1, 1.5, (0, 1, 2), range(3), None, "1"])
def test_blocks_that_there_are_not(llama, blocks):
    with pytest.raises(ValueError, match="A block is a number from 0 to 3, and a range of them"):
        llama.patch(SOURCE, TARGET).cell(blocks, 3)


def test_a_block_between_the_rows_is_looked_at_as_well(llama):
    grid = llama.patch(SOURCE, TARGET, layers=[1, 3])
    whole = llama.patch(SOURCE, TARGET)
    assert grid.cell(2, 4).value == pytest.approx(float(whole.values[2, 4]), abs=1e-3)
    assert len(grid.recipe(2, 4)) == 1


def test_a_grid_goes_on_where_it_was_stopped(llama):
    whole = llama.patch(SOURCE, TARGET)
    run = PatchRun(llama, llama.encode(SOURCE), llama.encode(TARGET), {})
    assert run.seconds_left is None
    run.probe()
    before = run.seconds_left
    assert before > 0
    assert run.cells == 28
    steps = run.run()
    assert [next(steps), next(steps)] == [1, 2]
    steps.close()
    assert run.result.share.isnan().all(1).tolist() == [True, True, False, False]
    assert list(run.run()) == [3, 4]
    torch.testing.assert_close(run.result.share, whole.share)
    assert run.seconds_left == 0


def test_where_the_model_does_not_go_on_from_the_middle_whole_rows_give_the_same(llama, monkeypatch):
    from steerwidgets.transformer.continuation import Continuation

    fast = {stream: llama.patch(SOURCE, TARGET, stream=stream) for stream in ("resid_post", "attn_z")}
    monkeypatch.setattr(Continuation, "is_exact", lambda _self: False)
    for stream, grid in fast.items():
        slow = llama.patch(SOURCE, TARGET, stream=stream)
        torch.testing.assert_close(slow.share, grid.share, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("stream", ["resid_post", "mlp_out", "attn_z"])
def test_a_long_text_goes_on_in_several_batches(llama, monkeypatch, stream):
    whole = llama.patch(SOURCE, TARGET, stream=stream)
    monkeypatch.setattr("steerwidgets.lens.patch_run._PACKED", 7)
    torch.testing.assert_close(llama.patch(SOURCE, TARGET, stream=stream).share, whole.share, atol=1e-4, rtol=1e-4)


def test_the_last_block_of_the_last_token_brings_all_over_and_the_shared_beginning_nothing(llama):
    grid = llama.patch(SOURCE, TARGET)
    assert float(grid.share[3, 6]) == pytest.approx(1, abs=1e-4)
    assert grid.share[:, :2].tolist() == [[0.0, 0.0]] * 4
    with pytest.raises(ValueError, match="Both texts hold the same at block 1, position 0"):
        grid.recipe(1, 0)
    assert grid.largest(1)[0][2] >= 1 - 1e-4


def test_the_users_modules_are_as_they_were(llama):
    blocks = list(llama.architecture.base.layers)
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in llama.model.modules()]

    def ends(_done, _total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        llama.patch(SOURCE, TARGET, on_progress=ends)
    assert list(llama.architecture.base.layers) == blocks
    assert [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in llama.model.modules()] == hooks


def test_stop_keeps_what_is_done(llama):
    stop = threading.Event()
    seen = []

    def progress(done, total):
        seen.append((done, total))
        if done == 2:
            stop.set()

    grid = llama.patch(SOURCE, TARGET, on_progress=progress, stop=stop)
    assert seen == [(1, 4), (2, 4)]
    assert grid.share.isnan().all(1).tolist() == [True, True, False, False]  # the deepest blocks come first
    assert all(cell[0] >= 2 for cell in grid.largest(20))


def test_what_it_prints(llama):
    lines = repr(llama.patch("The user asks", "The model asks", tokens=(17, 33))).splitlines()
    assert "source into target: share of the logit difference of" in lines[0]
    assert lines[1].split() == ["block", "token", "share"]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"tokens": (17, 17)}, "Both answers are"),
        ({"tokens": " the"}, "tokens= are two answers, the source's and the target's"),
        ({"metric": "logits"}, "metric= is one of logit difference, kl; 'logits' was given"),
        ({"stream": "resid_mid"}, "Patching takes the streams resid_post, resid_pre, attn_out, mlp_out, attn_z"),
        ({"layers": [9]}, "layers= takes whole numbers from -4 to 3"),
        ({"positions": [40]}, "the patched text has 7 tokens"),
        ({"align": [(1, 2, 3)]}, "align= is a list of pairs of positions"),
        ({"align": [(1, 40)]}, "the target has 7 tokens"),
        ({"align": [(1, 2), (1, 3)]}, "align= names a position of the source twice"),
        ({"align": [(2, 2)], "positions": [3]}, "No position is left to patch"),
    ],
)
def test_bad_input_is_one_sentence(llama, settings, sentence):
    with pytest.raises(ValueError) as caught:
        llama.patch(SOURCE, TARGET, **settings)
    assert sentence in str(caught.value)


def test_one_block_one_position_and_all(llama):
    one, several = llama.patch(SOURCE, TARGET, layers=2, positions=3), llama.patch(SOURCE, TARGET, layers="all")
    assert (one.layers, one.positions, several.layers) == ((2,), (3,), (0, 1, 2, 3))
    with pytest.raises(ValueError, match=r"layers= takes whole numbers from -4 to 3, since .*; got 'some'"):
        llama.patch(SOURCE, TARGET, layers="some")


def test_the_same_text_twice_and_unknown_settings(llama):
    with pytest.raises(ValueError, match="Both texts have the same logit difference"):
        llama.patch(SOURCE, SOURCE, tokens=(17, 33))
    with pytest.raises(TypeError, match=r"lm\.patch knows no setting tokns; it takes tokens, metric"):
        llama.patch(SOURCE, TARGET, tokns=(1, 2))
