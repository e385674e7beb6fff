"""How many cores a process may use: its affinity, and the quotas of its control groups."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmad.base import cores
from mmad.base.cores import usable_cores


@pytest.mark.parametrize(
    ("file", "content", "quota"),
    [
        ("cpu.max", "150000 100000\n", 1.5),
        ("cpu.max", "max 100000\n", None),
        ("job/cpu.max", "300000 100000\n", 3.0),
        ("cpu/cpu.cfs_quota_us", "400000\n", 4.0),
        ("cpu/cpu.cfs_quota_us", "-1\n", None),
    ],
)
def test_control_group_quotas_are_read(tmp_path: Path, file: str, content: str, quota: float | None) -> None:
    root, membership = tmp_path / "cgroup", tmp_path / "self"
    (root / file).parent.mkdir(parents=True)
    (root / file).write_text(content)
    if "cfs" in file:
        (root / "cpu/cpu.cfs_period_us").write_text("100000\n")
    membership.write_text("0::/job/step\n3:cpu:/\n")
    assert cores._cgroup_quota(root, membership) == quota


def test_cores_are_at_least_one_and_at_most_the_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    assert usable_cores() >= 1
    monkeypatch.setattr(cores, "_cgroup_quota", lambda: 0.5)
    assert usable_cores() == 1
