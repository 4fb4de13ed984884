"""What a newcomer gives to public calls: it works where the meaning is clear, else one sentence with the call meant."""

from __future__ import annotations

import inspect
import re
import types
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
from support import sae as saes
from transformers import TextGenerationPipeline

import steerwidgets as sw
from steerwidgets.transformer import mistakes

TEXT = "The sea was calm."
LABELS = {3: "the sea", 5: "a calm sea", 7: "cooking"}
SHORT = {"max_new_tokens": 2, "temperature": 0.0}


def alien(package, name, **members):
    """An object as another package has it, without the package."""
    return type(name, (), {"__module__": f"{package}.core", **members})()


class Given:
    """What the table below names: a model, its tokenizer, dictionaries, features."""

    def __init__(self, lm, closing):
        self.lm, self.model, self.tok = lm, lm.model, lm.tokenizer
        self.sae = saes.make(labels=LABELS)
        self.cavs = sw.CAV(torch.eye(32)[:3] * 4, ["sea", "food", "law"], layer=1)
        self.feature, self.cav = self.sae[3], self.cavs[0]
        self.steer = self.feature.clamp(2.0)
        self.closing = closing

    def widget(self, made):
        self.closing.callback(made.close)
        return made

    @property
    def pipeline(self):
        return TextGenerationPipeline(model=self.model, tokenizer=self.tok)


@pytest.fixture
def given(llama):
    with ExitStack() as closing:
        yield Given(llama, closing)


