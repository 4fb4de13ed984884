"""Threads on machines that are shared: as many as the container may use, none that spins, and one where it is crowded.

Every parallel loop ends when its last thread does. Where others wait for the same cores, that one mostly waits too:
measured with eight busy processes on two cores, a pair of 48 tokens that takes 3.5 s alone takes 115 s with two threads
and 21 s with one, which takes 4.1 s alone.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

SPINS: Final = "1000"
"""How often a waiting thread looks before it sleeps (libgomp's own: 300,000, and 1,000 where it has no core)."""

CGROUPS: Final = Path("/sys/fs/cgroup")
OWN: Final = Path("/proc/self/cgroup")
LOAD: Final = Path("/proc/loadavg")
LOOK: Final = 0.5
"""Seconds between two looks at who else wants the cores."""


def wait_quietly() -> None:
    """Make the waiting threads of PyTorch sleep; only before it is loaded, and not where the user has said otherwise.

    Reference: `GOMP_SPINCOUNT` in the manual of GNU libgomp, which the wheels of PyTorch carry.
    """
    said = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    if "torch" not in sys.modules and not any(name in os.environ for name in said):
        os.environ["GOMP_SPINCOUNT"] = SPINS


def follow_quota() -> None:
    """Lower PyTorch's threads to what the container's CPU quota lets run at once; they are never raised."""
    import torch

    quota = cpu_quota()
    if quota is not None and quota < torch.get_num_threads():
        torch.set_num_threads(max(1, math.ceil(quota)))


@contextmanager
def sharing() -> Iterator[Callable[[], None]]:
    """While it lasts, this thread computes in one thread whenever others wait for the machine's cores.

    Yields:
        What looks who else is there; cheap enough for every token. PyTorch's threads are as before afterwards.
    """
    import torch

    usual, looked = torch.get_num_threads(), -math.inf

    def look() -> None:
        nonlocal looked
        now = time.monotonic()
        if usual > 1 and now - looked >= LOOK:
            looked = now
            wanted = 1 if is_crowded() else usual
            if torch.get_num_threads() != wanted:
                torch.set_num_threads(wanted)

    try:
        look()
        yield look
    finally:
        if torch.get_num_threads() != usual:
            torch.set_num_threads(usual)


def is_crowded(load: Path = LOAD) -> bool:
    """Whether more than one other thread waits for, or runs on, each core; False where nothing tells it.

    Args:
        load: the file that says how many threads of the machine are runnable, this one among them.

    Reference: Linux's `proc_loadavg(5)`, the fourth field.
    """
    try:
        runnable = int(load.read_text("utf-8").split()[3].partition("/")[0])
    except (OSError, ValueError, IndexError):
        return False
    return runnable - 1 > (os.cpu_count() or 1)


def cpu_quota(own: Path = OWN, cgroups: Path = CGROUPS) -> float | None:
    """How many CPUs' worth of time this process's control groups leave it; None where nothing limits it.

    Args:
        own: the file that says in which groups the process is.
        cgroups: where the groups are mounted.

    Reference: Linux's `Documentation/admin-guide/cgroup-v2.rst` (`cpu.max`), and of version 1 `cpu.cfs_quota_us`.
    """
    try:
        lines = [line.split(":", 2) for line in own.read_text("utf-8").splitlines()]
    except OSError:
        return None
    found = []
    for _, controllers, path in (line for line in lines if len(line) == 3):
        if not controllers:
            found += [_of_version_2(folder) for folder in _up(cgroups, path)]
        elif "cpu" in controllers.split(","):
            mounted = (cgroups / name for name in (controllers, "cpu"))
            found += [_of_version_1(folder) for mount in mounted for folder in _up(mount, path)]
    known = [each for each in found if each is not None]
    return min(known) if known else None


def _up(mount: Path, path: str) -> list[Path]:
    """A group's folder and those above it; in a container only the mount itself may be there."""
    folder = mount / path.strip("/")
    return [folder, *(above for above in folder.parents if above.is_relative_to(mount))]


def _of_version_2(folder: Path) -> float | None:
    quota, _, period = _read(folder / "cpu.max").partition(" ")
    return _share(quota, period)


def _of_version_1(folder: Path) -> float | None:
    return _share(_read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us"))


def _read(file: Path) -> str:
    try:
        return file.read_text("utf-8").strip()
    except OSError:
        return ""


def _share(quota: str, period: str) -> float | None:
    if not (quota.isdecimal() and period.isdecimal()) or int(period) == 0 or int(quota) == 0:
        return None  # "max", or −1: no limit
    return int(quota) / int(period)
