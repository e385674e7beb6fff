"""``mmad data``: words in, words out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmad.data.dataset import DataSet
from mmad.data.image_cache import image_cache
from mmad.data.reader import load_dataset


def _mmad(*words: str) -> subprocess.CompletedProcess[str]:
    code = "from mmad.cli.app import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, "data", *words], capture_output=True, text=True, env=dict(os.environ), check=False
    )


@pytest.mark.slow
def test_phantom_then_info(tmp_path: Path) -> None:
    out = tmp_path / "set"
    made = _mmad("phantom", "--out", str(out), "--studies", "12", "--image-size", "64", "--clinical-effect", "0.5")
    assert made.returncode == 0, made.stderr
    assert "12 studies" in made.stdout
    told = json.loads(_mmad("info", str(out), "--json").stdout)
    assert told["fingerprint"] == load_dataset(out).fingerprint()
    assert sum(split["studies"] for split in told["splits"].values()) == 12
    assert told["splits"]["train"]["labels"]["Atelectasis"]["studies"] >= 1
    assert [column["name"] for column in told["columns"]][-1] == "gender"
    again = _mmad("phantom", "--out", str(out))
    assert again.returncode == 2
    assert again.stderr.strip().splitlines()[-1].startswith(f"mmad: {out}: exists already")
    assert "Traceback" not in again.stderr


@pytest.mark.slow
def test_a_phantom_of_real_images(tmp_path: Path) -> None:
    out = tmp_path / "set"
    words = ("--studies", "10", "--size", "96x128", "--format", "jpeg", "--artefacts", "--missing", "0.5")
    made = _mmad("phantom", "--out", str(out), *words)
    assert made.returncode == 0, made.stderr
    dataset = load_dataset(out)
    assert (dataset.studies[0].width, dataset.studies[0].height) == (96, 128)
    missing = [value is None for study in dataset.studies for value in study.numeric]
    assert 0.3 < sum(missing) / len(missing) < 0.7
    refused = _mmad("phantom", "--out", str(tmp_path / "other"), "--size", "96")
    assert refused.returncode == 2
    assert "WIDTHxHEIGHT" in refused.stderr


def test_info_in_words(phantom: DataSet) -> None:
    shown = _mmad("info", str(phantom.root))
    assert shown.returncode == 0, shown.stderr
    assert "licence: CC0-1.0" in shown.stdout
    assert "column temperature [°F]" in shown.stdout


@pytest.mark.slow
def test_the_cache_is_listed_and_cleared(phantom: DataSet, cache: Path) -> None:
    image_cache(phantom, 32)
    told = json.loads(_mmad("cache", "--json").stdout)
    assert told["path"] == str(cache / "images")
    assert told["size"] == 40 * 32 * 32
    assert [(entry["images"], entry["image_size"]) for entry in told["entries"]] == [(40, 32)]
    cleared = _mmad("cache", "--clear")
    assert cleared.returncode == 0, cleared.stderr
    assert "1 file, 0.0 MiB removed" in cleared.stdout
    assert not list((cache / "images").iterdir())


def test_import_of_nothing_is_one_line(tmp_path: Path) -> None:
    failed = _mmad("import", "csv", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out"))
    assert failed.returncode == 2
    assert "nowhere: no such folder; name the folder that holds the CSV files" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_a_unit_without_a_column_is_refused(tmp_path: Path) -> None:
    failed = _mmad("import", "csv", str(tmp_path), "--out", str(tmp_path / "out"), "--unit", "years")
    assert failed.returncode == 2
    assert "COLUMN=UNIT" in failed.stderr


def test_no_data_command_imports_torch() -> None:
    rooms = "mmad.cli.data, mmad.data.importers.csv, mmad.data.importers.coco, mmad.data.image_cache, mmad.data.summary"
    code = f"import sys, {rooms}; print('torch' in sys.modules or 'pydicom' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "False"
