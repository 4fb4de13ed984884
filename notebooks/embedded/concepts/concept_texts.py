"""Texts with concept labels, chosen and read once through the embedded model.

Two sources: WordNet's entries (`labelled.py`) and the texts of `demo/concepts`, written for the project. One text has
every label that it is listed under. A fifth of the texts, chosen by the hash of the text alone, is held out of whatever
is trained on them, and so is all of WordNet that the corpus holds out.

`python -m embedded.concepts.concept_texts` reads them: the mean of each text's own words at several blocks, and
every token's residual at one. A part that is there is never read again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from embedded.concepts.steering_cavs import CONCEPTS
from embedded.corpus.corpus import WORK
from embedded.share import scaled
from steerwidgets.dictionaries.pooling import own_words
from steerwidgets.transformer.residuals import read_residuals
from steerwidgets.transformer.sites import Site

if TYPE_CHECKING:
    from torch import Tensor

    from steerwidgets.transformer.loaded import LoadedModel
    from steerwidgets.transformer.prompts import Prompt

LABELLED: Final = WORK / "labelled.jsonl"
READ: Final = WORK / "concept_texts"
BLOCKS: Final = (6, 9, 12, 15, 18, 21)
"""Where the means are read."""
TOKENS_AT: Final = 15
"""Where every token is read."""
MAX_TOKENS: Final = 32
EACH: Final = scaled(80, 24)
"""Texts that are drawn of each label of WordNet."""
SYNSETS: Final = frozenset(
    """
    bird.n.01 dog.n.01 fish.n.01 insect.n.01 tree.n.01 flower.n.01 fruit.n.01 vegetable.n.01 beverage.n.01 meat.n.01
    vehicle.n.01 ship.n.01 weapon.n.01 building.n.01 furniture.n.01 clothing.n.01 musical_instrument.n.01 fabric.n.01
    disease.n.01 physician.n.01 music.n.01 sport.n.01 game.n.01 dancing.n.01 military_action.n.01 crime.n.01
    religion.n.01 clergyman.n.01 science.n.01 king.n.01 relative.n.01 city.n.01 river.n.01 celestial_body.n.01
    color.n.01 weather.n.01 metal.n.01 monetary_unit.n.01 number.n.02 time_period.n.01 legal_document.n.01
    software.n.01 emotion.n.01
