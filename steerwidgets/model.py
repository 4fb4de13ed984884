"""LanguageModel: the front door. One short method for each verb, the work is done elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from steerwidgets.generation.comparison import Comparison
from steerwidgets.generation.rows import Plan, Row, Step, generate_rows, stream_rows
from steerwidgets.generation.sampling import Sampling
from steerwidgets.reader import Reader
from steerwidgets.steer import Direction, Steer
from steerwidgets.steering.hooks import Steering, check_fits, warn_of_other_model
from steerwidgets.steering.recipe import Recipe
from steerwidgets.steering.run_cache import RunCache
from steerwidgets.steering.strength import Readout, readouts, residuals_under
from steerwidgets.transformer.layout import Known
from steerwidgets.transformer.loaded import checked_length
from steerwidgets.transformer.prompts import PromptLike

if TYPE_CHECKING:
    import threading


class LanguageModel(Reader):
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
        known = Known(self.engine.special_ids, checked_length(prompt_length))
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
            settings: `temperature`, `top_p`, `top_k`, `frequency_penalty`, `penalise_prompt`, `max_new_tokens`, `seed`.

        Raises:
            ValueError: a setting is out of range, or the recipe does not fit the model.
        """
        sampling = Sampling.of(settings)
        encoded = self.encode(prompt, chat=chat)
        steers = Recipe.of(recipe)
        plans = [Plan(encoded, Recipe()), Plan(encoded, steers)]
        cache = RunCache(self.engine) if keep_cache else None
        rows = generate_rows(self.engine, plans, sampling, watch=watch, on_step=on_step, stop=stop, keep=cache)
        return Comparison(self.engine, encoded, steers, sampling, rows, cache)

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
        encoded = self.encode(prompt, chat=chat)
        plans = [Plan(encoded, Recipe()), Plan(encoded, Recipe.of(recipe))]
        # The run itself lives in a thread, whose warnings name no line of the user's.
        for feature in (*watch, *(steer.feature for steer in plans[1].recipe)):
            warn_of_other_model(self.architecture, feature)
        return stream_rows(self.engine, plans, Sampling.of(settings), watch=watch)

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
        encoded = self.encode(prompt, chat=chat)
        plans = [Plan(encoded, Recipe.of(recipe)) for recipe in recipes]
        return generate_rows(self.engine, plans, Sampling.of(settings), watch=watch, stop=stop)

    def measure(
        self, prompt: PromptLike, recipe: Recipe | Steer | Iterable[Steer], *, chat: bool | None = None
    ) -> list[Readout]:
        """How strong each steer is on a prompt: median ‖change‖/‖h‖, and values asked and reached."""
        encoded = self.encode(prompt, chat=chat)
        steers = Recipe.of(recipe)
        check_fits(self.architecture, steers, Known(prompt_length=len(encoded)))
        return readouts(steers, residuals_under(self.engine, encoded, steers), encoded) if len(steers) else []
