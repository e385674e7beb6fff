"""A damaged value is named with table, row, column and value, wherever it is read; paths of rows stay in the folder."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import store_samples as samples

from mmad.base.errors import StoreError
from mmad.base.formatting import short_key
from mmad.base.paths import RunPaths, is_inner
from mmad.store.lookup import member_summaries, run_detail
from mmad.store.maintenance import DatabaseFixes, check_database, find_surplus, fix_database
from mmad.store.store import Store

#: A statement that damages one value, and what is said of it after ``FILE: ``.
DAMAGED = [
    ("update runs set setup = '{' where status = 'finished'", r"runs, row key \w{12}: setup is '\{' \(Expecting .*\)"),
    ("update runs set protocol = 'null' where status = 'finished'", r"runs, .*: protocol is 'null' \(no JSON .*\)"),
    ('update runs set protocol = \'{"epochs": "x"}\'', r"runs, .*: protocol is .* \(epochs: Input should be .*\)"),
    ("update runs set created = 'yesterday'", r"runs, row key \w{12}: created is 'yesterday' \(.*\)"),
    ("update runs set finished = 12345", r"runs, row key \w{12}: finished is .*12345.* \(.*\)"),
    ("update runs set status = 'asleep'", r"runs, row key \w{12}: status is 'asleep' \(none of queued, .*\)"),
    ("update runs set dataset_name = cast(x'ff' as text)", r"runs, row .*: dataset_name is .* \(no UTF-8\)"),
    ("update run_epochs set lr = '<b>'", r"run_epochs, row run \w{12}, epoch 1: lr is '<b>' \(no number\)"),
    (
        "update run_epochs set epoch = -1 where epoch = 1",
        r"run_epochs, row run \w{12}, epoch -1: epoch is -1 \(less than 0\)",
    ),
    ("update run_epochs set committed = x'00'", r"run_epochs, row .*, epoch 1: committed is b'\\x00' \(.*\)"),
    (
        "update run_metrics set value = 'abc'",
        r"run_metrics, row run \w{12}, epoch 1, metric '\w+ \w+': value is 'abc' \(no number\)",
    ),
    ("update evaluations set ap = 'abc'", r"evaluations, row id \d+: ap is 'abc' \(no number\)"),
    ("update evaluations set threshold = 9e999", r"evaluations, row id \d+: threshold is inf \(no finite number\)"),
    ("update evaluations set detections = '/dev/zero'", r"evaluations, .*: detections is '/dev/zero' \(no path .*\)"),
    (
        "update checkpoints set path = '../x.pt'",
        r"checkpoints, row .*, kind 'best_ap': path is '../x.pt' \(no path .*\)",
    ),
    ("update checkpoints set size = 'x'", r"checkpoints, row .*, kind 'best_ap': size is 'x' \(no whole number\)"),
    ("update ablations set compare = 'x'", r"ablations, row name 'patience': compare is 'x' \(Expecting value.*\)"),
    ("update members set inferred = '5'", r"members, row .*: inferred is '5' \(no JSON of the form words\)"),
    ("update environments set versions = '[]'", r"environments, row id 1: versions is '\[\]' \(no JSON .*\)"),
]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    database = tmp_path_factory.mktemp("filled") / "mmad.sqlite"
    with Store.open(database) as store:
        good, _ = samples.fill(store)
    return database, good


@pytest.fixture
def filled(template: tuple[Path, str], database: Path) -> tuple[Path, str]:
    """A copy of a filled database, and the key of its finished run."""
    shutil.copytree(template[0].parent, database.parent)
    return database, template[1]


def damage(database: Path, statement: str) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute(statement)


def read_everything(store: Store, key: str) -> None:
    reads: tuple[Callable[[], Any], ...] = (
        store.status,
        store.queue_status,
        store.state,
        lambda: member_summaries(store),
        lambda: run_detail(store, key),
        lambda: store.all_epochs([key]),
    )
    said = []
    for read in reads:
        try:
            read()
        except StoreError as error:
            said.append(str(error))
    assert said
    raise StoreError(said[0])


@pytest.mark.parametrize(("statement", "said"), DAMAGED, ids=[said.split()[0] for _, said in DAMAGED])
def test_a_damaged_value_is_named(filled: tuple[Path, str], statement: str, said: str) -> None:
    database, key = filled
    damage(database, statement)
    with Store.open(database) as store, pytest.raises(StoreError) as caught:
        read_everything(store, key)
    line = rf"{re.escape(str(database))}: {said}; mmad db check lists every damaged value"
    assert re.fullmatch(line, str(caught.value)), str(caught.value)
    findings = check_database(database).findings
    assert {finding.check for finding in findings} >= {"values"}
    assert any(re.match(said, f"{finding.where}: {finding.what}") for finding in findings)


def test_the_check_lists_every_damaged_value(filled: tuple[Path, str]) -> None:
    database, key = filled
    damage(database, "update run_epochs set lr = 'x', committed = 'y'")
    damage(database, "update warnings set text = x'00'")
    findings = [finding for finding in check_database(database).findings if finding.check == "values"]
    assert [(finding.where, finding.what.split(" ")[0]) for finding in findings] == [
        *(
            (f"run_epochs, row run {short_key(key)}, epoch {n}", name)
            for n in (1, 2, 3)
            for name in ("lr", "committed")
        ),
        ("warnings, row id 1", "text"),
    ]


@pytest.mark.parametrize("name", ["", "/dev/zero", "../x", "a/../../x", "a//b", "./a", "~/x", "a\\b", "a\0b"])
def test_a_path_that_leaves_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    assert not is_inner(name)
    with pytest.raises(StoreError, match="no path within the run's folder"):
        RunPaths(tmp_path).inner(name)


def test_what_is_no_regular_file_is_not_opened(filled: tuple[Path, str]) -> None:
    database, key = filled
    with Store.open(database) as store:
        samples.write_files(store, key)
        paths = store.run_paths(key)
    file = paths.folder / "detections" / "x.npz"
    assert paths.inner("detections/x.npz") == file
    assert paths.inner("detections/missing.npz").name == "missing.npz"
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(StoreError, match=r"x\.npz: is not a regular file; look for more with mmad db check"):
        paths.inner("detections/x.npz")
    (finding,) = check_database(database, deep=True).findings
    assert (finding.check, finding.where) == ("files", file.as_posix())
    assert finding.what.startswith("is not a regular file (detections of run")


#: A statement that damages rows of either database, what is left out or read instead, and how many runs are read.
LENIENT = [
    ("update runs set setup = '{' where status = 'failed'", "setup is '{' .*; the row is left out", 1),
    ("update runs set protocol = 'null' where status = 'failed'", "protocol is 'null' .*; the row is left out", 1),
    ("update runs set recipe = -1 where status = 'failed'", "recipe is -1 .*; the row is left out", 1),
    ("update runs set attempts = -5 where status = 'failed'", "attempts is -5 .*; read as 0", 2),
    ("update members set overrides = '5'", "overrides is '5' .*; read as empty", 2),
    ("update checkpoints set path = '/dev/zero'", "path is '/dev/zero' .*; the row is left out", 2),
    ("update run_epochs set peak_memory = -1", "peak_memory is -1 .*; read as 0", 2),
]


@pytest.mark.parametrize(("statement", "said", "runs"), LENIENT, ids=[said.split()[0] for _, said, _ in LENIENT])
def test_a_lenient_store_reads_what_stands(
    address: str, caplog: pytest.LogCaptureFixture, statement: str, said: str, runs: int
) -> None:
    with Store.open(address) as store:
        good, _ = samples.fill(store)
        with store.database.writing() as connection:
            connection.exec_driver_sql(statement)
    with Store.open(address, lenient=True) as store:
        assert not store.read_only
        found = {run.key for run in store.run_records()}
        assert good in found
        assert len(found) == runs
        assert {summary.run.key for summary in member_summaries(store)} == found
        assert len(run_detail(store, good).epochs) == 3
        assert store.status().ablations
        assert re.search(said.replace("{'", r"\{'"), caplog.text), caplog.text
        assert store.left_out
        assert store.read_only
        with pytest.raises(StoreError, match="holds damaged values, so nothing is written; mmad db check"):
            store.add_warning(good, "text")
        caplog.clear()
        assert len(store.run_records()) == runs
        assert not caplog.text  # each is named once
    with Store.open(address) as store, pytest.raises(StoreError, match=said.split(" ")[0]):
        read_everything(store, good)


def test_rows_that_name_a_damaged_one_are_left_out_too(filled: tuple[Path, str], caplog: Any) -> None:
    database, key = filled
    damage(database, "update runs set status = 'asleep' where status = 'finished'")
    with Store.open(database, lenient=True) as store:
        assert key not in {run.key for run in store.run_records()}
        assert store.all_epochs([key]) == store.all_evaluations([key]) == {key: []}
        assert all(member.key != key for ablation in store.ablations() for member in ablation.members)
        assert "status is 'asleep'" in caplog.text


def test_many_damaged_values_are_counted(filled: tuple[Path, str], caplog: pytest.LogCaptureFixture) -> None:
    database, key = filled
    damage(database, "update run_metrics set value = 'abc'")
    with Store.open(database, lenient=True) as store:
        assert [record.metrics for record in store.epoch_records(key)] == [(), (), ()]
        assert len(caplog.messages) == 11
        assert re.search(r"\d+ damaged values more; mmad db check lists every", caplog.messages[-1])


def test_damage_that_comes_later_is_left_out_too(filled: tuple[Path, str], caplog: pytest.LogCaptureFixture) -> None:
    database, key = filled
    with Store.open(database, lenient=True) as store:
        assert len(store.epoch_records(key)) == 3
        for number in (1, 2):
            damage(database, f"update run_epochs set committed = 'x', epoch = -{number} where epoch = {number}")
            assert len(store.epoch_records(key)) == 3 - number
            assert f"epoch is -{number}" in caplog.text


def test_nothing_is_pruned_beside_a_damaged_row(filled: tuple[Path, str]) -> None:
    database, key = filled
    damage(database, "update checkpoints set sha256 = 'x'")
    with Store.open(database, lenient=True) as store, pytest.raises(StoreError, match=r"sha256 is 'x'.*db check"):
        find_surplus(store, {key}, orphans=True)


def test_what_is_made_again_is_removed_and_secrets_are_taken_out(address: str) -> None:
    secret = "mmad ablate t.toml --db postgresql://u:hunter2@h/d --on-finish 'curl -H \"Authorization: TOKEN\"'"
    with Store.open(address) as store:
        good, _ = samples.fill(store)
        samples.write_files(store, good)
        store.put_analysis("control", {"runs": [good]}, {"ap": 0.5})
        store.put_memory("m" * 64, "NVIDIA A100", 2**30)
        store.add_environment(good, replace(samples.environment(), command=secret))
        with store.database.writing() as connection:
            connection.exec_driver_sql("update analyses set value = '{'")
            connection.exec_driver_sql("update device_memory set bytes = -1")
            connection.exec_driver_sql("update evaluations set detections = '/dev/zero'")
    kinds = [finding.check for finding in check_database(address).findings]
    assert {kind: kinds.count(kind) for kind in ("values", "secrets")} == {"values": 2 + 16, "secrets": 1}
    fixed = fix_database(address)
    assert (fixed.rows, fixed.commands) == (2, 1)
    kinds = [finding.check for finding in check_database(address).findings]
    assert {kind: kinds.count(kind) for kind in ("values", "secrets")} == {"values": 16, "secrets": 0}
    with Store.open(address) as store:
        (*_, last) = store.environments(good)
        assert last.command == "mmad ablate t.toml --db 'postgresql://***@h/d' --on-finish '***'"
    assert fix_database(address) == DatabaseFixes(0, 0)


def test_an_older_database_is_upgraded_beside_its_damaged_rows(database: Path) -> None:
    database.parent.mkdir()
    with closing(sqlite3.connect(database)) as old:
        old.executescript((Path(__file__).parent / "mmad-0004.sql").read_text("utf-8"))
        runs = old.execute("select count(*) from runs").fetchone()[0]
    damage(database, "update runs set setup = '{' where position = 0")
    with Store.open(database, lenient=True) as store:
        assert len(store.run_records()) == runs - 1
    assert any(finding.what.startswith("setup is '{'") for finding in check_database(database).findings)
