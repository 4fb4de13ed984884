"""One widget of each sort with something in every part, and saved pages of them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

import steerwidgets as sw
from steerwidgets.dictionaries.evidence import Evidence, Example, Quantile
from steerwidgets.transformer.plain_text import whole
from support import sae
from support.mfa import make_state
from support.models import D_MODEL


@dataclass(frozen=True)
class Texts:
    """What users and files bring.

    Attributes:
        prompt: what the model reads.
        labels: the first labels of the dictionary, as many as there are.
        corpus: the name of a corpus and of its texts.
        file: where labels come from.
        note: a user's note.
    """

    prompt: str = "Name a city by the sea ☕, please.\nWhere would you go, and why?"
    labels: Sequence[str] = ("the sea and sailing", "cooking and food", "names of cities", "asking and answering")
    corpus: str = "a corpus of news"
    file: str = "labels.json"
    note: str = "Also tides and harbours."


PLAIN = Texts()


class TextEvidence:
    """Evidence of every feature whose examples are pieces of one text."""

    def __init__(self, lm: sw.LanguageModel, texts: Texts) -> None:
        self.corpus = texts.corpus
        self._ids = lm.encode(texts.prompt, chat=False).token_ids
        self._source = texts.corpus

    def __len__(self) -> int:
        return sae.SIZE

    def __getitem__(self, index: int) -> Evidence:
        ids = self._ids
        values = tuple(float(5 + i % 7) if i % 3 == 0 else 0.0 for i in range(len(ids)))
        examples = tuple(Example(ids, values, peak, self._source) for peak in (3, 6))
        tokens = tuple((token, 4.0 - rank) for rank, token in enumerate(ids[:6]))
        others = tuple((other, 0.5 - other / 100) for other in range(5) if other != index)
        return Evidence(
            index,
            examples,
            (90, 40, 12, 3, 1),
            12.0,
            tokens,
            tokens,
            others,
            quantiles=(Quantile(6.0, 12.0, examples), Quantile(0.0, 6.0, examples)),
            random=examples,
            coactive=others,
        )


def dictionary(lm: sw.LanguageModel, texts: Texts) -> sw.SAE:
    """A tiny SAE whose labels, statistics and evidence hold the texts."""
    labels = [*texts.labels, *(f"label {i}" for i in range(len(texts.labels), sae.SIZE))]
    made = sae.make(labels=sw.Labels(labels, source=texts.file, author="language model"))
    made.statistics = sw.FeatureStatistics(
        torch.full((sae.SIZE,), 12.0),
        p995=torch.full((sae.SIZE,), 6.0),
        density=torch.linspace(0.001, 0.2, sae.SIZE),
        corpus=texts.corpus,
        tokens=12_345,
    )
    made.feature_data = TextEvidence(lm, texts)
    return made


def _panel(lm: Any, features: Any, texts: Any) -> Any:
    steers = features[0].add(2) + features[1].add(1)
    rows = {"asked": texts.note, "random": 1}
    panel = sw.SteeringPanel(lm, features, prompt=texts.prompt, recipe=steers, max_new_tokens=8, **rows)
    panel.system = texts.note
    panel.generate()
    if panel.result["chat"]:
        panel.reply()
        panel.prompt = texts.prompt
        panel.generate()
    panel.history.name(0, texts.note)
    panel.history.compare(0, -1)
    panel.sweep(strengths=(0, 4, 400), tokens=6)
    panel.recipe = features[0].add(3) + features[1].add(1)
    panel.logit_difference()
    return panel


def _heatmap(lm: Any, features: Any, texts: Any) -> Any:
    return sw.TokenHeatmap(lm, features, texts.prompt, [0, 1], selected=[3, 4], hovered=5)


def _steered_heatmap(lm: Any, features: Any, texts: Any) -> Any:
    out = lm.compare(texts.prompt, features[0].add(20), max_new_tokens=8)
    return sw.TokenHeatmap(lm, features, out, [0, 1, 2], mixing="stripes", granularity="words")


def _arrays(_lm: Any, _features: Any, texts: Any) -> Any:
    return sw.TokenHeatmap.from_arrays(
        [texts.prompt, *texts.labels, texts.note], torch.randn(len(texts.labels) + 2, 2), list(texts.labels[:2])
    )


def _picker(lm: Any, features: Any, texts: Any) -> Any:
    return sw.FeaturePicker(lm, features, recipe=features[0].add(2))


def _card(lm: Any, features: Any, texts: Any) -> Any:
    features.user_labels.set(0, note=texts.note, rating=4)
    return sw.FeatureCard(lm, features, 0)


def _lens(lm: Any, features: Any, texts: Any) -> Any:
    return sw.LogitLens(lm, texts.prompt, features[0].add(20))


def _dose(lm: Any, features: Any, texts: Any) -> Any:
    judge = sw.Words([texts.labels[0], "e"], least=1, name=texts.note)
    prompts = [texts.prompt, texts.prompt + texts.note[:3]]
    settings = {"random": 1, "baseline_seeds": 1, "max_new_tokens": 6, "asked": texts.note}
    chart = sw.DoseResponse(lm, features[0].add, [0, 2, 20], prompts=prompts, judge=judge, hold_back=0, **settings)
    chart.run()
    return chart


def _patching(lm: Any, _features: Any, texts: Any) -> Any:
    grid = sw.PatchGrid(lm, texts.prompt, texts.note[:3] + texts.prompt, metric="kl", stride=3)
    patching = grid.run()
    grid.look((0, 3), patching.positions[-1])
    return grid


def _trainer(lm: Any, features: Any, texts: Any) -> Any:
    # Half of a character is in no text that a model reads: it is refused.
    with_it = [texts.prompt, *(f"{whole(label)} with it" for label in texts.labels)]
    without = [texts.note, *(f"{whole(label)} is not here" for label in texts.labels)]
    name, systems = texts.labels[0], (texts.note, texts.corpus)
    trainer = sw.ConceptTrainer(lm, with_it, without, name=name, dictionaries=features, systems=systems)
    trainer.inputs = {**trainer.inputs, "source": "texts"}
    trainer.train()
    trainer.selected = features.site.layer
    trainer.combine(plus=[features[1]], minus=[features[2]])
    return trainer


def _asking(lm: Any, _features: Any, texts: Any) -> Any:
    """A label check at an item of a labelled feature."""
    from support import checked

    features = checked.indexed(lm, texts=120)
    labels = [*texts.labels, *(f"label {i}" for i in range(len(texts.labels), sae.SIZE))]
    features.labels = sw.Labels(labels, source=texts.file, author="language model")
    settings: Any = {"features": [0, 1], "reader": texts.file, "modes": ["which fire", "which label"]}
    check = sw.LabelCheck(lm, features, folder=tempfile.mkdtemp(), **settings)
    while check.screen["practice"]:
        if check.item is None:
            check.go_on()
        else:
            check.answer(None)
    return check


def _told(lm: Any, features: Any, texts: Any) -> Any:
    """The same where the truth is shown, and a verdict given."""
    check = _asking(lm, features, texts)
    while (item := check.item) is not None:
        check.answer(0 if item.is_choice else [1.0] * len(item.texts))
    check.judge("too wide", note=texts.note)
    return check


def _question(_lm: Any, _features: Any, texts: Any) -> Any:
    """A question of a lab with a wrong answer, a hint, and the teacher's answer shown."""
    lab = sw.Lab("hostile", student=texts.file, folder=tempfile.mkdtemp())
    asked = lab.check(texts.prompt, "nothing", hint=texts.note, answer=texts.note, key="question")
    for _ in range(2):
        asked.answer(texts.labels[0])
    asked.reveal()
    return asked


