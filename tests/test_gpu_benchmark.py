"""The script for a GPU goes through its stages without one, and writes each as it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "gpu.py"


@pytest.mark.slow
@pytest.mark.usefixtures("warm_workers")
@pytest.mark.parametrize(("limits", "fails"), [("20", False), ("0.001", True)])
def test_every_stage_has_a_limit_and_its_own_line(tmp_path: Path, limits: str, fails: bool) -> None:
    out = tmp_path / "gpu.jsonl"
    words = ["--device", "cpu", "--tiny", "--only", "memory", "--limits", limits, "--out", str(out)]
    done = subprocess.run([sys.executable, str(SCRIPT), *words], capture_output=True, text=True)
    assert done.returncode == int(fails), done.stderr
    head, row = (json.loads(line) for line in out.read_text().splitlines())
    assert head["device"].startswith("cpu")
    assert row["stage"] == "memory"
    assert ("failed" in row) == fails
