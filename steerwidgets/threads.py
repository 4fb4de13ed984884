"""Threads on machines that are shared: as many as the container may use, and none that spins while it waits.

Measured beside eight busy processes on two cores: with the OpenMP runtime's own settings a pair of short texts takes
twenty times as long as with these, since every parallel loop ends in threads that spin for one that got no core.
"""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path
from typing import Final

SPINS: Final = "1000"
"""How often a waiting thread looks before it sleeps (libgomp's own: 300,000, and 1,000 where it has no core)."""

CGROUPS: Final = Path("/sys/fs/cgroup")
OWN: Final = Path("/proc/self/cgroup")


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
