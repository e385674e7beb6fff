"""How many CPU cores this process may use."""

from __future__ import annotations

import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """CPU cores this process may use: its affinity, narrowed by the control group's quota; at least 1."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_quota()
    return max(1, affinity if quota is None else min(affinity, int(quota)))


def _cgroup_quota(root: Path = _CGROUP, membership: Path = Path("/proc/self/cgroup")) -> float | None:
    """The smallest CPU quota, in cores, of the control groups above this process (versions 1 and 2)."""
    quotas: list[float] = []
    for folder in _cgroup_folders(root, membership):
        for read in (_quota_v2, _quota_v1):
            try:
                quota = read(folder)
            except (OSError, ValueError):
                continue
            if quota is not None:
                quotas.append(quota)
    return min(quotas, default=None)


def _cgroup_folders(root: Path, membership: Path) -> set[Path]:
    folders = {root, root / "cpu", root / "cpu,cpuacct"}
    try:
        lines = membership.read_text(encoding="utf-8").splitlines()
    except OSError:
        return folders
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        base = root / controllers if controllers else root
        relative = Path(path.lstrip("/"))
        if ".." in relative.parts:
            continue
        folders.update(base / part for part in (relative, *relative.parents))
    return folders


def _quota_v2(folder: Path) -> float | None:
    limit, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
    return None if limit == "max" else int(limit) / int(period)


def _quota_v1(folder: Path) -> float | None:
    limit = int((folder / "cpu.cfs_quota_us").read_text(encoding="utf-8"))
    return None if limit <= 0 else limit / int((folder / "cpu.cfs_period_us").read_text(encoding="utf-8"))
