"""Finds features for a list on screen: by label, by a text they fire on, by a token they promote, by likeness."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from steerwidgets.lens.misfit import is_checked, known_misfit
from steerwidgets.transformer.model_state import model_state
from steerwidgets.widgets.protocol import Cancelled, Handler, Request
from steerwidgets.widgets.recipe_editor.by_model import Matches, ModelSearches
from steerwidgets.widgets.recipe_editor.query import FindQuery, takes_long
from steerwidgets.widgets.recipe_editor.source import DictionarySource, Hits, LooseSource, Source, all_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from steerwidgets.dictionaries.base import Dictionary
    from steerwidgets.model import LanguageModel
    from steerwidgets.widgets.recipe_editor.shelf import FeatureShelf

_LISTED_WHOLE: Final = 500
"""Dictionaries together up to this size travel whole, and are searched without the kernel."""

_FIRST_PAGE: Final = 100
"""Of larger ones so many are shown before anybody searches."""

_KEPT: Final = 3
"""The last so many searches are kept, for their next pages."""

_LARGE: Final = 100_000
"""Of so many features, all that match a word are looked at in the worker: that may take a second."""


class FeatureFinder:
    """Answers the request "find" for the features on a shelf.

    Args:
        shelf: the features.
        lm: the model; None where there is none, and labels, numbers and likeness are all that is searched by.
    """

    def __init__(self, shelf: FeatureShelf, lm: LanguageModel | None = None) -> None:
        self._shelf = shelf
        self._lm = lm
        self._searches = ModelSearches(lm)
        self._dictionaries = [DictionarySource(dictionary) for dictionary in shelf.dictionaries]
        self._kept: dict[FindQuery, tuple[tuple[object, ...], Matches]] = {}

    def handlers(self) -> Mapping[str, Handler]:
        """The requests that it serves."""
        return {
            "find": Handler(lambda request: self.find(request.args), slow=self.takes_long),
            "score": Handler(self._serve_score, slow=True),
        }

    def takes_long(self, args: Mapping[str, Any]) -> bool:
        """Whether a search belongs in the worker."""
        if takes_long(args):
            return True
        is_plain = not args.get("query") or (args.get("sort", "match") == "match" and not args.get("filters"))
        return not is_plain and sum(map(len, self._dictionaries)) > _LARGE

    def dictionaries(self) -> list[dict[str, Any]]:
        """The dictionaries that there are, for the trait of that name."""
        return [source.facts() | {"misfit": self._misfit(source.dictionary)} for source in self._dictionaries]

    def unchecked(self) -> list[Dictionary]:
        """Those of which it is not known yet whether they fit the model."""
        if self._lm is None:
            return []
        return [each for each in self._shelf.dictionaries if is_checked(each) and known_misfit(self._lm, each) is None]

    def _misfit(self, dictionary: Dictionary) -> str:
        return (self._lm is not None and known_misfit(self._lm, dictionary)) or ""

    def _serve_score(self, request: Request) -> dict[str, Any]:
        """Measure output scores of some features; those that can't be added to the stream have none."""
        keys = request.args.get("keys")
        if not isinstance(keys, list | tuple) or not all(isinstance(key, str) for key in keys):
            raise ValueError("Output scores are measured of keys, a list of texts.")
        if self._lm is None:
            raise ValueError(
                "This picker has no model to measure output scores with; give it one: "
                "sw.FeaturePicker(lm, dictionaries)."
            )
        features = [self._shelf.find(key) for key in dict.fromkeys(keys)]
        features = [feature for feature in features if "add" in feature.ops]
        begun = time.monotonic()

        def tell(done: int, of: int) -> None:
            spent = time.monotonic() - begun
            request.progress(done=done, of=of, seconds_left=round(spent / done * (of - done), 1) if done else None)

        scores = self._lm.output_scores(features, on_progress=tell, stop=request.cancelled)
        if request.cancelled.is_set():
            raise Cancelled
        return {"scores": {f.key: short(s) for f, s in zip(features, scores, strict=True)}}

    def find(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """One page of a search.

        Raises:
            ValueError: it asks for something that is not there, or is not what it should be.
        """
        query = FindQuery.parse(args)
        sources = self._sources()
        found, total, more = self._page(query, sources)
        rows = [self._row(sources, found, at) for at in range(len(found.hits))]
        answer: dict[str, Any] = {"features": rows, "total": total}
        if more:
            answer["more"] = True
        if found.note:
            answer["note"] = found.note
        if found.tokens is not None:
            answer["tokens"] = list(found.tokens)
        return compacted(answer) if query.compact else answer

    def catalogue(self) -> dict[str, Any]:
        """The list that is shown before anybody searches."""
        for dictionary in filter(len, self._shelf.dictionaries):
            self._shelf.json(dictionary[0])  # every op gets its name, whatever page its features are on
        is_whole = sum(map(len, self._sources())) <= _LISTED_WHOLE
        return self.find({"limit": _LISTED_WHOLE if is_whole else _FIRST_PAGE}) | {"complete": is_whole}

    def _page(self, query: FindQuery, sources: Sequence[Source]) -> tuple[Matches, int, bool]:
        page = slice(query.offset, query.offset + query.limit)
        if query.mode == "label" and query.words and query.sort == "match" and not query.is_filtered:
            return self._first_matches(query, sources, page)
        found = self._found(query, sources)
        return dataclasses.replace(found, hits=found.hits.take(page)), len(found.hits), False

    def _first_matches(self, query: FindQuery, sources: Sequence[Source], page: slice) -> tuple[Matches, int, bool]:
        """A page of the best matches: of a million, the others are neither listed nor counted."""
        parts, number, more, left = [], 0, False, page.stop
        for which in self._chosen(query, sources):
            found = np.fromiter(itertools.islice(sources[which].matches(query.query), left), np.int64)
            parts.append((which, found))
            left -= len(found)
            count = sources[which].count(query.query)
            number, more = number + count.number, more or count.more
        return Matches(Hits.of(parts).take(page)), number, more

    def _found(self, query: FindQuery, sources: Sequence[Source]) -> Matches:
        """All that a search finds, filtered and sorted; kept for its next pages."""
        key = _without_page(query)
        scores = self._scores() if query.sort == "output_score" else {}
        of_model = None if self._lm is None else model_state(self._lm.model)
        state = (*(part for source in sources for part in source.state), tuple(scores.items()), of_model)
        kept = self._kept.get(key)
        if kept is None or not _same(kept[0], state):
            found = self._matching(query, sources)
            hits = self._sorted(query, sources, self._filtered(query, sources, found.hits))
            kept = state, dataclasses.replace(found, hits=hits)
            self._kept.pop(key, None)
            while len(self._kept) >= _KEPT:
                self._kept.pop(next(iter(self._kept)))
            self._kept[key] = kept
        return kept[1]

    def _matching(self, query: FindQuery, sources: Sequence[Source]) -> Matches:
        chosen = self._chosen(query, sources)
        if query.mode == "prompt":
            return self._searches.fires(query, sources, chosen)
        if query.mode == "token":
            return self._searches.promotes(query, sources, chosen)
        if query.mode == "similar":
            return self._searches.similar(query, sources, chosen, self._shelf.find(query.key))
        if query.words:
            indices = [np.fromiter(sources[which].matches(query.query), np.int64) for which in chosen]
            return Matches(Hits.of(list(zip(chosen, indices, strict=True))))
        return Matches(all_of(sources, chosen, self._scores()))

    def _filtered(self, query: FindQuery, sources: Sequence[Source], hits: Hits) -> Hits:
        if query.labelled:
            flags = [source.labelled().astype(np.float32) for source in sources]
            hits = hits.take(hits.gathered(flags) > 0)
        if query.verdicts is not None:
            flags = [source.judged(query.verdicts).astype(np.float32) for source in sources]
            hits = hits.take(hits.gathered(flags) > 0)
        if query.density is not None:
            low, high = query.density
            density = hits.gathered([source.known("density") for source in sources])
            hits = hits.take((density >= low) & (density <= high))
        return hits

    def _sorted(self, query: FindQuery, sources: Sequence[Source], hits: Hits) -> Hits:
        if query.sort == "match":
            return hits
        if query.sort == "index":
            order = np.lexsort((hits.index, hits.source))
            return hits.take(order[::-1] if query.descending else order)
        numbers = [self._scored(s) if query.sort == "output_score" else s.known(query.sort) for s in sources]
        return hits.sorted_by(hits.gathered(numbers), descending=query.descending)

    def _scored(self, source: Source) -> NDArray[np.float32]:
        """The output score of every feature, NaN where it was not measured."""
        found = np.full(len(source), np.nan, np.float32)
        for key, score in self._scores().items():
            if (index := source.index_of(key)) is not None:
                found[index] = score
        return found

    def _scores(self) -> dict[str, float]:
        """The output scores that were measured so far, by key."""
        return {} if self._lm is None else self._lm.measured_scores.measured()

    def _sources(self) -> list[Source]:
        """The directions of no dictionary first: they are few."""
        free = self._shelf.free()
        return [*([LooseSource(free)] if free else []), *self._dictionaries]

    def _chosen(self, query: FindQuery, sources: Sequence[Source]) -> list[int]:
        if query.dictionaries is None:
            return list(range(len(sources)))
        known = {source.fingerprint for source in self._dictionaries}
        if unknown := [each for each in query.dictionaries if each and each not in known]:
            raise ValueError(f"There is no dictionary {unknown[0][:60]!r} here; it was not given to this widget.")
        return [which for which, source in enumerate(sources) if source.fingerprint in query.dictionaries]

    def _row(self, sources: Sequence[Source], found: Matches, at: int) -> dict[str, Any]:
        hits = found.hits
        source, index = sources[hits.source[at]], int(hits.index[at])
        density = source.known("density")
        value = None if hits.value is None else short(hits.value[at])
        feature = source[index]
        score = None if self._lm is None else self._lm.measured_scores.known(feature.key)
        shown = {name: short(n) if isinstance(n, float) else n for name, n in self._shelf.json(feature).items()}
        return shown | {
            "dictionary": source.fingerprint,
            "density": None if density is None else short(density[index]),
            "histogram": source.bars(index),
            "value": value,
            "value_text": "" if value is None else f"{value:.3g}",
            "at": None if hits.position is None or found.tokens is None else _place(found.tokens, hits.position[at]),
            "output_score": None if score is None else short(score),
            "verdict": source.verdicts.get(index, ""),
        }


def compacted(answer: dict[str, Any]) -> dict[str, Any]:
    """The same answer with its rows by column, a third as large.

    `shared` has what the rows of one dictionary have alike, `of` says which of these a row belongs to, and `columns`
    has the rest by name: row i is `{**shared[of[i]], **{name: column[i]}}`. A key that is the dictionary's fingerprint,
    a slash and the index is left out.
    """
    rows: list[dict[str, Any]] = answer.pop("features")
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["dictionary"], []).append(row)
    names = list(rows[0]) if rows else []
    if all(row["key"] == f"{row['dictionary']}/{row['index']}" for row in rows):
        names = [name for name in names if name != "key"]
    alike = [name for name in names if all(row[name] == g[0][name] for g in groups.values() for row in g)]
    numbers = {fingerprint: number for number, fingerprint in enumerate(groups)}
    return answer | {
        "rows": len(rows),
        "of": [numbers[row["dictionary"]] for row in rows],
        "shared": [{name: group[0][name] for name in alike} for group in groups.values()],
        "columns": {name: [row[name] for row in rows] for name in names if name not in alike},
    }


def _place(tokens: Sequence[Mapping[str, Any]], position: Any) -> dict[str, Any]:
    token = tokens[int(position)]
    return {"position": int(position), "token": {name: token[name] for name in ("id", "text", "fragment")}}


def short(value: Any) -> float | None:
    """A number as a list shows it, with five digits; None for NaN."""
    return None if np.isnan(value) else float(f"{value:.5g}")


def _without_page(query: FindQuery) -> FindQuery:
    return dataclasses.replace(query, offset=0, limit=0, compact=False)


def _same(one: Sequence[object], other: Sequence[object]) -> bool:
    return len(one) == len(other) and all(
        a is b or (isinstance(a, tuple) and len(a) < _LARGE and a == b) for a, b in zip(one, other, strict=True)
    )
