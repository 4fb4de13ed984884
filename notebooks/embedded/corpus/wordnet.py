"""WordNet 3.0's database files: synsets with their words, glosses, examples, lexicographer file and hyponyms.

Format: the manual pages wndb(5WN) and lexnames(5WN) of WordNet 3.0.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_FILES: Final = """
    adj.all adj.pert adv.all noun.Tops noun.act noun.animal noun.artifact noun.attribute noun.body
    noun.cognition noun.communication noun.event noun.feeling noun.food noun.group noun.location noun.motive
    noun.object noun.person noun.phenomenon noun.plant noun.possession noun.process noun.quantity noun.relation
    noun.shape noun.state noun.substance noun.time verb.body verb.change verb.cognition verb.communication
    verb.competition verb.consumption verb.contact verb.creation verb.emotion verb.motion verb.perception
    verb.possession verb.social verb.stative verb.weather adj.ppl
"""
LEXICOGRAPHER_FILES: Final = tuple(_FILES.split())
"""In the order of their numbers, lexnames(5WN)."""

_HYPONYM: Final = ("~", "~i")
_EXAMPLE: Final = re.compile(r'"([^"]*)"(?:\s*-+\s*[^;"]+)?')
_SYNTACTIC_MARKER: Final = re.compile(r"\((?:a|p|ip)\)$")


@dataclass(frozen=True)
class Synset:
    """One meaning: `offset` is its place in its data file, `hyponyms` are the offsets of narrower ones."""

    offset: int
    part: str
    lexicographer_file: str
    words: tuple[str, ...]
    definition: str
    examples: tuple[str, ...]
    hyponyms: tuple[int, ...]

    @property
    def key(self) -> str:
        """What tells it from all others, such as "n00001740"."""
        return f"{self.part}{self.offset:08d}"

    @property
    def text(self) -> str:
        """Words, definition and examples as one reads them in a dictionary."""
        shown = "".join(f' "{example}".' for example in self.examples)
        return f"{', '.join(self.words[:3])}: {self.definition}.{shown}"


def parse_synset(line: str) -> Synset | None:
    """One line of a data file; None for the licence lines at its beginning."""
    if not line or line.startswith("  "):
        return None
    left, _, gloss = line.partition(" | ")
    fields = left.split()
    offset, file, part, count = int(fields[0]), int(fields[1]), fields[2], int(fields[3], 16)
    words = tuple(_SYNTACTIC_MARKER.sub("", word).replace("_", " ") for word in fields[4 : 4 + 2 * count : 2])
    pointers = fields[5 + 2 * count :]
    number = int(fields[4 + 2 * count])
    hyponyms = tuple(int(pointers[4 * i + 1]) for i in range(number) if pointers[4 * i] in _HYPONYM)
    definition, examples = _split_gloss(gloss.strip())
    return Synset(offset, part, LEXICOGRAPHER_FILES[file], words, definition, examples, hyponyms)


def _split_gloss(gloss: str) -> tuple[str, tuple[str, ...]]:
    examples = tuple(found.group(1).strip(" ;,") for found in _EXAMPLE.finditer(gloss))
    definition = _EXAMPLE.sub("", gloss)
    return re.sub(r"(\s*;)+\s*$|^\s*;\s*", "", definition).strip(" ;:"), tuple(e for e in examples if e)


def read_synsets(folder: Path) -> list[Synset]:
    """All synsets of nouns, verbs, adjectives and adverbs that say what they mean."""
    parsed = (
        parse_synset(line)
        for part in ("noun", "verb", "adj", "adv")
        for line in (folder / f"data.{part}").read_text(encoding="utf-8").splitlines()
    )
    return [synset for synset in parsed if synset is not None and synset.definition]


def read_noun_senses(folder: Path) -> dict[str, list[int]]:
    """For each noun the offsets of its meanings, the most frequent first."""
    lines = (folder / "index.noun").read_text(encoding="utf-8").splitlines()
    return dict(parse_senses(line) for line in lines if line and not line.startswith("  "))


def parse_senses(line: str) -> tuple[str, list[int]]:
    """One line of an index file: the word and its meanings' offsets, in order."""
    fields = line.split()
    return fields[0], [int(offset) for offset in fields[-int(fields[2]) :]]


def resolve(name: str, senses: Mapping[str, list[int]]) -> int:
    """The offset of a noun synset named as "bird.n.01".

    Raises:
        ValueError: the word is no noun of WordNet's or has fewer meanings.
    """
    word, _, sense = name.rsplit(".", 2)
    offsets = senses.get(word, [])
    if int(sense) > len(offsets):
        raise ValueError(f"WordNet's noun {word!r} has {len(offsets)} meanings, so there is no {name}.")
    return offsets[int(sense) - 1]


def below(root: int, nouns: Mapping[int, Synset]) -> Iterator[Synset]:
    """The synset and everything narrower, each once."""
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        offset = waiting.pop()
        if offset in seen or offset not in nouns:
            continue
        seen.add(offset)
        yield nouns[offset]
        waiting += nouns[offset].hyponyms


def by_offset(synsets: Iterable[Synset]) -> dict[int, Synset]:
    """The nouns by their offsets."""
    return {synset.offset: synset for synset in synsets if synset.part == "n"}
