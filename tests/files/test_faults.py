"""Faults that outsiders found in files and values, each by the smallest case that shows it."""

import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from support import kinds, models, sae, toks
from widgets.front_end import FrontEnd

import steerwidgets as sw
from steerwidgets.corpus import building
from steerwidgets.dictionaries.activations import within
from steerwidgets.transformer.plain_text import whole

TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }} {% endfor %}"
    "{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}"
)


@pytest.fixture(scope="module")
def chatting():
    tokenizer = toks.byte_level()
    tokenizer.chat_template = TEMPLATE
    return sw.LanguageModel(models.make("llama"), tokenizer)


def header(tmp_path, **change):
    path = tmp_path / "h.safetensors"
    good = {"labels": ["a", "b", "c"], "layer": 1, "stream": "resid_post", "suggested": [None] * 3, "provenance": {}}
    save_file({"vectors": torch.eye(3, 32)}, path, {"cav": json.dumps(good | change)})
    return path


@pytest.mark.parametrize(
    "change",
    [
        {"suggested": [5, "xy", {"a": 1}]},
        {"suggested": [["evil", {"alpha": 1}], None, None]},
        {"suggested": [["add", {"alpha": math.nan}], None, None]},
        {"provenance": {"model": 5}},
        {"provenance": [1]},
        {"max_activations": ["x", None, None]},
        {"layer": True},
        {"surprise": 1},
    ],
)
def test_junk_in_a_header_is_refused_when_it_is_read(tmp_path, change):
    with pytest.raises(ValueError, match=next(iter(change))) as caught:
        sw.CAV.load(header(tmp_path, **change))
    assert "h.safetensors" in str(caught.value)


def test_labels_in_a_file_are_never_the_path_of_another(tmp_path):
    (tmp_path / "secret.json").write_text('["s3cret", "b", "c"]')
    with pytest.raises(ValueError, match="labels should be one text for each feature"):
        sw.CAV.load(header(tmp_path, labels=str(tmp_path / "secret.json")))


# Numbers that are none


def test_a_recipe_whose_bias_is_nan_is_refused():
    said = json.loads(sw.Recipe.of(sae.make()[3].clamp(2.0)).to_json(inline=True))
    said["steers"][0]["feature"]["inline"]["bias"] = math.nan
    with pytest.raises(ValueError, match=r"inline\.bias should be a finite number, but nan"):
        sw.Recipe.from_json(json.dumps(said))


def test_a_strength_that_float32_has_no_number_for_is_refused():
    direction = sw.CAV(torch.eye(2, 32), layer=1)[0]
    for alpha in (1e39, 10**400, math.inf):
        with pytest.raises(ValueError, match="has to be a finite number"):
            direction.add(alpha)


def test_logits_that_are_no_numbers_stop_the_run(llama):
    with pytest.raises(ValueError, match=r"NaN or infinite under 'CAV 0'\.add\("):
        llama.compare([5, 6, 7], sw.CAV(4 * torch.eye(2, 32), layer=2)[0].add(3e38), max_new_tokens=2)


def test_a_card_of_a_model_that_overflows_sends_json():
    broken = sw.LanguageModel(models.make("llama"), toks.byte_level())
    with torch.no_grad():
        broken.model.model.layers[2].mlp.down_proj.weight[0] = math.nan
    card = sw.FeatureCard(broken, sw.CAV(torch.randn(2, 32), ["a", "b"], layer=2), 0, own_text="Hello there")
    assert card.tried["strongest"] is None
    json.dumps(card.tried, allow_nan=False)
    assert card.to_json()


def test_nothing_on_the_wire_is_no_json():
    assert whole({"a": [math.nan, -math.inf, 1.5], "b": "\ud800"}) == {"a": [None, None, 1.5], "b": "\ufffd"}


# What is long or deep


