"""The tables: what the migrations make is what the code expects, in SQL that PostgreSQL reads too."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from mmad.config.protocol import EvaluationProtocol
from mmad.store import schema
from mmad.store.engine import Database
from mmad.store.migrate import SCRIPTS, prepare


@pytest.fixture
def opened(address: str, database: Path) -> Iterator[Database]:
    """A database of either kind without any table."""
    database.parent.mkdir()
    empty = Database(address)
    yield empty
    empty.close()


def test_the_migrated_schema_is_that_of_the_tables(opened: Database) -> None:
    prepare(opened, create=True)
    with opened.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, schema.metadata) == []
        assert set(inspect(connection).get_view_names()) == {"run_results", "checkpoint_results", "epochs", "metrics"}


def test_the_newest_revision_is_the_one_the_code_names() -> None:
    scripts = ScriptDirectory(str(SCRIPTS))
    assert scripts.get_current_head() == schema.HEAD
    assert len(scripts.get_bases()) == 1


def test_going_back_removes_every_table(opened: Database) -> None:
    from alembic import command

    from mmad.store.migrate import _config

    prepare(opened, create=True)
    with opened.upgrading() as connection:
        command.downgrade(_config(connection), "base")
        inspector = inspect(connection)
        assert inspector.get_table_names() == ["alembic_version"]
        assert inspector.get_view_names() == []


def test_every_field_of_the_evaluation_protocol_has_a_column() -> None:
    assert set(EvaluationProtocol.model_fields) <= set(schema.members.c.keys())


@pytest.mark.parametrize("table", schema.metadata.sorted_tables, ids=lambda table: table.name)
def test_tables_are_sound_sql_for_postgresql(table: schema.Table) -> None:
    text = str(CreateTable(table).compile(dialect=postgresql.dialect()))
    assert f"CREATE TABLE {table.name}" in text
    assert "BLOB" not in text
    assert "BYTEA" not in text
    for index in table.indexes:
        kind = "CREATE UNIQUE INDEX" if index.unique else "CREATE INDEX"
        assert kind in str(CreateIndex(index).compile(dialect=postgresql.dialect()))


def test_moments_are_stored_in_utc_whatever_their_zone() -> None:
    moment = schema.Moment()
    summer = datetime(2022, 5, 16, 14, tzinfo=timezone(timedelta(hours=2)))
    stored = moment.process_bind_param(summer, sqlite.dialect())
    assert stored == datetime(2022, 5, 16, 12)
    assert moment.process_result_value(stored, sqlite.dialect()) == datetime(2022, 5, 16, 12, tzinfo=UTC)
    assert moment.process_bind_param(summer, postgresql.dialect()) == summer
    with pytest.raises(ValueError, match="no time zone"):
        moment.process_bind_param(datetime(2022, 5, 16), sqlite.dialect())
