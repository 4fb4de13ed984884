"""LanguageModel: the front door. One short method for each verb, the work is done elsewhere."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from numbers import Number
from typing import TYPE_CHECKING, Any, Final, Unpack, cast

from steerwidgets.calls import tells_calls
from steerwidgets.concepts.examples import Examples
from steerwidgets.concepts.training import ConceptSettings, ConceptTraining, TableSettings
from steerwidgets.dictionaries.activations import Activations, Fires, Rank, merged, strongest, within
from steerwidgets.dictionaries.base import Dictionary, checked_dictionaries, checked_dictionary
from steerwidgets.dose.by_block import BlockRun
from steerwidgets.dose.run import DoseRun
from steerwidgets.dose.table import ConditionTable, condition_table
from steerwidgets.generation.comparison import Comparison
from steerwidgets.generation.conditions import Asked, Condition, plan, plans
from steerwidgets.generation.contrast import OWN as CONTRAST_OWN
from steerwidgets.generation.contrast import Contrast, contrast
from steerwidgets.generation.rows import Plan, Row, Step, generate_rows, stream_rows
from steerwidgets.generation.sampling import Sampling
from steerwidgets.label_checks.output_score import OutputScores, ScoreSettings
from steerwidgets.lens import dictionary_check, model_check
from steerwidgets.lens.attribution import Attribution, attribution
from steerwidgets.lens.effect import NEUTRAL, Effect, effect
from steerwidgets.lens.layer_lens import LayerLens
from steerwidgets.lens.logit_lens import logit_lens
from steerwidgets.lens.patch_run import patch
from steerwidgets.lens.patching import Patching
from steerwidgets.lens.promoting import Promoting, promoting
from steerwidgets.lens.top_logits import LogitDifference, TopLogits, logit_difference, top_logits
from steerwidgets.steering.hooks import Steering, check_fits, warn_of_other_model
from steerwidgets.steering.recipe import (
    Direction,
    Feature,
    Recipe,
    Steer,
    checked_direction,
    checked_directions,
)
from steerwidgets.steering.run_cache import RunCache
from steerwidgets.steering.strength import Readout, readouts, residuals_under
from steerwidgets.transformer.layout import Known
from steerwidgets.transformer.loaded import LoadedModel, checked_length
from steerwidgets.transformer.mistakes import one_or_several, refuse_unknown, wrong
from steerwidgets.transformer.prompts import Prompt, PromptLike, several_prompts, template_settings
from steerwidgets.transformer.residuals import counted_tokens

if TYPE_CHECKING:
    import threading

    from torch import Tensor

    from steerwidgets.concepts.concept import Concept
    from steerwidgets.dictionaries.mfa.collect import CollectSettings
    from steerwidgets.dictionaries.mfa.points import Points
    from steerwidgets.dose.by_block import BlockTable
    from steerwidgets.dose.judges import Judge
    from steerwidgets.dose.result import DoseResult
    from steerwidgets.dose.run import DoseSettings
    from steerwidgets.dose.run import Op as DoseOp
    from steerwidgets.generation.contrast import ContrastSettings
    from steerwidgets.generation.sampling import SamplingSettings
    from steerwidgets.label_checks.output_score import ScoreOptions
    from steerwidgets.lens.attribution import AddsUp
    from steerwidgets.lens.dictionary_check import DictionaryCheck
    from steerwidgets.lens.logit_lens import LensSettings
    from steerwidgets.lens.model_check import Verification
    from steerwidgets.lens.patching import PatchSettings
    from steerwidgets.transformer.sites import Site, Stream


@tells_calls("sw.LanguageModel", "lm")
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

    Example:
        >>> lm = sw.LanguageModel(lm.model, lm.tokenizer)  # what you loaded with transformers
        >>> lm
        <LanguageModel LlamaForCausalLM: 4 blocks of 32 on cpu>
    """

    @classmethod
    def from_pretrained(cls, name: str, **settings: Any) -> LanguageModel:
        """Load model and tokenizer by name or path.

        Args:
            name: of a repository on Hugging Face's hub, or a folder.
            settings: go to `AutoModelForCausalLM.from_pretrained` as they are, such as `dtype`, `device_map`,
                `quantization_config`; they are transformers' own, so they are not listed here.

        Returns:
            The model in eval mode.

        Raises:
            OSError: there is no such model, or it can't be fetched.
            UnknownArchitectureError: a part of the model was not found; the message says what was looked for.

        Example:
            >>> lm = sw.LanguageModel.from_pretrained("google/gemma-2-2b-it", device_map="auto")  # doctest: +SKIP
        """
        from transformers import AutoModelForCausalLM, AutoTokenizer

        shared = {key: settings[key] for key in ("revision", "token", "cache_dir") if key in settings}
        tokenizer = AutoTokenizer.from_pretrained(name, **shared)
        lm = cls(AutoModelForCausalLM.from_pretrained(name, **settings).eval(), tokenizer)
        lm.source_code = f"sw.LanguageModel.from_pretrained({name!r})"
        return lm

    @classmethod
    def demo(cls) -> LanguageModel:
        """The embedded default, SmolLM2-135M-Instruct; the first call fetches and converts it.

        Returns:
            The model on the first CUDA device, else on the CPU in float32.

        Raises:
            DemoModelUnavailable: it is neither in the cache nor to be had; the message says what to do.

        Example:
            >>> lm = sw.LanguageModel.demo()
            >>> lm.architecture.layers, lm.architecture.d_model
            (30, 576)
        """
        from steerwidgets.demo.model import load_demo_model

        lm = cls(*load_demo_model())
        lm.source_code = "sw.LanguageModel.demo()"
        return lm

    def points(
        self,
        texts: Iterable[Any],
        *,
        layer: int,
        stream: Stream = "resid_post",
        **settings: Unpack[CollectSettings],
    ) -> Points:
        """The residuals of many texts, one row for each token of their own words: what `MFA.fit` describes.

        Padding, special and template tokens and attention sinks are left out.

        Args:
            texts: strings (read raw), messages or token ids; an iterator is read no further than needed.
            layer: the block, counted from 0.
            stream: the stream of that block.
            settings: `bos`, `keep_sinks`, `max_tokens`, `max_length`, `cache`, `on_progress`, `stop`, as
                `CollectSettings` explains them.

        Returns:
            `.residuals`, float32 [n, d_model], with their texts and positions.

        Raises:
            ValueError: no text has a token of its own words, or a setting is out of range.
            TypeError: one text was given in place of several, or there is no such setting.

        Example:
            >>> points = lm.points(["The user asks the assistant about the ocean."], layer=1)
            >>> points.residuals.shape == (len(points), 32)
            True
        """
        from steerwidgets.dictionaries.mfa.collect import CollectSettings, collect
        from steerwidgets.transformer.sites import Site

        refuse_unknown("lm.points", settings, CollectSettings.__annotations__)
        return collect(self, [texts] if isinstance(texts, str) else texts, Site(layer, stream), **settings)

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

        Returns:
            `.values`, float32 [position, feature], in units of the dictionary, one row for every token; `.mask` says
            which count.

        Raises:
            ValueError: the prompt is empty, or the dictionary does not fit the model.
            IndexError: there is no such index.
            KeyError: no feature, or more than one, has that label.

        Example:
            >>> acts = lm.read("The answer", cavs, ["music"])
            >>> [token.text for token in acts.tokens], acts.values.shape
            (['The', ' answer'], torch.Size([2, 1]))
        """
        checked_dictionary(dictionary, "lm.read", "prompt, ", ", features=[feature]")
        warn_of_other_model(self.architecture, dictionary)
        encoded, residual, mask = self._residual_of(prompt, dictionary.site, chat=chat)
        several = None if features is None else one_or_several(features, _is_feature)
        wanted = range(dictionary.size) if several is None else [_index(dictionary, each) for each in several]
        values = dictionary.encode(residual) if several is None else dictionary.activations(residual, wanted)
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

        Returns:
            `.features`, `.values` in the dictionary's units or as shares, and `.positions` and `.tokens` of the largest
            ones.

        Raises:
            ValueError: a density or a scale is asked for, and a dictionary has no statistics; a position is not in
                the text, or none of them counts; there is no such rank.

        Example:
            >>> fires = lm.search("The user asks the assistant", [sae, cavs], k=2)
            >>> [feature.kind for feature in fires.features]
            ['SAE', 'SAE', 'CAV', 'CAV']
        """
        several = checked_dictionaries(dictionaries, "lm.search", "prompt, ")
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

        Returns:
            `.features` and their `.values`, logits up to the final norm's division.

        Raises:
            ValueError: the text is no single token, the id is outside the vocabulary, or the dictionary's features
                write nothing to the residual stream.

        Example:
            >>> found = lm.promoting(cavs, " the", k=2)
            >>> len(found.features), found.token.text
            (2, ' the')
        """
        first, second = cast("tuple[Any, Any]", (dictionary, token))
        if isinstance(first, str) and isinstance(second, Dictionary):
            dictionary, token = second, first
        checked_dictionary(dictionary, "lm.promoting", after=", ' sea'")
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
        **settings: Unpack[ScoreOptions],
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
                `top`, as `ScoreOptions` explains them.

        Returns:
            One score for each feature, 0 to 1.

        Raises:
            ValueError: a setting is out of range, or a feature does not fit the model or can't be added.
            TypeError: there is no such setting.

        Example:
            >>> scores = lm.output_scores([sae["the sea"], cavs["music"]])
            >>> all(0 <= score <= 1 for score in scores)
            True
        """
        features = checked_directions(features, "lm.output_scores", "[feature]")
        given: dict[str, Any] = {**settings}
        return self.measured_scores.measure(features, ScoreSettings(**given), on_progress, stop)

    def top_logits(self, direction: Direction, k: int = 10) -> TopLogits:
        """The tokens that a direction promotes and suppresses along the direct path: final norm's gain, then unembed.

        As if no block came between; the result says where that is weak, its largest score about what random directions
        of the same length reach. `lm.effect` gives what a feature promotes through the model.

        `W_U (g ⊙ v)` with the final norm's gain `g`, and `v` centred first where the norm is a LayerNorm: what the
        direction adds if it reaches the end of the residual stream as it is. The norm's division is left out, so values
        rank tokens, and are not logits.

        Args:
            direction: a direction or feature; its stored vector counts.
            k: how many tokens of either kind.

        Returns:
            `.promoted` and `.suppressed`: pairs of a token and its value, the strongest first.

        Raises:
            ValueError: the direction has another width than its stream, or writes nothing to the residual stream.

        Example:
            >>> top = lm.top_logits(cavs["music"], k=3)
            >>> len(top.promoted), len(top.suppressed)
            (3, 3)
        """
        warn_of_other_model(self.architecture, checked_direction(direction, "lm.top_logits"))
        return top_logits(self, direction, k)

    def effect(
        self,
        feature: Direction,
        prompts: PromptLike | Sequence[PromptLike] | None = None,
        k: int = 10,
        *,
        steer: Steer | None = None,
        chat: bool = False,
        least: float = 0.001,
    ) -> Effect:
        """The tokens that steering with a feature promotes and suppresses through the model: mean Δ logits.

        The token after each prompt is read steered and unsteered. Without `steer` the feature acts everywhere with its
        suggested strength, or else with its kind's default; the result says which.

        Args:
            feature: a feature or direction.
            prompts: one or several; by default six neutral beginnings, `effect.NEUTRAL`.
            k: how many tokens of either kind.
            steer: what to steer with instead, such as `feature.add(40)`.
            chat: whether a string goes through the chat template.
            least: leave out tokens that have less than this probability after every prompt, steered or not: most of the
                largest differences are of tokens that hardly ever get probable. 0 leaves out none.

        Returns:
            `.promoted` and `.suppressed`: pairs of a token and its mean difference in logits, the strongest first; and
            what it was steered with.

        Raises:
            ValueError: there is no prompt, or the feature can't be steered or does not fit the model.

        Example:
            >>> effect = lm.effect(cavs["music"], "Name a city.", k=3)
            >>> len(effect.promoted), len(effect.suppressed)
            (3, 3)
        """
        checked_direction(feature, "lm.effect")
        given = several_prompts(prompts) if prompts is not None else NEUTRAL
        return effect(self, feature, given, k, steer, chat=chat, least=least)

    def logit_difference(
        self,
        prompt: PromptLike,
        recipe: Recipe | Steer | Iterable[Steer],
        k: int = 10,
        *,
        chat: bool | None = None,
        least: float = 0.0,
    ) -> LogitDifference:
        """What a recipe does to the logits of the token after a prompt: steered minus unsteered, in one batch.

        Args:
            prompt: a string, messages, or token ids.
            recipe: what steers.
            k: how many tokens of each kind.
            chat: whether a string goes through the chat template; by default where the tokenizer has one.
            least: leave out tokens that have less than this probability both before and after, such as 0.001: most of
                those that change most are never said.

        Returns:
            `.raw` and `.centred`, float32 [vocabulary] logits, the tokens that change most, and `.probabilities`,
            float32 [2, vocabulary], before and after.

        Raises:
            ValueError: the prompt is empty, or the recipe does not fit the model.

        Example:
            >>> difference = lm.logit_difference("Name a city.", cavs["music"].add(4), k=3)
            >>> difference.raw.shape, len(difference.promoted)
            (torch.Size([320]), 3)
        """
        return logit_difference(self, self.encode(prompt, chat=chat), Recipe.of(recipe), k, least)

    def logit_lens(
        self,
        prompt: PromptLike,
        recipe: Recipe | Steer | Iterable[Steer] | None = None,
        *,
        chat: bool = False,
        prompt_length: int | None = None,
        **settings: Unpack[LensSettings],
    ) -> LayerLens:
        """What each layer would say next if it were the last; with a recipe, steered beside baseline.

        The logit lens of nostalgebraist (2020): the model's own final norm, unembed and soft cap on every layer's
        stream.

        Args:
            prompt: a string (read raw unless `chat`), messages, or token ids.
            recipe: what steers; the lens is then the steered one, with `.baseline` and `.difference`.
            chat: whether a string goes through the chat template.
            prompt_length: where the text is prompt and answer: the prompt's tokens, for positions such as `generated`.
            settings: `k`, `stream`, `layers`, `positions`, `track`, `on_progress`, `lens`, as `LensSettings` explains
                them; `lens` reads by a tuned lens or a Jacobian lens instead.

        Returns:
            The lens: `.token_ids` and `.log_probs` [layer, position, k], `.entropy` and `.kl` [layer, position] in
            nats.

        Raises:
            ValueError: a setting is out of range, or the recipe or the lens does not fit the model.
            CompiledModelError: the model is compiled.
            TypeError: there is no such setting.
            FileNotFoundError: there is no lens at the path given.

        Example:
            >>> lens = lm.logit_lens("The answer", k=3, track=[" the"])
            >>> lens.log_probs.shape  # 4 blocks, 2 tokens
            torch.Size([4, 2, 3])
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
        dictionary: AddsUp | None = None,
        chat: bool = False,
    ) -> Attribution:
        """How much each part of the residual stream adds to the next token's logit, or to the difference of two.

        Direct logit attribution (the direct paths of Elhage et al. 2021), with the final norm's scale held still.

        Args:
            prompt: a string (read raw unless `chat`), messages, or token ids.
            token: whose logit: an id, or a string that the tokenizer makes one token of.
            minus: a token whose logit is taken off, likewise.
            position: which position's next token; the last by default.
            recipe: what steers; each change that it makes is a row of its own.
            dictionary: an SAE of the residual stream or of a sublayer's output; its active features, its bias and its
                error take the place of what its site holds.
            chat: whether a string goes through the chat template.

        Returns:
            `.rows`, contributions in logits before a soft cap, which add up to `.logit`.

        Raises:
            ValueError: a token or the position does not exist, the SAE reads another stream, or the final norm is of a
                kind that does not become linear.

        Example:
            >>> found = lm.attribution("The answer", " the", minus=" a")
            >>> abs(found.total - found.logit) < 1e-3
            True
        """
        self.architecture.refuse_without_weights("lm.attribution")
        encoded = self.encode(prompt, chat=chat)
        known, steers = self.known([encoded]), Recipe.of(recipe)
        if dictionary is not None:
            checked_dictionary(dictionary, "lm.attribution", "prompt, token, dictionary=")
        settings: dict[str, Any] = {"position": position, "recipe": steers, "dictionary": dictionary}
        return attribution(self, encoded, token, minus, known, **settings)

    def check(
        self,
        dictionary: Dictionary,
        texts: PromptLike | Sequence[PromptLike],
        *,
        chat: bool = False,
        on_progress: Callable[[int, int], None] | None = None,
        stop: threading.Event | None = None,
    ) -> DictionaryCheck:
        """Does this dictionary fit this model, and at which site: variance unexplained, L0, loss recovered.

        Read are at most 2,048 tokens at the dictionary's own site, and 256 at every other one that is as wide; first
        tokens and massive activations are left out. FVU is `Σ‖h − ĥ‖² / Σ‖h − mean‖²`; loss recovered is
        `(ablated − spliced) / (ablated − clean)`, with the mean in place of the residual (SAEBench).

        Args:
            dictionary: an SAE or an MFA.
            texts: some sentences of the sort that it was made from.
            chat: whether strings go through the chat template.
            on_progress: called with the steps done and all of them; what it raises ends the work.
            stop: set it to end early, with what was read by then.

        Returns:
            `.fvu` by site, `.l0`, `.dead`, `.losses`, and `.said`, the verdict in a sentence.

        Raises:
            ValueError: it reconstructs nothing, has another width than its site, or too little text was given.

        Example:
            >>> found = lm.check(sae, ["The user asks the assistant about the ocean and the sea."])
            >>> found.fits  # a dictionary of random numbers
            False
        """
        checked_dictionary(dictionary, "lm.check", after=", texts")
        self.architecture.refuse_without_weights("lm.check")
        prompts = [self.encode(text, chat=chat) for text in several_prompts(texts)]
        return dictionary_check.check(self, dictionary, prompts, on_progress, stop)

    def verify(self, prompt: PromptLike | None = None) -> Verification:
        """Is the model with hooks on the model that it was: a text read plainly, and read our way.

        Hooks that change nothing are put on every stream of every block; the same with a key-value cache and in a batch
        that is padded on the left, in the dtype in use. The last residual goes through final norm and unembed as the
        lens does it.

        Args:
            prompt: a short text; a neutral one by default.

        Returns:
            What was compared, each with the largest difference of two logits; `.holds` says whether all is well.

        Raises:
            ValueError: the model is in training mode.
            CompiledModelError: the model is compiled.

        Example:
            >>> lm.verify().holds
            True
        """
        self.architecture.refuse_without_weights("lm.verify")
        return model_check.verify(self, self.encode(_NEUTRAL if prompt is None else prompt, chat=False))

    def patch(
        self, source: PromptLike, target: PromptLike, *, chat: bool = False, **settings: Unpack[PatchSettings]
    ) -> Patching:
        """Put residuals of one text into another, one block and token at a time: which of them carry the answer.

        Activation patching (Meng et al. 2022, "Locating and Editing Factual Associations"; Wang et al. 2022), with the
        share of the metric's difference that each patch brings over: (metric(patched) − metric(target)) ÷
        (metric(source) − metric(target)).

        Args:
            source: the text whose residuals are taken: a string (read raw unless `chat`), messages, or token ids.
            target: the text that they are put into.
            chat: whether strings go through the chat template.
            settings: `tokens`, `metric`, `stream`, `layers`, `positions`, `align`, `noise`, `on_progress`, `stop`, as
                `PatchSettings` explains them.

        Returns:
            `.share` [layer, position], or [layer, head] for the stream `attn_z`; `.recipe(layer, position)` is a cell's
            patch, to generate with.

        Raises:
            ValueError: a setting is out of range, or both texts are answered alike.
            TypeError: there is no such setting.

        Example:
            >>> grid = lm.patch("The user asks", "The model asks", metric="kl")
            >>> grid.share.shape == (4, len(grid.positions))
            True
        """
        self.architecture.refuse_without_weights("lm.patch")
        return patch(self, self.encode(source, chat=chat), self.encode(target, chat=chat), settings)

    def contrast(
        self,
        system_a: str,
        system_b: str,
        questions: Sequence[str],
        *,
        on_progress: Callable[[int, int], None] | None = None,
        stop: threading.Event | None = None,
        **settings: Unpack[ContrastSettings],
    ) -> Contrast:
        """Answers that the model writes itself under two system prompts, for `CAV.fit` and `lm.concept`.

        Persona vectors (Chen et al. 2025, arXiv 2507.21509): the difference of the means over the tokens of the
        answers. Both answers to a question are rows of one batch with the same noise. Without a chat template the
        system prompt and the question stand before the answer as plain text; `.told` says so.

        Args:
            system_a: the system prompt that asks for what the concept is.
            system_b: one that asks for its opposite, or for nothing of the sort.
            questions: what is answered under both.
            on_progress: called with the answers that are written, and of how many.
            stop: set it to end within one token; pairs that are whole by then are kept.
            settings: `names`, `per_question`, `batch_size` and those of sampling, as `ContrastSettings` explains them,
                and the chat template's own.

        Returns:
            `.texts` and `.labels`, for `CAV.fit`; of each text the answer's tokens alone count.

        Raises:
            ValueError: a system prompt is empty or both are the same, there is no question, or a setting is out of
                range.
            TypeError: something is no text.

        Example:
            >>> pair = lm.contrast("You are cheerful.", "You are gloomy.", ["How are you?", "What is new?"] * 2)
            >>> pair.labels
            ('a', 'b', 'a', 'b')
            >>> sw.CAV.fit(lm, pair.texts, pair.labels, layer=1, method="mean_difference").labels
            ('a', 'b')
        """
        given: dict[str, Any] = {**settings}
        own = {name: given.pop(name) for name in CONTRAST_OWN if name in given}
        sampling, template = self._split(given)
        systems = (system_a, system_b)
        return contrast(
            self, systems, questions, sampling, template=template, on_progress=on_progress, stop=stop, **own
        )

    def concept(
        self,
        positives: Any,
        negatives: Any = None,
        *,
        name: str = "concept",
        **settings: Unpack[ConceptSettings],
    ) -> Concept:
        """One concept from texts with it and without: its direction in every block, and how well each tells them apart.

        Every text is read once for all blocks; directions are of unit norm. Scores are of held-out texts, beside the
        same fit to shuffled labels; their difference is the selectivity (Hewitt and Liang 2019). Texts that stand twice
        are read once, those in both lists are left out, and `.told` says so.

        Args:
            positives: texts with the concept; or what holds both lists: `lm.contrast(…)`, a table with labels (a frame,
                columns, records), or the path of a file (.txt, .csv, .tsv, .json, .jsonl).
            negatives: texts without it, or the path of a file of them.
            name: what the concept is called.
            settings: `method`, `pool`, `layers`, `stream`, `held_out`, `shuffles`, `max_tokens`, `max_texts`,
                `batch_size`, `seed`, `reft`, `on_progress`, `stop`, and of tables `text`, `label`, `positive`, as
                `ConceptSettings` explains them.

        Returns:
            `.layers` with `.held_out`, `.shuffled`, `.selectivity` and `.projections`, `.confused()`, `.best`, `.cav`.

        Raises:
            ValueError: a list is missing or too short, a file or table can't be read, or a setting is out of range.
            TypeError: something is of another kind.
            ImportError: `svm` and `logistic` need scikit-learn.
            RuntimeError: it was stopped before any block was fitted.

        Example:
            >>> with_it, without = ["the sea", "a city by the sea"] * 2, ["the user", "the system asks"]
            >>> found = lm.concept(with_it, without, name="the sea")
            >>> [each.layer for each in found.layers], found.cav.labels
            ([0, 1, 2, 3], ('the sea',))
        """
        given: dict[str, Any] = {**settings}
        refuse_unknown("lm.concept", given, ConceptSettings.__annotations__)
        columns = {key: given.pop(key) for key in TableSettings.__annotations__ if key in given}
        on_progress, stop = given.pop("on_progress", None), given.pop("stop", None)
        examples = Examples.of(positives, negatives, concept=name, **columns)
        return ConceptTraining(self, examples, name, **given).run(on_progress, stop)

    @contextmanager
    def steer(
        self,
        recipe: Recipe | Steer | Iterable[Steer] | None,
        *,
        prompt_length: int | Sequence[int] | None = None,
        prompt: Prompt | Sequence[Prompt] | None = None,
    ) -> Iterator[Steering]:
        """Steer any code of yours: `with lm.steer(recipe): model.generate(…)`.

        The recipe acts on every row, in this thread only, and leaves the model as it was whatever happens.

        Args:
            recipe: what to change.
            prompt_length: the tokens of the prompt without padding, for positions `prompt`, `generated` and
                `last_prompt`: one number for all rows of a batch, or one for each.
            prompt: instead of its length the prompt that your code runs, as `lm.encode` gives it, or one for each row:
                it tells whose words the tokens are (`sw.role("user")`) and which are the template's as well.

        Yields:
            The steering, `.attached` while the block lasts.

        Raises:
            ValueError: the recipe does not fit the model, or needs the prompt's length, or that is no length.
            TypeError: the prompt is none of `lm.encode`, or comes together with a length.
            CompiledModelError: the model is compiled.

        Example:
            >>> ids = torch.tensor([lm.encode("The answer").token_ids])
            >>> with lm.steer(cavs["music"].add(4)):
            ...     steered = lm.model(ids).logits
            >>> bool((steered != lm.model(ids).logits).any())
            True
            >>> encoded = lm.encode("The answer")  # templated, as one message of the user
            >>> with lm.steer(cavs["music"].add(4).at(sw.role("user")), prompt=encoded):
            ...     steered = lm.model(torch.tensor([encoded.token_ids])).logits
        """
        known = Known(self.special_ids, checked_length(prompt_length))
        if prompt is not None:
            known = self.known(_checked_prompts(prompt, prompt_length))
        with self.lock, Steering(self.architecture, Recipe.of(recipe), known) as steering, self.lock.steering():
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
        beside: Sequence[Condition] = (),
        **settings: Unpack[SamplingSettings],
    ) -> Comparison:
        """Baseline and steered text, as two rows of one batch with shared noise.

        Both rows draw with one Gumbel noise for each step, so that they differ by the steering alone.

        Args:
            prompt: a string, messages, or token ids.
            recipe: what steers the second row.
            chat: whether a string goes through the chat template; by default where the tokenizer has one.
            watch: features to read at every generated token, before any change.
            on_step: called with every step, in this thread.
            stop: set it to end the run within one token.
            keep_cache: keep keys and values (up to 256 MB), so that `.lens(step)` need not read the text again.
            beside: further rows for the prompt, in the same batch with the same noise: other recipes, `sw.Asked(…)` for
                the plain prompt that asks, `recipe.random_direction(seed)` for directions that are about nothing.
            settings: `temperature`, `top_p`, `top_k`, `frequency_penalty`, `penalise_prompt`, `max_new_tokens`, `seed`,
                as `SamplingSettings` explains them; and what the tokenizer's chat template knows, such as
                `enable_thinking`.

        Returns:
            `.baseline` and `.steered`, and how far apart they are; the rows `.beside` them.

        Raises:
            ValueError: a setting is out of range, or the recipe does not fit the model.

        Example:
            >>> out = lm.compare("Name a city.", cavs["music"].add(0), max_new_tokens=4)
            >>> out.baseline.text == out.steered.text  # a strength of 0 changes nothing
            True
        """
        sampling, template = self._split(settings)
        planned = self._pair(prompt, recipe, beside, chat, template)
        watch = checked_directions(watch, "lm.compare", "prompt, recipe, watch=[feature]")
        cache = RunCache(self) if keep_cache else None
        rows = generate_rows(self, planned, sampling, watch=watch, on_step=on_step, stop=stop, keep=cache)
        return Comparison(self, planned[1].prompt, planned[1].recipe, sampling, rows, cache)

    def stream(
        self,
        prompt: PromptLike,
        recipe: Recipe | Steer | Iterable[Steer] | None,
        *,
        chat: bool | None = None,
        watch: Sequence[Direction] = (),
        beside: Sequence[Condition] = (),
        **settings: Unpack[SamplingSettings],
    ) -> Iterator[Step]:
        """The steps of `compare` one by one, row 0 baseline and row 1 steered; leaving the loop stops the run.

        Args:
            prompt: a string, messages, or token ids.
            recipe: what steers the second row.
            chat: whether a string goes through the chat template; by default where the tokenizer has one.
            watch: features to read at every generated token, before any change.
            beside: further rows, as for `compare`.
            settings: `temperature`, `top_p`, `top_k`, `frequency_penalty`, `penalise_prompt`, `max_new_tokens`, `seed`,
                as `SamplingSettings` explains them.

        Returns:
            Steps: `.index`, and `.token_ids`, the new token of each row or None.

        Raises:
            ValueError: a setting is out of range, or the recipe does not fit the model.
            RuntimeError: this thread holds the model, as inside `lm.steer(…)`.

        Example:
            >>> [step.index for step in lm.stream("Name a city.", cavs["music"].add(4), max_new_tokens=3)]
            [0, 1, 2]
        """
        sampling, template = self._split(settings)
        planned = self._pair(prompt, recipe, beside, chat, template)
        watch = checked_directions(watch, "lm.stream", "prompt, recipe, watch=[feature]")
        # The run itself lives in a thread, whose warnings name no line of the user's.
        for feature in (*watch, *(steer.feature for each in planned for steer in each.recipe)):
            warn_of_other_model(self.architecture, feature)
        return stream_rows(self, planned, sampling, watch=watch)

    def sweep(
        self,
        prompt: PromptLike,
        recipes: Sequence[Condition],
        *,
        chat: bool | None = None,
        watch: Sequence[Direction] = (),
        on_step: Callable[[Step], None] | None = None,
        stop: threading.Event | None = None,
        **settings: Unpack[SamplingSettings],
    ) -> list[Row]:
        """One row for each recipe, all in one batch with shared noise; None is the baseline.

        Args:
            prompt: a string, messages, or token ids.
            recipes: what steers each row, or `sw.Asked(…)` for a row that is asked instead.
            chat: whether a string goes through the chat template; by default where the tokenizer has one.
            watch: features to read at every generated token, before any change.
            on_step: called with every step, in this thread.
            stop: set it to end the run within one token.
            settings: `temperature`, `top_p`, `top_k`, `frequency_penalty`, `penalise_prompt`, `max_new_tokens`, `seed`,
                as `SamplingSettings` explains them.

        Returns:
            The rows in the order of the recipes, each with `.text` and `.token_ids`.

        Raises:
            ValueError: there is no recipe, or one does not fit the model, or a setting is out of range.

        Example:
            >>> rows = lm.sweep("Name a city.", [None, cavs["music"].add(4)], max_new_tokens=3)
            >>> [len(row.token_ids) for row in rows]
            [3, 3]
        """
        single: Any = recipes
        if isinstance(single, Steer | Recipe | Asked):
            recipes = [single]
        if not isinstance(recipes, Iterable) or isinstance(recipes, str | Direction | Dictionary):
            raise wrong("lm.sweep", "a list with a recipe for each row", recipes, _SWEEP)
        recipes = list(recipes)
        if strange := [each for each in recipes if isinstance(each, Number | str)]:
            takes = "a recipe for each row"
            raise wrong("lm.sweep", takes, recipes if len(strange) == len(recipes) else strange[0], _SWEEP)
        watch = checked_directions(watch, "lm.sweep", "prompt, recipes, watch=[feature]")
        if not recipes:
            raise ValueError(
                "A sweep needs at least one recipe; give a list such as [feature.add(20), feature.add(40)]."
            )
        sampling, template = self._split(settings)
        planned = plans(self, prompt, recipes, chat=chat, template=template)
        return generate_rows(self, planned, sampling, watch=watch, on_step=on_step, stop=stop)

    def dose(
        self,
        op: DoseOp,
        strengths: Iterable[float] | None = None,
        *,
        prompts: Sequence[PromptLike],
        judge: Judge | None = None,
        on_progress: Callable[[int, int], None] | None = None,
        stop: threading.Event | None = None,
        **settings: Unpack[DoseSettings],
    ) -> DoseResult:
        """Dose and response: what an op does at several strengths, judged over prompts and seeds, beside its controls.

        For each prompt and seed all strengths are rows of one batch with the same noise, and with them the unsteered
        answer, an answer under a random direction of the same norm at each strength (ten directions take turns), and
        an unsteered answer to a prompt that asks for the topic. A stop, or Ctrl-C, gives what is done by then.

        Args:
            op: makes a steer of a strength: `feature.add`, `feature.clamp`, or a function that gives a recipe.
            strengths: what to try, negative ones too; by default from nothing to twice what was seen to work.
            prompts: several prompts: strings, messages, or token ids.
            judge: who says what is on topic: `judge(prompt, text)` → 0 to 1, `sw.Words`, `sw.Probe`; by default what
                comes with the package for the feature's label: a probe, a word list, the label's own words.
            on_progress: called with how many answers there are, and of how many.
            stop: set it to end within one token.
            settings: `seeds`, `random`, `asked`, `hold_back`, `baseline_seeds`, `chat` and those of sampling, as
                `DoseSettings` explains them.

        Returns:
            `.table`, `.useful` (a range or None), `.breaks`, `.iso_kl(1.0)`, `.plot()`, and every answer.

        Raises:
            ValueError: there is no prompt or strength, the op can't take one, nothing says how to judge, or a setting
                is out of range.
            TypeError: the op, the judge or the prompts are something else.

        Example:
            >>> dose = lm.dose(cavs["music"].add, [0, 4], prompts=["Name a city."], seeds=2, max_new_tokens=4)
            >>> [(row.strength, row.on_topic.n) for row in dose.table]
            [(0.0, 2), (4.0, 2)]
        """
        given: dict[str, Any] = {**settings}
        own = {name: given.pop(name) for name in DoseRun.SETTINGS if name in given}
        template = self._template(given)
        run = DoseRun(self, op, strengths, prompts, judge=judge, template=template, settings=given, **own)
        for _ in run.run(stop):
            if on_progress is not None:
                on_progress(run.done, run.total)
        return run.result

    def dose_by_block(
        self,
        features: Sequence[Direction],
        ratio: float = 0.3,
        *,
        prompts: Sequence[PromptLike],
        judge: Judge | None = None,
        seeds: int | Sequence[int] = 1,
        chat: bool | None = None,
        on_progress: Callable[[int, int], None] | None = None,
        stop: threading.Event | None = None,
        **settings: Unpack[SamplingSettings],
    ) -> BlockTable:
        """At which block a concept steers best: its direction of each block, added with the same share of ‖h‖.

        For each prompt and seed all blocks are rows of one batch with the same noise, each beside a random direction
        whose change is as long, and with them the unsteered answer. A stop, or Ctrl-C, gives what is done by then.

        Args:
            features: the directions of one concept, each in a block of its own: `lm.concept(…).features`.
            ratio: how long the change is at every position, as a share of ‖h‖.
            prompts: several prompts: strings, messages, or token ids.
            judge: who says what is on topic, as for `lm.dose`; the block that a `sw.Probe` reads is left out.
            seeds: how many seeds of noise, or which.
            chat: whether prompts that are strings go through the chat template; by default where the tokenizer has one.
            on_progress: called with how many answers there are, and of how many.
            stop: set it to end within one token.
            settings: `temperature`, `top_p`, `top_k`, `frequency_penalty`, `penalise_prompt`, `max_new_tokens` (48 by
                default), as `SamplingSettings` explains them, without `seed`.

        Returns:
            `.rows` with counts on topic of each block and its random direction, `.best` (a block or None), and every
            answer.

        Raises:
            ValueError: two directions are of one block, there is no prompt, nothing says how to judge, or a setting is
                out of range.
            TypeError: the directions, the judge or the prompts are something else.

        Example:
            >>> concept = lm.concept(["the sea", "a ship"], ["the user", "a system"], name="ship")
            >>> found = lm.dose_by_block(concept.features, prompts=["Name a city.", "A story."], max_new_tokens=4)
            >>> [row.on_topic.n for row in found.rows]
            [2, 2, 2, 2]
        """
        given: dict[str, Any] = {**settings}
        template = self._template(given)
        shared: dict[str, Any] = {"judge": judge, "seeds": seeds, "chat": chat, "template": template}
        run = BlockRun(self, features, ratio, prompts=prompts, settings=given, **shared)
        for _ in run.run(stop):
            if on_progress is not None:
                on_progress(run.done, run.total)
        return run.result

    def table(
        self,
        prompts: Sequence[PromptLike],
        conditions: Mapping[str, Condition],
        *,
        judge: Judge | None = None,
        seeds: int | Sequence[int] = 1,
        chat: bool | None = None,
        on_progress: Callable[[int, int], None] | None = None,
        stop: threading.Event | None = None,
        **settings: Unpack[SamplingSettings],
    ) -> ConditionTable:
        """Prompts × conditions: the same prompts under several conditions, counted with intervals.

        All conditions of a prompt are rows of one batch with the same noise. A stop, or Ctrl-C, gives what is done.

        Args:
            prompts: several prompts: strings, messages, or token ids.
            conditions: by name, what steers; None for the baseline, `sw.Asked(…)` for a prompt that asks.
            judge: who says what is on topic, as for `lm.dose`; None counts nothing.
            seeds: how many seeds of noise, or which.
            chat: whether prompts that are strings go through the chat template; by default where the tokenizer has one.
            on_progress: called with how many answers there are, and of how many.
            stop: set it to end within one token.
            settings: `temperature`, `top_p`, `top_k`, `frequency_penalty`, `penalise_prompt`, `max_new_tokens` (48 by
                default), as `SamplingSettings` explains them, without `seed`.

        Returns:
            The table; `.rows` with Wilson's intervals and bootstraps over prompts, `.answers`.

        Raises:
            ValueError: there is no prompt or condition, or a setting is out of range.
            TypeError: something is of another kind.

        Example:
            >>> conditions = {"baseline": None, "sea": cavs["the sea"].add(4), "asked": sw.Asked("Talk about the sea.")}
            >>> lm.table(["Name a city."], conditions, judge=sw.Words(["sea"]), max_new_tokens=4).rows[1].on_topic.n
            1
        """
        given: dict[str, Any] = {**settings}
        shared: dict[str, Any] = {"judge": judge, "seeds": seeds, "chat": chat, "stop": stop}
        template = self._template(given)
        return condition_table(
            self, prompts, conditions, template=template, settings=given, on_progress=on_progress, **shared
        )

    def measure(
        self, prompt: PromptLike, recipe: Recipe | Steer | Iterable[Steer], *, chat: bool | None = None
    ) -> list[Readout]:
        """How strong each steer is on a prompt: median ‖change‖/‖h‖, and values asked and reached.

        Medians are over the tokens of the prompt that a steer acts on; attention sinks are left out.

        Args:
            prompt: a string, messages, or token ids.
            recipe: what steers.
            chat: whether a string goes through the chat template; by default where the tokenizer has one.

        Returns:
            One for each steer, in the recipe's order: `.ratio` is a share of ‖h‖, `.asked` and `.achieved` are in the
            feature's units.

        Raises:
            ValueError: the prompt is empty, or the recipe does not fit the model.

        Example:
            >>> [readout] = lm.measure("Name a city.", cavs["music"].add_relative(0.5))
            >>> round(readout.ratio, 3)
            0.5
        """
        encoded = self.encode(prompt, chat=chat)
        steers = Recipe.of(recipe)
        check_fits(self.architecture, steers, self.known([encoded]))
        return readouts(steers, residuals_under(self, encoded, steers), encoded) if len(steers) else []

    def _pair(
        self,
        prompt: PromptLike,
        recipe: Recipe | Steer | Iterable[Steer] | None,
        beside: Iterable[Condition],
        chat: bool | None,
        template: Mapping[str, Any],
    ) -> list[Plan]:
        """Baseline, steered, and what stands beside them."""
        # The prompt is checked first: who gave it in the recipe's place hears of the prompt.
        baseline = plan(self, prompt, None, chat=chat, template=template)
        steered = plan(self, prompt, Recipe.of(recipe), chat=chat, template=template)
        return [baseline, steered, *plans(self, prompt, beside, chat=chat, template=template)]

    def _split(self, settings: Mapping[str, Any]) -> tuple[Sampling, dict[str, Any]]:
        """How to sample, and the settings of the chat template's own."""
        given = dict(settings)
        template = self._template(given)
        return Sampling.of(given), template

    def _template(self, settings: dict[str, Any]) -> dict[str, Any]:
        """The settings of the chat template's own, taken out of those given."""
        known = template_settings(self.tokenizer) - {field.name for field in fields(Sampling)}
        return {name: settings.pop(name) for name in list(settings) if name in known}

    def _residual_of(self, prompt: PromptLike, site: Site, *, chat: bool) -> tuple[Prompt, Tensor, Tensor]:
        encoded = self.encode(prompt, chat=chat)
        residuals = self.residuals(encoded, [site])
        return encoded, residuals.values[site][0], counted_tokens(residuals, site, encoded)


