"""Two reports beside one another: against another database, and against a date."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import analysis_fixtures as made
import pytest
from page_parser import Page
from statistics_fixtures import FEW

from mmad.base.errors import ReportError, StoreError
from mmad.data.phantom.generate import make_phantom
from mmad.report.write_report import Report, write_report
from mmad.store.store import Store

NOTHING = dict.fromkeys(
    ("verdicts_changed", "differences_changed", "pairs_new", "pairs_gone", "runs_changed", "runs_new", "runs_gone"), 0
)


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A database with three seeds, of which two had finished in May, and another's with the first of them."""
    folder = tmp_path_factory.mktemp("two")
    dataset = make_phantom(folder / "phantom", studies=60, image_size=64)
    own = made.world(folder / "own", dataset, seeds=(0, 1, 2))
    theirs = made.world(folder / "theirs", dataset, seeds=(0,))
    with closing(sqlite3.connect(own.database)) as database:
        for (_, seed), key in own.keys.items():
            moment = "2022-05-16 12:00:00.000000" if seed < 2 else "2022-06-01 12:00:00.000000"
            database.execute("UPDATE runs SET finished = ? WHERE key = ?", (moment, key))
        database.commit()
    return own.database, theirs.database


def report(database: Path, against: str, folder: Path) -> tuple[Report, str]:
    with Store.open(database) as store:
        written = write_report(
            store, html=folder / "r.html", markdown=folder / "r.md", csv=folder / "csv", options=FEW, against=against
        )
    return written, (folder / "r.html").read_text("utf-8")


@pytest.mark.slow
def test_against_another_database(worlds: tuple[Path, Path], tmp_path: Path) -> None:
    own, theirs = worlds
    before = theirs.read_bytes()
    written, page = report(own, str(theirs), tmp_path)
    assert theirs.read_bytes() == before
    assert written.against is not None
    assert written.against.words == "mmad.sqlite"  # neither host nor folders
    (pair,) = written.against.pairs
    assert pair.then is not None
    assert pair.now is not None
    assert (pair.then.seeds, pair.now.seeds) == (1, 3)
    assert pair.change == ("verdict" if pair.then.verdict != pair.now.verdict else "difference")
    assert [run.change for run in written.against.runs].count("new") == 4
    assert written.against.counts["runs"] == 6
    text = Page(page).text
    assert "What changed" in text
    assert written.against.sentence in text
    assert written.against.sentence in (tmp_path / "r.md").read_text("utf-8")
    assert len((tmp_path / "csv" / "against--runs.csv").read_text("utf-8").splitlines()) == 7
    back, _ = report(theirs, str(own), tmp_path)
    assert back.against is not None
    assert back.against.counts["runs_gone"] == 4


@pytest.mark.slow
def test_against_a_date_are_the_runs_that_had_finished(worlds: tuple[Path, Path], tmp_path: Path) -> None:
    own, _ = worlds
    written, _ = report(own, "2022-05-16", tmp_path)
    assert written.against is not None
    assert written.against.counts["runs_new"] == 2
    (pair,) = written.against.pairs
    assert pair.then is not None
    assert pair.then.seeds == 2
    assert "what had finished by 2022-05-16 23:59" in written.against.sentence
    written, _ = report(own, "2022-05-16T11:59", tmp_path)
    assert written.against is not None
    assert (written.against.counts["runs_new"], written.against.counts["pairs_new"]) == (6, 1)
    written, page = report(own, "2022-06-02", tmp_path)
    assert written.against is not None
    assert written.against.counts == NOTHING | {"pairs": 1, "runs": 6}
    assert "nothing changed" in page
    assert "Pairs that changed" not in page


@pytest.mark.slow
def test_what_is_neither_is_refused(worlds: tuple[Path, Path], tmp_path: Path) -> None:
    own, _ = worlds
    with pytest.raises(ReportError, match=r"'last week' is neither a database nor a date; name an SQLite file"):
        report(own, "last week", tmp_path)
    (tmp_path / "odd.sqlite").write_text("no database")
    with pytest.raises(StoreError, match=r"odd\.sqlite"):
        report(own, str(tmp_path / "odd.sqlite"), tmp_path)
