"""Two users of one group queue, train and read in one folder; what one of them may not write is named in one line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from queue_bench import Bench

from mmad.store.store import Store

GROUP, ALICE, BOB = 61000, 61001, 61002  # numbers of nobody


def become(user: int) -> tuple[str, ...]:
    """A program that runs another one as ``user``, who may read the tests' own files and write only what is theirs."""
    rights = ("--clear-groups", "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
    return ("setpriv", f"--reuid={user}", f"--regid={GROUP}", *rights)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of the group, in which everybody has the umask 002; the test skips where nobody else can be made."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs root and setpriv, to become two users")
    if subprocess.run([*become(BOB), "true"], check=False).returncode:
        pytest.skip("setpriv may not keep the right to read")
    os.chown(tmp_path, -1, GROUP)
    tmp_path.chmod(0o2775)  # new folders are the group's, too
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MMAD_CACHE", str(tmp_path / "cache"))
    before = os.umask(0o002)
    yield tmp_path
    os.umask(before)


def mmad(user: int, *words: str, folder: Path, umask: int = 0o002) -> tuple[int, str]:
    """What ``user`` is answered: the exit code, and what was said on stderr."""
    program = [*become(user), sys.executable, "-m", "mmad", *words]
    own = {name: value for name, value in os.environ.items() if name != "WARM"}  # what is forked has another user
    said = subprocess.run(
        program, cwd=folder, env=own, umask=umask, capture_output=True, text=True, timeout=300, check=False
    )
    return said.returncode, said.stderr


@pytest.mark.slow
def test_two_users_of_a_group_share_a_queue(folder: Path, bench: Callable[..., Bench]) -> None:
    one = bench(runs=4, epochs=3)
    allow = (folder / "allowed").write_text
    allow("0")
    commands = [one.command(cores=1, within=become(user)) for user in (ALICE, BOB)]
    with Store.open(one.database, read_only=True) as store:
        while len(held := store.owners()) < 2:  # each has a run in hand
            assert all(process.poll() is None for process in commands), commands[0].communicate()
    assert {psutil.Process(owner.pid).uids().real for owner in held.values()} == {ALICE, BOB}
    allow("3")
    for process in commands:
        said = process.communicate(timeout=300)
        assert process.returncode == 0, said
    assert one.statuses() == ["finished"] * 4
    assert set(one.trained().values()) == {1}
    assert {path.stat().st_gid for path in folder.rglob("*")} == {GROUP}
    for user in (ALICE, BOB):
        assert mmad(user, "runs", "--db", one.database, folder=folder) == (0, "")
        assert mmad(user, "requeue", one.keys[0], "--priority", "1", "--db", one.database, folder=folder)[0] == 0


@pytest.mark.slow
def test_users_whose_processes_are_hidden_rob_each_other_of_nothing(folder: Path, bench: Callable[..., Bench]) -> None:
    """/proc with hidepid=2, in which neither sees that the other's worker lives."""
    hide = ("unshare", "--mount", "sh", "-c", 'mount -t proc -o hidepid=2 proc /proc && exec "$@"', "sh")
    seen = subprocess.run([*hide, *become(BOB), "test", "-e", f"/proc/{os.getpid()}"], capture_output=True, check=False)
    if seen.returncode != 1 or seen.stderr:
        pytest.skip(f"/proc cannot be hidden: {seen.stderr.decode().strip()}")
    one = bench(runs=4, epochs=3)
    (folder / "allowed").write_text("1")
    commands = [one.command(cores=1, within=(*hide, *become(user))) for user in (ALICE, BOB)]
    with Store.open(one.database, read_only=True) as store:
        while len(store.owners()) < 2:  # each has a run in hand
            assert all(process.poll() is None for process in commands), commands[0].communicate()
    (folder / "allowed").write_text("3")
    for process in commands:
        out, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        assert "taken over" not in out
    assert one.undisturbed()


@pytest.mark.slow
def test_what_another_user_made_without_the_group_is_named(folder: Path, write_tiny: Callable[..., None]) -> None:
    write_tiny(folder)
    Store.open(folder / "none.sqlite").close()
    assert mmad(ALICE, "db", "copy", "none.sqlite", "db/mmad.sqlite", folder=folder, umask=0o022)[0] == 0
    database, runs = folder / "db" / "mmad.sqlite", folder / "db" / "runs"

    def refused() -> str:
        code, said = mmad(BOB, "ablate", "tiny.toml", "--device", "cpu", folder=folder)
        assert code in (1, 2)
        return next(line for line in said.splitlines() if "cannot be written" in line)

    share = "make it writable (of a shared folder: chmod -R g+w, and umask 002 for everybody)"
    assert refused() == f"mmad: db/mmad.sqlite: cannot be written; {share}, or name another file with --db"
    database.chmod(0o664)
    database.parent.chmod(0o2775)
    runs.mkdir()
    os.chown(runs, ALICE, GROUP)
    runs.chmod(0o755)
    assert refused().endswith(f": db/runs: the run's log cannot be written (Permission denied); {share}")
