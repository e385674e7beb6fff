"""``mmad stop``, ``retry``, ``requeue`` and ``prune``."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cli_store_runs import filled, mmad, samples

from mmad.api.training import known_memory
from mmad.base.errors import StoreError
from mmad.cli.ablate import show_dry
from mmad.config.protocol import Continues
from mmad.scheduler.submit import Submission
from mmad.store.claims import Owner
from mmad.store.store import Store

ME = Owner.current()


def queued(folder: Path) -> tuple[str, list[str]]:
    """A database whose runs wait, in their order: two settings of two arms."""
    database = str(folder / "mmad.sqlite")
    with Store.open(database) as store:
        store.add_ablation(samples.ablation(patiences=(5, 10)))
        return database, [run.key for run in store.run_records()]


def statuses(database: str) -> list[str]:
    with Store.open(database, read_only=True) as store:
        return [run.status for run in store.run_records()]


def test_waiting_runs_stop_at_once_and_others_when_they_can(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    database, keys = queued(tmp_path)
    with Store.open(database) as store:
        assert store.claim([keys[0]], ME) is not None
        assert store.claim([keys[1]], replace(ME, process_started=0.5)) is not None
    answer = mmad(capsys, monkeypatch, "stop", "--all", "--db", database)
    assert (answer.code, answer.err) == (0, "")
    assert f"{keys[0][:12]} patience/patience 5/CXR/0: asked to stop after its present step" in answer.out
    assert answer.out.count(": stopped") == 3
    assert statuses(database) == ["claimed", "stopped", "stopped", "stopped"]
    with Store.open(database) as store:
        assert store.beat(keys[0], ME) == "stop"
        assert store.end(keys[0], ME, "stopped", "stopped by hand")
    again = mmad(capsys, monkeypatch, "stop", "--all", "--db", database)
    assert again.out == "nothing to stop: none of these runs waits or trains\n"


def test_a_run_of_a_process_that_cannot_be_asked_is_left_to_it_with_a_hint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    database, keys = queued(tmp_path)
    with Store.open(database) as store:
        assert store.claim([keys[0]], Owner("elsewhere", 7, 1.0, "another/machine/1")) is not None
    hint = (
        f"{keys[0][:12]} is left to process 7 on elsewhere, which cannot be asked from here; "
        "if it is gone, mmad requeue --force takes the run away\n"
    )
    assert mmad(capsys, monkeypatch, "requeue", keys[0], "--db", database).out == hint
    assert mmad(capsys, monkeypatch, "stop", keys[0], "--db", database).out.endswith(hint)
    assert statuses(database)[0] == "claimed"
    assert ": queued" in mmad(capsys, monkeypatch, "requeue", keys[0], "--force", "--db", database).out


def test_stopped_runs_wait_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    database, keys = queued(tmp_path)
    mmad(capsys, monkeypatch, "stop", keys[1][:9], "--db", database)
    answer = mmad(capsys, monkeypatch, "requeue", keys[1][:9], "--priority", "3", "--db", database, "--json")
    assert json.loads(answer.out) == {"queued": [keys[1]]}
    with Store.open(database) as store:
        first = store.claim(None, ME)
        assert first is not None
        assert first.key == keys[1]
    answer = mmad(capsys, monkeypatch, "requeue", "--ablation", "patience", "--db", database)
    assert answer.out == "nothing to queue: none of these runs was stopped, interrupted or lost its process\n"
    answer = mmad(capsys, monkeypatch, "requeue", keys[1], "--force", "--db", database)
    assert ": queued" in answer.out
    with Store.open(database) as store:
        assert store.beat(keys[1], ME) == "lost"


def test_failed_runs_wait_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    database, good, bad = filled(tmp_path)
    answer = mmad(capsys, monkeypatch, "retry", "--all", "--db", database, "--json")
    assert json.loads(answer.out) == {"queued": [bad]}
    answer = mmad(capsys, monkeypatch, "retry", good, "--db", database)
    assert answer.out == "nothing to retry: none of them failed\n"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("stop",), "no run is named; give keys or ablation/setting/arm, --ablation NAME, or --all"),
        (("retry", "--ablation", "patienc"), "did you mean"),
        (("requeue", "nothing/there/CXR"), "no run 'nothing/there/CXR'"),
        (("prune", "--keep", "best"), "--keep: no kind of checkpoint 'best'; give some of best_ap, best_ar, final"),
        (("stop", "--all", "--db", "none.sqlite"), "no such database"),
    ],
)
def test_what_is_not_there_is_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    line: str,
) -> None:
    database, _ = queued(tmp_path)
    monkeypatch.chdir(tmp_path)
    answer = mmad(capsys, monkeypatch, *words, *(() if "--db" in words else ("--db", database)))
    assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1)
    assert line in answer.err


def test_prune_lists_first_and_deletes_only_what_nothing_needs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    database, good, bad = filled(tmp_path)
    with Store.open(database) as store:
        kept = [store.run_paths(good).folder / row.path for row in store.checkpoints(good)]
        finished, failed = store.run_paths(good), store.run_paths(bad)
        orphan = store.paths.runs / "ab" / ("ab" + "0" * 62)
    for file in (*kept, finished.checkpoints / "epoch-00001-old.pt", failed.checkpoints / "epoch-00001-last.pt"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"12345")
    aside = failed.folder / "checkpoints.unknown-1"
    for folder in (aside, orphan):
        folder.mkdir(parents=True)
        (folder / "epoch-00009-x.pt").write_bytes(b"1")
    answer = mmad(capsys, monkeypatch, "prune", "--db", database)
    assert (answer.code, answer.err) == (0, "")
    assert "nothing was deleted: --yes does" in answer.out
    assert (finished.checkpoints / "epoch-00001-old.pt").exists()
    answer = mmad(capsys, monkeypatch, "prune", "--db", database, "--yes", "--json")
    shown = json.loads(answer.out)
    assert shown["deleted"] is True
    assert {Path(file["path"]).name for file in shown["files"]} == {"epoch-00001-old.pt", aside.name}
    assert not (finished.checkpoints / "epoch-00001-old.pt").exists()
    assert not aside.exists()
    assert all(file.exists() for file in kept)
    assert (failed.checkpoints / "epoch-00001-last.pt").exists()
    assert orphan.exists()
    mmad(capsys, monkeypatch, "prune", "--db", database, "--yes", "--orphans")
    assert not orphan.exists()
    assert mmad(capsys, monkeypatch, "prune", "--db", database).out == (
        "nothing to delete\nfor more room: --keep final deletes the best checkpoints too; "
        "--orphans deletes the folders of runs that the database does not hold\n"
    )
    last = mmad(capsys, monkeypatch, "prune", "--db", database, "--keep", "final", "--orphans").out
    assert "for more room" not in last


def test_prune_keeps_what_an_unfinished_run_goes_on_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    database, good, _ = filled(tmp_path)
    parent = samples.member()
    protocol = parent.run.protocol.model_copy(update={"continues": Continues(key=good), "epochs": 5})
    child = replace(parent, ablation="longer", run=replace(parent.run, protocol=protocol))
    with Store.open(database) as store:
        store.add_ablation(samples.made_of("longer", [child]))
        kept = sorted({store.run_paths(good).folder / row.path for row in store.checkpoints(good)})
    for file in kept:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"12345")
    mmad(capsys, monkeypatch, "prune", "--db", database, "--keep", "final", "--yes")
    assert all(file.exists() for file in kept)
    with Store.open(database) as store:
        store.end_free(child.run.key, "finished")
    mmad(capsys, monkeypatch, "prune", "--db", database, "--keep", "final", "--yes")
    assert [file.exists() for file in kept].count(True) == 1


@pytest.mark.parametrize("priority", ["-5", "-2147483648"])
def test_a_priority_may_be_negative(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, priority: str
) -> None:
    database, _ = queued(tmp_path)
    assert mmad(capsys, monkeypatch, "requeue", "--all", "--priority", priority, "--db", database).code == 0


def test_a_priority_that_no_database_keeps_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    database, _ = queued(tmp_path)
    answer = mmad(capsys, monkeypatch, "requeue", "--all", "--priority", "1" + "0" * 20, "--db", database)
    assert answer.code == 2
    assert "--priority" in answer.err
    assert "Traceback" not in answer.err


def test_an_empty_database_of_a_server_stays_empty_when_asked_for_what_it_remembers(postgresql: str) -> None:
    assert known_memory(postgresql) == {}
    with pytest.raises(StoreError, match="is empty"):
        Store.open(postgresql, create=False)


def test_a_dry_run_leaves_stopped_runs_alone(capsys: pytest.CaptureFixture[str]) -> None:
    members = [samples.member(seed=seed) for seed in (0, 1)]
    asked = [Submission(m, m.run.key, status) for m, status in zip(members, ("stopped", "queued"), strict=True)]
    show_dry(asked, as_json=False)
    out = capsys.readouterr().out
    assert "would leave alone: patience" in out
    assert "1 run would be trained" in out
    show_dry(asked, as_json=True)
    assert [run["would_run"] for run in json.loads(capsys.readouterr().out)["runs"]] == [False, True]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of two megabytes."""
    place = tmp_path / "small"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no small disk can be mounted here ({done.stderr.strip()})")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def fill_up(disk: Path) -> None:
    with (disk / "filling").open("wb", buffering=0) as file:
        for size in (1 << 16, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"0" * size)


