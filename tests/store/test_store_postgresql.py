"""The same store on a PostgreSQL server: set MMAD_TEST_POSTGRESQL to the URL of an EMPTY database to run this."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
import store_samples as samples
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from mmad.base.errors import StoreError
from mmad.store import schema
from mmad.store.gateway import Store
from mmad.store.owner import Owner
from mmad.store.results import member_summaries

URL = os.environ.get("MMAD_TEST_POSTGRESQL", "")
pytestmark = pytest.mark.skipif(not URL, reason="needs an empty PostgreSQL database in MMAD_TEST_POSTGRESQL")


@pytest.fixture
def server() -> Iterator[Store]:
    with pytest.raises(StoreError, match="is empty"):
        Store.open(URL, create=False)
    with Store.open(URL) as store:
        yield store
        with store._database.writing() as connection:
            connection.exec_driver_sql("DROP VIEW run_results, checkpoint_results")
            schema.metadata.drop_all(connection)
            connection.exec_driver_sql("DROP TABLE alembic_version")


def test_a_server_keeps_what_a_file_keeps(server: Store) -> None:
    good, _ = samples.fill(server)
    record = replace(samples.epoch(4), lr=math.inf, seconds=math.nan)
    server.commit_epoch(good, record)
    server.commit_epoch(good, record)
    assert server.warnings(good) == ["training AP is NaN"]
    assert server.epochs(good)[:2] == [samples.epoch(1, val_ap=0.25), samples.epoch(2, val_ap=0.5)]
    assert server.epochs(good)[3].lr == math.inf
    assert server.environments(good) == [samples.environment()]
    best = member_summaries(server)[0].results.best_ap
    assert best is not None
    with server._database.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), schema.metadata) == []
        rows = connection.exec_driver_sql("SELECT best_ap_test_ap FROM run_results ORDER BY arm").scalars().all()
    assert rows == [best.test_ap, None]
    with pytest.raises(StoreError, match="names a run the database does not hold"):
        server.add_warning("0" * 64, "text")


def test_claims_and_ablations_of_many_at_once(server: Store) -> None:
    given = samples.ablation(seeds=range(15))
    claimed: list[str] = []

    def work() -> None:
        with Store.open(URL) as store:
            store.add_ablation(given)
            while (run := store.claim(None, Owner.current())) is not None:
                claimed.append(run.key)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(claimed) == sorted(m.run.key for m in given.members)
