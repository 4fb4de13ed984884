"""Exceptions and Ctrl-Cs at random lines of every verb, and what they leave behind.

A Ctrl-C is raised by the interpreter between two lines of Python, whosever they are. So an attack first counts the
lines that a verb runs in this thread, in our package, transformers, torch and the libraries that write files, and then
runs it again and raises at a line that is drawn among them. It then looks for hooks, threads, locks, hidden methods
and half-written files, and runs the verb a third time: that has to give what it gave before.

By hand: `python tests/torture/interrupts.py 1000 [seed] [verb …]` prints a table of what was attacked and found.
"""

from __future__ import annotations

import collections
import contextlib
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from support import corpora, kinds, models, sae, toks

import steerwidgets as sw

PROMPT = "Name a city by the sea, please."
TEXTS = [
    "The ocean is calm today.",
    "Waves break on the shore.",
    "The stew needs more salt.",
    "Bake the bread slowly.",
    "A ship sails at dawn.",
    "Fry the onions first.",
]
LABELS = ["sea", "sea", "food", "food", "sea", "food"]
OURS = f"{os.sep}steerwidgets{os.sep}"


class Injected(Exception):
    """Stands for whatever may be raised in the middle of a verb."""


@dataclass(frozen=True)
class Attack:
    """One attack: which verb, at which of its lines, and by what."""

    verb: str
    share: float
    error: type[BaseException]
    ours: bool

    def __str__(self) -> str:
        where = "our lines" if self.ours else "all lines"
        return f"{self.error.__name__} in {self.verb} at {self.share:.4f} of {where}"


class Lines:
    """Counts the lines that this thread runs, and raises at one of them.

    Args:
        ours: whether only lines of this package count: they are a small share of all, and those that matter most.
        at: raise at this one; never where it is None.
        error: what is raised.
    """

    def __init__(self, *, ours: bool, at: int | None = None, error: type[BaseException] = Injected) -> None:
        self.count = 0
        self.raised_at = ""
        self._ours, self._at, self._error = ours, at, error

    def __enter__(self) -> Self:
        self._before = sys.gettrace()
        sys.settrace(self._call)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)

    def _call(self, frame: Any, _event: str, _arg: Any) -> Any:
        name = frame.f_code.co_filename
        is_counted = OURS in name and "tests" not in name if self._ours else "/torture/" not in name
        return self._line if is_counted else None

    def _line(self, frame: Any, event: str, _arg: Any) -> Any:
        if event == "line":
            self.count += 1
            if self.count == self._at:
                self.raised_at = f"{frame.f_code.co_filename.rpartition(OURS)[2]}:{frame.f_lineno}"
                raise self._error
        return self._line


