"""Labelled texts for training concepts: WordNet's entries by lexicographer file and by everyday noun.

    python -m embedded.corpus.labelled

writes `build/dictionaries/labelled.jsonl`, one entry a line:

- `text`: words, definition and examples of a synset
- `label`: its lexicographer file ("noun.food"), or one of `CONCEPTS` that it is narrower than ("bird.n.01")
- `source`: "wordnet"
- `heldout`: whether the corpus holds this synset out

A synset stands once for every label that it falls under. Licence: that of WordNet 3.0, see `sources`.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from tqdm.auto import tqdm

from embedded.corpus.corpus import WORK
from embedded.corpus.debian import unpack
from embedded.corpus.sources import is_held_out
from embedded.corpus.wordnet import Synset, below, by_offset, read_noun_senses, read_synsets, resolve

_CONCEPTS: Final = """
    bird.n.01 dog.n.01 fish.n.01 insect.n.01 reptile.n.01 snake.n.01 mammal.n.01 primate.n.02 horse.n.01 tree.n.01
    flower.n.01 herb.n.01 grass.n.01 vine.n.01 fungus.n.01 bacteria.n.01 cell.n.02 plant_part.n.01 wood.n.01
    fruit.n.01 vegetable.n.01 food.n.01 beverage.n.01 alcohol.n.01 bread.n.01 cake.n.03 sweet.n.03 condiment.n.01
    dish.n.02 meat.n.01 vehicle.n.01 ship.n.01 craft.n.02 way.n.06 weapon.n.01 musical_instrument.n.01 clothing.n.01
    headdress.n.01 fabric.n.01 tool.n.01 machine.n.01 electronic_equipment.n.01 software.n.01 building.n.01
    dwelling.n.01 room.n.01 furniture.n.01 container.n.01 drug.n.01 medicine.n.02 disease.n.01 mental_disorder.n.01
    injury.n.01 symptom.n.01 body_part.n.01 organ.n.01 bone.n.01 muscle.n.01 blood_vessel.n.01 feeling.n.01
    emotion.n.01 color.n.01 weather.n.01 sport.n.01 game.n.01 dancing.n.01 music.n.01 military_action.n.01 battle.n.01
    crime.n.01 religion.n.01 belief.n.01 deity.n.01 clergyman.n.01 metal.n.01 mineral.n.01 chemical_element.n.01
    compound.n.02 acid.n.01 protein.n.01 monetary_unit.n.01 payment.n.01 number.n.02 unit_of_measurement.n.01
    time_period.n.01 shape.n.02 body_of_water.n.01 river.n.01 natural_elevation.n.01 island.n.01 celestial_body.n.01
    city.n.01 country.n.02 language.n.01 relative.n.01 woman.n.01 king.n.01 leader.n.01 writer.n.01 poet.n.01
    painter.n.01 composer.n.01 musician.n.01 philosopher.n.01 scientist.n.01 statesman.n.01 military_officer.n.01
    physician.n.01 athlete.n.01 criminal.n.01 science.n.01 document.n.01 legal_document.n.01 book.n.01
"""
CONCEPTS: Final = tuple(_CONCEPTS.split())
"""Everyday nouns with enough below them, named as WordNet's users name synsets: word, part of speech, sense."""

FEWEST: Final = 80
"""A label with fewer texts is left out."""
MOST: Final = 1_500
"""Of a label with more texts, so many are drawn at random."""


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=WORK)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    folder = unpack(arguments.work / "debian", ("wordnet-base",)) / "usr/share/wordnet"
    entries = labelled(read_synsets(folder), read_noun_senses(folder), CONCEPTS, arguments.seed)
    file = arguments.work / "labelled.jsonl"
    partial = file.with_suffix(".partial")
    partial.write_text("".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries), encoding="utf-8")
    partial.replace(file)
    counts = Counter(entry["label"] for entry in entries)
    tqdm.write(
        f"{file}: {len(entries)} texts, {len(counts)} labels of {min(counts.values())} to {max(counts.values())}"
    )


def labelled(
    synsets: Iterable[Synset], senses: Mapping[str, list[int]], concepts: Iterable[str], seed: int
) -> list[dict[str, Any]]:
    """The entries of every label that has enough, in a fixed order.

    Raises:
        ValueError: a concept is no noun of WordNet's.
    """
    synsets = list(synsets)
    nouns = by_offset(synsets)
    groups: dict[str, list[Synset]] = {}
    for synset in synsets:
        groups.setdefault(synset.lexicographer_file, []).append(synset)
    groups |= {concept: list(below(resolve(concept, senses), nouns)) for concept in concepts}
    kept = {label: group for label, group in groups.items() if len(group) >= FEWEST}
    return [_entry(synset, label) for label, group in kept.items() for synset in _drawn(group, f"{seed}:{label}")]


def _drawn(group: list[Synset], seed: str) -> list[Synset]:
    chosen = group if len(group) <= MOST else random.Random(seed).sample(group, MOST)
    return sorted(chosen, key=lambda synset: synset.key)


def _entry(synset: Synset, label: str) -> dict[str, Any]:
    held_out = is_held_out("wordnet", synset.key)
    return {"text": synset.text, "label": label, "source": "wordnet", "heldout": held_out}


if __name__ == "__main__":
    main()
