"""A database of finished runs with kept detections, made once and copied for each test that asks for it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import analysis_fixtures as made
import pytest

from mmad.data.phantom.generate import make_phantom


@pytest.fixture(scope="session")
def _judged_template(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("judged")
    return made.world(folder, make_phantom(folder / "phantom", studies=120, image_size=64))


@pytest.fixture
def judged_world(_judged_template: Any, tmp_path: Path) -> Any:
    """Two arms over two seeds, all finished; the database may be changed."""
    shutil.copytree(_judged_template.database.parent, tmp_path / "db")
    return made.World(tmp_path / "db" / "mmad.sqlite", _judged_template.dataset, _judged_template.keys)


@pytest.fixture
def call_judged(judged_world: Any, call_mmad: Callable[..., Any]) -> Callable[..., Any]:
    """Run a command on that database; few resamples unless ``--resamples`` is among the words."""

    def call(*words: str) -> Any:
        few = ("--resamples", "50") if words[0] != "eval" and "--resamples" not in words else ()
        return call_mmad(*words, *few, "--db", judged_world.database)

    return call
