"""``mmad report`` from the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mmad.cli.report import targets

FILE = """
title = "One run"
[setup]
pretrained = false
[arms.CXR]
use_clinical = false
[[settings]]
name = "only"
[protocol]
epochs = 2
"""


def mmad(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    code = "import sys; from mmad.cli.app import main; sys.exit(main())"
    return subprocess.run([sys.executable, "-c", code, *words], cwd=cwd, capture_output=True, text=True, check=False)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warm_workers: None) -> Path:
    """A folder with a database that holds one queued run."""
    from mmad.config.load import load_ablation
    from mmad.config.runs import DataSource
    from mmad.store.store import Store

    monkeypatch.delenv("MMAD_DB", raising=False)
    (tmp_path / "one.toml").write_text(FILE)
    data = DataSource(path="data", name="phantom", fingerprint="5f" * 32)
    with Store.open(tmp_path / "db" / "mmad.sqlite") as store:
        store.add_ablation(load_ablation(tmp_path / "one.toml").on(data))
    return tmp_path


@pytest.mark.parametrize(
    ("out", "html", "markdown", "expected"),
    [
        ("reports/index.html", True, False, ("reports/index.html", None)),
        ("reports/index.html", False, False, (None, None)),
        ("reports/index.html", True, True, ("reports/index.html", "reports/index.md")),
        ("reports/index.html", False, True, (None, "reports/index.md")),
        ("note.md", False, True, (None, "note.md")),
        ("note.md", True, True, ("note.html", "note.md")),
        ("v1.2", True, True, ("v1.2.html", "v1.2.md")),
    ],
)
def test_each_form_takes_its_own_ending(
    out: str, html: bool, markdown: bool, expected: tuple[str | None, str | None]
) -> None:
    found = targets(Path(out), html=html, markdown=markdown)
    assert tuple(p and p.as_posix() for p in found) == expected


def test_a_folder_gets_an_index(tmp_path: Path) -> None:
    assert targets(tmp_path, html=True, markdown=True) == (tmp_path / "index.html", tmp_path / "index.md")


@pytest.mark.slow
def test_without_words_it_writes_html(place: Path) -> None:
    done = mmad("report", cwd=place)
    assert (done.returncode, done.stdout) == (
        0,
        "reports/index.html: 1 ablation, 1 run, 1 of them not finished\n",
    ), done.stderr
    assert (place / "reports" / "index.html").read_text("utf-8").startswith("<!doctype html>")
    assert not (place / "reports" / "index.md").exists()


@pytest.mark.slow
def test_json_is_the_documented_form(place: Path) -> None:
    done = mmad("report", "--html", "--md", "--out", "r.html", "--ablation", "one", "--json", cwd=place)
    assert done.returncode == 0, done.stderr
    counts = {"ablations": 1, "runs": 1, "unfinished": 1, "pages": 0}
    others = {"csv": [], "latex": [], "figures": [], "methods": None, "crate": [], "against": None}
    assert json.loads(done.stdout) == {"html": "r.html", "md": "r.md", **others, **counts}
    assert (place / "r.md").is_file()


@pytest.mark.slow
def test_pages_are_counted_and_said(place: Path) -> None:
    done = mmad("report", "--pages", "--out", "r.html", cwd=place)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "r.html: 1 ablation, 1 run, 1 of them not finished; 1 page in r_pages/\n"
    assert (place / "r_pages" / "ablation-one.html").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--ablation", "on"), "mmad: no ablation 'on'; did you mean one?"),
        (("--pictures", "13"), "mmad: --pictures: 13 is out of range; choose 0 to 12 studies of each pair"),
        (("--db", "nowhere.sqlite"), "mmad: nowhere.sqlite: no such database"),
        (("--out", "one.toml/x.html"), "mmad: one.toml/x.html: cannot be written ("),
    ],
)
def test_what_cannot_be_done_is_one_line(place: Path, words: tuple[str, ...], line: str) -> None:
    done = mmad("report", *words, cwd=place)
    assert done.returncode == 2
    assert done.stdout == ""
    assert [text for text in done.stderr.splitlines() if text.startswith(line)]
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_tables_alone_are_written_alone(place: Path) -> None:
    done = mmad("report", "--csv", "tables", "--latex", "tex", "--json", cwd=place)
    assert done.returncode == 0, done.stderr
    written = json.loads(done.stdout)
    assert (written["html"], written["md"]) == (None, None)
    assert written["csv"] == ["tables/one--runs.csv", "tables/columns.csv"]
    assert written["latex"] == ["tex/one--runs.tex"]
    assert {p.relative_to(place).as_posix() for p in place.rglob("*") if p.suffix in (".csv", ".tex", ".html")} == {
        *written["csv"], *written["latex"],
    }  # fmt: skip


@pytest.mark.slow
def test_tables_stand_beside_other_forms_and_a_place_that_is_a_file_is_refused(place: Path) -> None:
    done = mmad("report", "--html", "--csv", "tables", "--out", "r.html", cwd=place)
    assert (done.returncode, done.stdout.splitlines()) == (
        0,
        ["r.html: 1 ablation, 1 run, 1 of them not finished", "tables: 2 CSV files"],
    ), done.stderr
    refused = mmad("report", "--csv", "one.toml", cwd=place)
    assert refused.returncode == 2
    assert "one.toml/one--runs.csv: cannot be written" in refused.stderr
    assert "--csv" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.slow
def test_the_log_is_shown_when_asked_for_and_when_one_was_imported(place: Path) -> None:
    def shown(*words: str) -> str:
        done = mmad("report", "--out", "r.html", *words, cwd=place)
        assert done.returncode == 0, done.stderr
        return (place / "r.html").read_text("utf-8")

    assert 'id="log"' not in shown()
    assert 'id="log-e101"' in shown("--log")
    (place / "mine.md").write_text("## First (v=0.3625)\nModelSetup(lr=0.25)\n")
    assert mmad("log", "import", "mine.md", cwd=place).returncode == 0
    page = shown()
    assert 'id="log-mine--e001"' in page
    assert "ModelSetup(lr=0.25)" in page
    assert 'id="log"' not in shown("--no-log")


@pytest.mark.slow
def test_the_paper_s_table_needs_its_ablation(place: Path) -> None:
    refused = mmad("report", "--paper", cwd=place)
    assert refused.returncode == 2
    assert "no ablation 'mdf_net'" in refused.stderr
    assert "mmad ablate ablations/mdf_net.toml" in refused.stderr
    assert not (place / "reports" / "paper.html").exists()
