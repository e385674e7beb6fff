"""What is a PostgreSQL server's own: its failures in one line, a restart in between, many connections at once."""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import store_samples as samples
from postgresql_server import Server, free_port
from sqlalchemy import event

from mmad.base.errors import StoreError
from mmad.store import schema
from mmad.store.claims import Owner
from mmad.store.engine import Database, is_away, meaning
from mmad.store.store import Store


def test_an_empty_schema_is_made_only_when_asked(postgresql: str) -> None:
    with pytest.raises(StoreError, match="is empty"):
        Store.open(postgresql, create=False)
    Store.open(postgresql).close()
    Store.open(postgresql, create=False, read_only=True).close()


def test_numbers_that_are_none_come_back(postgresql: str) -> None:
    with Store.open(postgresql) as store:
        good, _ = samples.fill(store)
        store.commit_epoch(good, replace(samples.epoch(4), lr=math.inf, seconds=math.nan))
        assert store.epoch_records(good)[3].lr == math.inf
        assert math.isnan(store.epoch_records(good)[3].seconds)


def test_a_url_as_other_programs_take_it_is_good_too(postgresql: str) -> None:
    with Store.open(postgresql.replace("postgresql+psycopg://", "postgresql://")) as store:
        assert store.run_records() == []


@pytest.mark.slow
def test_claims_and_ablations_of_many_at_once(postgresql: str) -> None:
    given = samples.ablation(seeds=range(15))
    claimed: list[str] = []

    def work() -> None:
        with Store.open(postgresql) as store:
            store.add_ablation(given)
            while (run := store.claim(None, Owner.current())) is not None:
                claimed.append(run.key)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(claimed) == sorted(m.run.key for m in given.members)


def test_a_run_that_is_being_claimed_is_passed_over(postgresql: str) -> None:
    with Store.open(postgresql) as store, Store.open(postgresql) as other:
        store.add_ablation(samples.ablation())
        first, second = (run.key for run in store.run_records())
        with store.database.writing() as connection:
            connection.execute(schema.runs.select().where(schema.runs.c.key == first).with_for_update())
            run = other.claim(None, Owner.current())
        assert run is not None
        assert run.key == second


def test_a_reading_sees_one_state(postgresql: str) -> None:
    with Store.open(postgresql) as store, Store.open(postgresql) as other:
        with store.database.reading() as connection:
            before = connection.execute(schema.runs.select()).all()
            other.add_ablation(samples.ablation())
            assert connection.execute(schema.runs.select()).all() == before == []
        assert len(store.run_records()) == 2


def test_the_same_evaluation_twice_at_once_is_kept_once(postgresql: str) -> None:
    with Store.open(postgresql) as store:
        good, _ = samples.fill(store)
        errors: list[BaseException] = []

        def judge(ap: float) -> None:
            try:
                with Store.open(postgresql) as own:
                    for _ in range(5):
                        own.put_evaluations(good, [samples.evaluation("best_ap", 2, ap=ap)])
            except StoreError as error:
                errors.append(error)

        threads = [threading.Thread(target=judge, args=(number / 8,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert [e.kind for e in store.evaluations(good)].count("best_ap") == 4


def test_what_another_transaction_holds_is_waited_for_so_long(postgresql: str) -> None:
    with Store.open(postgresql) as store, Store.open(postgresql, timeout=0.1) as hasty:
        good, _ = samples.fill(store)
        with store.database.writing() as connection:
            connection.execute(schema.runs.select().where(schema.runs.c.key == good).with_for_update())
            with pytest.raises(StoreError, match="kept the database locked; close it or wait"):
                hasty.requeue([good], ["finished"])
        assert hasty.requeue([good], ["finished"]) == (good,)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"password": "wrong"}, "refuses the user or the password; check both in the URL"),
        ({"user": "nobody"}, "refuses the user or the password"),
        ({"name": "nothing"}, "has no such database; make it with createdb"),
        ({"port": free_port()}, "cannot be reached; check that it runs"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_wrong_url_is_refused_in_one_line(server: Server, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(StoreError, match=message) as caught:
        Store.open(server.url_of(**wrong))
    line = str(caught.value)
    assert "\n" not in line
    assert "postgresql+psycopg://" in line
    assert "s3cret" not in line
    assert "wrong@" not in line


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda url: f"{url}?color=red", "is not the URL of a database; check what stands behind"),
        (lambda url: url.replace("127.0.0.1", "nowhere.invalid"), "no such host is known"),
        (lambda url: url.replace("+psycopg", "+asyncpg"), "not the URL of a database that mmad can use"),
        (lambda url: url.replace(url.rpartition(":")[2].partition("/")[0], "port"), "not the URL of a database"),
        (lambda url: url.replace("127.0.0.1", "") + "?host=/nowhere", "cannot be reached"),
    ],
    ids=["option", "host", "driver", "port", "socket"],
)
def test_what_is_no_url_of_a_server_is_refused(server: Server, change: Any, message: str) -> None:
    with pytest.raises(StoreError, match=message) as caught:
        Store.open(change(server.url))
    assert "s3cret" not in str(caught.value)