_NEUTRAL: Final = "The quick brown fox jumps over the lazy dog."
_SWEEP: Final = "say what the numbers are strengths of: lm.sweep(prompt, [feature.add(a) for a in (0, 20, 40)])"


def _checked_prompts(given: Any, length: Any) -> list[Prompt]:
    """The prompts that a user's own code runs.

    Raises:
        TypeError: they are none of `lm.encode`, or a length came too.
    """
    prompts = one_or_several(given, lambda each: isinstance(each, Prompt | str | Mapping))
    if length is not None:
        raise TypeError("lm.steer takes the prompt or its length, but both were given; the prompt alone says both.")
    if not prompts or not all(isinstance(each, Prompt) for each in prompts):
        told = "encode it as your code does: lm.steer(recipe, prompt=lm.encode(messages))"
        raise wrong("lm.steer", "a prompt that is encoded, or one for each row,", given, told)
    return prompts


def _is_feature(given: Any) -> bool:
    return isinstance(given, str | Direction)


def _index(dictionary: Dictionary, feature: Any) -> int:
    if isinstance(feature, Feature):
        return feature.index
    if isinstance(feature, Direction):
        raise wrong("lm.read", "features of the dictionary", feature, "read a direction with feature.activation(h)")
    return dictionary[feature].index
