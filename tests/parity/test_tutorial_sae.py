"""Every computing cell of "Sparse Autoencoders for model steering" (Jørgensen), against its own formulas."""

import json
import string
from functools import partial

import pytest
import sae_lens
import torch
from sklearn.svm import LinearSVC
from support.models import D_MODEL
from support.tutorials import LOGITS, greedy, logits, templated
from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

import steerwidgets as sw
from steerwidgets.generation.sampling import processed_logits

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

LAYER, SIZE = 1, 128
REQUEST = "Write a haiku about the ocean."
LABELS = {"baseball": 5, "poetry": 77, "the sea": 2, "another name for the sea": 2, "weather": 120}
FAMILIES = ("gemma2", "llama", "gpt2")
THREE = pytest.mark.parametrize("family", FAMILIES)


@pytest.fixture(scope="module")
def reference():
    """A JumpReLU SAE as Gemma Scope has them: `b_dec` is not taken off the input."""
    cls, config = sae_lens.registry.get_sae_class("jumprelu")
    cfg = config(d_in=D_MODEL, d_sae=SIZE, apply_b_dec_to_input=False)
    cfg.metadata.hook_name = f"blocks.{LAYER}.hook_resid_post"
    cfg.metadata.model_name = "tiny"
    made = cls(cfg)
    drawn = torch.Generator().manual_seed(4)
    for name, parameter in sorted(made.named_parameters()):
        noise = torch.randn(parameter.shape, generator=drawn) / (4 if parameter.ndim == 2 else 3)
        parameter.data = noise.abs() if name == "threshold" else noise
    return made.requires_grad_(False)


@pytest.fixture
def sae(reference, tmp_path):
    path = tmp_path / "sae_feature_labels.json"
    path.write_text(json.dumps(LABELS))
    return sw.SAE.from_sae_lens(reference, labels=path)


# The notebook's own code, but for the hook, which takes block outputs that are tensors too


def clamp_intervention(latents, feature_ixs, clamp_value):
    mask = torch.zeros((latents.shape[-1],), dtype=latents.dtype)[None, None, :]
    mask[..., feature_ixs] = 1.0
    return (latents * (1.0 - mask)) + clamp_value * mask


def sae_intervention(sae, intervention, acts):
    """`SAEIntervention`."""
    error = acts - sae.forward(acts).to_dense()
    latents = sae.encode(acts).to_dense()
    return (error + sae.decode(intervention(latents))).to(acts.dtype)


def cav_intervention(cav, scale, acts):
    """`CAVIntervention`."""
    return (acts + scale * cav.flatten()[None, None, :]).to(acts.dtype)


def generate(lm, edit, count=12):
    """`generate`, greedy. The notebook's template call asks for no generation prompt."""
    ids = templated(lm.tokenizer, REQUEST, generation_prompt=False)
    return ids, greedy(lm.model, ids, {LAYER: edit}, count, lm.end_ids)


def clamp_all(sae, labels, value):
    """Several features at one value, as `feature_ixs=[…]`."""
    return sw.Recipe.of(sae[label].clamp(value) for label in labels)


def test_the_layer_and_the_labels(reference, sae):
    assert sae.site.layer == int(reference.cfg.metadata.hook_name.split(".")[1])
    for label, index in LABELS.items():
        assert sae[label].index == index
    assert [label for label in LABELS if sae.labels[LABELS[label]] == label] == [
        "baseball",
        "poetry",
        "the sea",
        "weather",
    ]
    assert [feature.index for feature in sae.search("sea")] == [2]
    with pytest.raises(KeyError, match="close to it are 'baseball'"):
        sae["basebal"]


@THREE
@pytest.mark.parametrize(
    ("labels", "value"), [(["baseball"], 30.0), (["baseball"], 0.0), (["baseball", "the sea", "weather"], 12.0)]
)
def test_clamping(lm, sae, reference, labels, value):
    indices = [LABELS[label] for label in labels]
    edit = partial(sae_intervention, reference, partial(clamp_intervention, feature_ixs=indices, clamp_value=value))
    recipe = clamp_all(sae, labels, value)
    ids, expected = generate(lm, edit)
    plain, steered = logits(lm.model, ids), logits(lm.model, ids, {LAYER: edit})
    assert (steered - plain).abs().max() > 1e-2
    with torch.no_grad(), lm.steer(recipe):
        found = lm.model(input_ids=torch.tensor([ids])).logits[0]
    torch.testing.assert_close(found, steered, **LOGITS)
    out = lm.compare(ids, recipe, temperature=0, max_new_tokens=12)
    assert out.steered.token_ids == expected
    assert out.steered.text == lm.tokenizer.decode(expected)


@THREE
def test_steering_by_a_cav(lm, tmp_path):
    """The file of the notebook, `{"cavs", "labels"}`; the value that its slider begins with is 525."""
    vectors = torch.randn(4, D_MODEL, generator=torch.Generator().manual_seed(8))
    vectors /= vectors.norm(dim=1, keepdim=True)
    names = ["rec.sport.baseball", "sci.space", "talk.politics", "comp.graphics"]
    torch.save({"cavs": vectors, "labels": names}, tmp_path / "cavs.pt")
    cavs = sw.CAV.load(tmp_path / "cavs.pt", layer=LAYER)
    assert list(cavs.labels) == names
    for topic, scale in (("sci.space", 20.0), ("comp.graphics", 525.0)):
        edit = partial(cav_intervention, vectors[names.index(topic)], scale)
        ids, expected = generate(lm, edit)
        with torch.no_grad(), lm.steer(cavs[topic].add(scale)):
            found = lm.model(input_ids=torch.tensor([ids])).logits[0]
        torch.testing.assert_close(found, logits(lm.model, ids, {LAYER: edit}), **LOGITS)
        out = lm.compare(ids, cavs[topic].add(scale), temperature=0, max_new_tokens=12)
        assert out.steered.token_ids == expected


