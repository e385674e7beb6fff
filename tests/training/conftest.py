"""The data set and the way to start a run that tests of whole runs share."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import pytest
from training_runs import Notes, Start, Whole, specification

from mmad.base.paths import RunPaths
from mmad.data.dataset import DataSet
from mmad.data.phantom.generate import make_phantom
from mmad.training import device
from mmad.training.trainer import train


@pytest.fixture(scope="session", autouse=True)
def _asked_once() -> Iterator[None]:
    """Ask git and the packages once for what a process of a user asks once."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_git_state", "_versions"):
            patch.setattr(device, name, functools.cache(getattr(device, name)))
        yield


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    return make_phantom(tmp_path_factory.mktemp("data") / "phantom", studies=24, image_size=64)


@pytest.fixture
def start(dataset: DataSet, tmp_path: Path) -> Start:
    def begin(
        notes: Notes,
        folder: str = "run",
        epochs: int = 3,
        stop_after: int | None = None,
        checkpoint_every: int | None = None,
        **fields: object,
    ) -> str:
        spec = specification(dataset, epochs, **fields)
        return train(
            spec,
            dataset_path=dataset.root,
            run=RunPaths(tmp_path / folder),
            recorder=notes,
            checkpoint_every=checkpoint_every,
            stop=lambda: stop_after is not None and notes.steps >= stop_after,
        )

    return begin


@pytest.fixture(scope="session")
def whole(dataset: DataSet, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """Train a run without a stop, once for all tests: what it told, and its folder, which no test may change."""
    known: dict[str, tuple[Notes, Path]] = {}

    def trained(epochs: int = 3, **fields: object) -> tuple[Notes, Path]:
        spec = specification(dataset, epochs, **fields)
        if spec.key not in known:
            notes, folder = Notes(), tmp_path_factory.mktemp("whole")
            assert train(spec, dataset_path=dataset.root, run=RunPaths(folder), recorder=notes) == "finished"
            known[spec.key] = notes, folder
        return known[spec.key]

    return trained
