"""The runs of a panel: kept up to a number, named, pinned, compared token by token, taken back, written to a file."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol, overload

from steerwidgets.files.atomic import write_text
from steerwidgets.files.json_text import json_bytes
from steerwidgets.files.shown import shown
from steerwidgets.generation.comparison import first_difference, shared_tokens
from steerwidgets.steering.recipe import Recipe
from steerwidgets.transformer.mistakes import wrong
from steerwidgets.transformer.plain_text import as_json, table
from steerwidgets.widgets.arrays import exact
from steerwidgets.widgets.panel import runs_file

KEPT: Final = 20
"""So many runs are kept; where one more comes, the oldest goes that is not pinned."""

MOST_BYTES: Final = 2**21
"""Of long texts fewer are kept: every page and every notebook holds all of them."""


@dataclass(frozen=True)
class PastRun:
    """A run that a panel remembers.

    Attributes:
        number: which run of the panel it was, from 1.
        name: what the user calls it, or empty.
        pinned: whether it stays when others go.
        at: when it ended, ISO 8601 in UTC.
        prompt: the prompt.
        settings: the sampling settings by name.
        recipe: the recipe, as text.
        texts: the text of each row by the row's name.
        kl: KL(steered ‖ unsteered) in nats at each token of the steered text; None where it was not measured.
    """

    number: int
    name: str
    pinned: bool
    at: str
    prompt: str
    settings: Mapping[str, Any]
    recipe: str
    texts: Mapping[str, str]
    kl: tuple[float, ...] | None
    key: str

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> PastRun:
        """The run that an entry of the trait stands for."""
        kl = entry["kl"]
        return cls(
            entry["number"],
            entry["name"],
            entry["pinned"],
            entry["at"],
            entry["prompt"],
            entry["settings"],
            entry["recipe"],
            {row["name"]: row["text"] for row in entry["rows"]},
            None if kl is None else tuple(kl),
            entry["id"],
        )

    @property
    def title(self) -> str:
        """Its name, or its number."""
        return self.name or f"Run {self.number}"


@dataclass(frozen=True)
class RunDifference:
    """Two texts token by token.

    Attributes:
        same: for each text, which of its tokens the other one has too, in the same order.
        divergence: the first token at which they differ; None where they are the same.
    """

    same: tuple[tuple[bool, ...], tuple[bool, ...]]
    divergence: int | None


class Remembering(Protocol):
    """What a history needs of its panel: the traits that hold it, and the recipe."""

    runs: Any
    compared: Any
    provenance: Any
    recipe: Any

    def read_recipe(self, text: str) -> Recipe:
        """A recipe from text."""
        ...

    def publish(self, **traits: Any) -> None:
        """Set traits."""
        ...

    def publish_together(self, **traits: Any) -> None:
        """Set traits in one message."""
        ...


RunLike = int | str | PastRun
"""A run by its place in the history, by its name, or itself."""


class History(Sequence[PastRun]):
    """The runs that a panel remembers, the oldest first.

    Example:
        >>> panel = sw.SteeringPanel(lm, cavs, recipe=cavs["music"].add(4), max_new_tokens=4)
        >>> _ = panel.generate()
        >>> panel.history.name(-1, "first try")
        >>> panel.history[-1].title, list(panel.history[-1].texts)
        ('first try', ['baseline', 'steered'])
    """

    def __init__(self, panel: Remembering) -> None:
        self._panel = panel
        self._recipes: dict[str, Recipe] = {}
        self._count = 0

    # What a user reads

    def __len__(self) -> int:
        return len(self._panel.runs)

    @overload
    def __getitem__(self, index: RunLike) -> PastRun: ...
    @overload
    def __getitem__(self, index: slice) -> list[PastRun]: ...
    def __getitem__(self, index: RunLike | slice) -> PastRun | list[PastRun]:
        """A run by its place or its name, or several by their places."""
        if isinstance(index, slice):
            return [PastRun.of(each) for each in self._panel.runs[index]]
        try:
            return PastRun.of(self._entry(index))
        except KeyError as error:
            # A sequence ends in an IndexError.
            raise IndexError(*error.args) if isinstance(index, int) else error from None

    def __iter__(self) -> Iterator[PastRun]:
        return iter([PastRun.of(entry) for entry in self._panel.runs])

    def __repr__(self) -> str:
        rows = [[run.title, "pinned" if run.pinned else "", _mean(run.kl), run.texts["steered"][:60]] for run in self]
        return table(["run", "", "KL", "steered"], rows) if rows else "<History: no run yet>"

    # What a user does

    def name(self, run: RunLike, name: str) -> None:
        """Call a run by a name; an empty one takes it away.

        Args:
            run: by its place, its name, or itself.
            name: what it shall be called.

        Raises:
            KeyError: there is no such run.
            TypeError: the name is no text.

        Example:
            >>> panel = sw.SteeringPanel(lm, cavs, recipe=cavs["music"].add(4), max_new_tokens=4)
            >>> _ = panel.generate()
            >>> panel.history.name(0, "first try")
            >>> panel.history["first try"].number
            1
        """
        if not isinstance(name, str):
            raise TypeError(f"The name of a run is a text, but {shown(name)} was given.")
        self._change(run, name=name.strip()[:80])

    def pin(self, run: RunLike, pinned: bool = True) -> None:
        """Keep a run whatever comes after it, or no longer.

        Args:
            run: by its place, its name, or itself.
            pinned: whether it is kept.

        Raises:
            KeyError: there is no such run.
            ValueError: all that can be pinned are.

        Example:
            >>> panel = sw.SteeringPanel(lm, cavs, recipe=cavs["music"].add(4), max_new_tokens=4)
            >>> _ = panel.generate()
            >>> panel.history.pin(0)
            >>> panel.history[0].pinned
            True
        """
        entry = self._entry(run)
        if pinned and not entry["pinned"] and sum(each["pinned"] for each in self._panel.runs) >= KEPT - 1:
            raise ValueError(
                f"A panel keeps {KEPT} runs, and {KEPT - 1} of them are pinned already; the next run needs the last "
                "place. Unpin or remove one first."
            )
        self._change(run, pinned=bool(pinned))

    def remove(self, run: RunLike) -> None:
        """Forget a run.

        Args:
            run: by its place, its name, or itself.

        Raises:
            KeyError: there is no such run.

        Example:
            >>> panel = sw.SteeringPanel(lm, cavs, recipe=cavs["music"].add(4), max_new_tokens=4)
            >>> _ = panel.generate()
            >>> panel.history.remove(0)
            >>> len(panel.history)
            0
        """
        gone = self._entry(run)["id"]
        self._publish([entry for entry in self._panel.runs if entry["id"] != gone])

    def take_back(self, run: RunLike) -> Recipe:
        """Give the panel the recipe of a run again.

        Args:
            run: by its place, its name, or itself.

        Returns:
            The recipe.

        Raises:
            KeyError: there is no such run.
            ValueError: the recipe needs a dictionary that the panel was not given.

        Example:
            >>> panel = sw.SteeringPanel(lm, cavs, recipe=cavs["music"].add(4), max_new_tokens=4)
            >>> _ = panel.generate()
            >>> panel.recipe = None
            >>> panel.history.take_back(-1)
            'music'.add(4)
        """
        entry = self._entry(run)
        recipe = self._recipes.get(entry["id"])
        if recipe is None:
            recipe = self._panel.read_recipe(entry["recipe"])
        self._panel.recipe = recipe
        return recipe

    def compare(self, first: RunLike, second: RunLike, rows: tuple[str, str] = ("steered", "steered")) -> RunDifference:
        """Compare the texts of two runs token by token; the panel shows them side by side.

        Args:
            first: a run, by its place, its name, or itself.
            second: another one.
            rows: which row of each.

        Returns:
            Which tokens they share, in the same order, and where they part.

        Raises:
            KeyError: there is no such run, or no such row in it.
            ValueError: `rows` are not two.

        Example:
            >>> panel = sw.SteeringPanel(lm, cavs, recipe=cavs["music"].add(4), max_new_tokens=4)
            >>> _ = panel.generate(), panel.generate()
            >>> panel.history.compare(0, 1).divergence is None  # the same inputs give the same texts
            True
        """
        entries = [self._entry(first), self._entry(second)]
        if isinstance(rows, str) or len(rows) != 2:
            raise ValueError(
                f'Two runs are compared, each with one of its rows, as rows=("steered", "baseline"); {shown(rows)} '
                "was given."
            )
        texts = [_row(entry, name)["ids"] for entry, name in zip(entries, rows, strict=True)]
        pairs = shared_tokens(*texts)
        both = [{pair[side] for pair in pairs} for side in (0, 1)]
        same = tuple(tuple(i in shared for i in range(len(ids))) for shared, ids in zip(both, texts, strict=True))
        divergence = first_difference(*texts)
        self._panel.publish(
            compared={
                "runs": [entry["id"] for entry in entries],
                "rows": list(rows),
                "same": [list(each) for each in same],
                "divergence": divergence,
            }
        )
        return RunDifference((same[0], same[1]), divergence)

    def to_json(self) -> str:
        """All runs as text, with what made them.

        Returns:
            JSON text.

        Example:
            >>> import json
            >>> panel = sw.SteeringPanel(lm, cavs)
            >>> json.loads(panel.history.to_json())["runs"]
            []
        """
        return as_json(
            {"format": runs_file.FORMAT, "provenance": dict(self._panel.provenance), "runs": list(self._panel.runs)}
        )

    def save(self, path: str | Path) -> Path:
        """Write all runs to a file, as JSON.

        Args:
            path: the file.

        Returns:
            The path.

        Raises:
            OSError: it can't be written.

        Example:
            >>> panel = sw.SteeringPanel(lm, cavs)
            >>> panel.history.save(folder / "runs.json").name
            'runs.json'
        """
        write_text(path, self.to_json())
        return Path(path)

    def load(self, source: str | Path) -> list[PastRun]:
        """Take in the runs of another history: from a file that `save` or the page wrote, or from its text.

        They come before the runs of this panel, of which none goes for them: what is here already is left out, and so
        are the oldest, where there is no room for all. A number that is taken becomes the next free one.

        Args:
            source: a path, or JSON as `to_json` gives it.

        Returns:
            The runs that were taken in.

        Raises:
            ValueError: it is no history of runs, or damaged, or of another version; then nothing is taken in.
            OSError: the file can't be read.

        Example:
            >>> panel = sw.SteeringPanel(lm, cavs, recipe=cavs["music"].add(4), max_new_tokens=4)
            >>> _ = panel.generate()
            >>> _ = panel.history.save(folder / "runs.json")
            >>> later = sw.SteeringPanel(lm, cavs)
            >>> [run.title for run in later.history.load(folder / "runs.json")]
            ['Run 1']
        """
        if isinstance(source, str) and source.lstrip().startswith(("{", "[")):
            return self._take_in(runs_file.read(source))
        if not isinstance(source, str | Path):
            raise wrong("history.load", "a path or JSON", source, 'give one, as in history.load("runs.json")')
        path = Path(source)
        return self._take_in(runs_file.read(json_bytes(path), path.name))

    # What the panel does

    def _take_in(self, entries: list[dict[str, Any]]) -> list[PastRun]:
        own: list[dict[str, Any]] = list(self._panel.runs)
        here = {entry["id"] for entry in own}
        found = [entry for entry in entries if entry["id"] not in here]
        used = {entry["number"] for entry in own}
        last = max([0, *used, *(entry["number"] for entry in found)])
        for entry in found:
            if entry["number"] in used:
                last += 1
                entry["number"] = last
            used.add(entry["number"])
        room, bytes_left = KEPT - len(own), MOST_BYTES - sum(len(as_json(entry)) for entry in own)
        taken: list[dict[str, Any]] = []
        for entry in reversed(found):
            bytes_left -= len(as_json(entry))
            if len(taken) < room and bytes_left >= 0:
                taken.insert(0, entry)
        pinned = sum(entry["pinned"] for entry in own)
        for entry in reversed(taken):
            # A new run needs a place too.
            entry["pinned"] = entry["pinned"] and pinned < KEPT - 1
            pinned += entry["pinned"]
        self._count = max([self._count, *(entry["number"] for entry in taken)])
        self._publish([*taken, *own])
        return [PastRun.of(entry) for entry in taken]

    def _import(self, text: Any) -> dict[str, Any]:
        """What a page pasted or read from a file, and what became of it."""
        if not isinstance(text, str):
            raise ValueError(f"Runs are imported from text, but {shown(text)} came.")
        entries = runs_file.read(text)
        here = {entry["id"] for entry in self._panel.runs}
        known = sum(entry["id"] in here for entry in entries)
        taken = len(self._take_in(entries))
        parts = [f"{taken} of {len(entries)} runs were added"]
        parts += [f"{known} were here already"] * bool(known)
        parts += [f"for {len(entries) - taken - known} there is no room: forget others first"] * (
            len(entries) > taken + known
        )
        return {"said": "; ".join(parts) + "."}

    def record(self, result: Mapping[str, Any], recipe: Recipe) -> None:
        """Keep a run that has ended."""
        self._count += 1
        steered = [exact(value) for value in result["kl"]] if result["kl"] is not None else None
        entry = {
            "id": uuid.uuid4().hex[:12],
            "number": self._count,
            "name": "",
            "pinned": False,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "prompt": result["prompt"],
            "chat": result["chat"],
            "system": result["system"],
            "turns": result["turns"],
            "settings": result["settings"],
            "recipe": result["recipe"],
            "said": repr(recipe)[:300] if len(recipe) else "no steering",
            "rows": [_compact(row) for row in result["rows"]],
            "divergence": result["divergence"],
            "kl": steered,
        }
        self._recipes[entry["id"]] = recipe
        self._publish(_fitting([*self._panel.runs, entry]))

    def serve(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """What the page asks for: `do`, with the run's id and what else it takes."""
        asked: dict[str, Callable[[], object]] = {
            "name": lambda: self.name(self._by_id(args.get("run")), args.get("title", "")),
            "pin": lambda: self.pin(self._by_id(args.get("run")), bool(args.get("pinned"))),
            "remove": lambda: self.remove(self._by_id(args.get("run"))),
            "take_back": lambda: self.take_back(self._by_id(args.get("run"))),
            "compare": lambda: self._compare_of(args),
            "import": lambda: self._import(args.get("text")),
        }
        do = args.get("do")
        if not isinstance(do, str) or do not in asked:
            raise ValueError(f"A history can do {', '.join(asked)}, but {shown(do)} was asked for.")
        found = asked[do]()
        return found if isinstance(found, dict) else {}

    def _compare_of(self, args: Mapping[str, Any]) -> None:
        runs, rows = args.get("runs", ()), args.get("rows", ("steered", "steered"))
        if not all(isinstance(each, list | tuple) and len(each) == 2 for each in (runs, rows)):
            raise ValueError(f"Two runs are compared, each with one of its rows; {shown(runs)} was asked for.")
        first, second = map(self._by_id, runs)
        self.compare(first, second, (rows[0], rows[1]))

    def _by_id(self, key: Any) -> PastRun:
        for entry in self._panel.runs:
            if entry["id"] == key:
                return PastRun.of(entry)
        raise ValueError("That run is no longer in the history: it was removed, or newer runs took its place.")

    def _entry(self, run: RunLike) -> dict[str, Any]:
        runs = self._panel.runs
        if not runs:
            raise KeyError("There is no run yet: press Generate, or call panel.generate().")
        if isinstance(run, int) and not isinstance(run, bool):
            if not -len(runs) <= run < len(runs):
                raise KeyError(f"The history has {len(runs)} runs, from 0 to {len(runs) - 1}; {run} was asked for.")
            return dict(runs[run])
        for entry in reversed(runs):
            if isinstance(run, PastRun) and entry["id"] == run.key:
                return dict(entry)
            if isinstance(run, str) and run in (entry["name"], PastRun.of(entry).title):
                return dict(entry)
        said = run.title if isinstance(run, PastRun) else run
        names = ", ".join(each.title for each in self)
        raise KeyError(f"The history has no run {shown(said)}; there are {names}.")

    def _change(self, run: RunLike, **changes: Any) -> None:
        key = self._entry(run)["id"]
        self._publish([{**entry, **changes} if entry["id"] == key else entry for entry in self._panel.runs])

    def _publish(self, runs: list[dict[str, Any]]) -> None:
        kept = {entry["id"] for entry in runs}
        self._recipes = {key: recipe for key, recipe in self._recipes.items() if key in kept}
        compared = self._panel.compared
        gone = bool(compared) and not set(compared["runs"]) <= kept
        self._panel.publish_together(runs=runs, **({"compared": {}} if gone else {}))


def _compact(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row by columns, a third of the bytes."""
    tokens = row["tokens"]
    return {
        "name": row["name"],
        "text": row["text"],
        "ended": row["ended"],
        "forked": row["forked"],
        "kl": row["kl"],
        "ids": [token["id"] for token in tokens],
        "texts": [token["text"] for token in tokens],
        "fragments": [index for index, token in enumerate(tokens) if token["fragment"]],
    }


def _row(entry: Mapping[str, Any], name: str) -> dict[str, Any]:
    for row in entry["rows"]:
        if row["name"] == name:
            return dict(row)
    names = ", ".join(row["name"] for row in entry["rows"])
    raise KeyError(f"That run has no row {shown(name)}; it has {names}.")


def _fitting(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As many runs as are kept; the oldest go that are not pinned, and never the newest."""
    sizes = {entry["id"]: len(as_json(entry)) for entry in runs}
    while len(runs) > KEPT or sum(sizes[entry["id"]] for entry in runs) > MOST_BYTES:
        going = next((entry for entry in runs[:-1] if not entry["pinned"]), None)
        if going is None:
            break
        runs = [entry for entry in runs if entry is not going]
    return runs


def _mean(values: Sequence[float] | None) -> float | str:
    return sum(values) / len(values) if values else ""
