"""LabelCheck: a queue of features whose labels a reader judges on texts, item by item."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Unpack

import traitlets

from steerwidgets.dictionaries.base import Dictionary, checked_dictionary
from steerwidgets.label_checks.agreement import agreement
from steerwidgets.label_checks.answers import Answers
from steerwidgets.label_checks.session import CheckSession, CheckSettings, answers_folder
from steerwidgets.transformer.mistakes import refuse_no_model, refuse_unknown
from steerwidgets.widgets.base import Widget
from steerwidgets.widgets.export import STATIC
from steerwidgets.widgets.label_check.screens import detection_of_all, revealed, score_rows, screen_json
from steerwidgets.widgets.protocol import Handler, Request

if TYPE_CHECKING:
    from steerwidgets.label_checks.agreement import Agreement
    from steerwidgets.label_checks.items import Item
    from steerwidgets.label_checks.scores import Scores
    from steerwidgets.model import LanguageModel

_ANOTHER: Final = "Another item is shown by now, so that answer was not kept; answer the one that is shown."


class LabelCheck(Widget):
    """Labels, judged on texts: which one is odd, on which the feature fires, at which tokens, and what it is called.

    Each feature of the queue is asked in up to four modes, in this order, each of which can be skipped: *odd one out*
    (no label: four texts of one decile of activation and one on which it is silent), *which fire* (the label, ten texts
    on which it fires, one of each decile, and ten on which it is silent: five random ones, three where its nearest
    features fire, two with words of its label), *which tokens* (marked tokens, right or wrong) and *which label* (the
    true one among five). Then the truth is shown, and a verdict asked for. Two unscored items come first, and a tenth
    comes again. The same seed gives everyone the same items.

    Every answer is on the disk, beside the user's own labels, when the next item is shown; the same call goes on where
    it was left. Verdicts are kept with the user's labels, and show in cards and pickers.

    Args:
        lm: the model.
        dictionary: whose labels are checked, with evidence of its features.
        folder: where answers are kept; by default `label_checks` beside the user's own labels.
        settings: `features`, `seed`, `count`, `modes`, `labels`, `reader`, as `CheckSettings` explains them.

    Attributes:
        answers: what was answered so far.
        scores: how it compares with where the features fire.
        file: where the answers are kept.
        item: what is asked; None where the truth is shown, and at the end.
        queue: the features, in order.
        feature: the key of the feature whose truth is shown, or "": link it to a FeatureCard's `feature`.
        provenance: where the items come from.

    Raises:
        IndexError: there is no such feature.
        KeyError: no feature, or more than one, has such a label.
        TypeError: it is no model, or no dictionary.
        ValueError: the dictionary has no evidence, nothing can be asked, a setting is wrong, or the file of earlier
            answers is damaged.

    Example:
        >>> texts = ["The user asks the assistant about the ocean.", "Name a city by the sea, please."]
        >>> index = sw.corpus.build(lm, sae, texts, folder / "index", on_progress=lambda progress: None)
        >>> index.attach(sae)
        >>> check = sw.LabelCheck(lm, sae, features=["the sea", "music"], seed=2026)
        >>> check.queue, len(check.answers)
        ((3, 5), 0)
    """

    _esm = STATIC / "label_check.js"
    _css = STATIC / "label_check.css"
    bundle: ClassVar[str] = "label_check"
    title: ClassVar[str] = "label check"

    screen = traitlets.Dict().tag(sync=True)
    draft: Any = traitlets.Dict().tag(sync=True)
    side = traitlets.Dict().tag(sync=True)
    feature = traitlets.Unicode().tag(sync=True)
    facts = traitlets.Dict().tag(sync=True)
    provenance = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        lm: LanguageModel,
        dictionary: Dictionary,
        *,
        folder: str | Path | None = None,
        **settings: Unpack[CheckSettings],
    ) -> None:
        refuse_no_model(lm, "sw.LabelCheck", "dictionary")
        checked_dictionary(dictionary, "sw.LabelCheck", "lm, ")
        self._lm = lm
        self._answering = threading.RLock()
        kept = answers_folder() if folder is None else Path(folder)
        refuse_unknown("sw.LabelCheck", settings, CheckSettings.__annotations__)
        self._session = CheckSession(lm, dictionary, folder=kept, **settings)
        self._others: tuple[Answers, ...] = ()
        self._compared: Agreement | None = None
        answers = self._session.answers
        facts = {
            "model": lm.name,
            "dictionary": dictionary.kind,
            "layer": dictionary.site.layer,
            "site": str(dictionary.site),
            "size": dictionary.size,
            "seed": answers.seed,
            "reader": answers.reader,
            "modes": list(self._session.modes),
            "resumed": len(answers),
        }
        super().__init__(**self._shown(), facts=facts, provenance=dict(answers.provenance))
        self._prepare()

    def _said(self) -> list[str]:
        if "_session" not in self.__dict__:
            return []
        session = self._session
        where = f"{session.dictionary!r}, {len(session.queue)} features, seed {session.answers.seed}"
        return [where.replace("<", "").replace(">", ""), *(" ".join(row) for row in self.side.get("session", []))]

    # What a user reads and does

    @property
    def answers(self) -> Answers:
        """What was answered so far: `.scores`, `.save(path)`, `.to_csv(path)`."""
        return self._session.answers

    @property
    def scores(self) -> Scores:
        """How the answers compare with where the features fire, those of the feature that is asked included."""
        return self._session.answers.scores

    @property
    def queue(self) -> tuple[int, ...]:
        """The features, in the order in which they are asked."""
        return tuple(self._session.queue)

    @property
    def file(self) -> Path | None:
        """Where the answers are kept, one file for each queue, seed and reader."""
        return self._session.file

    @property
    def item(self) -> Item | None:
        """What is asked; None where the truth is shown, and at the end."""
        with self._answering:
            return self._session.item

    def answer(self, answer: Any = None) -> None:
        """Answer the item that is asked, and go on; None skips it.

        Args:
            answer: which one, counted from 0, of "odd one out" and "which label"; else for each text how sure one is, 0
                to 1.

        Raises:
            OSError: it can't be written; it is kept in memory, and written with the next one.
            ValueError: it is no answer to this item, or none is asked.

        Example:
            >>> texts = ["The user asks the assistant about the ocean.", "Name a city by the sea, please."]
            >>> index = sw.corpus.build(lm, sae, texts, folder / "index", on_progress=lambda progress: None)
            >>> index.attach(sae)
            >>> check = sw.LabelCheck(lm, sae, features=["the sea", "music"], modes=["which tokens"])
            >>> while check.item is not None:
            ...     check.answer(None)
        """
        with self._answering:
            try:
                self._session.answer(answer)
            finally:
                self._publish()

    def go_on(self) -> None:
        """Leave a feature whose truth is shown.

        Raises:
            OSError: that can't be written.
            ValueError: an item is asked.

        Example:
            >>> texts = ["The user asks the assistant about the ocean.", "Name a city by the sea, please."]
            >>> index = sw.corpus.build(lm, sae, texts, folder / "index", on_progress=lambda progress: None)
            >>> index.attach(sae)
            >>> check = sw.LabelCheck(lm, sae, features=["the sea", "music"])
            >>> while check.screen["kind"] != "end":
            ...     check.go_on() if check.item is None else check.answer(None)
        """
        with self._answering:
            try:
                self._session.go_on()
            finally:
                self._publish()

    def judge(self, verdict: str | None = None, *, note: str | None = None) -> None:
        """Keep a verdict on the feature whose truth is shown: with the user's own labels, and with the answers.

        Args:
            verdict: "true", "too wide", "too narrow", "mixed", "wrong" or "unclear"; "" takes it away.
            note: what else there is to say.

        Raises:
            OSError: it can't be kept.
            ValueError: there is no such verdict, or no truth is shown.

        Example:
            >>> texts = ["The user asks the assistant about the ocean.", "Name a city by the sea, please."]
            >>> index = sw.corpus.build(lm, sae, texts, folder / "index", on_progress=lambda progress: None)
            >>> index.attach(sae)
            >>> check = sw.LabelCheck(lm, sae, features=["the sea"])
            >>> while check.item is not None:
            ...     check.answer(None)
            >>> check.judge("unclear", note="two texts say little")
        """
        with self._answering:
            step = self._session.step
            if step is None or step.mode is not None:
                raise ValueError("A verdict is given where a feature's truth is shown; answer or skip its items first.")
            try:
                self._session.judge(step.index, verdict, note)
            finally:
                self._publish()

    def compare(self, files: Sequence[str | Path | Answers]) -> Agreement:
        """Show beside one's own answers how far those of others agree.

        Args:
            files: what others' label checks kept, with the same dictionary and seed.

        Returns:
            The agreement of all, one's own answers included, on what one has seen the truth of.

        Raises:
            FileNotFoundError: a file is not there.
            ValueError: one is damaged, or answers other items.

        Example:
            >>> texts = ["The user asks the assistant about the ocean.", "Name a city by the sea, please."]
            >>> index = sw.corpus.build(lm, sae, texts, folder / "index", on_progress=lambda progress: None)
            >>> index.attach(sae)
            >>> check = sw.LabelCheck(lm, sae, features=["the sea"])
            >>> check.compare([check.answers]).alpha is None  # nobody has answered anything
            True
        """
        given = [files] if isinstance(files, str | Path | Answers) else files
        others = tuple(each if isinstance(each, Answers) else Answers.load(each) for each in given)
        with self._answering:
            found = agreement([revealed(self._session), *others])
            self._others = others
            self._publish()
        return found

    def save(self, path: str | Path) -> None:
        """Write the answers as JSON with their provenance, for `sw.labels.agreement`.

        Args:
            path: the file.

        Raises:
            OSError: it can't be written.

        Example:
            >>> texts = ["The user asks the assistant about the ocean.", "Name a city by the sea, please."]
            >>> index = sw.corpus.build(lm, sae, texts, folder / "index", on_progress=lambda progress: None)
            >>> index.attach(sae)
            >>> sw.LabelCheck(lm, sae, features=["the sea"]).save(folder / "a.json")
        """
        self.answers.save(path)

    def to_csv(self, path: str | Path) -> None:
        """Write the answers as CSV, one line for each question.

        Args:
            path: the file.

        Raises:
            OSError: it can't be written.

        Example:
            >>> texts = ["The user asks the assistant about the ocean.", "Name a city by the sea, please."]
            >>> index = sw.corpus.build(lm, sae, texts, folder / "index", on_progress=lambda progress: None)
            >>> index.attach(sae)
            >>> sw.LabelCheck(lm, sae, features=["the sea"]).to_csv(folder / "a.csv")
        """
        self.answers.to_csv(path)

    def to_json(self) -> str:
        """The answers as JSON with their provenance, as `save` writes them.

        Returns:
            JSON text.

        Example:
            >>> import json
            >>> texts = ["The user asks the assistant about the ocean.", "Name a city by the sea, please."]
            >>> index = sw.corpus.build(lm, sae, texts, folder / "index", on_progress=lambda progress: None)
            >>> index.attach(sae)
            >>> json.loads(sw.LabelCheck(lm, sae, features=["the sea"], seed=2026).to_json())["seed"]
            2026
        """
        return self.answers.to_json()

    # Requests of the front-end

    def _handlers(self) -> Mapping[str, Handler]:
        return {
            "answer": Handler(self._serve_answer, slow=True),
            "next": Handler(self._serve_next, slow=True),
            "verdict": Handler(self._serve_verdict, slow=True),
            "export_csv": Handler(lambda _request: {"text": self.answers.csv(), "filename": self._filename("csv")}),
            "export_json": Handler(lambda _request: {"text": self.to_json(), "filename": self._filename("json")}),
        }

    def _serve_answer(self, request: Request) -> dict[str, Any]:
        answers, seconds = request.args.get("answers"), request.args.get("seconds")
        with self._answering:
            item = self._session.item
            if item is None or self._is_past(request):
                raise ValueError(_ANOTHER)
            given = answers[0] if item.is_choice and isinstance(answers, list) and len(answers) == 1 else answers
            took = round(float(seconds), 1) if isinstance(seconds, int | float) and 0 <= seconds < 1e6 else None
            try:
                self._session.answer(given, seconds=took)
            finally:
                self._publish()
        self._prepare()
        return {}

    def _serve_next(self, request: Request) -> dict[str, Any]:
        with self._answering:
            if self._is_past(request):
                raise ValueError(_ANOTHER)
            self.go_on()
        self._prepare()
        return {}

    def _serve_verdict(self, request: Request) -> dict[str, Any]:
        given = {name: request.args[name] for name in ("verdict", "note") if name in request.args}
        if not all(isinstance(each, str) for each in given.values()):
            raise ValueError("A verdict and its note are texts.")
        with self._answering:
            if self._is_past(request):
                raise ValueError("Another feature is shown by now, so the verdict was not kept; give it again.")
            self.judge(given.get("verdict"), note=given.get("note"))
        return {}

    def _is_past(self, request: Request) -> bool:
        """Whether a request is about a screen that is no longer shown: a second click, or another page."""
        return request.args.get("step") != self._session.answers.position

    def _filename(self, kind: str) -> str:
        reader = "".join(c if c.isalnum() else "-" for c in self.answers.reader)
        return "-".join(filter(None, ("label-check", str(self.answers.seed), reader))) + f".{kind}"

    # From the session to traits

    def _publish(self) -> None:
        self.publish_together(**self._shown())

    def _shown(self) -> dict[str, Any]:
        screen = screen_json(self._lm, self._session)
        kept = self.draft if getattr(self, "draft", {}).get("step") == screen["step"] else {}
        return {"screen": screen, "draft": kept, "side": self._side(screen), "feature": screen.get("key", "")}

    def _side(self, screen: Mapping[str, Any]) -> dict[str, Any]:
        own = revealed(self._session)
        rows = score_rows(own.scores) if own.scores.features else []
        label: list[list[str]] = []
        if "index" in screen:
            detection = detection_of_all(screen["index"], [own, *self._others])
            if detection.interval is not None:
                low, high = detection.interval
                who = "all who checked" if self._others else "yours"
                label.append([f"detection, {who}", f"{detection.value:.2f} ({low:.2f}–{high:.2f})"])
        if self._others:
            found = agreement([own, *self._others]).main
            said = " · ".join("–" if each is None else f"{each:.2f}" for each in (found.alpha, found.raw))
            who = "1 other" if len(self._others) == 1 else f"{len(self._others)} others"
            rows.append([f"agreement with {who}, α · raw", said])
        return {"label": label, "session": rows, "answered": len(self._session.answers)}

    def _prepare(self) -> None:
        """Make the next feature's items while the reader is at this one's."""
        session, answering = self._session, self._answering
        later = session.steps[session.answers.position :]
        coming = next((step.index for step in later if not session.is_made(step.index)), None)
        if coming is None:
            return

        def make() -> None:  # it does not keep the widget
            with answering:
                session.items(coming)

        self._worker.submit(make)
