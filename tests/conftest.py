"""What every test starts from: one thread, a cache of its own, no settings of whoever runs it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import NamedTuple

import pytest
from postgresql_server import Server, started

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"  # before torch or numpy is imported: other numbers of threads give other bits
for _name in ("MMAD_DB", "MMAD_DATA", "MMAD_RUNS", "MMAD_WEIGHTS", "MMAD_SET"):
    os.environ.pop(_name, None)

ROOT = Path(__file__).parents[1]
_schemas = count(1)
_cache = tempfile.mkdtemp(prefix="mmad-tests-")
os.environ["MMAD_CACHE"] = _cache


class Called(NamedTuple):
    """What a command answered."""

    code: int
    out: str
    err: str


def pytest_unconfigure() -> None:
    shutil.rmtree(_cache, ignore_errors=True)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data beside the checkout; the test skips where there is none."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("the real X-rays and the documented log do not stand beside this checkout")
    return folder


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A PostgreSQL server; the test skips where none is installed."""
    running = started()
    yield running
    running.remove()


@pytest.fixture
def postgresql(server: Server) -> Iterator[str]:
    """The URL of an empty schema of a PostgreSQL server."""
    with server.schema(f"test_{next(_schemas)}") as url:
        yield url


@pytest.fixture
def second_postgresql(server: Server) -> Iterator[str]:
    """The URL of another empty schema of the server."""
    with server.schema(f"test_{next(_schemas)}") as url:
        yield url


@pytest.fixture
def call_mmad(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Called]:
    """Run the console script's ``main`` in this process: the exit code and what it wrote."""

    def call(*words: str | Path) -> Called:
        from mmad.cli.app import main

        monkeypatch.setattr(sys, "argv", ["mmad", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main()
        written = capsys.readouterr()
        return Called(0 if exit_.value.code is None else int(exit_.value.code), written.out, written.err)

    return call


@pytest.fixture
def run_mmad(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the ``mmad`` console script in a process of its own, in an empty folder."""

    def run(*words: str | Path, cwd: Path = tmp_path, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", "from mmad.cli.app import main; main()", *map(str, words)],
            cwd=cwd,
            env=os.environ | {"COLUMNS": "160"} | environment,
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )

    return run
