"""Pairs: identity ops reproduce the baseline, rows end where they should, nothing of the model's own settings acts."""

import threading

import pytest
import torch
from support import naive
from support.both import PROMPT, Pair, at, recipe, vector
from support.hooks import in_thread
from transformers import GenerationConfig

import steerwidgets as sw
from steerwidgets.generation.rows import Plan, generate_rows

D = sw.Direction(vector(1), sw.Site(1), "one")
FAR = 1e6
IDENTITIES = {
    "add 0": D.add(0),
    "add_relative 0": D.add_relative(0),
    "project 1": D.project(1),
    "clip open": D.clip(),
    "clip low untouched": D.clip(lo=-FAR),
    "clip untouched": D.clip(-FAR, FAR),
    "several": sw.Recipe((D.add(0), D.project(1), sw.Direction(vector(2), sw.Site(3, "mlp_out")).clip(hi=FAR))),
}
SETTINGS = {
    "greedy": {"temperature": 0},
    "sampled": {"temperature": 0.7},
    "everything": {"temperature": 0.9, "top_k": 20, "top_p": 0.8, "frequency_penalty": 0.6, "penalise_prompt": True},
    "no top-k": {"temperature": 1.3, "top_k": 0, "frequency_penalty": -0.2},
    "greedy with penalty": {"temperature": 0, "frequency_penalty": 1.0},
}


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("identity", IDENTITIES)
def test_an_identity_gives_the_baseline(llama, identity, settings):
    for seed in (0, 1):
        out = llama.compare(PROMPT, IDENTITIES[identity], max_new_tokens=10, seed=seed, **SETTINGS[settings])
        assert out.divergence is None
        assert out.baseline.token_ids == out.steered.token_ids
        assert max(out.kl) < 1e-6


@pytest.mark.parametrize("settings", ["sampled", "everything"])
def test_an_identity_gives_the_baseline_on_every_family(lm, settings):
    for steer in (D.add(0), D.project(1)):
        assert lm.compare(PROMPT, steer, max_new_tokens=6, **SETTINGS[settings]).divergence is None


def test_the_seed_decides_the_text(llama):
    texts = [llama.compare(PROMPT, D.add(0.3), seed=seed, max_new_tokens=12).steered.token_ids for seed in (5, 5, 6)]
    assert texts[0] == texts[1] != texts[2]


def test_noise_is_shared_by_rows_and_not_by_steps(llama):
    rows = llama.sweep([0], [None] * 3, seed=3, temperature=50.0, top_k=0, max_new_tokens=20)
    assert len({row.token_ids for row in rows}) == 1
    assert len(set(rows[0].token_ids)) > 12


@pytest.mark.parametrize("settings", ["greedy", "everything"])
def test_a_row_does_not_depend_on_its_neighbours(llama, settings):
    def first_row(*others):
        return llama.sweep(PROMPT, [D.add(1), *others], max_new_tokens=8, **SETTINGS[settings])[0]

    alone = first_row(None, None)
    assert first_row(D.add(-30), D.ablate()) == alone
    assert first_row(D.add_relative(5), sw.Direction(vector(7), sw.Site(0, "resid_pre")).add(100)) == alone


def test_a_sweeps_row_is_compares_row(llama):
    for settings in SETTINGS.values():
        out = llama.compare(PROMPT, D.add(1), max_new_tokens=8, **settings)
        rows = llama.sweep(PROMPT, [D.add(-2), None, D.add(1)], max_new_tokens=8, **settings)
        assert [row.token_ids for row in rows[1:]] == [out.baseline.token_ids, out.steered.token_ids]


def test_an_empty_sweep_is_refused(llama):
    with pytest.raises(ValueError, match="recipe"):
        llama.sweep(PROMPT, [])