# name: the call, and what its sentence has to say: what was given, and the call that was meant.
MISTAKES = {
    "model alone": (lambda g: sw.LanguageModel(g.model), "the model came alone", "sw.LanguageModel(model, tokenizer)"),
    "a name": (lambda _: sw.LanguageModel("gpt2"), "the text 'gpt2'", "sw.LanguageModel.from_pretrained('gpt2')"),
    "two names": (lambda _: sw.LanguageModel("gpt2", "gpt2"), "the text 'gpt2'", "from_pretrained('gpt2')"),
    "name of a tokenizer": (
        lambda g: sw.LanguageModel(g.model, "gpt2"),
        "'gpt2'",
        "AutoTokenizer.from_pretrained('gpt2')",
    ),
    "tokenizer alone": (lambda g: sw.LanguageModel(g.tok), "a tokenizer (", "sw.LanguageModel(model, tokenizer)"),
    "a dictionary as model": (
        lambda g: sw.LanguageModel(g.sae, g.tok),
        "the SAE",
        "sw.LanguageModel(model, tokenizer)",
    ),
    "a LanguageModel again": (lambda g: sw.LanguageModel(g.lm), "it is one already", "used as it is"),
    "a class": (
        lambda g: sw.LanguageModel(type(g.model), g.tok),
        "the class LlamaForCausalLM itself",
        "(model, tokenizer)",
    ),
    "a config": (
        lambda g: sw.LanguageModel(g.model.config, g.tok),
        "a LlamaConfig of transformers",
        "(model, tokenizer)",
    ),
    "tokenizer of no sort": (
        lambda g: sw.LanguageModel(g.model, 3),
        "the number 3",
        "sw.LanguageModel(model, tokenizer)",
    ),
    "HookedTransformer": (
        lambda g: sw.LanguageModel(
            alien("transformer_lens", "HookedTransformer", cfg=types.SimpleNamespace(tokenizer_name="gpt2"))
        ),
        "a HookedTransformer of TransformerLens",
        "sw.LanguageModel.from_pretrained('gpt2')",
    ),
    "nnsight": (lambda g: sw.LanguageModel(alien("nnsight", "LanguageModel")), "of nnsight", "nn._model, nn.tokenizer"),
    "None as model": (lambda g: sw.LanguageModel(None, g.tok), "None was given", "sw.LanguageModel(model, tokenizer)"),
    # Prompts
    "several texts": (lambda g: g.lm.compare([TEXT, TEXT], g.steer), "a list of 2 texts", "for text in texts]"),
    "several texts to read": (lambda g: g.lm.read([TEXT], g.sae), "a list of 1 text", "for text in texts]"),
    "one message": (lambda g: g.lm.compare({"role": "user", "content": "Hi"}, g.steer), "One message", "[message]"),
    "a dict as prompt": (
        lambda g: g.lm.compare({"text": "Hi"}, g.steer),
        "a table of text",
        "a string, messages or token ids",
    ),
    "recipe first": (lambda g: g.lm.compare(g.steer, TEXT), "the Steer", "lm.compare(prompt, feature.add(40))"),
    "dictionary first": (
        lambda g: g.lm.search(g.sae, TEXT),
        "the text 'The sea was calm.'",
        "lm.search(prompt, dictionary)",
    ),
    "several rows of ids": (
        lambda g: g.lm.encode(torch.ones(2, 3).long()),
        "the tokens of 2 texts",
        "give one of them",
    ),
    "a tokenizer of no library": (
        lambda g: sw.LanguageModel(g.model, alien("my", "Tok", __call__=len, all_special_ids=[], decode=str)),
        "a Tok was given",
        "sw.LanguageModel(model, tokenizer)",
    ),
    "None as prompt": (lambda g: g.lm.compare(None, g.steer), "NoneType None", "a string, a list of messages"),
    "feature as prompt": (lambda g: g.lm.logit_lens(g.feature), "the SAEFeature 'the sea'", "the prompt comes first"),
    # Recipes
    "feature without an op": (lambda g: g.lm.compare(TEXT, g.feature), "'the sea'", "feature.add(…)"),
    "op that was not called": (lambda g: g.lm.compare(TEXT, g.feature.clamp), "the method clamp", "feature.clamp(40)"),
    "a number as recipe": (lambda g: g.lm.compare(TEXT, 40), "the number 40", "feature.add(40)"),
    "a label as recipe": (
        lambda g: g.lm.compare(TEXT, "the sea"),
        "the text 'the sea'",
        "dictionary['the sea'].add(40)",
    ),
    "a dictionary as recipe": (lambda g: g.lm.compare(TEXT, g.sae), "the SAE", "dictionary[123].add(40)"),
    "a list of features": (lambda g: g.lm.compare(TEXT, [g.feature]), "'the sea'", "feature.add(…)"),
    "an array as recipe": (lambda g: g.lm.compare(TEXT, torch.ones(32)), "the number|a Tensor", "feature|a steer"),
    "steer() of a feature": (lambda g: g.lm.steer(g.cav).__enter__(), "'sea'", "feature.add(…)"),
    "lens of a dictionary": (lambda g: g.lm.logit_lens(TEXT, g.sae), "the SAE", "dictionary[123].add(40)"),
    "measure a feature": (lambda g: g.lm.measure(TEXT, g.feature), "'the sea'", "feature.add(…)"),
    "difference of a feature": (lambda g: g.lm.logit_difference(TEXT, g.feature), "'the sea'", "feature.add(…)"),
    "sweep of numbers": (lambda g: g.lm.sweep(TEXT, [1, 2, 3]), "a list of 3 numbers", "[feature.add(a) for a in"),
    "sweep of a method": (lambda g: g.lm.sweep(TEXT, g.feature.clamp), "the method clamp", "[feature.add(a) for a in"),
    "sweep of a feature": (lambda g: g.lm.sweep(TEXT, g.feature), "'the sea'", "[feature.add(a) for a in"),
    "sweep of a label": (lambda g: g.lm.sweep(TEXT, "sea"), "the text 'sea'", "[feature.add(a) for a in"),
    "sweep of features": (lambda g: g.lm.sweep(TEXT, [g.feature]), "'the sea'", "feature.add(…)"),
    "steer plus a number": (lambda g: g.steer + 3, "the number 3", "feature.add(40)"),
    "recipe plus a feature": (lambda g: sw.Recipe.of(g.steer) + g.feature, "'the sea'", "feature.add(…)"),
    "feature plus a number": (lambda g: g.feature + 3, "the number 3", "feature.add(40)"),
    "feature plus a steer": (lambda g: g.feature + g.steer, "the Steer", "feature.add(40)"),
    "cosine with a label": (lambda g: g.feature.cosine("sea"), "the text 'sea'", "another direction"),
    "a recipe's dict": (lambda _: sw.Recipe.from_json({"steers": []}), "a dict of 'steers'", "recipe.to_json()"),
    "a strength in words": (lambda g: g.feature.clamp("40"), "'40' was given", "a finite number"),
    "an op of another kind": (lambda g: g.cav.clamp(3), "does not take the op 'clamp'", "it takes add"),
    "an unknown setting": (lambda g: g.lm.compare(TEXT, g.steer, max_tokens=3), "'max_tokens'", "max_new_tokens"),
    # Features and dictionaries
    "top_logits of a word": (
        lambda g: g.lm.top_logits("music"),
        "the text 'music'",
        "lm.top_logits(dictionary['music'])",
    ),
    "top_logits of an index": (lambda g: g.lm.top_logits(12), "the number 12", "lm.top_logits(dictionary[12])"),
    "top_logits of a dictionary": (lambda g: g.lm.top_logits(g.sae), "the SAE", "lm.top_logits(dictionary[123])"),
    "top_logits of a steer": (lambda g: g.lm.top_logits(g.steer), "the Steer", "without an op: lm.top_logits(feature)"),
    "top_logits of an array": (
        lambda g: g.lm.top_logits(torch.ones(32)),
        "a Tensor of shape [32]",
        "sw.Direction(vector, sw.Site(15))",
    ),
    "effect of a word": (lambda g: g.lm.effect("music"), "the text 'music'", "lm.effect(dictionary['music'])"),
    "output scores of labels": (
        lambda g: g.lm.output_scores(["sea"]),
        "the text 'sea'",
        "lm.output_scores(dictionary['sea'])",
    ),
    "watch a label": (
        lambda g: g.lm.compare(TEXT, g.steer, watch=["sea"]),
        "the text 'sea'",
        "lm.compare(dictionary['sea'])",
    ),
    "read a feature": (
        lambda g: g.lm.read(TEXT, g.feature),
        "'the sea'",
        "lm.read(prompt, dictionary, features=[feature])",
    ),
    "read swapped": (lambda g: g.lm.read(g.sae, TEXT), "the text", "lm.read(prompt, dictionary"),
    "search features": (lambda g: g.lm.search(TEXT, [g.feature]), "'the sea'", "lm.search(prompt, dictionary)"),
    "search a path": (lambda g: g.lm.search(TEXT, "sae"), "the text 'sae'", "lm.search(prompt, dictionary)"),
    "read an sae_lens SAE": (
        lambda g: g.lm.read(TEXT, alien("sae_lens", "JumpReLUSAE", cfg=None)),
        "a JumpReLUSAE of sae_lens",
        "sw.SAE.from_sae_lens(sae)",
    ),
    "promoting a feature": (
        lambda g: g.lm.promoting(g.feature, " sea"),
        "'the sea'",
        "lm.promoting(dictionary, ' sea')",
    ),
    "a label that is nearly one": (
        lambda g: g.sae["the seas"],
        "No feature is labelled 'the seas'",
        "close to it are 'the sea'",
    ),
    "a float index": (lambda g: g.sae[1.5], "1.5 was given", "its index or its label"),
    "a slice": (lambda g: g.sae[1:3], "slice", "[dictionary[i] for i in (3, 17)]"),
    "several indices": (lambda g: g.sae[[1, 3]], "a list of 2 numbers", "[dictionary[i] for i in (3, 17)]"),
    "an index beyond": (lambda g: g.sae[400], "400 was asked for", "features 0 to 39"),
    "release without an id": (lambda _: sw.SAE.from_pretrained("gemma-scope"), "'gemma-scope'", "sw.SAE.load(path)"),
    "from_sae_lens of a path": (
        lambda _: sw.SAE.from_sae_lens("folder"),
        "the text 'folder'",
        "sw.SAE.from_pretrained(release, sae_id)",
    ),
    "a direction at a name": (lambda _: sw.Direction(torch.ones(3), "resid_post"), "'resid_post'", "sw.Site(15)"),
    "a site of a name": (lambda _: sw.Site("15"), "'15' was given", "counted from 0"),
    "residuals at a word": (lambda g: g.lm.residuals(TEXT, ["mlp"]), "the text 'mlp'", 'sw.Site(15, "mlp_out")'),
    "fit without a model": (
        lambda _: sw.CAV.fit([TEXT], ["a"], [], layer=1),
        "a list of 1 text",
        "CAV.fit(lm, texts, labels, layer=15)",
    ),
    "fit of a dict": (
        lambda g: sw.CAV.fit(g.lm, {"sea": [TEXT]}, ["sea"], layer=1),
        "a dict of 'sea'",
        "CAV.fit(lm, texts, labels",
    ),
    "no number": (lambda g: g.cav.add(), "feature.add lacks alpha", "feature.add(40)"),
    "no number for an SAE's": (lambda g: g.feature.clamp(), "feature.clamp lacks c", "feature.clamp(c)"),
    "a number of another name": (
        lambda g: g.cav.add(strength=3),
        "takes no strength=; it takes alpha",
        "feature.add(40)",
    ),
    "two numbers": (lambda g: g.cav.add(1, 2), "2 values were given", "feature.add(40)"),
    "vectors without a block": (lambda _: sw.CAV(torch.eye(3)), "sw.CAV lacks layer", "sw.CAV(vectors, layer=15)"),
    "a block by position": (
        lambda _: sw.CAV(torch.eye(3), None, 15),
        "3 values were given",
        "sw.CAV(vectors, layer=15)",
    ),
    "rows without a block": (lambda _: sw.ReFT(torch.eye(3)), "sw.ReFT lacks layer", "sw.ReFT(weight, layer=15)"),
    "an SAE without a place": (lambda _: sw.SAE(**saes.tensors()), "the place where it reads", "pass layer="),
    "a file of vectors": (
        lambda _: sw.CAV("cavs.pt", layer=1),
        "the text 'cavs.pt'",
        "sw.CAV.load('cavs.pt', layer=15)",
    ),
    "a table of vectors": (lambda _: sw.CAV({"sea": torch.ones(3)}, layer=1), "a dict of 'sea'", "torch.stack("),
    "a file of a mixture": (
        lambda _: sw.MFA("mfa.pt", layer=1),
        "the text 'mfa.pt'",
        "sw.MFA.load('mfa.pt', layer=15)",
    ),
    "neurons of a model": (
        lambda g: sw.Neurons(g.model, layer=1),
        "a LlamaForCausalLM",
        "sw.Neurons(sw.LanguageModel(model, tokenizer), layer=15)",
    ),
    "compare without a recipe": (lambda g: g.lm.compare(TEXT), "lm.compare lacks recipe", "lm.compare(prompt, recipe)"),
    "read without a dictionary": (lambda g: g.lm.read(TEXT), "lm.read lacks dictionary", "lm.read(prompt, dictionary)"),
    "a corpus without a path": (
        lambda g: sw.corpus.build(g.lm, g.sae, [TEXT]),
        "sw.corpus.build lacks path",
        "sw.corpus.build(lm, dictionaries, texts, path)",
    ),
    "a corpus for a model": (
        lambda g: sw.corpus.build(g.model, g.sae, [TEXT], "folder"),
        "a LlamaForCausalLM",
        "sw.corpus.build(sw.LanguageModel(model, tokenizer), dictionaries, texts, path)",
    ),
    "a corpus swapped": (
        lambda g: sw.corpus.build(g.lm, [TEXT], g.sae, "folder"),
        "the text 'The sea was calm.'",
        "sw.corpus.build(lm, dictionary, texts, path)",
    ),
    "a corpus nowhere": (
        lambda g: sw.corpus.build(g.lm, g.sae, [TEXT], None),
        "None was given",
        "sw.corpus.build(lm, dictionaries, texts, 'my_folder')",
    ),
    "a corpus of a feature": (
        lambda g: sw.corpus.build(g.lm, g.feature, [TEXT], "folder"),
        "'the sea'",
        "sw.corpus.build(lm, dictionary, texts, path)",
    ),
    "a corpus of one text": (lambda g: sw.corpus.build(g.lm, g.sae, TEXT, "f"), "one string was given", "in a list"),
    "a file of labels": (lambda _: sw.Labels("l.json"), "'l.json' was given", "sw.Labels.load('l.json')"),
    "a path of labels": (lambda _: sw.Labels(Path("l.json")), "'l.json' was given", "sw.Labels.load('l.json')"),
    "labels in place of a file": (lambda _: sw.Labels.load({"sea": 1}), "a table of labels", "sw.Labels(labels)"),
    "a size by position": (lambda _: sw.Labels(["sea"], 3), "2 values were given", "size"),
    "a lens token": (lambda g: g.lm.attribution(TEXT, "several words here"), "several words here", "token"),
    # Widgets
    "panel of a model": (
        lambda g: sw.SteeringPanel(g.model, g.tok),
        "a LlamaForCausalLM",
        "sw.SteeringPanel(sw.LanguageModel(model, tokenizer), dictionaries)",
    ),
    "panel of a pipeline": (
        lambda g: sw.SteeringPanel(g.pipeline, g.sae),
        "a pipeline of transformers",
        "sw.LanguageModel(model, tokenizer)",
    ),
    "panel swapped": (lambda g: sw.SteeringPanel(g.sae, g.lm), "the SAE", "sw.SteeringPanel(lm, dictionaries)"),
    "panel of labels": (lambda g: sw.SteeringPanel(g.lm, "sea"), "the text 'sea'", "prompt=text"),
    "panel of a steer": (lambda g: sw.SteeringPanel(g.lm, g.steer), "the Steer", "recipe=steer"),
    "panel of an sae_lens SAE": (
        lambda g: sw.SteeringPanel(g.lm, alien("sae_lens", "SAE", cfg=None)),
        "a SAE of sae_lens",
        "sw.SAE.from_sae_lens(sae)",
    ),
    "panel with an unanswered answer": (
        lambda g: sw.SteeringPanel(
            g.lm, g.sae, prompt=[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
        ),
        "a list of messages",
        "the last one is the user's",
    ),
    "panel with a feature as recipe": (
        lambda g: sw.SteeringPanel(g.lm, g.sae, recipe=g.feature),
        "'the sea'",
        "feature.add(…)",
    ),
    "panel with an unknown setting": (lambda g: sw.SteeringPanel(g.lm, g.sae, tokens=3), "'tokens'", "max_new_tokens"),
    "heatmap of a feature": (
        lambda g: sw.TokenHeatmap(g.lm, g.feature, TEXT),
        "'the sea'",
        "sw.TokenHeatmap(lm, dictionary, text, features=[feature])",
    ),
    "heatmap of a model": (
        lambda g: sw.TokenHeatmap(g.model, g.sae, TEXT),
        "a LlamaForCausalLM",
        "sw.LanguageModel(model, tokenizer)",
    ),
    "heatmap of a text": (
        lambda g: sw.TokenHeatmap(g.lm, TEXT),
        "the text 'The sea was calm.'",
        "sw.TokenHeatmap(lm, dictionary, text",
    ),
    "heatmap without a model": (
        lambda g: sw.TokenHeatmap(g.sae, TEXT, [3]),
        "the SAE",
        "sw.TokenHeatmap(lm, dictionary, text)",
    ),
    "picker of a model": (
        lambda g: sw.FeaturePicker(g.model, g.sae),
        "a LlamaForCausalLM",
        "sw.LanguageModel(model, tokenizer)",
    ),
    "picker without a model": (lambda g: sw.FeaturePicker(g.sae), "the SAE", "sw.FeaturePicker(lm, dictionaries)"),
    "card of a feature": (lambda g: sw.FeatureCard(g.lm, g.feature), "'the sea'", "sw.FeatureCard(lm, dictionary)"),
    "card of a model": (
        lambda g: sw.FeatureCard(g.model, g.sae, 3),
        "a LlamaForCausalLM",
        "sw.LanguageModel(model, tokenizer)",
    ),
    "lens of a model": (
        lambda g: sw.LogitLens(g.model, TEXT),
        "a LlamaForCausalLM",
        "sw.LanguageModel(model, tokenizer)",
    ),
    "lens of a text alone": (lambda _: sw.LogitLens(TEXT), "the text", "sw.LogitLens(lm, text)"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_gets_one_sentence_with_the_call_that_was_meant(name, given):
    call, said, meant = MISTAKES[name]
    with pytest.raises((TypeError, ValueError, IndexError, KeyError, AttributeError)) as caught:
        call(given)
    sentence = str(caught.value.args[0])
    assert any(part in sentence for part in said.split("|")), sentence
    assert any(part in sentence for part in meant.split("|")), sentence
    assert re.fullmatch(r"[^\n]+\.", sentence), "one sentence, with its full stop"
    assert not re.search(r"object is not|missing \d|has no attribute|unexpected keyword", sentence)
    assert len(sentence) < 420


NOT_MADE = {
    "Attribution",
    "BlockTable",
    "Comparison",
    "ConditionTable",
    "Dictionary",
    "DoseResult",
    "Feature",
    "LayerLens",
}
"""Classes of what calls give: nobody makes one."""
MADE = [each for each in sw.__all__ if inspect.isclass(getattr(sw, each)) and each not in NOT_MADE]


@pytest.mark.parametrize("name", [each for each in MADE if not issubclass(getattr(sw, each), BaseException)])
def test_every_public_call_says_what_it_lacks(name, given):
    """Called with nothing, and with a setting that there is not: no words of Python's own about arguments."""
    owner = getattr(sw, name)
    one = {"CAV": given.cavs, "SAE": given.sae, "LanguageModel": given.lm}.get(name)
    methods = [getattr(one, each) for each, kind in vars(owner).items() if one is not None and inspect.isfunction(kind)]
    for call in [owner, *(each for each in methods if not each.__name__.startswith("_"))]:
        for settings in ({}, {"no_such_setting": 1}):
            required = [
                each
                for each in inspect.signature(call).parameters.values()
                if each.default is each.empty and each.kind < 4
            ]
            if not settings and not [each for each in required if each.kind is not each.VAR_POSITIONAL]:
                continue
            with pytest.raises((TypeError, ValueError)) as caught:
                call(**settings)
            assert not re.search(r"missing \d|unexpected keyword|positional argument", str(caught.value)), caught.value


def test_a_fault_inside_a_call_is_told_as_it_is(given):
    with pytest.raises(TypeError, match="a fault of its own"):
        given.lm.output_scores([given.cav], on_progress=_fails)


def _fails(*_given):
    raise TypeError("a fault of its own")


def test_there_are_many():
    assert len(MISTAKES) + len(CLEAR) >= 90


# name: the call whose meaning is clear, and what it is the same as
CLEAR = {
    "swapped": (lambda g: sw.LanguageModel(g.tok, g.model).name, lambda g: g.lm.name),
    "a pipeline": (lambda g: sw.LanguageModel(g.pipeline).tokenizer, lambda g: g.tok),
    "a processor": (
        lambda g: sw.LanguageModel(g.model, types.SimpleNamespace(tokenizer=g.tok)).tokenizer,
        lambda g: g.tok,
    ),
    "ids as a tensor": (lambda g: g.lm.encode(torch.tensor([5, 6])).token_ids, lambda _: (5, 6)),
    "ids as a tensor of one row": (lambda g: g.lm.encode(torch.tensor([[5, 6]])).token_ids, lambda _: (5, 6)),
    "one label to read": (
        lambda g: g.lm.read(TEXT, g.sae, "the sea").features,
        lambda g: g.lm.read(TEXT, g.sae, [3]).features,
    ),
    "one index to read": (lambda g: g.lm.read(TEXT, g.sae, 3).features, lambda g: g.lm.read(TEXT, g.sae, [3]).features),
    "one feature to read": (
        lambda g: g.lm.read(TEXT, g.sae, g.feature).features,
        lambda g: g.lm.read(TEXT, g.sae, [3]).features,
    ),
    "one feature to watch": (
        lambda g: g.lm.compare(TEXT, g.steer, watch=g.feature, **SHORT).steered.watched,
        lambda g: g.lm.compare(TEXT, g.steer, watch=[g.feature], **SHORT).steered.watched,
    ),
    "one recipe to sweep": (
        lambda g: [row.token_ids for row in g.lm.sweep(TEXT, g.steer, **SHORT)],
        lambda g: [row.token_ids for row in g.lm.sweep(TEXT, [g.steer], **SHORT)],
    ),
    "recipes in a recipe": (
        lambda g: sw.Recipe.of([sw.Recipe.of(g.steer), g.cav.add(1)]),
        lambda g: g.steer + g.cav.add(1),
    ),
    "one feature to score": (lambda g: g.lm.output_scores(g.cav), lambda g: g.lm.output_scores([g.cav])),
    "a block as a site": (lambda g: list(g.lm.residuals(TEXT, [1]).values), lambda _: [sw.Site(1)]),
    "a hook's name as a site": (
        lambda g: list(g.lm.residuals(TEXT, ["blocks.1.hook_mlp_out"]).values),
        lambda _: [sw.Site(1, "mlp_out")],
    ),
    "one site": (lambda g: list(g.lm.residuals(TEXT, sw.Site(2)).values), lambda _: [sw.Site(2)]),
    "a direction at a block": (lambda _: sw.Direction(torch.ones(3), 4).site, lambda _: sw.Site(4)),
    "promoting swapped": (lambda g: g.lm.promoting("e", g.sae).values, lambda g: g.lm.promoting(g.sae, "e").values),
    "one text for points": (lambda g: len(g.lm.points(TEXT, layer=1)), lambda g: len(g.lm.points([TEXT], layer=1))),
    "a message as a panel's prompt": (
        lambda g: (
            (panel := g.widget(sw.SteeringPanel(g.lm, g.sae, prompt=[{"role": "user", "content": TEXT}]))).prompt
            + str(panel.chat)
        ),
        lambda _: TEXT + "True",
    ),
    "a conversation as a panel's prompt": (
        lambda g: (
            g.widget(
                sw.SteeringPanel(
                    g.lm, g.sae, prompt=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": TEXT}]
                )
            ).conversation
        ),
        lambda _: [{"role": "system", "content": "Be brief."}, {"role": "user", "content": TEXT}],
    ),
    "a heatmap swapped": (
        lambda g: g.widget(sw.TokenHeatmap(g.lm, TEXT, g.sae, [3])).prompt,
        lambda _: TEXT,
    ),
    "one prompt for an effect": (
        lambda g: g.lm.effect(g.cav, TEXT).promoted,
        lambda g: g.lm.effect(g.cav, [TEXT]).promoted,
    ),
}


@pytest.mark.parametrize("name", CLEAR)
def test_what_is_clear_works(name, given):
    call, same = CLEAR[name]
    assert call(given) == same(given)


def test_values_in_words():
    said = {
        "a list of messages": [{"role": "user", "content": "a"}],
        "an empty list": [],
        "a list that holds None": [None],
        "an empty dict": {},
        "True": True,
        "a function": lambda: None,
        "a Tensor of shape [2, 3]": torch.ones(2, 3),
    }
    for words, value in said.items():
        assert mistakes.what(value) == words
    assert len(mistakes.what("long " * 100)) < 60
