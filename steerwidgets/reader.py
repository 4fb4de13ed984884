"""The verbs that read: activations, features that fire, what is promoted, the logit lens. Each is short."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from steerwidgets.dictionaries.activations import Activations, Fires, Rank, merged, strongest, within
from steerwidgets.dictionaries.base import Dictionary
from steerwidgets.label_checks.output_score import ScoreSettings
from steerwidgets.lens.attribution import Attribution, attribution
from steerwidgets.lens.layer_lens import LayerLens
from steerwidgets.lens.logit_lens import logit_lens
from steerwidgets.lens.promoting import Promoting, promoting
from steerwidgets.lens.top_logits import LogitDifference, TopLogits, logit_difference, top_logits
from steerwidgets.steer import Direction, Feature, Steer
from steerwidgets.steering.hooks import warn_of_other_model
from steerwidgets.steering.recipe import Recipe
from steerwidgets.transformer.loaded import LoadedModel, checked_length
from steerwidgets.transformer.prompts import Prompt, PromptLike
from steerwidgets.transformer.residuals import counted_tokens

if TYPE_CHECKING:
    import threading

    from torch import Tensor

    from steerwidgets.dictionaries.mfa.points import Points
    from steerwidgets.dictionaries.sae.sae import SAE
    from steerwidgets.transformer.sites import Site, Stream


class Reader(LoadedModel):
    """What can be read of a model and its dictionaries; nothing is steered but where a recipe is given."""

    def points(self, texts: Iterable[Any], *, layer: int, stream: Stream = "resid_post", **settings: Any) -> Points:
        """The residuals of many texts, one row for each token of their own words: what `MFA.fit` describes.

        Padding, special and template tokens and attention sinks are left out.

        Args:
            texts: strings (read raw), messages or token ids; an iterator is read no further than needed.
            layer: the block, counted from 0.
            stream: the stream of that block.
            settings: `bos`, `max_tokens`, `max_length`, `cache`, `on_progress`, `stop`, as for
                `training.mfa_corpus.collect`.

        Raises:
            ValueError: no text has a token of its own words, or a setting is out of range.
        """
        from steerwidgets.dictionaries.mfa.collect import collect
        from steerwidgets.transformer.sites import Site

        return collect(self.engine, texts, Site(layer, stream), **settings)

    def read(
        self,
        prompt: PromptLike,
        dictionary: Dictionary,
        features: Sequence[int | str | Feature] | None = None,
        *,
        chat: bool = False,
    ) -> Activations:
        """Activations of some features at every token of a text; a string is read raw unless `chat`.

        Args:
            prompt: a string, messages, or token ids.
            dictionary: whose features.
            features: indices, labels or features; by default all of them.
            chat: whether a string goes through the chat template.
        """
        warn_of_other_model(self.architecture, dictionary)
        encoded, residual, mask = self._residual_of(prompt, dictionary.site, chat=chat)
        wanted = range(dictionary.size) if features is None else [_index(dictionary, each) for each in features]
        values = dictionary.encode(residual) if features is None else dictionary.activations(residual, wanted)
        tokens = tuple(self.tokens(encoded.token_ids))
        return Activations(encoded.token_ids, tokens, mask, dictionary, tuple(wanted), values, residual)

    def search(
        self,
        prompt: PromptLike,
        dictionaries: Dictionary | Sequence[Dictionary],
        k: int = 20,
        *,
        chat: bool = False,
        max_density: float | None = None,
        rank: Rank = "maximum",
        positions: Iterable[int] | None = None,
        normalise: bool = False,
    ) -> Fires:
        """The features that fire most on a text, `k` of each dictionary; a string is read raw unless `chat`.

        Args:
            prompt: a string, messages, or token ids.
            dictionaries: one or several, at any sites; the model runs once.
            k: how many of each.
            chat: whether a string goes through the chat template.
            max_density: leave out features that fire on a larger share of their dictionary's corpus, such as 0.05:
                features that fire nearly everywhere say little about a text.
            rank: by each feature's largest activation, or by its `mean` over the tokens that count.
            positions: where to look; by default at every token that counts.
            normalise: divide by the feature's 99.5th percentile over the corpus of its dictionary's statistics, or by
                its maximum where only that is known; features of which neither is are left out.

        Raises:
            ValueError: a density or a scale is asked for, and a dictionary has no statistics; a position is not in
                the text, or none of them counts; there is no such rank.
        """
        several = [dictionaries] if isinstance(dictionaries, Dictionary) else list(dictionaries)
        for dictionary in several:
            warn_of_other_model(self.architecture, dictionary)
        positions = None if positions is None else tuple(positions)
        encoded = self.encode(prompt, chat=chat)
        residuals = self.residuals(encoded, sorted({dictionary.site for dictionary in several}))
        tokens = self.tokens(encoded.token_ids)
        found = []
        for dictionary in several:
            h, mask = residuals.values[dictionary.site][0], counted_tokens(residuals, dictionary.site, encoded)
            mask = mask if positions is None else within(mask, positions)
            found.append(strongest(dictionary, h, mask, tokens, k, max_density, rank, normalise=normalise))
        return merged(found)

    def promoting(self, dictionary: Dictionary, token: str | int, k: int = 20, *, suppress: bool = False) -> Promoting:
        """The features that promote, or suppress, a token most: `(g ⊙ W_U[token])·v` of every feature's direction.

        Args:
            dictionary: where to look.
            token: its exact text, spaces included, or its id.
            k: how many features.
            suppress: whether those that suppress it are looked for.

        Raises:
            ValueError: the text is no single token, the id is outside the vocabulary, or the dictionary's features
                write nothing to the residual stream.
        """
        warn_of_other_model(self.architecture, dictionary)
        return promoting(self.engine, dictionary, token, k, suppress=suppress)

    def output_scores(
        self,
        features: Sequence[Direction],
        *,
        on_progress: Callable[[int, int], None] | None = None,
        stop: threading.Event | None = None,
        **settings: Any,
    ) -> list[float]:
        """How well each feature steers: whether intervening on it brings up the tokens that it promotes.

        `(1 − r/|V|) · p` of the token after a neutral prompt, with `r` the best rank (0 for the likeliest) and `p` the
        largest probability, after the intervention, of the 20 tokens that `top_logits` says the feature promotes. The
        intervention raises an SAE's feature at the prompt's last token by 10 times the largest activation of any
        feature there: `h + 10·maxⱼ aⱼ(h)·s·W_dec[i]` (Arad, Mueller, Belinkov 2025, arXiv 2505.20063). Kinds without
        activations of that sort are added with 2.5 times ‖h‖. Scores are kept: asked again, they cost nothing.

        Args:
            features: features of any dictionaries, and directions.
            on_progress: called with how many are done, and of how many.
            stop: set it to end early; what was not measured by then is NaN.
            settings: `prompts`, `strength` (instead of the above, a multiple of the stored vector), `amplify`, `share`,
                `top`, as for `output_score.ScoreSettings`.

        Raises:
            ValueError: a setting is out of range, or a feature does not fit the model or can't be added.
        """
        return self.measured_scores.measure(features, ScoreSettings(**settings), on_progress, stop)

    def top_logits(self, direction: Direction, k: int = 10) -> TopLogits:
        """The tokens that a direction promotes and suppresses through the final norm's gain and the unembed."""
        warn_of_other_model(self.architecture, direction)
        return top_logits(self.engine, direction, k)

    def logit_difference(
        self,
        prompt: PromptLike,
        recipe: Recipe | Steer | Iterable[Steer],
        k: int = 10,
        *,
        chat: bool | None = None,
    ) -> LogitDifference:
        """What a recipe does to the logits of the token after a prompt."""
        return logit_difference(self.engine, self.encode(prompt, chat=chat), Recipe.of(recipe), k)

    def logit_lens(
        self,
        prompt: PromptLike,
        recipe: Recipe | Steer | Iterable[Steer] | None = None,
        *,
        chat: bool = False,
        prompt_length: int | None = None,
        **settings: Any,
    ) -> LayerLens:
        """What each layer would say next if it were the last; with a recipe, steered beside baseline.

        Args:
            prompt: a string (read raw unless `chat`), messages, or token ids.
            recipe: what steers; the lens is then the steered one, with `.baseline` and `.difference`.
            chat: whether a string goes through the chat template.
            prompt_length: where the text is prompt and answer: the prompt's tokens, for positions such as `generated`.
            settings: `k`, `stream`, `layers`, `positions`, `track`, `on_progress`, as for `logit_lens.logit_lens`.
        """
        encoded = self.encode(prompt, chat=chat)
        known = self.engine.known([encoded])
        known = known if prompt_length is None else replace(known, prompt_length=checked_length(prompt_length))
        return logit_lens(self.engine, encoded, Recipe.of(recipe), known, **settings)

    def attribution(
        self,
        prompt: PromptLike,
        token: int | str,
        minus: int | str | None = None,
        *,
        position: int = -1,
        recipe: Recipe | Steer | Iterable[Steer] | None = None,
        dictionary: SAE | None = None,
        chat: bool = False,
    ) -> Attribution:
        """How much each part of the residual stream adds to the next token's logit, or to the difference of two."""
        encoded = self.encode(prompt, chat=chat)
        known, steers = self.engine.known([encoded]), Recipe.of(recipe)
        settings: dict[str, Any] = {"position": position, "recipe": steers, "dictionary": dictionary}
        return attribution(self.engine, encoded, token, minus, known, **settings)

    def _residual_of(self, prompt: PromptLike, site: Site, *, chat: bool) -> tuple[Prompt, Tensor, Tensor]:
        encoded = self.encode(prompt, chat=chat)
        residuals = self.residuals(encoded, [site])
        return encoded, residuals.values[site][0], counted_tokens(residuals, site, encoded)


def _index(dictionary: Dictionary, feature: int | str | Feature) -> int:
    return feature.index if isinstance(feature, Feature) else dictionary[feature].index