TRAPS = {
    "penalties": {"repetition_penalty": 3.0, "no_repeat_ngram_size": 1, "encoder_repetition_penalty": 2.0},
    "suppressed": {"suppress_tokens": list(range(100, 320)), "begin_suppress_tokens": [98, 150]},
    "bad words": {"bad_words_ids": [[i] for i in range(50, 200)]},
    "lengths": {"min_new_tokens": 20, "min_length": 40, "max_length": 5, "max_new_tokens": 2, "max_time": 1e-9},
    "forced": {"forced_eos_token_id": 9, "forced_bos_token_id": 8, "exponential_decay_length_penalty": (1, 5.0)},
    "beams": {"num_beams": 3, "num_return_sequences": 2, "length_penalty": 4.0, "early_stopping": True},
    "beam groups": {"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 0.5},
    "sampling": {"do_sample": True, "temperature": 0.1, "top_k": 1, "top_p": 0.01, "typical_p": 0.2, "min_p": 0.9},
    "cutoffs": {"do_sample": True, "epsilon_cutoff": 0.5, "eta_cutoff": 0.5, "top_h": 0.5},
    "cache": {"use_cache": False, "cache_implementation": "static"},
    "quantised cache": {"cache_implementation": "quantized", "cache_config": {"backend": "quanto"}},
    "chunks": {"prefill_chunk_size": 2},
    "lookup": {"prompt_lookup_num_tokens": 3},
    "guidance": {"guidance_scale": 4.0, "low_memory": True},
    "contrastive": {"penalty_alpha": 0.6, "top_k": 4},
    "dola": {"dola_layers": "high"},
    "bias": {"sequence_bias": [[[98], -100.0], [[33], 100.0]]},
    "words": {"stop_strings": ["a", "e", " "], "token_healing": True},
    "outputs": {"return_dict_in_generate": True, "output_scores": True, "output_hidden_states": True},
    "bad values": {"renormalize_logits": True, "remove_invalid_values": True},
}


@pytest.mark.parametrize("trap", TRAPS)
def test_the_models_own_generation_settings_play_no_part(fresh, llama, trap):
    expected = llama.compare(PROMPT, D.add(1), seed=4, max_new_tokens=6)
    greedy = llama.compare(PROMPT, D.add(1), temperature=0, max_new_tokens=6)
    lm = fresh()
    for name, value in TRAPS[trap].items():
        setattr(lm.model.generation_config, name, value)
    got = lm.compare(PROMPT, D.add(1), seed=4, max_new_tokens=6)
    assert (got.baseline, got.steered) == (expected.baseline, expected.steered)
    got = lm.compare(PROMPT, D.add(1), temperature=0, max_new_tokens=6)
    assert (got.baseline, got.steered) == (greedy.baseline, greedy.steered)
    for name, value in TRAPS[trap].items():
        assert getattr(lm.model.generation_config, name) == value, "the model's own settings were changed"


@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("watch", [(), (D,)])
def test_max_new_tokens_is_exact(llama, count, watch):
    out = llama.compare(PROMPT, D.add(1), max_new_tokens=count, watch=watch, temperature=0)
    assert [len(out.baseline.token_ids), len(out.steered.token_ids)] == [count, count]
    assert out.baseline.ended == out.steered.ended == "length"
    assert out.baseline.text == llama.tokenizer.decode(out.baseline.token_ids)
    assert [token.id for token in out.baseline.tokens] == list(out.baseline.token_ids)


def ends(lm, baseline, steered, *, as_list):
    """Let each row's text end at another step: the baseline's at its 3rd token, the steered one's at its 6th."""
    wanted = [baseline[3], steered[6]]
    lm.model.generation_config = GenerationConfig(eos_token_id=wanted if as_list else wanted[0], pad_token_id=wanted[0])
    return wanted


@pytest.mark.parametrize("watch", [(), (D,)])
def test_rows_end_at_their_own_first_end_token(fresh, watch):
    """Pad, end of text and end of turn may be one id: rows are cut at the first one generated."""
    lm = fresh()
    steers, changes = recipe(Pair(vector(1)).make("add", 1.0))
    texts = [naive.greedy(lm.model, PROMPT, each, count=10) for each in ((), changes)]
    end = set(ends(lm, *texts, as_list=True))
    lengths = [next(i for i, token in enumerate(text) if token in end) for text in texts]
    assert lengths[0] != lengths[1]
    out = lm.compare(PROMPT, steers, temperature=0, max_new_tokens=10, watch=watch)
    for row, text, length in zip((out.baseline, out.steered), texts, lengths, strict=True):
        assert row.token_ids == text[:length]
        assert row.ended == "eos"
        assert len(row.watched) == (length if watch else 0)


@pytest.mark.parametrize("source", ["generation_config", "config", "tokenizer"])
def test_end_ids_come_from_every_source(fresh, source):
    lm = fresh()
    text = naive.greedy(lm.model, PROMPT, count=6)
    assert text[3] not in text[:3]
    if source == "tokenizer":
        lm.tokenizer.eos_token_id, before = text[3], lm.tokenizer.eos_token_id
    else:
        getattr(lm.model, source).eos_token_id = text[3]
    try:
        out = lm.compare(PROMPT, None, temperature=0, max_new_tokens=6)
    finally:
        if source == "tokenizer":
            lm.tokenizer.eos_token_id = before
    assert (out.baseline.token_ids, out.baseline.ended) == (text[:3], "eos")


def test_an_end_token_in_the_prompt_ends_nothing(llama):
    prompt = (*PROMPT[:4], 1, 1, *PROMPT[4:], 1)
    expected = naive.greedy(llama.model, prompt, count=5, end=llama.end_ids)
    assert llama.compare(prompt, None, temperature=0, max_new_tokens=5).baseline.token_ids == expected


def test_a_text_that_ends_at_once(fresh):
    lm = fresh()
    lm.model.generation_config.eos_token_id = naive.greedy(lm.model, PROMPT, count=1)[0]
    out = lm.compare(PROMPT, None, temperature=0, watch=[D])
    assert (out.baseline.token_ids, out.baseline.text, out.baseline.ended, out.baseline.watched) == ((), "", "eos", ())
    assert out.divergence is None
    assert out.kl == out.surprise == ()


def forwards(lm):
    """Counts the forwards of the base model from now on."""
    calls = []
    return calls, lm.architecture.base.register_forward_hook(lambda *_: calls.append(1))


@pytest.mark.parametrize("watch", [(), (D,)])
@pytest.mark.parametrize("after", [1, 3])
def test_stop_acts_within_one_token(llama, watch, after):
    stop = threading.Event()

    def on_step(step):
        if step.index + 1 == after:
            stop.set()
            calls.clear()

    calls, handle = forwards(llama)
    out = llama.compare(PROMPT, D.add(1), max_new_tokens=50, temperature=0, stop=stop, on_step=on_step, watch=watch)
    handle.remove()
    assert len(calls) <= 1
    assert out.steered.ended == "stopped"
    assert after <= len(out.steered.token_ids) <= after + 1
    assert len(out.steered.watched) == (len(out.steered.token_ids) if watch else 0)
    sweep = llama.sweep(PROMPT, [None], max_new_tokens=50, stop=stop)
    assert len(sweep[0].token_ids) <= 1


def test_streamed_steps_are_compares_texts(llama):
    out = llama.compare(PROMPT, D.add(1), max_new_tokens=7, seed=2, watch=[D])
    steps = list(llama.stream(PROMPT, D.add(1), max_new_tokens=7, seed=2, watch=[D]))
    assert [step.index for step in steps] == list(range(len(steps)))
    for i, row in enumerate((out.baseline, out.steered)):
        assert tuple(step.token_ids[i] for step in steps if step.token_ids[i] is not None) == row.token_ids
        values = [step.watched[i] for step in steps[1:]]
        torch.testing.assert_close(torch.tensor(values[: len(row.watched)]), torch.tensor(row.watched))


def test_leaving_the_loop_stops_the_run(llama):
    def work():
        for step in llama.stream(PROMPT, D.add(1), max_new_tokens=100):
            if step.index == 2:
                break
        return "left"

    calls, handle = forwards(llama)
    assert in_thread(work, timeout=30) == "left"
    with llama.lock:
        pass
    handle.remove()
    assert len(calls) < 90


@pytest.mark.parametrize("bad", [sw.Direction(vector(1), sw.Site(8)).add(1)])
def test_errors_of_a_stream_arrive_where_the_user_iterates(llama, bad):
    with pytest.raises(ValueError, match="4 blocks"):
        list(llama.stream(PROMPT, bad))


@pytest.mark.parametrize("where", ["all", "generated"])
@pytest.mark.parametrize("use_cache", [True, False])
def test_watched_values_are_fresh_reads_before_the_change(lm, where, use_cache):
    """For every token of every row, the last too; steers of earlier blocks show, the site's own do not."""
    early, here = Pair(vector(3), layer=0), Pair(vector(1))
    steers, changes = recipe(at(early.make("add", 0.7), where), at(here.make("add", 2.0), where))
    watched = [here.direction, sw.Direction(vector(6), sw.Site(2, "mlp_out")), sw.Direction(vector(8), sw.Site(1))]
    plans = [Plan(lm.encode(PROMPT), sw.Recipe()), Plan(lm.encode(PROMPT[:5]), steers), Plan(lm.encode([7]), steers)]
    sampling = sw.Sampling(temperature=0, max_new_tokens=5)
    rows = generate_rows(lm, plans, sampling, watch=watched, use_cache=use_cache)
    for plan, row, mine in zip(plans, rows, ((), changes, changes), strict=True):
        text = (*plan.prompt.token_ids, *row.token_ids)
        sites = [(1, "resid_post"), (2, "mlp_out")]
        read = naive.streams(lm.model, text, sites, mine, len(plan.prompt))
        columns = [read[w.site.layer, w.site.stream] @ w.vector for w in watched]
        expected = torch.stack(columns, -1)[len(plan.prompt) :]
        torch.testing.assert_close(torch.tensor(row.watched), expected, atol=5e-4, rtol=1e-4)


def test_the_model_may_be_used_from_on_step(llama):
    """A callback that reads or compares meanwhile gets what it gets at other times, and does not disturb the run."""
    site = sw.Site(2)
    alone = llama.compare(PROMPT, D.add(1), temperature=0, max_new_tokens=4)
    fresh_read = llama.residuals([5, 6], [site]).values[site]
    fresh_pair = llama.compare(PROMPT[:4], D.add(-1), temperature=0, max_new_tokens=3)
    inner = []
    settings = {"temperature": 0, "max_new_tokens": 4}
    out = llama.compare(PROMPT, D.add(1), on_step=lambda _: inner.append(pair(llama)), **settings)
    read = []
    llama.compare(
        PROMPT, D.add(1), on_step=lambda _: read.append(llama.residuals([5, 6], [site]).values[site]), **settings
    )
    assert (out.baseline, out.steered) == (alone.baseline, alone.steered)
    assert {(c.baseline, c.steered) for c in inner} == {(fresh_pair.baseline, fresh_pair.steered)}
    assert len(read) == 4
    assert all(torch.equal(each, fresh_read) for each in read)


def pair(lm):
    return lm.compare(PROMPT[:4], D.add(-1), temperature=0, max_new_tokens=3)


def test_a_model_in_train_mode(fresh):
    """Dropout would make the rows differ by more than the steering: run without it, or refuse and say what to call."""
    lm = fresh("gpt2", resid_pdrop=0.5, attn_pdrop=0.5)
    lm.model.train()
    try:
        out = lm.compare(PROMPT, D.add(0), max_new_tokens=8)
    except ValueError as error:
        assert "eval()" in str(error)  # noqa: PT017
    else:
        assert out.divergence is None
        assert lm.model.training, "the user's mode is left as it was"


def test_a_text_beyond_the_context(fresh):
    lm = fresh("gpt2", n_positions=16)
    assert len(lm.compare(PROMPT, D.add(1), temperature=0, max_new_tokens=7, watch=[D]).steered.token_ids) == 7
    with pytest.raises(ValueError, match=r"9 .*20 .*16|16"):
        lm.compare(PROMPT, D.add(1), temperature=0, max_new_tokens=20)


@pytest.mark.parametrize("settings", [{"num_beams": 3}, {"prompt_lookup_num_tokens": 3}])
def test_other_ways_to_decode_in_the_users_own_generate(llama, settings):
    """Beams reorder rows and assistants send several tokens at once: same text as with a plain hook."""
    pair, ids = Pair(vector(1)), torch.tensor([PROMPT])
    common = {"attention_mask": torch.ones_like(ids), "max_new_tokens": 8, "do_sample": False, "eos_token_id": None}
    handle = naive.stream_module(llama.model, 1, "resid_post")[0].register_forward_hook(
        lambda _m, _a, out: out + pair.v
    )
    expected = llama.model.generate(ids, pad_token_id=2, **common, **settings)
    handle.remove()
    with llama.steer(pair.direction.add(1).at("after", count=0)):
        assert torch.equal(llama.model.generate(ids, pad_token_id=2, **common, **settings), expected)


def test_logits_that_are_no_numbers_stop_the_run(fresh):
    """One sentence names what steered the row, instead of `<bos>` for ever."""
    lm = fresh()
    with pytest.raises(ValueError, match=r"^At generated token 0 the logits .* are NaN or infinite under 'one'\.add\("):
        lm.compare(PROMPT, D.add(3e38), max_new_tokens=3)
    after_two = D.add(3e38).at([len(PROMPT) + 1])
    with pytest.raises(ValueError, match=r"^At generated token 2 .* under 'one'\.add"):
        lm.compare(PROMPT, after_two, max_new_tokens=5)
    with pytest.raises(ValueError, match=r"NaN or infinite under"):
        list(lm.stream(PROMPT, D.add(3e38), max_new_tokens=3))
    with torch.no_grad():
        lm.model.lm_head.weight[7] = float("nan")
    with pytest.raises(ValueError, match=r"without any steering: its weights hold such numbers"):
        lm.compare(PROMPT, D.add(1), max_new_tokens=3)


def test_a_row_that_has_ended_stops_no_other(fresh):
    """What an ended row's logits become is nobody's."""
    lm = fresh()
    free = lm.compare(PROMPT, None, max_new_tokens=6, temperature=0).baseline.token_ids
    lm.model.generation_config.eos_token_id = [*sorted(lm.end_ids), free[0]]
    never = D.add(3e38).at([len(PROMPT) + 1])
    rows = lm.compare(PROMPT, never, max_new_tokens=6, temperature=0)
    assert (rows.baseline.ended, rows.steered.ended) == ("eos", "eos")


def test_watching_keeps_what_was_there(one_falcon):
    """Falcon adds attention to its MLP's output in place, after the hook has seen it."""
    lm, mlp = one_falcon
    watch = sw.Direction(vector(1), sw.Site(1, "mlp_out"), "w")
    row = lm.compare(PROMPT, None, watch=[watch], temperature=0, max_new_tokens=3).baseline
    seen = []
    hook = mlp.register_forward_hook(lambda _m, _a, out: seen.append(out[0].clone()))
    with torch.no_grad():
        lm.model(torch.tensor([[*PROMPT, *row.token_ids]]))
    hook.remove()
    expected = (seen[0][len(PROMPT) :] @ vector(1)).tolist()
    assert [value[0] for value in row.watched] == pytest.approx(expected, abs=1e-4)


@pytest.fixture
def one_falcon():
    import transformers as hf
    from support import models, toks

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "vocab_size": models.VOCABULARY}
    model = hf.FalconForCausalLM(hf.FalconConfig(**sizes, **models._IDS)).eval()
    models._randomise(model, 0)
    return sw.LanguageModel(model, toks.byte_level()), model.transformer.h[1].mlp
