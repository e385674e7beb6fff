"""``mmad data check`` and ``mmad data show``: words in, words out; and the audit before a training."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmad.data.audit.findings import MARK
from mmad.data.phantom.generate import make_phantom
from mmad.store.store import Store

Call = Callable[..., Any]
FILE = """\
title = "Tiny"
[setup]
use_clinical = false
backbone = "custom2"
pretrained = false
image_size = 32
backbone_out_channels = 8
[arms.CXR]
[[settings]]
name = "default"
[protocol]
epochs = 1
"""


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A phantom of 12 studies, not to be changed."""
    return make_phantom(tmp_path_factory.mktemp("drawn") / "set", studies=12, image_size=64).root


@pytest.fixture
def root(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MMAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    shutil.copytree(drawn, tmp_path / "set")
    return tmp_path / "set"


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")


def break_it(root: Path) -> None:
    studies = (root / "studies.csv").read_text("utf-8").splitlines()
    first, other = studies[1].split(","), next(line for line in studies if ",test," in line).split(",")
    shutil.copy(root / first[1], root / other[1])


@pytest.mark.slow
def test_a_sound_data_set(root: Path, call_mmad: Call) -> None:
    answer = call_mmad("data", "check", "set")
    assert answer.code == 0
    assert "set: 0 errors" in answer.out
    assert "Atelectasis" in answer.out
    told = json.loads(call_mmad("data", "check", "set", "--json").out)
    assert told["errors"] == 0
    assert told["fixed"] is None
    assert set(told["splits"]) == {"train", "val", "test"}


@pytest.mark.slow
def test_errors_are_listed_with_code_rows_and_mend(root: Path, call_mmad: Call) -> None:
    break_it(root)
    answer = call_mmad("data", "check", "set")
    assert answer.code == 2
    assert "duplicate-across-splits" in answer.out
    assert "→ keep one of each" in answer.out
    assert "set: 1 error," in answer.out
    as_json = call_mmad("data", "check", "set", "--json")
    assert as_json.code == 2
    (found,) = (f for f in json.loads(as_json.out)["findings"] if f["level"] == "error")
    assert set(found) == {"code", "level", "where", "what", "hint", "rows", "count"}


@pytest.mark.slow
def test_a_repaired_copy(root: Path, call_mmad: Call) -> None:
    break_it(root)
    told = json.loads(call_mmad("data", "check", "set", "--fix", "--out", "new", "--json").out)
    assert told["errors"] == 1
    assert told["fixed"]["errors"] == 0
    assert "copy of another" in told["fixed"]["done"][0]
    assert call_mmad("data", "check", "new").code == 0
    again = call_mmad("data", "check", "set", "--fix", "--out", "new")
    assert again.code == 2
    assert "exists already" in again.err
    words = call_mmad("data", "check", "set", "--fix", "--out", "other")
    assert words.code == 0
    assert "other: 0 errors" in words.out
    assert call_mmad("data", "check", "set", "--fix").code == 2


def test_a_contact_sheet(root: Path, call_mmad: Call) -> None:
    answer = call_mmad("data", "show", "set", "--limit", "3", "--out", "x.html")
    assert answer.code == 0
    assert answer.out.strip() == "x.html: 3 of 12 studies"
    assert call_mmad("data", "show", "set", "s000001", "s000002").out.strip() == "sheet.png: 2 of 12 studies"
    assert Path("sheet.png").is_file()
    failed = call_mmad("data", "show", "set", "--label", "Consolidatio")
    assert failed.code == 2
    assert "did you mean 'Consolidation'" in failed.err


@pytest.mark.slow
def test_errors_stop_a_training_before_anything_is_queued(root: Path, call_mmad: Call) -> None:
    break_it(root)
    Path("tiny.toml").write_text(FILE, "utf-8")
    answer = call_mmad("ablate", "tiny.toml", "--data", "set", "--device", "cpu")
    assert answer.code == 2
    line = answer.err.splitlines()[-1]
    assert "image files hold the same bytes" in line
    assert "`mmad data check" in line
    assert not Path("db").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("warm_workers")
def test_warnings_are_said_once_by_code_kept_with_the_runs_and_reported(root: Path, call_mmad: Call) -> None:
    edit(root / "dataset.toml", "high = 95.0", "high = 40.0")
    edit(root / "dataset.toml", 'split_policy = "patient"', 'split_policy = "documented"')
    Path("tiny.toml").write_text(FILE, "utf-8")
    answer = call_mmad("ablate", "tiny.toml", "--data", "set", "--device", "cpu")
    assert answer.code == 0, answer.err
    said = [line for line in answer.err.splitlines() if line.startswith("mmad: warning: ")]
    assert any("value-out-of-range: 'age' is outside 18 to 40 years" in line for line in said)
    assert len({line.split(": ")[3] for line in said}) == len(said)
    with Store.open("db/mmad.sqlite") as store:
        (run,) = store.run_records()
        kept = store.warnings(run.key)
    assert any(line.startswith(f"{MARK}value-out-of-range") for line in kept)
    assert call_mmad("ablate", "tiny.toml", "--data", "set", "--device", "cpu").code == 0
    assert call_mmad("report", "--html").code == 0
    page = Path("reports/index.html").read_text("utf-8")
    assert "audit warning" in page
    assert "value-out-of-range" in page
    assert "split: documented" in page
