"""``mmad data``: words in, words out."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmad.data.dataset import DataSet
from mmad.data.image_cache import image_cache
from mmad.data.reader import load_dataset

Call = Callable[..., Any]


@pytest.mark.slow
def test_phantom_then_info(tmp_path: Path, call_mmad: Call) -> None:
    out = tmp_path / "set"
    made = call_mmad(
        "data", "phantom", "--out", str(out), "--studies", "12", "--image-size", "64", "--clinical-effect", "0.5"
    )
    assert made.code == 0, made.err
    assert "12 studies" in made.out
    told = json.loads(call_mmad("data", "info", str(out), "--json").out)
    assert told["fingerprint"] == load_dataset(out).fingerprint()
    assert sum(split["studies"] for split in told["splits"].values()) == 12
    assert told["splits"]["train"]["labels"]["Atelectasis"]["studies"] >= 1
    assert [column["name"] for column in told["columns"]][-1] == "gender"
    again = call_mmad("data", "phantom", "--out", str(out))
    assert again.code == 2
    assert again.err.strip().splitlines()[-1].startswith(f"mmad: {out}: exists already")
    assert "Traceback" not in again.err


@pytest.mark.slow
def test_a_phantom_of_real_images(tmp_path: Path, call_mmad: Call) -> None:
    out = tmp_path / "set"
    words = ("--studies", "10", "--size", "96x128", "--format", "jpeg", "--artefacts", "--missing", "0.5")
    made = call_mmad("data", "phantom", "--out", str(out), *words)
    assert made.code == 0, made.err
    dataset = load_dataset(out)
    assert (dataset.studies[0].width, dataset.studies[0].height) == (96, 128)
    missing = [value is None for study in dataset.studies for value in study.numeric]
    assert 0.3 < sum(missing) / len(missing) < 0.7
    refused = call_mmad("data", "phantom", "--out", str(tmp_path / "other"), "--size", "96")
    assert refused.code == 2
    assert "WIDTHxHEIGHT" in refused.err


def test_info_in_words(phantom: DataSet, call_mmad: Call) -> None:
    shown = call_mmad("data", "info", str(phantom.root))
    assert shown.code == 0, shown.err
    assert "licence: CC0-1.0" in shown.out
    assert "column temperature [°F]" in shown.out


@pytest.mark.slow
def test_the_cache_is_listed_and_cleared(phantom: DataSet, cache: Path, call_mmad: Call) -> None:
    image_cache(phantom, 32)
    told = json.loads(call_mmad("data", "cache", "--json").out)
    assert told["path"] == str(cache / "images")
    assert told["size"] == 40 * 32 * 32
    assert [(entry["images"], entry["image_size"]) for entry in told["entries"]] == [(40, 32)]
    cleared = call_mmad("data", "cache", "--clear")
    assert cleared.code == 0, cleared.err
    assert "1 file, 0.0 MiB removed" in cleared.out
    assert not list((cache / "images").iterdir())


def test_import_of_nothing_is_one_line(tmp_path: Path, call_mmad: Call) -> None:
    failed = call_mmad("data", "import", "csv", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out"))
    assert failed.code == 2
    assert "nowhere: no such folder; name the folder that holds the CSV files" in failed.err
    assert "Traceback" not in failed.err


def test_a_unit_without_a_column_is_refused(tmp_path: Path, call_mmad: Call) -> None:
    failed = call_mmad("data", "import", "csv", str(tmp_path), "--out", str(tmp_path / "out"), "--unit", "years")
    assert failed.code == 2
    assert "COLUMN=UNIT" in failed.err


@pytest.mark.slow
def test_no_data_command_imports_torch() -> None:
    rooms = "mmad.cli.data, mmad.data.importers.csv, mmad.data.importers.coco, mmad.data.image_cache, mmad.data.summary"
    code = f"import sys, {rooms}; print('torch' in sys.modules or 'pydicom' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "False"
