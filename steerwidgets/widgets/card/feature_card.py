"""FeatureCard: one feature on one card, with its evidence, a box for own text, and a place for a verdict."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypedDict, Unpack

import traitlets

from steerwidgets.dictionaries.base import Dictionary, checked_dictionaries
from steerwidgets.files.atomic import write_text
from steerwidgets.label_checks.silent_texts import Silence, silent_texts
from steerwidgets.steering.hooks import warn_of_other_model
from steerwidgets.steering.recipe import Feature, Steer
from steerwidgets.steering.suggested import suggested_steer
from steerwidgets.transformer.mistakes import refuse_no_model
from steerwidgets.transformer.plain_text import as_json
from steerwidgets.widgets.card.content import card_content, labels_json, measured_effect, provenance_of, verdict_of
from steerwidgets.widgets.card.lines import plain_lines
from steerwidgets.widgets.card.reading import OwnText, silence_json
from steerwidgets.widgets.export import STATIC
from steerwidgets.widgets.protocol import Cancelled, Handler, Request, described, held_for
from steerwidgets.widgets.recipe_editor.holder import Holder, add_to
from steerwidgets.widgets.recipe_editor.sender import Sender

if TYPE_CHECKING:
    from collections.abc import Iterable

    from steerwidgets.dictionaries.activations import Activations
    from steerwidgets.label_checks.silent_texts import SilentSettings
    from steerwidgets.labels.own import Entry
    from steerwidgets.model import LanguageModel
    from steerwidgets.transformer.prompts import PromptLike


class CardSettings(TypedDict, total=False):
    """How a card begins.

    Attributes:
        tab: which examples are shown: `strongest` (the default), `quantiles` or `random`.
        curve: the colour scale, `linear` (the default) or `log`: log10(1 + 9·v/end).
        own_text: a text to read the feature on.
    """

    tab: Literal["strongest", "quantiles", "random"]
    curve: Literal["linear", "log"]
    own_text: str


class FeatureCard(Sender):
    """One feature on one card: how often and how strongly it fires, on what, what it promotes, and your verdict.

    Args:
        lm: the model; own texts are read with it.
        dictionary: the feature's dictionary, or several that `key` may lead to.
        feature: an index, a label, or a feature; of several dictionaries, of the first.
        panel: a `SteeringPanel` or whatever else has a recipe, which "Steer with this" adds to.
        settings: `tab`, `curve`, `own_text`, as `CardSettings` explains them.

    Attributes:
        feature: the feature's index, to be read and set. A key is taken as well, and from then on it holds keys, so
            that `traitlets.link((picker, "selected"), (card, "feature"))` goes both ways; "" changes nothing.
        key: the feature's key, likewise.
        tab: which examples are shown: `strongest`, `quantiles` or `random`.
        curve: `linear`, or `log`: log10(1 + 9·v/end).
        own_text: what stands in the box; set it from code with `try_text`.
        expanded: the examples that are shown with all their context.
        steer_requested: what "Steer with this" asked for last: `{key, index, label, op, params, count}`.
        provenance: where the numbers come from.

    Raises:
        IndexError: the dictionary has no feature of that index.
        KeyError: it has none, or several, of that label.
        TypeError: there is no such setting, or `dictionary` is none.

    Example:
        >>> card = sw.FeatureCard(lm, [sae, cavs], "the sea")
        >>> card.index, card.dictionary.kind
        (3, 'SAE')
    """

    _esm = STATIC / "feature_card.js"
    _css = STATIC / "feature_card.css"
    bundle: ClassVar[str] = "feature_card"
    title: ClassVar[str] = "feature card"
    _called: ClassVar[str] = "card"

    feature: Any = traitlets.Any(0).tag(sync=True)
    key: Any = traitlets.Unicode().tag(sync=True)
    tab: Any = traitlets.Enum(["strongest", "quantiles", "random"], "strongest").tag(sync=True)
    curve: Any = traitlets.Enum(["linear", "log"], "linear").tag(sync=True)
    own_text = traitlets.Unicode().tag(sync=True)
    expanded: Any = traitlets.List(traitlets.Unicode()).tag(sync=True)
    content = traitlets.Dict().tag(sync=True)
    tried = traitlets.Dict().tag(sync=True)
    silent = traitlets.Dict().tag(sync=True)
    verdict = traitlets.Dict().tag(sync=True)
    provenance = traitlets.Dict().tag(sync=True)
    pages: Any = traitlets.List(traitlets.Dict()).tag(sync=True)

    def __init__(
        self,
        lm: LanguageModel,
        dictionary: Dictionary | Sequence[Dictionary],
        feature: int | str | Feature = 0,
        *,
        panel: Holder | None = None,
        **settings: Unpack[CardSettings],
    ) -> None:
        refuse_no_model(lm, "sw.FeatureCard", "dictionary, feature")
        several = checked_dictionaries(dictionary, "sw.FeatureCard", "lm, ")
        if not several:
            raise TypeError(
                "A card shows a feature of a dictionary, such as sw.SAE.demo(); give one, or a list of them."
            )
        self._lm = lm
        self._dictionaries = several
        self._panel = self._checked_panel(panel)
        self._own: OwnText | None = None
        self._effects: dict[str, dict[str, Any]] = {}
        for each in several:
            warn_of_other_model(lm.architecture, each)
        home, index = self._find(feature)
        self._dictionary = home
        super().__init__(**self._shown(home, index), **settings)
        self.observe(self._follow, names=["feature", "key"])
        if self.own_text:
            self.try_text(self.own_text)

    def _said(self) -> list[str]:
        content = self.content
        if not content:
            return []
        known = [f"{n} {content[n]:.4g}" for n in ("density", "maximum", "p995") if content.get(n) is not None]
        through, direct = content["effect"] or {"promoted": []}, content["promoted"]
        promotes = {"Promotes through the model": through["promoted"], "Promotes (direct path)": direct}
        return [
            f"{content['kind']} {content['index']}, {content['label']!r}, at {content['site']}",
            ", ".join(known),
            *(f"{title}: {', '.join(repr(t['text']) for t in tokens)}" for title, tokens in promotes.items() if tokens),
        ]

    # What a user reads and sets

    @property
    def dictionary(self) -> Dictionary:
        """The dictionary of the feature that is shown."""
        return self._dictionary

    def show(self, feature: int | str | Feature) -> None:
        """Show another feature, by index, key, label, or itself.

        Args:
            feature: which.

        Raises:
            IndexError: there is no such index.
            KeyError: no feature, or more than one, has that label.
            ValueError: the feature belongs to a dictionary that the card does not have.

        Example:
            >>> card = sw.FeatureCard(lm, sae)
            >>> card.show("music")
            >>> card.index
            5
        """
        self._show(*self._find(feature))

    @property
    def index(self) -> int:
        """The index of the feature that is shown."""
        return int(self.content["index"])

    def steer(self) -> Steer:
        """The steer that "Steer with this" stands for: the suggested op and strength, or else the kind's own.

        It is published as `steer_requested`, and added to the panel's recipe where there is a panel.

        Returns:
            The steer.

        Raises:
            ValueError: the feature can be read but not steered.

        Example:
            >>> card, panel = sw.FeatureCard(lm, sae, "music"), sw.SteeringPanel(lm, sae)
            >>> card.steer_in(panel)
            >>> card.steer()
            'music'.clamp(8)
            >>> panel.recipe
            'music'.clamp(8)
        """
        steer, _ = self._steer()
        return steer

    def _steer(self) -> tuple[Steer, str]:
        steer = suggested_steer(self._dictionary[self.index])
        numbers = ", ".join(f"{value:g}" for value in steer.parameters.values() if value)
        said = f"{steer.op}({numbers})"
        if self._panel is not None and not add_to(self._panel, steer):
            said = "The feature is in the panel's recipe already."
        else:
            said += f" {self._sent_where()}"
        named = {"key": steer.feature.key, "index": self.index, "label": steer.feature.label}
        asked = {**named, "op": steer.op, "params": dict(steer.parameters)}
        self._tell_requested(asked)
        return steer, said

    def try_text(self, text: PromptLike) -> Activations:
        """Read the feature on a text of your own, shown in the box; another feature of it needs no model run.

        Args:
            text: a string (read raw), messages, or token ids.

        Returns:
            The feature's activations, `.values` float32 [position, 1].

        Raises:
            ValueError: the text is empty, or the tokenizer makes no token of it.

        Example:
            >>> sw.FeatureCard(lm, sae, "music").try_text("The answer").values.shape
            torch.Size([2, 1])
        """
        shown = (
            text
            if isinstance(text, str)
            else "".join(
                token.text
                for token in self._lm.tokens(self._lm.encode(text, chat=False).token_ids)
                if not token.fragment
            )
        )
        own = self._read(text, shown)
        self.publish(own_text=shown)
        return own.activations.of([self.index])

    def silent_texts(self, texts: Iterable[PromptLike] | None = None, **settings: Unpack[SilentSettings]) -> Silence:
        """Texts with the label's words where the feature is silent, shown in the card; see `label_checks.silent_texts`.

        Args:
            texts: where to look, strings (read raw) or token ids; by default the corpus examples of the other features.
            settings: `words`, `share`, `k`, `at_most`, `rivals`, `on_progress`, `stop`, as `SilentSettings` explains
                them.

        Returns:
            `.texts`, how many were `.read`, and how many of these are `.silent`.

        Raises:
            ValueError: nothing is known of the feature's typical activation, there is nothing to look for or no text to
                look in, or a number is out of range.

        Example:
            >>> known = torch.full((3,), 8.0)
            >>> cavs.statistics = sw.FeatureStatistics(known, typical=known)
            >>> card = sw.FeatureCard(lm, cavs, "the sea")
            >>> card.silent_texts(["Name a city by the sea, please."], words=["sea"]).read
            1
        """
        dictionary, index = self._dictionary, self.index
        found = silent_texts(self._lm, dictionary, index, texts, **settings)
        if (self._dictionary, self.index) == (dictionary, index):
            self.publish(silent=silence_json(self._lm, dictionary, found))
        return found

    def rate(
        self,
        rating: Any = None,
        *,
        label: str | None = None,
        note: str | None = None,
        verdict: str | None = None,
    ) -> Entry:
        """Keep your verdict on this machine: 1 to 5 stars ("none" takes them away), a label, a note, what its label is.

        What is not given stays; "" takes a label, a note or a verdict away. `card.dictionary.user_labels` has them all.

        Args:
            rating: 1 to 5, or "none".
            label: what you call the feature.
            note: what else there is to say.
            verdict: what you make of its label: "true", "too wide", "too narrow", "mixed", "wrong" or "unclear".

        Returns:
            What is kept now: `.rating`, `.label`, `.note`, `.verdict`.

        Raises:
            OSError: they cannot be kept.
            ValueError: the rating is not 1 to 5, or there is no such verdict.

        Example:
            >>> sw.FeatureCard(lm, reft, "law").rate(4, note="and contracts").rating
            4
        """
        entry = self._dictionary.user_labels.set(self.index, rating=rating, label=label, note=note, verdict=verdict)
        named = labels_json(self._dictionary, self.index)
        self.publish(verdict=verdict_of(self._dictionary, entry.index), content={**self.content, **named})
        return entry

    def to_html(self, path: str | Path, features: Iterable[int | str] = ()) -> Path:
        """Write one offline file that shows the card as it stands.

        Args:
            path: where.
            features: other features that the file shall hold as well: their cards open by "previous", "next" and from
                the lists of neighbours.

        Returns:
            The path.

        Raises:
            IndexError: there is no such feature.
            KeyError: no feature, or more than one, has that label.

        Example:
            >>> sw.FeatureCard(lm, sae, "music").to_html(folder / "card.html", features=[3]).name
            'card.html'
        """
        write_text(path, self._page(features))
        return Path(path)

    def to_json(self) -> str:
        """The card as it stands, as plain JSON: what is known of the feature, lines with tokens and values.

        Returns:
            JSON text.

        Example:
            >>> import json
            >>> json.loads(sw.FeatureCard(lm, sae, "music").to_json())["index"]
            5
        """
        with self._sync_lock:
            state = super()._state()
        content = dict(state.pop("content"))
        content["examples"] = {name: plain_lines(wire) for name, wire in content["examples"].items()}
        for name in ("tried", "silent"):
            if "text" in state[name]:
                state[name] = {**state[name], "text": plain_lines(state[name]["text"])}
        state = {name: value for name, value in state.items() if name not in ("pages", "feature", "key")}
        return as_json({**content, **state})

    # Requests of the front-end

    def _handlers(self) -> Mapping[str, Handler]:
        return {
            "show": Handler(self._serve_show, slow=True),
            "try": Handler(self._serve_try, slow=True),
            "silent": Handler(self._serve_silent, slow=True),
            "effect": Handler(self._serve_effect, slow=True),
            "verdict": Handler(self._serve_verdict),
            "export_verdicts": Handler(lambda _request: self._verdicts()),
            "steer": Handler(lambda _request: self._serve_steer()),
        }

    def _serve_show(self, request: Request) -> dict[str, Any]:
        feature = request.args.get("feature")
        if isinstance(feature, bool) or not isinstance(feature, int | str):
            raise ValueError(f"A card shows a feature by its index, key or label, but {feature!r} came.")
        home, index = self._dictionary, feature
        if isinstance(feature, str):
            home, index = self._find(feature)
        self._show(home, home[index].index)
        return {}

    def _serve_try(self, request: Request) -> dict[str, Any]:
        text = request.args.get("text")
        if not isinstance(text, str):
            raise ValueError(f"A text to try is a string, but {type(text).__name__} came.")
        if not text:
            with self._sync_lock:
                self._own = None
                self.publish(tried={})
            return {}
        with held_for(self._lm.lock, request):
            own = self._read(text, text, request)
        return {"seconds": own.seconds}

    def _serve_silent(self, request: Request) -> dict[str, Any]:
        words = request.args.get("words") or None
        if words is not None and not (isinstance(words, list) and all(isinstance(word, str) for word in words)):
            raise ValueError("The words to look for are a list of strings.")
        request.progress(done=0, of=None, seconds_left=None)
        began = time.monotonic()

        def tell(done: int, of: int) -> None:
            left = (time.monotonic() - began) / done * (of - done)
            request.progress(done=done, of=of, seconds_left=round(left, 1))

        self.silent_texts(words=words, on_progress=tell, stop=request.cancelled)
        return {}

    def _serve_effect(self, request: Request) -> dict[str, Any]:
        home, index = self._dictionary, self.index
        with held_for(self._lm.lock, request):
            found = measured_effect(self._lm, home[index])
        if request.cancelled.is_set():
            raise Cancelled
        self._effects[home[index].key] = found
        with self._sync_lock:
            if (self._dictionary, self.index) == (home, index):
                self.publish(content={**self.content, "effect": found})
        return {}

    def _serve_verdict(self, request: Request) -> dict[str, Any]:
        given = {name: request.args[name] for name in ("rating", "label", "note", "verdict") if name in request.args}
        if request.args.get("key") != self.key:
            raise ValueError("Another feature is shown by now, so the verdict was not kept; give it again.")
        if "rating" in given and given["rating"] is None:
            given["rating"] = "none"
        self.rate(given.pop("rating", None), **given)
        return {}

    def _verdicts(self) -> dict[str, str]:
        with tempfile.TemporaryDirectory(prefix="steerwidgets-") as folder:
            path = Path(folder) / "verdicts.json"
            self._dictionary.user_labels.export_json(path)
            return {"text": path.read_text(encoding="utf-8"), "filename": f"{self._dictionary.kind}-verdicts.json"}

    def _serve_steer(self) -> dict[str, Any]:
        _, said = self._steer()
        return {"said": said}

    # From features to traits

    def _find(self, feature: int | str | Feature) -> tuple[Dictionary, int]:
        first = getattr(self, "_dictionary", self._dictionaries[0])
        if isinstance(feature, Feature):
            feature = feature.key
        if isinstance(feature, str):
            fingerprint, slash, index = feature.rpartition("/")
            for each in self._dictionaries:
                if slash and index.isdecimal() and each.fingerprint == fingerprint:
                    return each, each[int(index)].index
            if slash and ":" in fingerprint and index.isdecimal():
                raise ValueError(f"The feature {feature!r} belongs to a dictionary that this card was not given.")
        return first, first[feature].index

    def _shown(self, home: Dictionary, index: int) -> dict[str, Any]:
        return {
            "feature": home[index].key if isinstance(self.feature, str) else index,
            "key": home[index].key,
            "content": self._content(home, index),
            "verdict": verdict_of(home, index),
            "facts": self._facts(home),
            "provenance": provenance_of(self._lm, home),
        }

    def _content(self, home: Dictionary, index: int) -> dict[str, Any]:
        found = card_content(self._lm, home, index)
        return found | {"effect": found["effect"] or self._effects.get(found["key"])}

    def _facts(self, home: Dictionary) -> dict[str, Any]:
        said = {"model": self._lm.name, "dictionary": home.kind, "site": str(home.site)}
        return {**said, "panel": self._panel is not None}

    def _show(self, home: Dictionary, index: int) -> None:
        made = self._shown(home, index)
        # Whoever observes one of them finds the others as they belong to it.
        with self._sync_lock, self.hold_sync(), self.hold_trait_notifications():
            text, stays = self._own, home is self._dictionary
            self._dictionary, self._own = home, text if stays else None
            tried = text.json(self._lm, home, index) if text is not None and stays else {}
            self.publish(tried=tried, silent={}, expanded=[], **made)
        if text is not None and not stays:
            # Another site: the text has to be read again, by nobody who waits.
            ids, shown = text.activations.token_ids, text.text
            self._worker.submit(lambda: self._read_again(ids, shown))

    def _follow(self, _change: Any) -> None:
        """Show what `feature` or `key` says, where that is not shown yet."""
        known = (self.content["key"], self.content["index"])
        wanted = next((each for each in (self.key, self.feature) if each not in known), None)
        if wanted is None:
            return
        if self.in_front_end_update:
            self._worker.submit(lambda: self.show(wanted))
        else:
            self.show(wanted)

    def _read(self, text: PromptLike, shown: str, request: Request | None = None) -> OwnText:
        """Read a text at the site of whatever feature is shown by the time that it is read."""
        while True:
            home, own = self._dictionary, self._own
            if own is None or own.text != shown:
                own = OwnText.of(self._lm, home, text, shown)
            if request is not None and request.cancelled.is_set():
                raise Cancelled
            with self._sync_lock:
                if home is self._dictionary:
                    self._own = own
                    self.publish(tried=own.json(self._lm, home, self.index))
                    return own

    def _read_again(self, ids: Sequence[int], shown: str) -> None:
        """Read the text in the box, unless it is another one by now."""
        if self.own_text == shown:
            self._read(ids, shown)

    def _exported(self) -> dict[str, str]:
        return {"html": self._page(), "filename": f"{self.title.replace(' ', '-')}-{self.index}.html"}

    def _page(self, features: Iterable[int | str] = ()) -> str:
        from steerwidgets.widgets.export import write_page

        homes = [self._find(feature) for feature in features]
        own = {"content": self.content, "verdict": self.verdict, "tried": self.tried}
        pages = [own, *(self._held_page(*each) for each in homes if each != (self._dictionary, self.index))]
        return write_page(self.title, self.bundle, {**self._state(), "pages": pages if homes else []})

    def _held_page(self, home: Dictionary, index: int) -> dict[str, Any]:
        tried = self._own.json(self._lm, home, index) if self._own is not None and home is self._dictionary else {}
        return {"content": self._content(home, index), "verdict": verdict_of(home, index), "tried": tried}

    # Checks of what is set

    @traitlets.validate("feature")
    def _check_feature(self, proposal: Mapping[str, Any]) -> Any:
        value = proposal["value"]
        by_key = isinstance(value, str)
        return self._checked(value, lambda home, index: home[index].key if by_key else index)

    @traitlets.validate("key")
    def _check_key(self, proposal: Mapping[str, Any]) -> str:
        return str(self._checked(proposal["value"], lambda home, index: home[index].key))

    def _checked(self, value: Any, form: Callable[[Dictionary, int], Any]) -> Any:
        """A feature's index or key in the form of its trait; "" stands for the feature that is shown."""
        if value == "":
            return form(self._dictionary, self.index)
        try:
            return form(*self._find(value))
        except (IndexError, KeyError, ValueError, TypeError) as error:
            raise traitlets.TraitError(described(error)["message"]) from None
