"""What every test starts from: one thread, a cache of its own, no settings of whoever runs it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"  # before torch or numpy is imported: other numbers of threads give other bits
for _name in ("MMAD_DB", "MMAD_DATA", "MMAD_RUNS", "MMAD_WEIGHTS"):
    os.environ.pop(_name, None)

ROOT = Path(__file__).parents[1]
_cache = tempfile.mkdtemp(prefix="mmad-tests-")
os.environ["MMAD_CACHE"] = _cache


def pytest_unconfigure() -> None:
    shutil.rmtree(_cache, ignore_errors=True)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data beside the checkout; the test skips where there is none."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("the real X-rays and the documented log do not stand beside this checkout")
    return folder


@pytest.fixture
def run_mmad(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the ``mmad`` console script in a process of its own, in an empty folder."""

    def run(*words: str | Path, cwd: Path = tmp_path, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", "from mmad.cli import main; main()", *map(str, words)],
            cwd=cwd,
            env=os.environ | {"COLUMNS": "160"} | environment,
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )

    return run
