"""Sheets for labelling features: what a labeller reads, and the texts that test a label.

1. `python -m embedded.labelling.label_sheets examples` writes, for candidate features drawn at random and for those
   that showed most plainly in a steered answer (`screen_features`), the strongest and some weaker examples on the
   training part of the corpus and the tokens that they promote. A person or a language model reads them and writes
   `labels-N.json`: `{"123": {"label": "…", "understood": true, "visible": false}}`; `visible` where steering with the
   feature should show in a text.
2. `… label_sheets tests` writes held-out texts for each label, in random order and without activations: texts where the
   feature fires, at all strengths; texts where it does not although the same tokens, its nearest features or the words
   of its label are there (hard negatives); and random ones. Another labeller writes down, from the label alone, how
   likely the feature fires in each: `predictions-N.json`: `{"123": [0.9, 0.1, …]}`.
3. `python -m embedded.labelling.label_scores` compares the predictions with the activations.

Labels are of one SAE: `sheets/written_for.json` names it, and those of another are not taken.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from embedded.features.sampled_activations import WORK, Array, SampledActivations
from embedded.labelling.label_tests import HeldOutTexts, Snippet, around, spread

if TYPE_CHECKING:
    from steerwidgets.dictionaries.sae.sae import SAE
    from steerwidgets.model import LanguageModel

FOLDER: Final = WORK / "labelling"
WRITTEN: Final = Path(__file__).parent / "sheets"
"""What labellers wrote."""
_SHOWN: Final = (8, 4)
_COMMON: Final = 0.75
"""A topic of which a probe is as sure in an unsteered answer is not one that steering is seen by."""


def candidates(train: SampledActivations, heldout: SampledActivations, *, count: int, seed: int = 0) -> list[int]:
    """Features that fire often enough to be judged and seldom enough to mean something, drawn at random.

    In at least 12 training and 8 held-out rows, and on fewer than one token in twenty.
    """
    tokens = train.tokens.size
    fit = [
        feature
        for feature in range(train.size)
        if len(set(train.of(feature)[0].tolist())) >= 12
        and len(set(heldout.of(feature)[0].tolist())) >= 8
        and len(train.of(feature)[0]) < tokens / 20
    ]
    return sorted(random.Random(seed).sample(fit, min(count, len(fit))))


def example_sheet(lm: LanguageModel, sae: SAE, train: SampledActivations, feature: int) -> str:
    """What a labeller reads of one feature."""
    rows, positions, values = train.of(feature)
    density = len(rows) / train.tokens.size
    promoted = ", ".join(repr(token.text) for token, _ in lm.top_logits(sae[feature], 8).promoted)
    lines = [f"# {feature}  density {density:.2%}  strongest {values[0]:.1f}", f"promotes {promoted}"]
    for entry in spread(rows, *_SHOWN):
        snippet = around(rows[entry], positions[entry], train.tokens.shape[1], "")
        active = {int(p): float(v) for r, p, v in zip(rows, positions, values, strict=True) if r == rows[entry]}
        lines.append(f"  [{values[entry]:.1f}] {_marked(lm, train.tokens, snippet, active)}")
    return "\n".join(lines)


def _marked(lm: LanguageModel, tokens: Array, snippet: Snippet, active: dict[int, float]) -> str:
    """The snippet's text, with the tokens where the feature fires in marks."""
    shown = lm.tokens(tokens[snippet.row, snippet.first : snippet.last].tolist())
    parts = [
        f"«{token.text}»" if position in active else token.text
        for position, token in enumerate(shown, start=snippet.first)
    ]
    return "".join(parts).replace("\n", "⏎")