def test_a_newer_schema_is_refused(postgresql: str) -> None:
    Store.open(postgresql).close()
    with Store.open(postgresql) as store, store.database.writing() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0999'")
    with pytest.raises(StoreError, match=f"newer schema 0999, this mmad knows schemas up to {schema.HEAD}"):
        Store.open(postgresql)


def test_a_schema_of_something_else_is_refused(postgresql: str, server: Server) -> None:
    with server.connected() as connection:
        connection.execute(f"CREATE TABLE {postgresql.rpartition('%3D')[2]}.patients (name text)")
    with pytest.raises(StoreError, match="is a database of something else; name another one"):
        Store.open(postgresql)


def test_a_password_among_the_options_is_not_told(server: Server) -> None:
    with pytest.raises(StoreError, match="refuses the user or the password") as caught:
        Store.open(f"postgresql://mmad@127.0.0.1:{server.port}/mmad?password=hunter2")
    assert "hunter2" not in str(caught.value)


def test_a_user_who_may_make_no_table_is_refused(server: Server, postgresql: str) -> None:
    with server.connected() as connection:
        connection.execute("CREATE ROLE guest LOGIN PASSWORD 'guest'")
    try:
        options = postgresql.partition("?")[2]
        with pytest.raises(StoreError, match="may not do this; let it make tables"):
            Store.open(f"{server.url_of(user='guest', password='guest', name='mmad')}")
        with pytest.raises(StoreError, match="may not do this"):
            Store.open(f"{server.url_of(user='guest', password='guest')}?{options}")
    finally:
        with server.connected() as connection:
            connection.execute("DROP ROLE guest")


def test_a_lost_transaction_is_repeated_where_that_is_safe(postgresql: str, server: Server) -> None:
    with Store.open(postgresql) as store:
        store.add_ablation(samples.ablation())
        good, bad = (run.key for run in store.run_records())
        with _cut_once(store.database, server, "INSERT INTO run_epochs"):
            store.commit_epoch(good, samples.epoch(1))
        assert store.epoch_records(good) == [samples.epoch(1)]
        assert store.warnings(good) == []
        with _cut_once(store.database, server, "INSERT INTO warnings"):
            store.add_warning(bad, "once")
        with _cut_once(store.database, server, "SELECT runs.status"):
            store.state()
        assert store.warnings(bad) == ["once"]


def test_a_commit_whose_answer_was_lost_counts_once(postgresql: str) -> None:
    with Store.open(postgresql) as store:
        store.add_ablation(samples.ablation())
        good, bad = (run.key for run in store.run_records())
        with _answer_lost(store.database):
            claimed = store.claim(None, Owner.current())
        assert claimed is not None
        assert (claimed.key, claimed.status, claimed.attempts) == (good, "claimed", 1)
        assert store.owners() == {good: Owner.current()}
        lost: list[Callable[[], object]] = [
            lambda: store.add_warning(good, "once"),
            lambda: store.add_environment(good, samples.environment()),
            lambda: store.commit_epoch(good, samples.epoch(1), [samples.checkpoint()]),
            lambda: store.stop([bad]),
        ]
        for write in lost:
            with _answer_lost(store.database):
                write()
        assert store.warnings(good) == ["once"]
        assert store.environments(good) == [samples.environment()]
        assert store.epoch_records(good) == [samples.epoch(1)]
        assert store.run(bad).status == "stopped"


class _answer_lost:
    """Ends the next writing's connection right after its commit, before anybody hears of it."""

    def __init__(self, database: Database) -> None:
        self._dialect, self._commit = database.engine.dialect, database.engine.dialect.do_commit
        self._done = False

    def _committed(self, connection: Any) -> None:
        self._commit(connection)
        if not self._done:
            self._done = True
            connection.dbapi_connection.close()
            raise self._dialect.loaded_dbapi.OperationalError("SSL SYSCALL error: EOF detected")

    def __enter__(self) -> None:
        self._dialect.do_commit = self._committed  # type: ignore[method-assign]

    def __exit__(self, *_: object) -> None:
        del self._dialect.do_commit
        assert self._done


class _cut_once:
    """Ends the connection on the server right before the first statement that begins so."""

    def __init__(self, database: Database, server: Server, statement: str) -> None:
        self._engine, self._server, self._statement = database.engine, server, statement
        self._done = False

    def _cut(self, connection: Any, cursor: Any, statement: str, *_: object) -> None:
        if not self._done and statement.startswith(self._statement):
            self._done = True
            with self._server.connected() as other:
                other.execute("SELECT pg_terminate_backend(%s)", (cursor.connection.info.backend_pid,))

    def __enter__(self) -> None:
        event.listen(self._engine, "before_cursor_execute", self._cut)

    def __exit__(self, *_: object) -> None:
        event.remove(self._engine, "before_cursor_execute", self._cut)
        assert self._done