@pytest.mark.slow
def test_a_full_disk_is_read_and_made_free_by_prune(
    small_disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    database, good, bad = filled(small_disk)
    with Store.open(database) as store:
        samples.write_files(store, good)
        paths = store.run_paths(good)
        surplus = [paths.checkpoints / name for name in ("epoch-00002.pt", "epoch-00009.pt")]
        surplus[1].write_bytes(b"0" * 300_000)
    fill_up(small_disk)

    for words in (("runs",), ("status",), ("show", good[:8]), ("report", "--out", str(tmp_path / "report.html"))):
        assert mmad(capsys, monkeypatch, *words, "--db", database).code == 0
    answer = mmad(capsys, monkeypatch, "stop", "--all", "--db", database)
    assert answer.code == 2
    assert "free some space, as mmad prune does" in answer.err
    listed = mmad(capsys, monkeypatch, "prune", "--keep", "final", "--db", database)
    assert "2 files or folders" in listed.out
    assert all(file.exists() for file in surplus)
    gone = mmad(capsys, monkeypatch, "prune", "--keep", "final", "--yes", "--db", database)
    assert "deleted 2 files" in gone.out
    assert not any(file.exists() for file in surplus)
    assert mmad(capsys, monkeypatch, "requeue", bad, "--db", database).code == 0
    assert mmad(capsys, monkeypatch, "db", "check", "--db", database).code == 0  # what was deleted is not missed