""".split()  # noqa: SIM905 - read as WordNet's users write them
)
WORDNET: Final = "wordnet"
WRITTEN: Final = "written"
"""The source of the texts of `demo/concepts`."""
NEUTRAL: Final = "neutral"
"""The label of those that are about nothing in particular."""
_FILES: Final = ("noun.", "verb.")
_PART: Final = 512
_BATCH: Final = 32


@dataclass(frozen=True)
class Text:
    """One text with what it is about.

    Attributes:
        text: the text.
        labels: its labels; a text may have several.
        source: where it comes from.
        held_out: whether nothing is trained on it.
    """

    text: str
    labels: frozenset[str]
    source: str
    held_out: bool


def load_texts(path: Path = LABELLED) -> list[Text]:
    """The texts of WordNet that are chosen, and all written ones, in a fixed order."""
    entries = _of_wordnet(path)
    labels = _completed({text: entry["labels"] for text, entry in entries.items()})
    chosen = [
        Text(text, frozenset(labels[text]), WORDNET, entries[text]["heldout"] or _is_test(text))
        for text in sorted(_chosen(labels))
    ]
    return [*chosen, *written()]


def wordnet_labels(texts: Iterable[Text], least: int = EACH) -> list[str]:
    """The labels of WordNet with at least so many texts: lexicographer files first, then synsets, each sorted."""
    counts = Counter(label for text in texts if text.source == WORDNET for label in text.labels)
    wanted = (label for label, count in counts.items() if count >= least and _is_wanted(label))
    return sorted(wanted, key=lambda label: (not label.startswith(_FILES), label))


def _of_wordnet(path: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            each = json.loads(line)
            entry = found.setdefault(each["text"], {"labels": set(), "heldout": each["heldout"]})
            entry["labels"].add(each["label"])
    return found


def _completed(labels: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """The labels with each text's lexicographer file.

    Of a large file only some texts are listed under it, so that a dog may lack "noun.animal"; it then gets the file
    that most texts of its synset are listed under.
    """
    seen: dict[str, Counter[str]] = defaultdict(Counter)
    for found in labels.values():
        for file in filter(_is_file, found):
            for label in found - {file}:
                seen[label][file] += 1
    completed = {}
    for text, found in labels.items():
        implied = {seen[label].most_common(1)[0][0] for label in found if label in seen}
        completed[text] = found if any(map(_is_file, found)) else found | implied
    return completed


def _is_file(label: str) -> bool:
    return label.startswith((*_FILES, "adj.", "adv."))


def _is_wanted(label: str) -> bool:
    return label.startswith(_FILES) or label in SYNSETS


def _chosen(labels: Mapping[str, set[str]]) -> set[str]:
    """So many texts of each label, small ones first: their texts count for the wide ones that they are part of."""
    members: dict[str, list[str]] = defaultdict(list)
    for text in sorted(labels):
        for label in filter(_is_wanted, labels[text]):
            members[label].append(text)
    chosen: set[str] = set()
    for label in sorted(members, key=lambda label: (len(members[label]), label)):
        have = sum(text in chosen for text in members[label])
        left = [text for text in members[label] if text not in chosen]
        chosen |= {*random.Random(label).sample(left, min(max(EACH - have, 0), len(left)))}
    return chosen


def written() -> Iterator[Text]:
    """The texts of `demo/concepts`."""
    held = json.loads((CONCEPTS / "texts.json").read_text(encoding="utf-8"))
    groups = {label: concept["texts"] for label, concept in held["concepts"].items()} | {NEUTRAL: held["neutral"]}
    for label, texts in groups.items():
        yield from (Text(text, frozenset({label}), WRITTEN, _is_test(text)) for text in texts)


def _is_test(text: str) -> bool:
    return int(hashlib.sha256(text.encode()).hexdigest(), 16) % 5 == 0


@dataclass(frozen=True)
class Reading:
    """What the model made of some texts.

    Attributes:
        ids: each text's token ids.
        means: for each block, float32 [text, d_model]; the mean over the text's own words.
        residuals: for each text, float32 [token, d_model] at the block `TOKENS_AT`.
        own: for each text, bool [token]: its own words, attention sinks left out.
    """

    ids: tuple[tuple[int, ...], ...]
    means: dict[int, Tensor]
    residuals: tuple[Tensor, ...]
    own: tuple[Tensor, ...]

    def __len__(self) -> int:
        return len(self.ids)


def read(lm: LoadedModel, texts: Sequence[Prompt], blocks: Sequence[int] = BLOCKS) -> Reading:
    """Read texts at some blocks, `TOKENS_AT` among them, in one pass each.

    Texts of like length are read together, so that little of a batch is padding. Matrix products run in bfloat16 under
    autocast, as in `activations.py`, which is nearly twice as fast on a CPU.
    """
    import torch

    sites = [Site(block) for block in blocks]
    tokens_at = Site(TOKENS_AT)
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    means: dict[int, dict[int, Tensor]] = {block: {} for block in blocks}
    residuals: dict[int, Tensor] = {}
    own: dict[int, Tensor] = {}
    for start in range(0, len(order), _BATCH):
        rows = order[start : start + _BATCH]
        batch = [texts[i] for i in rows]
        with lm.lock, torch.autocast("cpu", torch.bfloat16):
            found = read_residuals(lm.architecture, [text.token_ids for text in batch], sites)
        for site in sites:
            words = own_words(found, site, batch)
            for i, h, keep in zip(rows, found.values[site], words, strict=True):
                means[site.layer][i] = h[keep].mean(0)
        for i, h, keep in zip(rows, found.values[tokens_at], own_words(found, tokens_at, batch), strict=True):
            residuals[i], own[i] = h[-len(texts[i]) :].clone(), keep[-len(texts[i]) :].clone()
    every = range(len(texts))
    return Reading(
        tuple(text.token_ids for text in texts),
        {block: torch.stack([by_text[i] for i in every]) for block, by_text in means.items()},
        tuple(residuals[i] for i in every),
        tuple(own[i] for i in every),
    )


def encoded(lm: LoadedModel, texts: Iterable[str]) -> list[Prompt]:
    """Texts as the model reads them here: raw, the first tokens."""
    from steerwidgets.transformer import prompts

    return [prompts.encode(lm.tokenizer, text, chat=False).cut(MAX_TOKENS) for text in texts]


def load_reading(texts: Sequence[Text]) -> Reading:
    """What `main` read of these texts.

    Raises:
        FileNotFoundError: they were not all read; run this script first.
    """
    import torch

    parts = [_load(_file(part)) for part in _parts(texts)]
    return Reading(
        tuple(ids for part in parts for ids in part.ids),
        {block: torch.cat([part.means[block] for part in parts]) for block in BLOCKS},
        tuple(each for part in parts for each in part.residuals),
        tuple(each for part in parts for each in part.own),
    )


def main() -> None:
    """Read every part that is missing."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    from steerwidgets.model import LanguageModel

    lm = LanguageModel.demo()
    READ.mkdir(parents=True, exist_ok=True)
    parts = list(_parts(load_texts()))
    for number, part in enumerate(parts, start=1):
        if _file(part).exists():
            continue
        began = time.monotonic()
        _save(_file(part), read(lm, encoded(lm, (text.text for text in part))))
        sys.stdout.write(f"concept texts: part {number} of {len(parts)}, {time.monotonic() - began:.0f} s\n")
        sys.stdout.flush()


def _parts(texts: Sequence[Text]) -> Iterator[Sequence[Text]]:
    return (texts[start : start + _PART] for start in range(0, len(texts), _PART))


def _file(part: Sequence[Text]) -> Path:
    """Named by its content, so that other texts are other files."""
    content = json.dumps([BLOCKS, TOKENS_AT, MAX_TOKENS, [text.text for text in part]])
    return READ / f"{hashlib.sha256(content.encode()).hexdigest()[:16]}.safetensors"


def _save(path: Path, reading: Reading) -> None:
    import torch
    from safetensors.torch import save_file

    tensors = {f"means.{block}": means for block, means in reading.means.items()}
    tensors["residuals"], tensors["own"] = torch.cat(reading.residuals), torch.cat(reading.own)
    tensors["ids"] = torch.tensor([i for ids in reading.ids for i in ids])
    tensors["lengths"] = torch.tensor([len(ids) for ids in reading.ids])
    unfinished = path.with_suffix(".partial")
    save_file(tensors, unfinished)
    unfinished.replace(path)


def _load(path: Path) -> Reading:
    import torch
    from safetensors.torch import load_file

    if not path.is_file():
        raise FileNotFoundError(
            "The concept texts were not all read yet; run `python -m embedded.concepts.concept_texts` first."
        )
    held = load_file(path)
    lengths = held["lengths"].tolist()
    return Reading(
        tuple(tuple(ids.tolist()) for ids in torch.split(held["ids"], lengths)),
        {block: held[f"means.{block}"] for block in BLOCKS},
        torch.split(held["residuals"], lengths),
        torch.split(held["own"], lengths),
    )


if __name__ == "__main__":
    main()
