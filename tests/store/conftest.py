"""A fresh store per test: in a file, and on a PostgreSQL server where one is installed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmad.store.store import Store


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Where an SQLite file may be made."""
    return tmp_path / "db" / "mmad.sqlite"


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest) -> str:
    """A database that is not there yet: a file's path, and a schema's URL."""
    name = "database" if request.param == "sqlite" else "postgresql"
    return str(request.getfixturevalue(name))


@pytest.fixture(scope="session")
def empty_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with the schema alone, to be copied: to make one takes twenty times as long."""
    file = tmp_path_factory.mktemp("empty") / "mmad.sqlite"
    Store.open(file).close()
    return file


@pytest.fixture
def store(address: str, database: Path, empty_file: Path) -> Iterator[Store]:
    """An empty store, of either kind."""
    if address == str(database):
        database.parent.mkdir()
        shutil.copy2(empty_file, database)
    with Store.open(address) as opened:
        yield opened


@pytest.fixture
def file_store(database: Path, empty_file: Path) -> Iterator[Store]:
    """An empty store in a file."""
    database.parent.mkdir()
    shutil.copy2(empty_file, database)
    with Store.open(database) as opened:
        yield opened
