"""One database merged into another, of either kind: equal runs once, conflicts named, everything or nothing."""

from __future__ import annotations

import math
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import store_samples as samples

from mmad.base.errors import StoreError
from mmad.store import maintenance, merge, schema
from mmad.store.claims import Owner
from mmad.store.lookup import member_summaries
from mmad.store.merge import ConflictsFound, merge_database
from mmad.store.notes import add_note, read_notes
from mmad.store.store import Store

ROOT = Path(__file__).parent


@pytest.fixture(params=["sqlite into sqlite", "sqlite into postgresql", "postgresql into sqlite"])
def pair(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Another database and one's own, neither there yet."""
    monkeypatch.chdir(tmp_path)
    one, _, other = str(request.param).partition(" into ")
    places = {"sqlite": str(tmp_path / "theirs.sqlite")}
    theirs = places[one] if one == "sqlite" else request.getfixturevalue("postgresql")
    return theirs, str(tmp_path / "own.sqlite") if other == "sqlite" else request.getfixturevalue("postgresql")


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    return str(tmp_path / "theirs.sqlite"), str(tmp_path / "own.sqlite")


def fill_theirs(address: str) -> tuple[str, str, str]:
    """The pair of ``samples.fill`` with a note, and another ablation's run; their keys."""
    with Store.open(address) as store:
        good, bad = samples.fill(store)
        other = samples.ablation("longer", patiences=(30,))
        store.add_ablation(other)
        third = other.members[0].run.key
        store.commit_epoch(third, replace(samples.epoch(1), lr=math.inf, seconds=math.nan), [samples.checkpoint()])
        store.put_evaluations(third, [replace(samples.evaluation(), ap=math.nan), samples.evaluation(overlap="iobb")])
        store.end_free(third, "finished")
        store.add_warning(bad, "zu groß für „9 GiB“ 🫁\n")
        store.put_memory("a" * 64, "A100", 2**33)
        store.put_log("mine", "log.md", "a" * 64, {"prose": ["ä"]}, [{"id": "e001"}, {"id": "e002"}])
        add_note(store, third, "it overfits", ["later"])
        add_note(store, "patience", "the whole family")
        return good, bad, third


def fill_own(address: str) -> None:
    """A run of one's own, so that no number of the two databases is the same."""
    with Store.open(address) as store:
        mine = samples.ablation("mine", patiences=(5,))
        store.add_ablation(mine)
        key = mine.members[0].run.key
        store.commit_epoch(key, samples.epoch(1, val_ap=0.875), [samples.checkpoint()], [samples.evaluation(ap=0.875)])
        store.end_free(key, "finished")
        add_note(store, key, "mine")


def content(address: str) -> dict[str, tuple[int, str]]:
    with Store.open(address, read_only=True) as store, store.database.reading() as connection:
        found = {table.name: maintenance.checksum(connection, table) for table in schema.metadata.sorted_tables}
        return {name: (one.rows, one.digest) for name, one in found.items()}


def measured(store: Store, key: str) -> tuple[object, ...]:
    """All that is recorded of a run, without its numbers in the database; NaN as words."""
    parts = (
        replace(store.run(key), created=samples.NOON),
        store.epoch_records(key),
        store.checkpoints(key),
        store.evaluations(key),
    )
    return repr((*parts, store.parameter_counts(key), store.environments(key), store.warnings(key))), key


@pytest.mark.slow
def test_everything_arrives_once_and_can_be_written_on(pair: tuple[str, str]) -> None:
    theirs, own = pair
    keys = fill_theirs(theirs)
    fill_own(own)
    before = content(theirs)
    asked = merge_database(theirs, own, dry_run=True)
    merged = merge_database(theirs, own)
    assert asked == merged
    assert merged.added == (*keys, merged.added[3])
    assert (merged.continued, merged.equal, merged.conflicts, merged.files) == ((), 0, (), None)
    assert (merged.ablations, merged.members, merged.evaluations, merged.notes, merged.logs) == (2, 4, 0, 2, 1)
    assert content(theirs) == before
    with Store.open(theirs, read_only=True) as one, Store.open(own) as other:
        for key in merged.added:
            assert measured(one, key) == measured(other, key)
        names = {repr(summary.member) for summary in member_summaries(one)}
        assert names < {repr(summary.member) for summary in member_summaries(other)}
        notes = read_notes(other)
        assert [note.tags for note in notes.of_run(keys[2])] == [("later",)]
        assert len(notes.runs) == 2
        assert [log.name for log in other.logs()] == ["mine"]
        assert other.memory() == {("a" * 64, "A100"): 2**33}
        other.add_warning(keys[0], "later")
        other.add_environment(keys[0], samples.environment(3))
        other.put_evaluations(keys[0], [samples.evaluation("best_ap", 2, overlap="other")])
        assert other.requeue([keys[1]]) == (keys[1],)
    held = content(own)
    again = merge_database(theirs, own)
    assert (again.equal, again.added, again.continued) == (4, (), ())
    assert content(own)["run_metrics"] == held["run_metrics"]


def test_a_run_of_both_is_kept_once(files: tuple[str, str]) -> None:
    theirs, own = files
    good, _, _ = fill_theirs(theirs)
    with Store.open(own) as store:
        samples.fill(store)
    with Store.open(theirs) as store:
        store.put_evaluations(good, [replace(samples.evaluation("final", 3), proposals="sampled")])
    merged = merge_database(theirs, own)
    assert (merged.equal, len(merged.added), merged.evaluations) == (2, 2, 1)
    with Store.open(theirs) as one, Store.open(own) as other:
        assert {repr(e) for e in one.evaluations(good)} == {repr(e) for e in other.evaluations(good)}
    assert merge_database(theirs, own).evaluations == 0


def test_a_run_that_was_trained_further_there_goes_on_from_there(files: tuple[str, str]) -> None:
    theirs, own = files
    good, _, _ = fill_theirs(theirs)
    with Store.open(own) as store:
        store.add_ablation(samples.ablation())
        store.commit_epoch(good, samples.epoch(1, val_ap=0.25), [samples.checkpoint()], [samples.evaluation(ap=0.25)])
        store.end_free(good, "interrupted")
    assert merge_database(theirs, own).continued == (good,)
    with Store.open(theirs) as one, Store.open(own) as other:
        assert measured(one, good) == measured(other, good)
    fill_own(theirs)  # and what is finished here stays, whatever the other says
    with Store.open(own) as store:
        before = measured(store, good)
    with closing(sqlite3.connect(theirs)) as edited:
        edited.execute("UPDATE runs SET status = 'interrupted' WHERE key = ?", (good,))
        edited.commit()
    assert len(merge_database(theirs, own).added) == 2
    with Store.open(own) as store:
        assert measured(store, good) == before


def test_conflicts_are_named_and_nothing_is_written(files: tuple[str, str]) -> None:
    theirs, own = files
    good, bad, _ = fill_theirs(theirs)
    with Store.open(own) as store:
        samples.fill(store)
        store.commit_epoch(good, samples.epoch(2, val_ap=0.75))
        store.put_log("mine", "other.md", "b" * 64, {}, [{"id": "e001"}])
        other = samples.ablation("longer", patiences=(30,), data=samples.source("e" * 64))
        store.add_ablation(replace(other, source="title = 1\n"))
    before = content(own)
    with pytest.raises(ConflictsFound) as caught:
        merge_database(theirs, own)
    first = "run patience/patience 10/CXR, seed 0: epoch 2, test ap_iou is 0.625 here and 0.375 there"
    assert f"3 conflicts, the first: {first}; nothing was written" in str(caught.value)
    assert [conflict.about for conflict in caught.value.conflicts] == ["run", "ablation", "log"]
    assert content(own) == before
    merged = merge_database(theirs, own, keep_own=True)
    assert (len(merged.added), merged.members, merged.logs, len(merged.conflicts)) == (2, 0, 0, 3)
    with Store.open(own) as store:
        assert (
            next(e for e in store.epoch_records(good) if e.epoch == 2).metrics == samples.epoch(2, val_ap=0.75).metrics
        )
        assert store.run(bad).status == "failed"


def test_a_member_that_is_another_run_is_a_conflict(files: tuple[str, str]) -> None:
    theirs, own = files
    fill_theirs(theirs)
    with Store.open(own) as store:
        store.add_ablation(samples.ablation(data=samples.source("e" * 64)))
    with pytest.raises(
        ConflictsFound, match=r"2 conflicts, the first: member patience/patience 10/CXR, seed 0: is the"
    ):
        merge_database(theirs, own)
    assert len(merge_database(theirs, own, keep_own=True).added) == 4


def test_an_interrupted_merge_leaves_the_database_whole(
    files: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs, own = files
    fill_theirs(theirs)
    fill_own(own)
    before = content(own)

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(merge._Writer, "_asked", interrupt)
        with pytest.raises(KeyboardInterrupt):
            merge_database(theirs, own)
    assert content(own) == before
    assert len(merge_database(theirs, own).added) == 4


def test_an_older_schema_is_read_from_a_copy_and_a_newer_one_refused(files: tuple[str, str]) -> None:
    theirs, own = files
    with closing(sqlite3.connect(theirs)) as older:
        older.executescript((ROOT / "mmad-0004.sql").read_text("utf-8"))
    before = Path(theirs).read_bytes()
    fill_own(own)
    merged = merge_database(theirs, own)
    assert merged.upgraded
    assert merged.source == theirs
    assert merged.added
    assert Path(theirs).read_bytes() == before
    assert merge_database(theirs, own).added == ()
    with closing(sqlite3.connect(theirs)) as newer:
        newer.execute("UPDATE alembic_version SET version_num = '9999'")
        newer.commit()
    with pytest.raises(StoreError, match="has the newer schema 9999, this mmad knows"):
        merge_database(theirs, own)


def test_what_cannot_be_merged_is_refused_in_one_line(files: tuple[str, str]) -> None:
    theirs, own = files
    fill_own(own)
    with pytest.raises(StoreError, match="no such database"):
        merge_database(theirs, own)
    with pytest.raises(StoreError, match="is both source and target"):
        merge_database(own, own)
    with Store.open(theirs) as store:
        samples.fill(store)
        store.add_ablation(samples.ablation("queued", patiences=(40,)))
        assert store.claim(None, Owner.current()) is not None
    with pytest.raises(StoreError, match="1 run is running"):
        merge_database(theirs, own)
    with closing(sqlite3.connect(theirs)) as edited:
        edited.execute("UPDATE runs SET status = 'failed'")
        edited.execute("UPDATE run_epochs SET lr = 'x'")
        edited.commit()
    before = content(own)
    with pytest.raises(StoreError, match="no number"):
        merge_database(theirs, own)
    assert content(own) == before


def test_files_come_along_and_none_here_is_replaced(files: tuple[str, str]) -> None:
    theirs, own = files
    good, _, _ = fill_theirs(theirs)
    with Store.open(theirs) as store:
        samples.write_files(store, good)
        folder = store.run_paths(good).folder
    with Store.open(own) as store:
        samples.fill(store)
        here = store.run_paths(good).folder
        (here / "detections").mkdir(parents=True)
        (here / "detections" / "x.npz").write_bytes(b"own")
    merged = merge_database(theirs, own, files=True)
    assert merged.files is not None
    assert merged.files.there == 1
    names = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    assert {path.relative_to(here) for path in here.rglob("*") if path.is_file()} == names
    assert (here / "detections" / "x.npz").read_bytes() == b"own"