def test_positions_meet_by_intervals_and_sets():
    far = 10**12
    pairs = [
        (sw.Positions("after", count=far), sw.Positions("first", count=5), False),
        (sw.Positions("after", count=4), sw.Positions("first", count=5), True),
        (sw.Positions("after", count=5), sw.Positions("first", count=5), False),
        (sw.Positions("first", count=0), sw.Positions("first", count=5), False),
        (sw.Positions("indices", (far,)), sw.Positions("indices", (3,)), False),
        (sw.Positions("indices", (3, far)), sw.Positions("indices", (3,)), True),
        (sw.Positions("indices", (far,)), sw.Positions("after", count=far), True),
        (sw.Positions("indices", (4,)), sw.Positions("after", count=5), False),
        (sw.Positions("after", count=far), sw.Positions("after", count=2), True),
    ]
    for first, second, meet in pairs:
        assert first.overlaps(second) is second.overlaps(first) is meet, (first, second)
    with pytest.raises(ValueError, match="Positions count a row's tokens"):
        sw.Positions("indices", (10**30,))


def test_a_span_is_held_against_the_text_before_it_is_listed(llama):
    mask = torch.ones(5, dtype=torch.bool)
    assert within(mask, range(1, 4)).tolist() == [False, True, True, True, False]
    with pytest.raises(ValueError, match="positions 0 to 4, but"):
        within(mask, range(10**12))
    page = FrontEnd(sw.FeaturePicker(llama, sw.CAV(torch.randn(2, 32), ["a", "b"], layer=1)))
    asked = page.ask("find", mode="prompt", query="Hello", rank="span", span=[0, 10**12])
    assert page.end(asked)["type"] == "error"


def deep(depth=2_000):
    value = 1
    for _ in range(depth):
        value = [value]
    return value


def test_a_message_that_is_nested_too_deep_gets_one_refusal(llama):
    picker = sw.FeaturePicker(llama, sw.CAV(torch.randn(2, 32), ["a", "b"], layer=1))
    sent = []
    picker._protocol.send = sent.append
    picker._protocol.receive({"type": "request", "id": "1", "name": "find", "args": {"query": deep()}})
    assert [each["type"] for each in sent] == ["error"]
    assert "nested deeper" in sent[0]["error"]["message"]
    picker.close()


def test_a_trait_that_is_nested_too_deep_is_not_taken_in(llama):
    panel = sw.SteeringPanel(llama, sw.CAV(torch.randn(2, 32), ["a", "b"], layer=1))
    before, sent = panel.steers, []
    panel._protocol.send = sent.append
    panel.set_state({"steers": deep()})
    assert panel.steers == before
    assert ["nested deeper" in each["error"]["message"] for each in sent] == [True]
    panel.close()


# Folders and disks


def test_an_index_goes_on_after_it_was_broken_off_at_the_first_line(llama, tmp_path, monkeypatch):
    def build():
        return sw.corpus.build(llama, sae.make(), ["About the ocean."] * 3, tmp_path / "i", on_progress=lambda _: None)

    def broken(_handle):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", broken)
        with pytest.raises(KeyboardInterrupt):
            build()
    assert [path.name for path in (tmp_path / "i").iterdir() if path.name != ".lock"] == []
    (tmp_path / "i" / "index.json.new").write_text("{")  # as a kill left it, before 0.2
    (tmp_path / "i" / ".index.json.77-abcd").write_text("{")
    assert build().texts == 3
    assert building._is_own("index.json.new")
    assert not building._is_own("thesis.tex")


HOMELESS = """
import os, sys
for name in ("STEERWIDGETS_DATA", "STEERWIDGETS_CACHE", "XDG_DATA_HOME", "XDG_CACHE_HOME", "HOME"):
    os.environ.pop(name, None)
import torch, steerwidgets as sw
from pathlib import Path
def nobody(): raise RuntimeError("Could not determine home directory.")
Path.home = classmethod(lambda cls: nobody())
cavs = sw.CAV(torch.eye(2, 32), ["a", "b"], layer=1)
assert cavs[0].label == "a" and list(cavs.search("a")) and cavs.own_labels() == {}
for work in (lambda: cavs.user_labels, lambda: sw.LanguageModel.demo()):
    try: work()
    except OSError as error: assert "home folder" in str(error) and str(error).endswith("."), error
    else: raise SystemExit("kept something nowhere")
"""


