"""A database on a network file system: told once, and without a write-ahead log."""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import store_samples as samples

from mmad.store import engine
from mmad.store.store import Store

LOCAL = "27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw"


def mounted(monkeypatch: pytest.MonkeyPatch, folder: Path, *lines: str) -> None:
    """Pretends that these are the mounts, beside a local disk at /."""
    file = folder / "mountinfo"
    file.write_text("\n".join((LOCAL, *lines)) + "\n")
    monkeypatch.setattr(engine, "MOUNTS", file)
    monkeypatch.setattr(engine, "_warned", set())


def mount(point: Path, kind: str) -> str:
    escaped = str(point).replace("\\", "\\134").replace(" ", "\\040")
    return f"90 27 0:55 / {escaped} rw,relatime shared:9 - {kind} server:/export rw,vers=4.2"


@pytest.mark.parametrize(
    "kind", ["nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "lustre", "beegfs", "9p", "gpfs", "ceph", "fuse.glusterfs"]
)
def test_network_file_systems_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    mounted(monkeypatch, tmp_path, mount(tmp_path / "lab", kind))
    assert engine.network_type(tmp_path / "lab" / "db" / "mmad.sqlite") == kind
    assert engine.network_type(tmp_path / "laboratory" / "mmad.sqlite") is None


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "overlay", "tmpfs", "fuse.ntfs-3g", "fuseblk"])
def test_local_file_systems_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    mounted(monkeypatch, tmp_path, mount(tmp_path, kind))
    assert engine.network_type(tmp_path / "mmad.sqlite") is None


def test_the_innermost_and_latest_mount_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = tmp_path / "a b\\c"
    mounted(monkeypatch, tmp_path, mount(odd / "local", "ext4"), mount(odd, "ext4"), mount(odd, "nfs4"), "nonsense")
    assert engine.network_type(odd / "mmad.sqlite") == "nfs4"
    assert engine.network_type(odd / "local" / "mmad.sqlite") is None
    odd.mkdir()
    (tmp_path / "link").symlink_to(odd)
    assert engine.network_type(tmp_path / "link" / "mmad.sqlite") == "nfs4"


def test_where_the_system_does_not_tell_nothing_is_assumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "MOUNTS", tmp_path / "nothing")
    assert engine.network_type(tmp_path / "mmad.sqlite") is None


def journal(database: Path) -> str:
    with closing(sqlite3.connect(database)) as connection:
        return str(connection.execute("PRAGMA journal_mode").fetchone()[0])


def test_a_database_there_gets_no_write_ahead_log_and_one_warning(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    Store.open(database).close()
    assert journal(database) == "wal"
    mounted(monkeypatch, tmp_path, mount(tmp_path, "nfs4"))
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            with Store.open(database) as store:
                samples.fill(store)
        with Store.open(database, read_only=True) as store:
            assert len(store.run_records()) == 2
    assert journal(database) == "delete"
    (line,) = caplog.messages
    assert line.startswith(f"{database}: lies on a network file system (nfs4)")
    assert "PostgreSQL" in line
    monkeypatch.undo()
    Store.open(database).close()
    with Store.open(database) as store:
        store.add_warning(store.run_records()[0].key, "local again")
    assert journal(database) == "wal"