SAMPLINGS = {
    "do_sample=True": ({"temperature": 1.0}, [TopKLogitsWarper(50)]),
    "colder": ({"temperature": 0.4, "top_k": 20}, [TemperatureLogitsWarper(0.4), TopKLogitsWarper(20)]),
    "nucleus": (
        {"temperature": 1.3, "top_k": 50, "top_p": 0.7},
        [TemperatureLogitsWarper(1.3), TopKLogitsWarper(50), TopPLogitsWarper(0.7)],
    ),
}


@pytest.mark.parametrize("name", SAMPLINGS)
def test_sampling_is_that_of_generate(llama, name):
    """`do_sample=True` alone is temperature 1 and the 50 likeliest tokens: the probabilities of its own warpers."""
    settings, warpers = SAMPLINGS[name]
    ids = templated(llama.tokenizer, REQUEST)
    scores = logits(llama.model, ids)
    expected = LogitsProcessorList(warpers)(torch.tensor([ids]), scores.clone()).softmax(-1)
    found = processed_logits(scores, None, sw.Sampling(**settings)).softmax(-1)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


def test_texts_are_drawn_from_those_probabilities(llama, sae):
    """First tokens of 400 seeds under a clamp; 99.9 % of right samplers stay below the bound (chi-square)."""
    ids = templated(llama.tokenizer, REQUEST)
    settings = {"temperature": 1.0, "top_k": 6, "max_new_tokens": 1}
    recipe = sae["poetry"].clamp(6)
    with torch.no_grad(), llama.steer(recipe):
        scores = llama.model(input_ids=torch.tensor([ids])).logits[0, -1]
    values, likeliest = scores.topk(6)
    expected = 400 * values.softmax(-1)
    assert float(expected.min()) > 5
    counts = torch.zeros(6)
    for seed in range(400):
        [token] = llama.compare(ids, recipe, seed=seed, **settings).steered.token_ids or [
            int(llama.tokenizer.eos_token_id)
        ]
        counts[(likeliest == token).nonzero()[0, 0]] += 1
    assert float(((counts - expected) ** 2 / expected).sum()) < 20.52  # 5 degrees of freedom


# Training CAVs


def news(tokenizer, count=36):
    """Texts of three topics; some are too short to have a token after the 65th."""
    drawn = torch.Generator().manual_seed(6)
    letters = list(string.ascii_lowercase)
    texts, labels = [], []
    for _ in range(count):
        topic = int(torch.randint(3, (1,), generator=drawn))
        words = int(torch.randint(4, 60, (1,), generator=drawn))
        own = letters[topic * 8 : topic * 8 + 8]
        picked = ["".join(own[int(i)] for i in torch.randint(8, (4,), generator=drawn)) for _ in range(words)]
        texts.append(" ".join(picked))
        labels.append(topic)
    lengths = [len(tokenizer(text)["input_ids"]) for text in texts]
    assert min(lengths) < 65 < 129 < max(lengths)
    return texts, labels


def get_mean_activation(lm, batch, max_seq_len=128, aggregate_from_token=64):
    """The notebook's function."""
    tokenizer = lm.tokenizer
    before, tokenizer.padding_side = tokenizer.padding_side, "right"
    tokens = tokenizer(batch, return_tensors="pt", padding=True)
    tokenizer.padding_side = before
    ids, mask = (tokens[name][:, : max_seq_len + 1, ...] for name in ("input_ids", "attention_mask"))
    with torch.no_grad():
        hidden = lm.model(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
    activations = hidden[LAYER + 1][:, aggregate_from_token + 1 :, :]
    mask = mask[:, aggregate_from_token + 1 :]
    return torch.einsum("ijk,ij->ik", activations.float(), mask.float()) / mask.sum(dim=1, keepdim=True)


def train_cavs(lm, texts, labels):
    """The cell that trains, batches of 8."""
    activations = torch.concat([get_mean_activation(lm, texts[i : i + 8]) for i in range(0, len(texts), 8)])
    remove_mask = activations.isnan().any(dim=1)
    kept = torch.tensor(labels)[~remove_mask]
    svc = LinearSVC(fit_intercept=False, random_state=0).fit(activations[~remove_mask].numpy(), kept.numpy())
    cavs = torch.from_numpy(svc.coef_)
    return cavs / cavs.norm(dim=1, keepdim=True), int(remove_mask.sum())


@pytest.mark.parametrize("family", ["gemma2", "gpt2"])
def test_training_cavs(fresh, family):
    """Numbers for labels, in the order of the numbers whatever their texts are, as `cav_labels` of the notebook."""
    lm = fresh(family, **({"n_positions": 512} if family == "gpt2" else {}))
    texts, labels = news(lm.tokenizer)
    expected, dropped = train_cavs(lm, texts, labels)
    names = ["sci.space", "alt.atheism", "rec.autos"]
    cavs = sw.CAV.fit(lm, texts, labels, names=names, layer=LAYER, max_tokens=129, skip=65, held_out=0, batch_size=8)
    assert dropped > 0
    assert (cavs.report.dropped, cavs.report.fitted) == (dropped, len(texts) - dropped)
    assert list(cavs.labels) == names
    torch.testing.assert_close(cavs.vectors.double(), expected.double(), atol=1e-4, rtol=1e-3)