def test_features_have_names_without_a_home():
    done = subprocess.run([sys.executable, "-c", HOMELESS], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


# Rows of zeros


def with_a_zero_row(kind):
    if kind == "SAE":
        weights = sae.tensors()
        weights["W_dec"][3] = 0
        return sw.SAE(**weights, layer=1)
    rows = kinds.ROWS.clone()
    rows[3] = 0
    return sw.CAV(rows, layer=1) if kind == "CAV" else sw.ReFT(rows, layer=1)


@pytest.mark.parametrize("kind", ["SAE", "CAV", "ReFT"])
def test_a_feature_that_points_nowhere_is_only_itself_unusable(kind, lm, tmp_path):
    made = with_a_zero_row(kind)
    assert len(list(made)) == made.size
    assert made[3].ops == {}
    for steer in (made[3].add, made[3].add_relative, lambda a: sw.Recipe.of(made[3].add(a))):
        with pytest.raises(ValueError, match=f"'{kind} 3' can be read but not steered: .*points nowhere"):
            steer(2)
    with pytest.raises(ValueError, match="points nowhere"):
        _ = made[3].direction
    assert made[1].add(2).op == "add"
    assert made[3].cosine(made[1]) == 0
    assert lm.read("Hi there", made, [3]).values.isfinite().all()
    assert all(map(math.isfinite, lm.search("Hi there", made, k=made.size).values))
    with pytest.raises(ValueError, match="points nowhere"):
        lm.top_logits(made[3], k=2)
    assert all(map(math.isfinite, lm.promoting(made, "a", k=made.size).values))
    assert all(math.isfinite(score) for score in lm.output_scores([made[1]]))
    for index in (1, 3):
        json.dumps(sw.FeatureCard(lm, made, index).get_state()["content"], allow_nan=False)
    for widget in (sw.SteeringPanel(lm, made), sw.FeaturePicker(lm, made)):
        page = FrontEnd(widget)
        for query in (
            {"mode": "prompt", "query": "Hi"},
            {"mode": "token", "query": "a"},
            {"mode": "label", "query": ""},
        ):
            assert page.call("find", **query)["type"] == "result"
        page.call("find", mode="similar", query=made[1].key)
    again = type(made).load(kinds.save(made, tmp_path))
    assert again.fingerprint == made.fingerprint


# Sparse autoencoders


@pytest.mark.parametrize("name", ["model.layers.1", "transformer.h.1", "model.language_model.layers.1"])
def test_a_module_of_transformers_may_stand_where_the_hook_does(tmp_path, name):
    for field in ("hook_name", "hf_hook_name"):
        sae.write(tmp_path, {"metadata": {field: name}})
        assert sw.SAE.load(tmp_path).site == sw.Site(1)


@pytest.mark.parametrize("name", ["model.layers.1.mlp", "blocks.\u0663.hook_resid_post"])
def test_a_place_that_is_none_of_ours_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match="hook_name"):
        sw.SAE.load(sae.write(tmp_path, {"metadata": {"hook_name": name}}))


@pytest.mark.parametrize("architecture", ["batchtopk", "matryoshka_batchtopk"])
def test_a_checkpoint_of_a_batchtopk_run_is_what_it_is_for_use(tmp_path, architecture):
    h = torch.randn(6, 32, generator=torch.Generator().manual_seed(1)) * 3
    made = sw.SAE.load(
        sae.write(tmp_path, {"architecture": architecture, "k": 8.5}, topk_threshold=torch.tensor(0.7).double())
    )
    expected = sw.SAE(**sae.tensors(), activation="jumprelu", threshold=0.7, layer=1)
    assert torch.equal(made.encode(h), expected.encode(h))


def test_the_factor_of_a_run_is_read_from_beside_its_checkpoint(tmp_path):
    sae.write(tmp_path, {"normalize_activations": "expected_average_only_in"})
    with pytest.raises(ValueError, match="pass norm_scaling_factor="):
        sw.SAE.load(tmp_path)
    (tmp_path / "activation_scaler.json").write_text('{"scaling_factor": 0.37, "has_whitening": false}')
    h = torch.randn(6, 32, generator=torch.Generator().manual_seed(1))
    given = sw.SAE.load(tmp_path, norm_scaling_factor=0.37)
    assert torch.equal(sw.SAE.load(tmp_path).encode(h), given.encode(h))