class Target:
    """A tiny model, a dictionary of two kinds, and every verb as a function of no argument that gives plain values."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lm = sw.LanguageModel(models.make("llama"), toks.byte_level())
        self.cav, self.sae = kinds.make("CAV"), sae.make()
        self.recipe = self.cav[0].add(3) + self.sae[2].clamp(2.0) + self.cav[1].ablate().at("generated")
        self.verbs: dict[str, Callable[[], Any]] = {
            "read": self._read,
            "search": lambda: self.lm.search(PROMPT, [self.sae, self.cav], k=3).values,
            "compare": self._compare,
            "stream": lambda: [step.token_ids for step in self.lm.stream(PROMPT, self.recipe, max_new_tokens=4)],
            "sweep": self._sweep,
            "dose": self._dose,
            "lens": self._lens,
            "steer": self._steer,
            "patch": self._patch,
            "attribution": lambda: [float(row.value) for row in self.lm.attribution(PROMPT, 20).rows],
            "effect": lambda: self.lm.effect(self.cav[0], PROMPT, k=3).promoted,
            "index": self._index,
            "fit": self._fit,
            "save": self._save,
        }

    def _read(self) -> Any:
        return self.lm.read(PROMPT, self.sae).values.tolist()

    def _patch(self) -> Any:
        return self.lm.patch("The user asks", "The model asks", metric="kl").share.tolist()

    def _compare(self) -> Any:
        out = self.lm.compare(PROMPT, self.recipe, watch=[self.sae[2]], keep_cache=True, max_new_tokens=4)
        return out.baseline.token_ids, out.steered.token_ids, out.steered.watched

    def _sweep(self) -> Any:
        rows = self.lm.sweep(PROMPT, [None, *(self.cav[0].add(a) for a in (1, 2))], max_new_tokens=4)
        return [row.token_ids for row in rows]

    def _dose(self) -> Any:
        settings: Any = {"prompts": [PROMPT], "judge": sw.Words(["e"], least=1), "max_new_tokens": 3}
        result = self.lm.dose(self.cav[0].add, [0, 4], seeds=1, random=1, **settings)
        # A Ctrl-C gives what is done by then, so that a whole one is told by its number of answers.
        return [(row.strength, row.on_topic.n) for row in result.table]

    def _lens(self) -> Any:
        lens = self.lm.logit_lens(PROMPT, self.recipe, k=3)
        return lens.token_ids.tolist(), lens.log_probs.tolist()

    def _steer(self) -> Any:
        ids = torch.tensor([self.lm.encode(PROMPT).token_ids])
        with self.lm.steer(self.cav[0].add(3)), torch.no_grad():
            return self.lm.model(ids).logits[0, -1].tolist()

    def _index(self) -> Any:
        built = sw.corpus.build(
            self.lm, self.sae, corpora.texts(12), self.folder / "index", on_progress=lambda _: None, batch_tokens=64
        )
        data = built.of(self.sae)
        return built.texts, built.tokens, data.statistics.maximum.nan_to_num(-1).tolist()

    def _fit(self) -> Any:
        return sw.CAV.fit(self.lm, TEXTS, LABELS, layer=1, held_out=0).vectors.tolist()

    def _save(self) -> Any:
        for name, one in {"c.safetensors": self.cav, "sae": self.sae}.items():
            one.save(self.folder / name)
        return sw.CAV.load(self.folder / "c.safetensors").fingerprint, sw.SAE.load(self.folder / "sae").fingerprint

    def clear(self) -> None:
        """Forget what was written, for a verb that goes on from what it finds."""
        import shutil

        for path in self.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    # ------------------------------------------------------------ what is left behind

    def hooks(self) -> int:
        kinds_ = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
        return sum(len(getattr(module, kind)) for module in self.lm.model.modules() for kind in kinds_)

    def hidden(self) -> int:
        """Methods of modules that hide their class' own."""
        return sum("forward" in vars(module) for module in self.lm.model.modules())

    def lock_is_free(self) -> bool:
        took: list[bool] = []

        def take() -> None:
            took.append(self.lm.lock.acquire(timeout=5))
            if took[0]:
                self.lm.lock.release()

        thread = threading.Thread(target=take)
        thread.start()
        thread.join()
        return took[0]

    def half_written(self) -> list[str]:
        """Files that are neither there before nor the whole of what a verb writes.

        An index keeps its finished parts on purpose, and what a run that goes on takes away.
        """
        kept = (path for path in self.folder.rglob("*") if path.is_file() and "index" not in path.parts)
        names = [path.name for path in kept]
        return [name for name in names if name.startswith(".") or name.endswith(".new")]


WITHIN = 5.0
"""Seconds in which threads have to end that a verb started."""


@dataclass(frozen=True)
class Finding:
    """What an attack left, and where it struck."""

    attack: Attack
    at: str
    told: str

    def __str__(self) -> str:
        return f"{self.attack} ({self.at}): {self.told}"


