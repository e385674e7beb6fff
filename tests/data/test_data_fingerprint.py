"""The fingerprint follows content, not place or time."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from mmad.base.errors import DataError
from mmad.data import dataset as module
from mmad.data.reader import load_dataset


def _settle(root: Path) -> None:
    """Make every file look an hour old, as most are."""
    for path in root.rglob("*"):
        if path.is_file():
            moment = path.stat().st_mtime - 3600
            os.utime(path, (moment, moment))


def test_equal_content_elsewhere_has_the_same_fingerprint(tiny: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny, tmp_path / "copy")
    one, two = load_dataset(tiny).fingerprint(), load_dataset(tmp_path / "copy").fingerprint()
    assert one == two
    assert len(one) == 64


@pytest.mark.parametrize("name", ["dataset.toml", "studies.csv", "boxes.csv", "images/c.png"])
def test_one_byte_in_any_file_changes_it(tiny: Path, name: str) -> None:
    dataset = load_dataset(tiny)
    before = dataset.fingerprint()
    (tiny / name).write_bytes((tiny / name).read_bytes() + b"\n")
    assert dataset.fingerprint() != before


def test_when_a_column_was_measured_may_be_added_later(tiny: Path) -> None:
    """No run is another one for it; a file that does not say it has the digest of its bytes."""
    file = tiny / "dataset.toml"
    text = file.read_text()
    assert 'measured = "before"\n' in text
    said = load_dataset(tiny).fingerprint()
    plain = text.replace('measured = "before"\n', "")
    file.write_text(plain)
    names = [
        "dataset.toml",
        "studies.csv",
        "boxes.csv",
        *sorted(f"images/{path.name}" for path in tiny.glob("images/*")),
    ]
    lines = [f"{name}\0{hashlib.sha256((tiny / name).read_bytes()).hexdigest()}\n" for name in names]
    assert load_dataset(tiny).fingerprint() == said == hashlib.sha256("".join(lines).encode()).hexdigest()
    file.write_text(plain.replace('name = "gender"\n', 'name = "gender"\n  measured="after" # the CT\n'))
    assert load_dataset(tiny).fingerprint() == said
    file.write_text(plain.replace("high = 110", "high = 111"))
    assert load_dataset(tiny).fingerprint() != said


def test_it_is_remembered_until_a_file_changes(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _settle(tiny)
    dataset = load_dataset(tiny)
    before = dataset.fingerprint()
    hashed: list[Path] = []
    real = module.hash_file

    def counting(path: Path) -> str:
        hashed.append(path)
        return real(path)

    monkeypatch.setattr(module, "hash_file", counting)
    assert dataset.fingerprint() == before
    assert hashed == []
    data = bytearray((tiny / "images" / "a.png").read_bytes())
    data[-1] ^= 1
    (tiny / "images" / "a.png").write_bytes(data)
    assert dataset.fingerprint() != before
    assert hashed


def test_a_file_just_written_is_not_remembered(tiny: Path, cache: Path) -> None:
    load_dataset(tiny).fingerprint()
    assert not (cache / "fingerprints").exists()


def test_a_damaged_memory_is_ignored(tiny: Path, cache: Path) -> None:
    _settle(tiny)
    before = load_dataset(tiny).fingerprint()
    (memory,) = (cache / "fingerprints").iterdir()
    memory.write_text("{", encoding="utf-8")
    assert load_dataset(tiny).fingerprint() == before


def test_an_image_that_went_away_is_named(tiny: Path) -> None:
    dataset = load_dataset(tiny)
    (tiny / "images" / "b.png").unlink()
    with pytest.raises(DataError, match=r"images/b.png: cannot be read"):
        dataset.fingerprint()
