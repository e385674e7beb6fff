"""Workbenches for the documentation's commands and programs."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from docs_workbench import Workbench

#: One epoch on images of 32 px, from weights drawn here; the patience chapter's members then share two runs.
SHORT = "epochs=1 image_size=32 batch_size=8 reduceLROnPlateau_patience=1 loss_weights={} weights=weights/drawn.pth"


@pytest.fixture(scope="session")
def make_workbench(tmp_path_factory: pytest.TempPathFactory, warm: dict[str, str]) -> Callable[[str], Workbench]:
    """A function that makes a fresh workbench with MMAD_SET. Skips where mmad is not installed as a command."""
    if not (Path(sys.prefix) / "bin" / "mmad").exists():
        pytest.skip("mmad is not installed in the environment that runs the tests (make setup does it)")

    def make(words: str) -> Workbench:
        bench = Workbench(tmp_path_factory.mktemp("clone"), words)
        bench.environment |= warm
        return bench

    return make


@pytest.fixture
def newcomer(make_workbench: Callable[[str], Workbench]) -> Workbench:
    """A fresh workbench in which nothing was done, and settings shorten every training."""
    return make_workbench(SHORT)


@pytest.fixture
def programmer(make_workbench: Callable[[str], Workbench]) -> Workbench:
    """A fresh workbench in which the quickstart itself is short."""
    bench = make_workbench("")
    bench.shorten_files()
    return bench


@pytest.fixture(scope="session")
def trained(make_workbench: Callable[[str], Workbench]) -> Workbench:
    """A workbench in which a short quickstart pair is trained and on whose path mmad is."""
    bench = make_workbench("")
    bench.shorten_files()
    bench.use_venv()
    bench.run("mmad ablate ablations/quickstart.toml")
    return bench


@pytest.fixture
def call_trained(
    trained: Workbench, call_mmad: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """Run a documented ``mmad`` command on the trained workbench, in this process; ``without`` one variable."""
    monkeypatch.chdir(trained.folder)

    def call(command: str, without: str = "") -> Any:
        words = shlex.split(trained.known(command), comments=True)
        given = dict(word.split("=", 1) for word in words[: words.index("mmad")])
        with monkeypatch.context() as patch:
            for name, value in ({n: v for n, v in trained.environment.items() if n != without} | given).items():
                if name.startswith("MMAD_"):
                    patch.setenv(name, value)
            return call_mmad(*words[words.index("mmad") + 1 :])

    return call