@pytest.mark.slow
def test_a_server_that_is_started_anew_is_waited_for(server: Server, postgresql: str) -> None:
    with Store.open(postgresql) as store, Store.open(postgresql, timeout=0.2) as hasty:
        good, _ = samples.fill(store)
        assert len(hasty.run_records()) == 2
        server.stop()
        try:
            with pytest.raises(StoreError, match="cannot be reached; check that it runs"):
                hasty.run_records()
            with pytest.raises(StoreError, match="cannot be reached"):
                Store.open(postgresql, timeout=0.2)
            writer = threading.Thread(target=store.commit_epoch, args=(good, samples.epoch(4)))
            writer.start()
        finally:
            server.start()
        writer.join()
        assert [e.epoch for e in store.epoch_records(good)] == [1, 2, 3, 4]
        assert len(hasty.run_records()) == 2


@pytest.mark.parametrize(
    "text",
    [
        "FATAL:  the database system is starting up",
        "FATAL:  the database system is not yet accepting connections\nDETAIL:  Consistent recovery state has not been",
        "FATAL:  the database system is not accepting connections\nDETAIL:  Hot standby mode is disabled.",
        "FATAL:  the database system is in recovery mode",
        "FATAL:  the database system is shutting down",
        "consuming input failed: SSL SYSCALL error: EOF detected",
        "consuming input failed: server closed the connection unexpectedly",
        "terminating connection due to administrator command",
        "terminating connection because of crash of another server process",
        "connection to server failed: could not receive data from server: Connection reset by peer",
        "FATAL:  sorry, too many clients already",
        "FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute",
    ],
)
def test_a_server_that_says_not_now_is_waited_for(text: str) -> None:
    assert is_away(text, reached=False)
    assert re.match(
        "place: the (database server cannot be reached|server has no connection free);", str(meaning(text, "place"))
    )


@pytest.mark.parametrize(
    ("text", "silent"),
    [
        ('connection to server at "127.0.0.1", port 1 failed: Connection refused', True),
        ("failed: No such file or directory\n\tIs the server running locally and accepting connections there?", True),
        ("connection timeout expired", True),
        ('FATAL:  password authentication failed for user "mmad"', False),
        ('FATAL:  database "nothing" does not exist', False),
        ("failed to resolve host 'nowhere.invalid'", False),
    ],
)
def test_silence_is_waited_for_where_the_server_was_reached_before(text: str, silent: bool) -> None:
    assert is_away(text, reached=True) is silent
    assert not is_away(text, reached=False)


@pytest.mark.slow
def test_nothing_is_lost_in_a_storm_of_restarts(server: Server, postgresql: str) -> None:
    """Two writers go through the whole life of their runs while the server crashes and is stopped again and again."""
    given = samples.ablation(seeds=range(2))
    keys = [member.run.key for member in given.members]
    epochs, storm = 60, threading.Event()
    errors: list[BaseException] = []

    def work(mine: list[str]) -> None:
        try:
            with Store.open(postgresql) as store:
                store.add_ablation(given)
                for key in mine:
                    owner = Owner.current()
                    assert store.claim([key], owner) is not None
                    assert store.begin(key, owner, samples.environment(), [])
                    number = 0
                    while number < epochs or not storm.is_set():
                        number += 1
                        if number <= epochs:
                            store.commit_epoch(
                                key, samples.epoch(number), [samples.checkpoint(number=number)], (), owner
                            )
                        assert store.beat(key, owner) == "held"
                        store.state()
                    store.add_warning(key, "once")
                    store.end(key, owner, "finished")
        except BaseException as error:
            errors.append(error)

    Store.open(postgresql).close()
    writers = [threading.Thread(target=work, args=(keys[at::2],)) for at in range(2)]
    for writer in writers:
        writer.start()
    for mode in ("immediate", "fast", "immediate", "immediate", "fast"):
        time.sleep(0.4)
        server.stop(mode)
        time.sleep(0.3)
        server.start()
    storm.set()
    for writer in writers:
        writer.join()
    assert errors == []
    with Store.open(postgresql, read_only=True) as store:
        for key in keys:
            assert store.run(key).status == "finished"
            assert store.epoch_records(key) == [samples.epoch(number) for number in range(1, epochs + 1)]
            assert store.environments(key) == [samples.environment()]
            assert store.warnings(key) == ["once"]
            assert [row.epoch for row in store.checkpoints(key)] == [epochs]
