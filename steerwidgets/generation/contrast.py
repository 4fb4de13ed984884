"""Texts that the model writes itself under two system prompts: what a persona vector is made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.files.shown import shown
from steerwidgets.generation.conditions import Asked, plan
from steerwidgets.generation.rows import Plan, Row, generate_rows
from steerwidgets.generation.sampling import Sampling, SamplingSettings
from steerwidgets.transformer.mistakes import wrong
from steerwidgets.transformer.prompts import Answered

if TYPE_CHECKING:
    import threading

    from steerwidgets.transformer.loaded import LoadedModel

_CALL: Final = "lm.contrast"
_MEANT: Final = 'lm.contrast("You are cheerful.", "You are gloomy.", ["How was your day?"])'
OWN: Final = ("names", "per_question", "batch_size")
"""The settings that are not of sampling."""


class ContrastSettings(SamplingSettings, total=False):
    """How many answers there are, and what they are called.

    Attributes:
        names: labels of the answers under the first and the second system prompt; `("a", "b")` by default.
        per_question: answers to each question under each system prompt, each with its own noise; 1 by default.
        batch_size: answers that are written at once, 16 by default.
        temperature: divides the logits; 0 takes the most likely token. 0.7 by default.
        top_p: keeps the smallest set of tokens that holds this much probability; 1, the default, keeps all.
        top_k: keeps this many tokens, 50 by default; 0 keeps all.
        frequency_penalty: taken from `logits / temperature` for each time that a token occurred; 0 by default.
        penalise_prompt: whether the prompt's tokens count for the penalty; by default they do not.
        max_new_tokens: where an answer ends at the latest, 64 by default.
        seed: with the step, decides the noise; 0 by default.
    """

    names: tuple[str, str]
    per_question: int
    batch_size: int


@dataclass(frozen=True)
class Contrast:
    """Answers to the same questions under two system prompts.

    Attributes:
        systems: the two system prompts.
        questions: the questions.
        texts: the conversations as the model wrote them, those of the first system prompt and of the second taking
            turns; of each the answer alone counts, whatever averages over it.
        labels: of the texts.
        names: what the two sides are called.
        told: what a reader has to know: what was left out, what stands in place of a chat template.
        stopped: whether it was stopped before its end.
    """

    systems: tuple[str, str]
    questions: tuple[str, ...]
    texts: tuple[Answered, ...]
    labels: tuple[str, ...]
    names: tuple[str, str]
    told: tuple[str, ...]
    stopped: bool

    @property
    def a(self) -> tuple[Answered, ...]:
        """The texts of the first system prompt."""
        return self._of(self.names[0])

    @property
    def b(self) -> tuple[Answered, ...]:
        """The texts of the second system prompt."""
        return self._of(self.names[1])

    def _of(self, name: str) -> tuple[Answered, ...]:
        return tuple(text for text, label in zip(self.texts, self.labels, strict=True) if label == name)

    def __repr__(self) -> str:
        lines = [f"<Contrast of {len(self.a)} and {len(self.b)} answers to {len(self.questions)} questions>"]
        shown_texts = zip(self.labels[:4], self.texts[:4], strict=True)
        lines += [f"  {label}: {shown(text.answer)}" for label, text in shown_texts]
        return "\n".join([*lines, *self.told])


def contrast(
    lm: LoadedModel,
    systems: tuple[str, str],
    questions: Sequence[str],
    sampling: Sampling,
    *,
    names: tuple[str, str] = ("a", "b"),
    per_question: int = 1,
    batch_size: int = 16,
    template: Mapping[str, Any] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    stop: threading.Event | None = None,
) -> Contrast:
    """Answers of the model under two system prompts; see `lm.contrast`.

    The two answers to a question share their sampling noise, so that they differ by the system prompt alone.
    """
    questions = _checked(systems, questions, names, per_question, batch_size)
    pairs = [
        (question, _plans(lm, systems, question, template, sampling.seed + number))
        for number, question in enumerate(questions * per_question)
    ]
    written: list[tuple[str, tuple[Answered, Answered]]] = []
    empty, done, total = 0, 0, 2 * len(pairs)
    width = max(batch_size // 2, 1)
    for some in (pairs[at : at + width] for at in range(0, len(pairs), width)):
        rows = generate_rows(lm, [each for _, both in some for each in both], sampling, stop=stop)
        if stop is not None and stop.is_set():
            break
        for (question, _), a, b in zip(some, rows[::2], rows[1::2], strict=True):
            if a.text.strip() and b.text.strip():
                written.append((question, (_answered(lm, question, a), _answered(lm, question, b))))
            else:
                empty += 1
        done += 2 * len(some)
        if on_progress is not None:
            on_progress(done, total)
    return Contrast(
        systems,
        tuple(questions),
        tuple(text for _, both in written for text in both),
        names * len(written),
        names,
        tuple(_told(lm, empty, len(pairs))),
        done < total,
    )


def _plans(
    lm: LoadedModel, systems: tuple[str, str], question: str, template: Mapping[str, Any] | None, seed: int
) -> tuple[Plan, Plan]:
    # Without a template nothing says where the question ends and the answer begins, but for a line of its own.
    asked = question if lm.has_chat_template else f"{question}\n"
    first, second = (replace(plan(lm, asked, Asked(each), template=template), seed=seed) for each in systems)
    return first, second


def _answered(lm: LoadedModel, question: str, row: Row) -> Answered:
    prompt, ids = row.plan.prompt, row.token_ids
    return Answered(
        (*prompt.token_ids, *ids),
        (*prompt.special, *(each in lm.special_ids for each in ids)),
        (*prompt.template, *(False for _ in ids)),
        prompt.chat,
        (*prompt.roles, *("assistant" for _ in ids)) if prompt.roles else (),
        start=len(prompt),
        question=question,
        answer=row.text,
    )


def _told(lm: LoadedModel, empty: int, pairs: int) -> list[str]:
    told = []
    if not lm.has_chat_template:
        told.append(
            "This tokenizer has no chat template, so system prompt and question stood before each answer as plain "
            "text, and the model went on from there."
        )
    if empty:
        told.append(f"{empty} of {pairs} pairs were left out, since an answer of theirs was empty.")
    return told


def _checked(
    systems: tuple[Any, Any], questions: Any, names: Any, per_question: Any, batch_size: Any
) -> tuple[str, ...]:
    """The questions.

    Raises:
        ValueError: something is missing or out of range.
        TypeError: something is of another kind.
    """
    for each in systems:
        if not isinstance(each, str):
            raise wrong(_CALL, "two system prompts", each, f"say them in words: {_MEANT}")
        if not each.strip():
            raise ValueError(f"A system prompt of lm.contrast is empty; say both in words: {_MEANT}.")
    if systems[0].split() == systems[1].split():
        raise ValueError("Both system prompts of lm.contrast are the same, so their answers tell nothing apart.")
    if isinstance(questions, str) or not isinstance(questions, Sequence):
        raise wrong(_CALL, "a list of questions", questions, f"give several: {_MEANT}")
    if strange := [each for each in questions if not isinstance(each, str)]:
        raise wrong(_CALL, "questions that are texts", strange[0], f"give several: {_MEANT}")
    kept = tuple(dict.fromkeys(each.strip() for each in questions if each.strip()))
    if not kept:
        raise ValueError(f"There is no question for lm.contrast; give at least one, as in {_MEANT}.")
    if len(names) != 2 or names[0] == names[1]:
        raise ValueError(f"names= are two labels that differ, but {shown(names)} was given.")
    for name, value in (("per_question", per_question), ("batch_size", batch_size)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name}= is a whole number from 1, but {shown(value)} was given.")
    return kept
