"""Which engine a command gets: names, options of other engines, packages that are missing."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from mmad.base.errors import MmadError
from mmad.scheduler.devices import Slots
from mmad.scheduler.executors.factory import ExecutorChoice
from mmad.scheduler.scheduler import Options


def test_this_machine_is_the_default() -> None:
    assert not ExecutorChoice("local", "cpu").slots().on_gpu
    assert ExecutorChoice().executor("db.sqlite", Slots(), Options()) is None


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ({"name": "rey"}, "--executor: no such executor 'rey'; did you mean ray?"),
        ({"name": "zzz"}, "--executor: no such executor 'zzz'; use local, ray, slurm, command"),
        ({"name": "local", "jobs": 3}, "--jobs: is for --executor command; add that, or leave it out"),
        ({"name": "command", "per_gpu": 2}, "--per-gpu: a line has one run; leave it out, and say --jobs"),
        (
            {"name": "local", "address": "here:1"},
            "--address: is for a Ray cluster; add --executor ray, or leave it out",
        ),
        ({"name": "ray", "slurm": ("a=b",)}, "--slurm: is for a Slurm cluster; add --executor slurm, or leave it out"),
        (
            {"name": "ray", "per_gpu": None},
            "--per-gpu: auto: a cluster's memory is not measured; give a number of runs",
        ),
        (
            {"name": "slurm", "per_gpu": 2},
            "--per-gpu: a job has its GPU to itself; leave it out, or ask Slurm for a share",
        ),
    ],
)
def test_what_does_not_fit_is_one_line(words: dict[str, Any], line: str) -> None:
    with pytest.raises(MmadError) as refused:
        ExecutorChoice(**words).slots()
    assert str(refused.value) == line


@pytest.mark.parametrize(("name", "package"), [("ray", "ray"), ("slurm", "submitit")])
def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch, name: str, package: str) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda word, *rest: None if word == package else found(word, *rest)
    )
    with pytest.raises(MmadError) as refused:
        ExecutorChoice(name).slots()
    assert str(refused.value) == (
        f"--executor {name}: the package {package} is not installed; install it into this environment "
        f"(pip install 'mmad[{name}]'), or leave out --executor"
    )


@pytest.mark.parametrize(
    ("address", "part"),
    [
        ("127.0.0.1:1", "127.0.0.1:1: Connection refused"),
        ("nonsense", "nonsense is not HOST:PORT"),
        ("ray://head:10001", "ray://head:10001 is not HOST:PORT"),
    ],
)
def test_an_address_without_a_cluster_is_refused_at_once(address: str, part: str) -> None:
    pytest.importorskip("ray", reason="the package ray is not installed")
    with pytest.raises(MmadError) as refused:
        ExecutorChoice("ray", address=address).slots()
    assert str(refused.value) == (
        f"--address {address}: no connection to a Ray cluster ({part}); run this on a node of it "
        "(ray start --address=HEAD:6379), or name its head as HOST:PORT"
    )


def test_a_dry_run_needs_no_slurm_here(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit", reason="the package submitit is not installed")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(MmadError, match="there is no sbatch here"):
        ExecutorChoice("slurm").slots()
    assert ExecutorChoice("slurm", slurm=("gpus=1",)).slots(dry=True).on_gpu
    with pytest.raises(MmadError, match="jobs=x is not a number of jobs"):
        ExecutorChoice("slurm", slurm=("jobs=x",)).slots(dry=True)
