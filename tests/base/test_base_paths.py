"""Where a database keeps its runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmad.base.paths import StorePaths, command_line, without_secrets

KEY = "ab" * 32


def test_two_databases_of_one_folder_share_no_run(tmp_path: Path) -> None:
    names = ("mmad.sqlite", "mmad.db", "other.sqlite")
    folders = {StorePaths(str(tmp_path / name)).run(KEY).folder for name in names}
    assert len(folders) == len(names)
    assert all(folder.is_relative_to(tmp_path / "runs") for folder in folders)
    by_url = StorePaths(f"sqlite:///{tmp_path / 'mmad.sqlite'}").run(KEY).folder
    assert by_url in folders


def test_a_database_behind_a_link_has_the_runs_of_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MMAD_RUNS", raising=False)
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "real.sqlite").touch()
    link = tmp_path / "link.sqlite"
    link.symlink_to(tmp_path / "disk" / "real.sqlite")
    ours = tmp_path / "disk" / "runs" / "real.sqlite" / "ab" / KEY
    assert (
        StorePaths(str(link)).run(KEY).folder
        == StorePaths(str(tmp_path / "disk" / "real.sqlite")).run(KEY).folder
        == ours
    )
    earlier = tmp_path / "runs" / "link.sqlite" / "ab" / KEY  # where runs were kept that were trained through the link
    earlier.mkdir(parents=True)
    assert StorePaths(str(link)).run(KEY).folder == earlier
    monkeypatch.setenv("MMAD_RUNS", str(tmp_path / "other"))
    assert StorePaths(str(link)).run(KEY).folder == earlier  # it was begun there
    assert StorePaths(str(link)).run("cd" * 32).folder == tmp_path / "other" / "cd" / ("cd" * 32)


def test_a_server_s_runs_and_a_named_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = "postgresql+psycopg://someone@host/name"
    assert StorePaths(url).run(KEY).folder == Path("db/runs/name.postgresql/ab") / KEY
    monkeypatch.setenv("MMAD_RUNS", str(tmp_path))
    assert StorePaths(url).run(KEY).folder == StorePaths("x.sqlite").run(KEY).folder == tmp_path / "ab" / KEY


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("postgresql+psycopg://host/x", "x"),
        ("postgresql://me:p/a?s#s@host:5432/my%20runs?options=-csearch_path%3Dlab@x", "my runs"),
        ("postgresql://me@host", "me"),
        ("postgresql://me@/x?host=/run/postgresql", "x"),
        ("postgresql:///a%2Fb", "a_b"),
        ("postgresql://", "database"),
    ],
)
def test_a_server_s_databases_share_no_run(url: str, name: str) -> None:
    assert StorePaths(url).runs == Path("db/runs") / f"{name}.postgresql"


def test_checkpoints_after_an_epoch_are_told_by_their_names(tmp_path: Path) -> None:
    run = StorePaths(str(tmp_path / "x.sqlite")).run(KEY)
    assert run.checkpoints_after(0) == []
    run.checkpoints.mkdir(parents=True)
    files = [run.checkpoint(epoch, "c" * 64) for epoch in (2, 9, 10)]
    for file in (*files, run.checkpoints / "epoch-x-y.pt", run.checkpoints / ".epoch-00011-c.pt.1.part"):
        file.touch()
    assert run.checkpoints_after(1) == files
    assert run.checkpoints_after(9) == files[2:]
    assert run.checkpoints_after(10) == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql+psycopg://me:secret@there:5432/runs", "postgresql+psycopg://***@there:5432/runs"),
        ("--db=postgresql://me:se:cret@there/runs", "--db=postgresql://***@there/runs"),
        ("postgresql://u:p@ss/w?o&rd@h/d", "postgresql://***@h/d"),
        ("https://TOKEN@h/hook", "https://***@h/hook"),
        ("postgresql://h/d?application_name=a&password=secret", "postgresql://h/d?application_name=a&password=***"),
        ("postgresql://h/d?p%61ssword=secret&connect_timeout=3", "postgresql://h/d?p%61ssword=***&connect_timeout=3"),
        ("postgresql://h/d?passwd=a,b;c&user=me", "postgresql://h/d?passwd=***&user=***"),
        ("https://h/x?access_token=s&api_key=t&sig=u", "https://h/x?access_token=***&api_key=***&sig=***"),
        ("postgresql://there/runs", "postgresql://there/runs"),
        ("--slurm=export=ALL,API_TOKEN=s", "--slurm=export=ALL,API_TOKEN=***"),
        ("backbone=resnet50", "backbone=resnet50"),
        ("db/a:b@c?password=1.sqlite", "db/a:b@c?password=1.sqlite"),
    ],
)
def test_no_secret_of_a_word_is_shown(text: str, shown: str) -> None:
    assert without_secrets(text) == shown


def test_a_command_line_is_recorded_without_secrets() -> None:
    hook = 'curl -H "Authorization: Bearer TOKEN" https://h/HOOK'
    words = ["mmad", "ablate", "a.toml", "--on-finish", hook, f"--on-finish={hook}", "--db", "postgresql://u:p@h/d"]
    assert command_line(words) == "mmad ablate a.toml --on-finish '***' '--on-finish=***' --db 'postgresql://***@h/d'"
