"""The corpus index: what all features of dictionaries did on many texts, gathered in one pass.

    index = sw.corpus.build(lm, [sae, cavs], texts, "my_index")
    index.attach(sae)
    sae.evidence(123).examples

Texts are read once, with one forward pass for all dictionaries; what is held does not grow with the corpus. A run that
was killed goes on where it was, with the same call. Indexes of parts of a corpus merge to what one run gives.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from steerwidgets.calls import told
from steerwidgets.corpus.on_ray import Ray
from steerwidgets.corpus.settings import Settings
from steerwidgets.files.shown import shown
from steerwidgets.transformer.mistakes import checked_path, refuse_no_model

if TYPE_CHECKING:
    import threading

    from steerwidgets.corpus.index import CorpusIndex
    from steerwidgets.corpus.progress import OnProgress
    from steerwidgets.dictionaries.base import Dictionary
    from steerwidgets.transformer.loaded import LoadedModel

__all__ = ["Ray", "build", "merge", "open"]


@told("sw.corpus.build")
def build(
    lm: LoadedModel,
    dictionaries: Dictionary | Sequence[Dictionary],
    texts: Iterable[Any],
    path: str | Path,
    *,
    examples: int = 20,
    quantiles: int = 5,
    per_quantile: int = 5,
    random: int = 5,
    bins: int = 40,
    context: tuple[int, int] = (18, 12),
    max_tokens: int | None = None,
    max_length: int = 1024,
    chat: bool | None = None,
    column: str | None = None,
    batch_tokens: int | None = None,
    executor: Literal["local", "ray"] | Ray = "local",
    name: str = "corpus",
    on_progress: OnProgress | None = None,
    stop: threading.Event | None = None,
) -> CorpusIndex:
    """Read a corpus in one pass, and write what every feature did on it.

    Of every feature: its strongest places, of which no two have the same three tokens at and before the peak, and each
    text has at most one; places drawn evenly from each of several bands of its activation, and from all; an exact
    histogram; density, maximum, median and 99.5th percentile (both to 1.6 %, as the histogram's fine bins are); the
    features that are most often active at the same tokens; and what its direction promotes, suppresses and is near to.
    Padding, special and template tokens, attention sinks and values that are not finite count nowhere.

    Features that go together are counted exactly for dictionaries of up to 4,096 features. Of wider ones 32 places of
    each feature are looked at, with the 32 strongest others there: the shares have a standard error of 0.09 at most.

    The index is written about once a minute. Called again with the same arguments after a kill, a stop or an error, it
    goes on with the first text that was not counted, and the result is that of one run.

    Args:
        lm: a `LanguageModel`.
        dictionaries: one or several, at any sites.
        texts: a list, an iterable, or a dataset, streaming ones too: strings, messages, token ids, or records with a
            column of one of these. A column `source` says what a text is from. Empty texts are skipped and counted.
        path: a folder, for this index alone.
        examples: of each feature, how many of the strongest places are kept.
        quantiles: into how many bands its activations are cut, about equal parts of its maximum; at most 10.
        per_quantile: how many places of each band.
        random: how many places drawn from all where it is active.
        bins: at most how many bars its histogram has.
        context: how many tokens before and after a place are kept.
        max_tokens: how many tokens of the texts' own are enough: reading ends with the batches that reach it.
        max_length: a longer text is cut into pieces of so many tokens, each read by itself, as is one that is longer
            than the model takes.
        chat: whether strings go through the chat template; they are read raw by default. Messages always do.
        column: the column of records that holds the text; `text` or `messages` by default.
        batch_tokens: how many tokens go through the model at once; by default 2,048 on a CPU, 16,384 elsewhere.
        executor: `local` reads here; `ray` with a model in each of several processes or machines, on Ray Data, to the
            same index bit for bit, where the hardware is the same. They need the folder under the same path. Say how
            many with `sw.corpus.Ray(workers=4)`.
        name: what the corpus is called.
        on_progress: called after every batch with a `Progress`; by default a bar is shown.
        stop: set it to end within one batch with what was read so far; the same call goes on from there.

    Returns:
        The index.

    Raises:
        ModuleNotFoundError: pyarrow or Ray is not installed; the message says how to.
        ValueError: a setting is out of range, a text can't be read, a dictionary does not fit the model, or the path
            holds an index of other texts, dictionaries, settings or another model.
        TypeError: one text was given in place of several.
        RuntimeError: another run is building the same index, or a worker of Ray failed.

    Example:
        >>> texts = ["The user asks the assistant.", "Name a city by the sea, please."]
        >>> index = sw.corpus.build(lm, cavs, texts, folder / "index", on_progress=print)
        Progress(...
        >>> index.texts, index.of(cavs)[0].index
        (2, 0)
    """
    from steerwidgets.corpus.building import build as run
    from steerwidgets.corpus.progress import Bar
    from steerwidgets.dictionaries.base import checked_dictionaries

    refuse_no_model(lm, "sw.corpus.build", "dictionaries, texts, path")
    given = checked_dictionaries(dictionaries, "sw.corpus.build", "lm, ", ", texts, path")
    path = checked_path(path, "sw.corpus.build", "lm, dictionaries, texts, ")
    on_cpu = lm.architecture.input_device.type == "cpu"
    settings = Settings(
        examples=examples,
        quantiles=quantiles,
        per_quantile=per_quantile,
        random=random,
        bins=bins,
        context=context,
        max_length=max_length,
        chat=bool(chat),
        column=column,
        batch_tokens=batch_tokens if batch_tokens is not None else (2048 if on_cpu else 16_384),
    )
    told = Bar() if on_progress is None else on_progress
    with contextlib.closing(told) if isinstance(told, Bar) else contextlib.nullcontext():
        return run(
            lm,
            given,
            texts,
            path,
            settings=settings,
            max_tokens=max_tokens,
            name=name,
            on_progress=told,
            stop=stop,
            ray=_ray(executor),
        )


def _ray(executor: Any) -> Ray | None:
    if executor == "local" or isinstance(executor, Ray):
        return None if executor == "local" else executor
    if executor != "ray":
        raise ValueError(f"executor is 'local', 'ray' or sw.corpus.Ray(…), but {shown(executor)} was given.")
    return Ray()


@told("sw.corpus.open")
def open(path: str | Path) -> CorpusIndex:  # noqa: A001 - sw.corpus.open says what it does
    """An index on disk. Only its description is read now, and of a feature only that feature when it is asked for.

    Args:
        path: its folder.

    Returns:
        The index.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged, of another version, or not finished.

    Example:
        >>> quiet = lambda progress: None
        >>> _ = sw.corpus.build(lm, cavs, ["The user asks."], folder / "index", on_progress=quiet)
        >>> sw.corpus.open(folder / "index").complete
        True
    """
    from steerwidgets.corpus.index import CorpusIndex

    return CorpusIndex(checked_path(path, "sw.corpus.open"))


@told("sw.corpus.merge")
def merge(paths: Sequence[str | Path], path: str | Path) -> CorpusIndex:
    """Make one index of indexes of parts of a corpus: what one run over all of it gives.

    Counts are exactly those of one run, and so are the places kept, up to ties. (Batches of other shapes may differ in
    the last bits of an activation.)

    Args:
        paths: of the indexes, of the same model, dictionaries and settings.
        path: an empty or new folder.

    Returns:
        The index of them all.

    Raises:
        FileNotFoundError: there is no index at one of the paths.
        ValueError: they are of different models, dictionaries or settings, hold the same run twice, or are damaged.

    Example:
        >>> quiet = lambda progress: None
        >>> for name, text in [("a", "The user asks."), ("b", "Name a city.")]:
        ...     _ = sw.corpus.build(lm, cavs, [text], folder / name, on_progress=quiet)
        >>> sw.corpus.merge([folder / "a", folder / "b"], folder / "both").texts
        2
    """
    from steerwidgets.corpus.parts import merge as run

    return run(paths, Path(path))
