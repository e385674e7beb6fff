"""``mmad runs``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli_store_runs import filled, mmad, samples

from mmad.store.store import Store


def test_json_lists_one_object_per_member(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    database, good, bad = filled(tmp_path)
    answer = mmad(capsys, monkeypatch, "runs", "--db", database, "--json")
    assert (answer.code, answer.err) == (0, "")
    first, second = json.loads(answer.out)
    assert first == {
        "key": good,
        "ablation": "patience",
        "setting": "patience 10",
        "arm": "CXR",
        "seed": 0,
        "replicate": 1,
        "documented": "e069",
        "status": "finished",
        "epoch": 3,
        "epochs": 3,
        "error": None,
        "best_ap": {"epoch": 2, "val_ap": 0.5, "val_ar": 0.75, "test_ap": 0.375, "test_ar": 0.625},
        "best_ar": {"epoch": 2, "val_ap": 0.5, "val_ar": 0.75, "test_ap": 0.375, "test_ar": 0.625},
        "final": {"epoch": 3, "val_ap": 0.375, "val_ar": 0.625, "test_ap": 0.25, "test_ar": 0.5},
        "notes": [],
        "over_folds": None,
    }
    assert (second["key"], second["status"], second["final"]) == (bad, "failed", None)
    assert second["error"] == "OutOfMemoryError: 3 GiB were asked for"


def test_the_table_is_whole_where_there_is_no_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    database = str(tmp_path / "mmad.sqlite")
    setting = "a setting with a name so long that no terminal would ever show it in one line " * 4
    long = samples.made_of("a" * 120, [samples.member("a" * 120, setting.strip(), "CXR [image]")])
    with Store.open(database) as store:
        store.add_ablation(long)
    monkeypatch.setenv("MMAD_DB", database)
    answer = mmad(capsys, monkeypatch, "runs")
    lines = answer.out.splitlines()
    assert "a" * 120 in [line.strip() for line in lines]
    (line,) = [line for line in lines if setting.strip() in line]
    assert "CXR [image]" in line
    assert "queued" in line
    assert "0/3" in line


@pytest.mark.parametrize("width", [50, 80, 100])
def test_a_terminal_of_any_width_shows_whole_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    from rich.console import Console

    database, _, _ = filled(tmp_path)
    monkeypatch.setattr("mmad.cli.results.console", lambda: Console(width=width, markup=False, highlight=False))
    lines = mmad(capsys, monkeypatch, "runs", "--db", database).out.splitlines()
    table = [line for line in lines if not line.startswith("patience/")]
    assert max(map(len, table)) <= width
    (row,) = [line for line in table if "finished" in line]
    assert "0.5000" in row
    assert "0.3750" in row
    assert "…" not in "".join(table)


def test_failures_are_named_below_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    database, _, _ = filled(tmp_path)
    answer = mmad(capsys, monkeypatch, "runs", "--db", database)
    assert "0.5000" in answer.out
    assert "patience/patience 10/CXR+Clinical/0: OutOfMemoryError: 3 GiB were asked for" in answer.out.splitlines()


def test_final_figures_are_marked_where_no_best_checkpoint_was_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    database, good, _ = filled(tmp_path)
    assert "*" not in mmad(capsys, monkeypatch, "runs", "--db", database).out
    with Store.open(database) as store:
        store.add_ablation(samples.made_of("finals", [samples.member("finals", patience=3)]))
        (key,) = [m.key for a in store.ablations() if a.name == "finals" for m in a.members]
        store.commit_epoch(key, samples.epoch(3), [samples.checkpoint("final", 3)])
        store.end_free(key, "finished")
    lines = mmad(capsys, monkeypatch, "runs", "--db", database).out.splitlines()
    (row,) = [line for line in lines if key[:12] in line]
    assert row.split()[-6:] == ["3*", "0.5000*", "0.7500*", "0.3750*", "0.6250*", key[:12]]
    (best,) = [line for line in lines if good[:12] in line]
    assert "*" not in best
    assert "* final checkpoints: no best one was kept" in lines


def test_one_ablation_can_be_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    database, _, _ = filled(tmp_path)
    with Store.open(database) as store:
        store.add_ablation(samples.ablation("other"))
    answer = mmad(capsys, monkeypatch, "runs", "--db", database, "--ablation", "other", "--json")
    assert {member["ablation"] for member in json.loads(answer.out)} == {"other"}
    answer = mmad(capsys, monkeypatch, "runs", "--db", database, "--ablation", "othr")
    assert answer.code == 2
    assert answer.err.strip().endswith("no ablation 'othr'; did you mean other?")


def test_the_table_ends_after_its_limit_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    database, good, bad = filled(tmp_path)
    with Store.open(database) as store:
        store.add_ablation(samples.ablation("other"))
    shown = mmad(capsys, monkeypatch, "runs", "--db", database, "--limit", "1").out
    assert good[:12] in shown or bad[:12] in shown
    assert not (good[:12] in shown and bad[:12] in shown)
    assert "and 3 more: list all with --limit 0, or one ablation with --ablation" in shown.splitlines()
    one = mmad(capsys, monkeypatch, "runs", "--db", database, "--limit", "1", "--ablation", "other").out
    assert "and 1 more" in one
    for words in (("--limit", "0"), ("--limit", "4"), ()):
        assert " more:" not in mmad(capsys, monkeypatch, "runs", "--db", database, *words).out
    assert len(json.loads(mmad(capsys, monkeypatch, "runs", "--db", database, "--limit", "1", "--json").out)) == 4


@pytest.mark.parametrize("command", [["runs"], ["status"], ["show", "abc"]])
def test_a_missing_database_is_one_line_and_not_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    database = tmp_path / "none" / "mmad.sqlite"
    answer = mmad(capsys, monkeypatch, *command, "--db", str(database), "--json")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err == f"mmad: {database}: no such database; run mmad ablate first, or name another with --db\n"
    assert not database.parent.exists()


def test_an_older_database_is_upgraded_when_it_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmad.store.migrate import OlderSchema

    database, _, _ = filled(tmp_path)
    real, modes = Store.open, []

    def older_at_first(database: str, *, read_only: bool = False, **options: Any) -> Store:
        modes.append(read_only)
        if modes == [True]:
            raise OlderSchema("older")
        return real(database, read_only=read_only, **options)

    monkeypatch.setattr(Store, "open", older_at_first)
    assert mmad(capsys, monkeypatch, "runs", "--db", database).code == 0
    assert modes == [True, False, True]


def test_without_a_run_it_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    database = str(tmp_path / "mmad.sqlite")
    Store.open(database).close()
    for command in ("runs", "status"):
        answer = mmad(capsys, monkeypatch, command, "--db", database)
        assert (answer.code, answer.out) == (0, "no run yet: queue some with mmad ablate FILE\n")
    assert json.loads(mmad(capsys, monkeypatch, "runs", "--db", database, "--json").out) == []
