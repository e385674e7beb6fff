"""A fresh store per test: in a file, and on a PostgreSQL server where one is installed."""

from __future__ import annotations

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


@pytest.fixture
def store(address: str) -> Iterator[Store]:
    """An empty store, of either kind."""
    with Store.open(address) as opened:
        yield opened


@pytest.fixture
def file_store(database: Path) -> Iterator[Store]:
    """An empty store in a file."""
    with Store.open(database) as opened:
        yield opened