@pytest.mark.parametrize("settings", [{}, {"layer": 1}])
def test_a_gemma_scope_transcoder_is_no_sae(tmp_path, settings):
    folder = tmp_path / "models--google--gemma-scope-2b-pt-transcoders" / "layer_1" / "width_16k"
    folder.mkdir(parents=True)
    arrays = {name: tensor.numpy() for name, tensor in sae.tensors().items()}
    np.savez(folder / "params.npz", **arrays, threshold=np.ones(sae.SIZE, "f4"))
    found = sw.SAE.load(folder / "params.npz", **settings)
    assert (found.site, found.writes_at) == (sw.Site(1, "mlp_normalized"), sw.Site(1, "mlp_out"))
    assert found[3].clamp(2.0).feature.site == sw.Site(1, "mlp_out"), "it steers where it writes"
    with pytest.raises(ValueError, match="A transcoder has no error term"):
        found.error(torch.zeros(1, 32))


def test_what_writes_at_another_place_than_it_reads_is_no_sae(tmp_path):
    cfg = {"metadata": {"hook_name": "blocks.1.ln2.hook_normalized", "hook_name_out": "blocks.1.hook_mlp_out"}}
    with pytest.raises(ValueError, match="is of a transcoder"):
        sw.SAE.load(sae.write(tmp_path, cfg))


@pytest.mark.parametrize("change", [{"d_in": "32"}, {"d_sae": 40.5}, {"d_in": 31}, {"apply_b_dec_to_input": "false"}])
def test_settings_of_another_kind_are_refused(tmp_path, change):
    with pytest.raises(ValueError, match=next(iter(change))):
        sw.SAE.load(sae.write(tmp_path, change))


# Small ones


def test_a_hole_among_labels_is_told(llama):
    with pytest.raises(ValueError, match=r"labels\[3\] is nan"):
        sw.CAV.fit(llama, ["good", "nice", "bad", "awful"], ["p", "p", "n", math.nan], layer=1, held_out=0)


def test_a_control_vector_of_another_type_of_model_is_told(llama, tmp_path):
    sw.CAV(torch.eye(1, 32), ["a"], layer=2).to_gguf(tmp_path / "q.gguf", model_hint="qwen2")
    with pytest.warns(sw.OtherModelWarning, match="of the type qwen2, but .* is of the type llama"):
        llama.compare([5, 6, 7], sw.CAV.load(tmp_path / "q.gguf", layer=2)[0].add(1), max_new_tokens=1)


USER = [{"role": "user", "content": "hi"}]


def test_settings_of_a_chat_template_pass_through(chatting):
    text = chatting.tokenizer.apply_chat_template(
        USER, tokenize=False, enable_thinking=False, add_generation_prompt=True
    )
    assert "<think>" in text
    expected = chatting.encode(text, chat=False).token_ids
    assert chatting.encode(USER, enable_thinking=False).token_ids == expected
    assert chatting.compare(USER, None, enable_thinking=False, max_new_tokens=1).prompt.token_ids == expected
    assert chatting.encode(USER).token_ids != expected
    with pytest.raises(ValueError, match="no sampling setting 'enable_dreaming'"):
        chatting.compare(USER, None, enable_dreaming=True)
    with pytest.raises(ValueError, match="no setting 'dream'; it has enable_thinking"):
        chatting.encode(USER, dream=True)


def test_messages_in_parts_and_what_a_tokenizer_gives_are_prompts(chatting):
    parts = [{"role": "user", "content": [{"type": "text", "text": "h"}, {"type": "text", "text": "i"}]}]
    assert chatting.encode(parts) == chatting.encode(USER)
    encoding = chatting.tokenizer.apply_chat_template(USER, tokenize=True, return_dict=True)
    assert chatting.encode(encoding).token_ids == tuple(encoding["input_ids"])
    tensors = chatting.tokenizer("hi", return_tensors="pt")
    assert chatting.encode(tensors).token_ids == tuple(tensors["input_ids"][0].tolist())
    with pytest.raises(ValueError, match="one of type 'image'"):
        chatting.encode([{"role": "user", "content": [{"type": "image", "url": "x"}]}])
    with pytest.raises(ValueError, match="tokens of 2 texts"):
        chatting.encode({"input_ids": [[1, 2], [3, 4]]})
    with pytest.raises(TypeError, match="in a list"):
        chatting.encode(USER[0])
