"""A file is the old one or the new one, never a half."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from mmad.base.files import (
    FolderFilled,
    folder_beside,
    left_parts,
    part_beside,
    remove_left_parts,
    replacing,
    write_atomically,
)


def test_folders_are_made_and_content_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    write_atomically(path, b"old")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "file", b"")
        with folder_beside(tmp_path / "folder"):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o750


@pytest.mark.parametrize("stage", ["fsync", "replace"])
def test_a_failure_keeps_the_old_file_and_leaves_no_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    if stage == "fsync":
        monkeypatch.setattr(os, "fsync", refuse)
    else:
        monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_very_long_name_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 250)
    write_atomically(path, b"x")
    assert path.read_bytes() == b"x"


@pytest.mark.parametrize("name", ["file", "n" * 250, "[a*?].npz"])
def test_what_a_killed_process_left_is_removed_by_the_next_that_writes_the_same(tmp_path: Path, name: str) -> None:
    left = tmp_path / f".{name[:200]}.0a.part"
    left.write_bytes(b"half")
    left.with_name(f"{left.name}-journal").touch()  # SQLite's, of a backup
    other = tmp_path / ".other.0a.part"
    other.mkdir()
    (other / "image.png").touch()
    write_atomically(tmp_path / name, b"new")
    assert {p.name for p in tmp_path.iterdir()} == {name, other.name}
    remove_left_parts(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("folder", [False, True])
def test_what_a_living_process_writes_is_not_left(tmp_path: Path, folder: bool) -> None:
    path = tmp_path / "new"
    with part_beside(path, folder=folder) as part:
        assert list(left_parts(tmp_path)) == []
        with replacing(path) as second:  # both write the same: the last one counts
            second.write_bytes(b"second")
        assert part.exists()
    assert path.read_bytes() == b"second"
    assert [p.name for p in tmp_path.iterdir()] == ["new"]


def test_a_folder_is_there_when_it_is_full(tmp_path: Path) -> None:
    path = tmp_path / "a" / "new"
    with folder_beside(path) as part:
        (part / "file").touch()
        assert not path.exists()
    assert [p.name for p in path.parent.iterdir()] == ["new"]
    with pytest.raises(FolderFilled), folder_beside(path):
        raise AssertionError
    with pytest.raises(FolderFilled), folder_beside(path / "file"):
        raise AssertionError
    (path / "file").unlink()
    with folder_beside(path) as part:  # an empty one may be filled
        (part / "other").touch()
    with pytest.raises(ZeroDivisionError), folder_beside(tmp_path / "a" / "second"):
        raise ZeroDivisionError
    assert [p.name for p in path.parent.rglob("*")] == ["new", "other"]
