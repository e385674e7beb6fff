"""The data set and the way to start a run that tests of whole runs share."""

from __future__ import annotations

from pathlib import Path

import pytest
from training_runs import Notes, Start, specification

from mmad.base.paths import RunPaths
from mmad.data.dataset import DataSet
from mmad.data.phantom.generate import make_phantom
from mmad.training.trainer import train


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