class Siege:
    """Attacks one target again and again.

    Args:
        seed: of the attacks.
        folder: where verbs write.
        verbs: which; all by default.
    """

    def __init__(self, seed: int, folder: Path, verbs: tuple[str, ...] = ()) -> None:
        self.target = Target(folder)
        self._drawn = random.Random(seed)
        self.verbs = verbs or tuple(self.target.verbs)
        self.raised: collections.Counter[str] = collections.Counter()
        self._expected: dict[str, Any] = {}
        self._lines: dict[tuple[str, bool], int] = {}

    def attacks(self, count: int) -> Iterator[Attack]:
        """Verbs take turns; of the lines half are drawn among ours."""
        for number in range(count):
            error = self._drawn.choice((KeyboardInterrupt, Injected))
            yield Attack(self.verbs[number % len(self.verbs)], self._drawn.random(), error, self._drawn.random() < 0.7)

    def findings(self, count: int) -> Iterator[Finding]:
        """What the attacks find."""
        for attack in self.attacks(count):
            yield from self.strike(attack)

    def strike(self, attack: Attack) -> Iterator[Finding]:
        run, target = self.target.verbs[attack.verb], self.target
        lines = self._known(attack)
        target.clear()
        threads, umask, descriptors = set(threading.enumerate()), _umask(), _descriptors()
        tracing = Lines(ours=attack.ours, at=1 + int(attack.share * lines), error=attack.error)
        unraised: list[str] = []
        with _hearing(unraised):
            try:
                with tracing:
                    run()
                # What a verb answers by itself (a Ctrl-C in a dose) has struck all the same.
            except (attack.error, Exception) as error:
                if not _is_or_says(error, attack.error):
                    yield Finding(attack, tracing.raised_at, f"raised {type(error).__name__}: {str(error)[:200]}")
        self.raised[attack.verb] += bool(tracing.raised_at)
        if not tracing.raised_at:
            return

        def left() -> list[str]:
            found = {
                "hooks": target.hooks(),
                "hidden methods": target.hidden(),
                "threads": [each.name for each in set(threading.enumerate()) - threads],
                "half-written files": target.half_written(),
                "gradients off": not torch.is_grad_enabled(),
                "another umask": _umask() != umask,
                "descriptors": max(0, _descriptors() - descriptors),
            }
            return [f"{name}: {what}" for name, what in found.items() if what]

        deadline = time.monotonic() + WITHIN
        while (told := left()) and time.monotonic() < deadline:
            time.sleep(0.02)
        if told:
            yield Finding(attack, tracing.raised_at, "left " + "; ".join(told))
            self.target = Target(target.folder)
            return
        if not target.lock_is_free():
            yield Finding(attack, tracing.raised_at, "left the lock held")
            self.target = Target(target.folder)
            return
        try:
            again = run()
        except Exception as error:
            yield Finding(attack, tracing.raised_at, f"the next run raised {type(error).__name__}: {str(error)[:300]}")
            self.target = Target(target.folder)
            return
        if again != self._expected[attack.verb]:
            yield Finding(attack, tracing.raised_at, "the next run gave something else")

    def _known(self, attack: Attack) -> int:
        """How many lines the verb runs, and what it gives undisturbed."""
        key = (attack.verb, attack.ours)
        if key not in self._lines:
            run = self.target.verbs[attack.verb]
            self.target.clear()
            self._expected[attack.verb] = run()
            self.target.clear()
            with Lines(ours=attack.ours) as counting:
                run()
            self._lines[key] = counting.count
        return self._lines[key]


def _is_or_says(error: BaseException | None, kind: type[BaseException]) -> bool:
    """Whether an error is of that kind, or was raised from one."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, kind):
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False


@contextlib.contextmanager
def _hearing(told: list[str]) -> Iterator[None]:
    """Errors in finalizers are printed by the interpreter and stop nothing: here they are expected."""
    before = sys.unraisablehook
    sys.unraisablehook = lambda each: told.append(str(each.exc_value))
    try:
        yield
    finally:
        sys.unraisablehook = before


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _descriptors() -> int:
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


def main() -> None:
    torch.set_num_threads(1)
    count, *rest = sys.argv[1:] or ["1000"]
    seed = int(rest.pop(0)) if rest and rest[0].isdecimal() else 0
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        siege = Siege(seed, Path(folder), tuple(rest))
        found = []
        for finding in siege.findings(int(count)):
            print(finding, flush=True)
            found.append(finding)
        by_verb = collections.Counter(finding.attack.verb for finding in found)
        print(f"{'verb':<14}{'attacks':>9}{'findings':>10}")
        for verb in siege.verbs:
            print(f"{verb:<14}{siege.raised[verb]:>9}{by_verb[verb]:>10}")
        print(f"{sum(siege.raised.values())} attacks, {len(found)} findings, {time.perf_counter() - begun:.0f} s")
    if found:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
