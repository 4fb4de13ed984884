"""LanguageModel: the front door. One short method for each verb, the work is done elsewhere."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from steerwidgets.dictionaries.activations import Activations, Fires, Rank, merged, strongest, within
from steerwidgets.dictionaries.base import Dictionary
from steerwidgets.generation.comparison import Comparison
from steerwidgets.generation.rows import Plan, Row, Step, generate_rows, stream_rows
from steerwidgets.generation.sampling import Sampling
from steerwidgets.label_checks.output_score import OutputScores, ScoreSettings
from steerwidgets.lens.attribution import Attribution, attribution
from steerwidgets.lens.layer_lens import LayerLens
from steerwidgets.lens.logit_lens import logit_lens
from steerwidgets.lens.promoting import Promoting, promoting
from steerwidgets.lens.top_logits import LogitDifference, TopLogits, logit_difference, top_logits
from steerwidgets.steering.hooks import Steering, check_fits, warn_of_other_model
from steerwidgets.steering.recipe import Direction, Feature, Recipe, Steer
from steerwidgets.steering.run_cache import RunCache
from steerwidgets.steering.strength import Readout, readouts, residuals_under
from steerwidgets.transformer.layout import Known
from steerwidgets.transformer.loaded import LoadedModel, checked_length
from steerwidgets.transformer.prompts import Prompt, PromptLike, template_settings
from steerwidgets.transformer.residuals import counted_tokens

if TYPE_CHECKING:
    import threading

    from torch import Tensor

    from steerwidgets.dictionaries.mfa.points import Points
    from steerwidgets.dictionaries.sae.sae import SAE
    from steerwidgets.transformer.sites import Site, Stream


class LanguageModel(LoadedModel):
    """A causal language model that is loaded already, with verbs to read and steer it.

    Args:
        model: a Hugging Face causal language model, of any dtype, quantised or sharded.
        tokenizer: its tokenizer.
        blocks: its transformer blocks, where they are not found by structure.
        base: the module that runs the blocks, likewise.
        final_norm: the norm before the unembed, likewise.
        unembed: the module that makes logits, likewise.

    Raises:
        UnknownArchitectureError: a part was not found; the message says what was looked for.
    """

    @classmethod
    def from_pretrained(cls, name: str, **settings: Any) -> LanguageModel:
        """Load model and tokenizer by name or path; settings go to `AutoModelForCausalLM.from_pretrained`."""
        from transformers import AutoModelForCausalLM, AutoTokenizer

        shared = {key: settings[key] for key in ("revision", "token", "cache_dir") if key in settings}
        tokenizer = AutoTokenizer.from_pretrained(name, **shared)
        lm = cls(AutoModelForCausalLM.from_pretrained(name, **settings).eval(), tokenizer)
        lm.source_code = f"sw.LanguageModel.from_pretrained({name!r})"
        return lm

    @classmethod
    def demo(cls) -> LanguageModel:
        """The embedded default, SmolLM2-135M-Instruct; the first call fetches and converts it.

        Raises:
            DemoModelUnavailable: it is neither in the cache nor to be had; the message says what to do.
        """
        from steerwidgets.demo.model import load_demo_model

        lm = cls(*load_demo_model())
        lm.source_code = "sw.LanguageModel.demo()"
        return lm

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

        return collect(self, texts, Site(layer, stream), **settings)

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
        positions = positions if positions is None or isinstance(positions, range) else tuple(positions)
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
        return promoting(self, dictionary, token, k, suppress=suppress)

    @functools.cached_property
    def measured_scores(self) -> OutputScores:
        """The output scores that were measured of this model so far."""
        return OutputScores(self)

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
        return top_logits(self, direction, k)

    def logit_difference(
        self,
        prompt: PromptLike,
        recipe: Recipe | Steer | Iterable[Steer],
        k: int = 10,
        *,
        chat: bool | None = None,
    ) -> LogitDifference:
        """What a recipe does to the logits of the token after a prompt."""
        return logit_difference(self, self.encode(prompt, chat=chat), Recipe.of(recipe), k)

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
        known = self.known([encoded])
        known = known if prompt_length is None else replace(known, prompt_length=checked_length(prompt_length))
        return logit_lens(self, encoded, Recipe.of(recipe), known, **settings)

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
        known, steers = self.known([encoded]), Recipe.of(recipe)
        settings: dict[str, Any] = {"position": position, "recipe": steers, "dictionary": dictionary}
        return attribution(self, encoded, token, minus, known, **settings)

    @contextmanager
    def steer(
        self, recipe: Recipe | Steer | Iterable[Steer] | None, *, prompt_length: int | Sequence[int] | None = None
    ) -> Iterator[Steering]:
        """Steer any code of yours: `with lm.steer(recipe): model.generate(…)`.

        The recipe acts on every row, in this thread only, and leaves the model as it was whatever happens.

        Args:
            recipe: what to change.
            prompt_length: the tokens of the prompt without padding, for positions `prompt`, `generated` and
                `last_prompt`: one number for all rows of a batch, or one for each.

        Raises:
            ValueError: the recipe does not fit the model, or needs the prompt's length, or that is no length.
            CompiledModelError: the model is compiled.
        """
        known = Known(self.special_ids, checked_length(prompt_length))
        with self.lock, Steering(self.architecture, Recipe.of(recipe), known) as steering:
            yield steering

    def compare(
        self,
        prompt: PromptLike,
        recipe: Recipe | Steer | Iterable[Steer] | None,
        *,
        chat: bool | None = None,
        watch: Sequence[Direction] = (),
        on_step: Callable[[Step], None] | None = None,
        stop: threading.Event | None = None,
        keep_cache: bool = False,
        **settings: Any,
    ) -> Comparison:
        """Baseline and steered text, as two rows of one batch with shared noise.

        Args:
            prompt: a string, messages, or token ids.
            recipe: what steers the second row.
            chat: whether a string goes through the chat template; by default where the tokenizer has one.
            watch: features to read at every generated token, before any change.
            on_step: called with every step, in this thread.
            stop: set it to end the run within one token.
            keep_cache: keep keys and values (up to 256 MB), so that `.lens(step)` need not read the text again.
            settings: `temperature`, `top_p`, `top_k`, `frequency_penalty`, `penalise_prompt`, `max_new_tokens`, `seed`;
                and what the tokenizer's chat template knows, such as `enable_thinking`.

        Raises:
            ValueError: a setting is out of range, or the recipe does not fit the model.
        """
        sampling, template = self._split(settings)
        encoded = self.encode(prompt, chat=chat, **template)
        steers = Recipe.of(recipe)
        plans = [Plan(encoded, Recipe()), Plan(encoded, steers)]
        cache = RunCache(self) if keep_cache else None
        rows = generate_rows(self, plans, sampling, watch=watch, on_step=on_step, stop=stop, keep=cache)
        return Comparison(self, encoded, steers, sampling, rows, cache)

    def stream(
        self,
        prompt: PromptLike,
        recipe: Recipe | Steer | Iterable[Steer] | None,
        *,
        chat: bool | None = None,
        watch: Sequence[Direction] = (),
        **settings: Any,
    ) -> Iterator[Step]:
        """The steps of `compare` one by one, row 0 baseline and row 1 steered; leaving the loop stops the run."""
        sampling, template = self._split(settings)
        encoded = self.encode(prompt, chat=chat, **template)
        plans = [Plan(encoded, Recipe()), Plan(encoded, Recipe.of(recipe))]
        # The run itself lives in a thread, whose warnings name no line of the user's.
        for feature in (*watch, *(steer.feature for steer in plans[1].recipe)):
            warn_of_other_model(self.architecture, feature)
        return stream_rows(self, plans, sampling, watch=watch)

    def sweep(
        self,
        prompt: PromptLike,
        recipes: Sequence[Recipe | Steer | None],
        *,
        chat: bool | None = None,
        watch: Sequence[Direction] = (),
        stop: threading.Event | None = None,
        **settings: Any,
    ) -> list[Row]:
        """One row for each recipe, all in one batch with shared noise; None is the baseline.

        Raises:
            ValueError: there is no recipe, or one does not fit the model, or a setting is out of range.
        """
        if not recipes:
            raise ValueError(
                "A sweep needs at least one recipe; give a list such as [feature.add(20), feature.add(40)]."
            )
        sampling, template = self._split(settings)
        encoded = self.encode(prompt, chat=chat, **template)
        plans = [Plan(encoded, Recipe.of(recipe)) for recipe in recipes]
        return generate_rows(self, plans, sampling, watch=watch, stop=stop)

    def measure(
        self, prompt: PromptLike, recipe: Recipe | Steer | Iterable[Steer], *, chat: bool | None = None
    ) -> list[Readout]:
        """How strong each steer is on a prompt: median ‖change‖/‖h‖, and values asked and reached."""
        encoded = self.encode(prompt, chat=chat)
        steers = Recipe.of(recipe)
        check_fits(self.architecture, steers, Known(prompt_length=len(encoded)))
        return readouts(steers, residuals_under(self, encoded, steers), encoded) if len(steers) else []

    def _split(self, settings: Mapping[str, Any]) -> tuple[Sampling, dict[str, Any]]:
        """How to sample, and the settings of the chat template's own."""
        known = template_settings(self.tokenizer) - {field.name for field in fields(Sampling)}
        template = {name: value for name, value in settings.items() if name in known}
        return Sampling.of({name: value for name, value in settings.items() if name not in known}), template

    def _residual_of(self, prompt: PromptLike, site: Site, *, chat: bool) -> tuple[Prompt, Tensor, Tensor]:
        encoded = self.encode(prompt, chat=chat)
        residuals = self.residuals(encoded, [site])
        return encoded, residuals.values[site][0], counted_tokens(residuals, site, encoded)


def _index(dictionary: Dictionary, feature: int | str | Feature) -> int:
    return feature.index if isinstance(feature, Feature) else dictionary[feature].index