def _choosing(_lm: Any, _features: Any, texts: Any) -> Any:
    """A prediction among labels."""
    lab = sw.Lab("hostile", student=texts.file, folder=tempfile.mkdtemp())
    asked = lab.predict(texts.prompt, choices=list(dict.fromkeys(texts.labels)), answer=texts.note, key="prediction")
    asked.answer(texts.labels[0])
    asked.turned_out(texts.labels[1])
    return asked


def _tokens_map(lm: Any, _features: Any, texts: Any) -> Any:
    """A component's tokens with what steers, some of them chosen."""
    state, meta = make_state(len(texts.labels), D_MODEL, 3)
    mfa = sw.MFA(state, meta, layer=1, labels=sw.Labels(list(texts.labels), source=texts.file))
    read = mfa.points(lm, [texts.prompt, 2 * texts.prompt])
    fullest = int(torch.bincount(mfa.belonging(read).component).argmax())
    widget = sw.SubspaceMap(lm, mfa, fullest, texts=read, prompt=texts.prompt, max_new_tokens=6)
    widget.move(a=0.3, z={0: 1.0})
    widget.logit_difference()
    widget.compare()
    widget.selected = list(range(min(3, len(widget.points))))
    return widget


def _features_map(lm: Any, features: Any, _texts: Any) -> Any:
    return sw.SubspaceMap(lm, features, 0)


WIDGETS: dict[str, Callable[..., Any]] = {
    "steering panel": _panel,
    "token heatmap": _heatmap,
    "steered heatmap": _steered_heatmap,
    "heatmap of arrays": _arrays,
    "feature picker": _picker,
    "feature card": _card,
    "logit lens": _lens,
    "dose and response": _dose,
    "patching": _patching,
    "concept trainer": _trainer,
    "label check": _asking,
    "label check, the truth": _told,
    "lab question": _question,
    "lab prediction": _choosing,
    "subspace map": _tokens_map,
    "map of features": _features_map,
}


def make(name: str, lm: sw.LanguageModel, texts: Texts = PLAIN) -> Any:
    """The widget of that name."""
    return WIDGETS[name](lm, dictionary(lm, texts), texts)