def write_examples(count: int, batches: int, shown: int) -> None:
    """Write the candidates' examples, in several files for several labellers; one more file for those that showed."""
    lm, sae, train, heldout = _loaded()
    chosen = candidates(train, heldout, count=count)
    FOLDER.mkdir(parents=True, exist_ok=True)
    parts = [chosen[batch::batches] for batch in range(batches)]
    parts.append([feature for feature in showing(screened(), shown) if feature not in chosen])
    for batch, features in enumerate(parts):
        sheets = [example_sheet(lm, sae, train, feature) for feature in features]
        (FOLDER / f"examples-{batch}.txt").write_text("\n\n".join(sheets) + "\n", encoding="utf-8")


def showing(screened: Mapping[str, Mapping[str, Any]], most: int) -> list[int]:
    """Features whose steered answer was fluent and on their topic, which unsteered ones seldom are; the surest first.

    Args:
        screened: what `screen_features` wrote.
        most: how many.
    """
    shown = [
        (entry["sure"], int(feature))
        for feature, entry in screened.items()
        if entry["fluent"] and entry["sure"] > entry["threshold"] and entry["threshold"] < _COMMON
    ]
    return [feature for _, feature in sorted(shown, reverse=True)[:most]]


def screened() -> dict[str, Any]:
    """What `screen_features` wrote; empty where it was not run."""
    file = WORK / "screened.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def written_labels(sae: SAE, folder: Path = WRITTEN) -> dict[str, dict[str, Any]]:
    """What labellers wrote of this SAE's features, file by file: {N: {feature: entry}}; empty if of another SAE."""
    note = folder / "written_for.json"
    known = json.loads(note.read_text(encoding="utf-8"))["fingerprint"] if note.exists() else "no SAE"
    if known != sae.fingerprint:
        print(
            f"The labels in {folder} were written for {known}, and this is {sae.fingerprint}, so it has none yet: have "
            f"{FOLDER}/examples-N.txt read, and write labels-N.json and written_for.json beside them."
        )
        return {}
    return {
        path.stem.removeprefix("labels-"): json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(folder.glob("labels-*.json"))
    }


def write_tests(batch: str | None) -> None:
    """Write the test texts of all labels of understood features, and apart from them what the texts are."""
    lm, sae, _, heldout = _loaded()
    texts = HeldOutTexts(lm, sae, heldout)
    for number, entries in written_labels(sae).items():
        if batch not in (None, number):
            continue
        labels = {i: entry["label"] for i, entry in entries.items() if entry["understood"]}
        drawn = {i: texts.of(int(i), label, seed=0) for i, label in labels.items()}
        sheets = [
            "\n".join([f"# {i}: {labels[i]}", *(f"  {n}. {texts.text(each)}" for n, each in enumerate(snippets))])
            for i, snippets in drawn.items()
        ]
        (FOLDER / f"tests-{number}.txt").write_text("\n\n".join(sheets) + "\n", encoding="utf-8")
        answers: dict[str, Any] = {i: [vars(each) for each in snippets] for i, snippets in drawn.items()}
        (FOLDER / f"answers-{number}.json").write_text(json.dumps(answers))


def _loaded() -> tuple[LanguageModel, SAE, SampledActivations, SampledActivations]:
    from steerwidgets.dictionaries.sae.sae import SAE
    from steerwidgets.model import LanguageModel

    fires = [SampledActivations.load(WORK / "sampled" / f"{part}.npz") for part in ("train", "heldout")]
    return LanguageModel.demo(), SAE.demo(), fires[0], fires[1]


def main() -> None:
    """Write the sheets of one step."""
    parser = argparse.ArgumentParser(description="Write sheets for labelling the embedded SAE's features.")
    parser.add_argument("step", choices=("examples", "tests"))
    parser.add_argument("--count", type=int, default=460, help="candidate features")
    parser.add_argument("--batches", type=int, default=4, help="files to split them into")
    parser.add_argument("--shown", type=int, default=120, help="features that showed in a steered answer")
    parser.add_argument("--batch", default=None, help="for `tests`: of which file of labels, of all by default")
    settings = parser.parse_args()
    if settings.step == "examples":
        write_examples(settings.count, settings.batches, settings.shown)
    else:
        write_tests(settings.batch)


if __name__ == "__main__":
    main()
