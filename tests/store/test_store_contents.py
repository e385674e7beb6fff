"""Databases from before keys left out idle fields: nothing finished trains again, and what was begun resumes."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import store_samples as samples

import mmad
from mmad.config.runs import Ablation
from mmad.config.setup import ModelSetup
from mmad.scheduler.submit import asked_for, queue_up
from mmad.store.lookup import run_detail
from mmad.store.store import Store

HERE = Path(__file__).parent
#: Keys that the fixture's runs have, as the earlier version gave them.
IMAGE, IMAGE_TWICE, SHALLOW, DEEP = "67e88db3d8d5", "f1c523c8d65c", "25b8f72ad888", "d9afcca86931"
LONGER, LONGER_CLINICAL = "08e64bd2da0f", "28182d67aa0f"
HALVED, HALVED_CLINICAL = "ffc8689455f2", "feae61950402"
BEGUN, BEGUN_CLINICAL = "48178ac85051", "0dcd4b980502"
#: What the ablation file plans: short key and status, in the order of its settings and arms.
PLANNED = [
    (IMAGE, "finished"), (SHALLOW, "finished"), (IMAGE, "finished"), (DEEP, "finished"),
    (LONGER, "finished"), (LONGER_CLINICAL, "finished"), (HALVED, "finished"), (HALVED_CLINICAL, "finished"),
    (BEGUN, "interrupted"), (BEGUN_CLINICAL, "interrupted"),
]  # fmt: skip


@pytest.fixture
def earlier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Ablation]:
    """A database of finished, continued, replaced and interrupted runs, and the ablation that asked for them."""
    monkeypatch.chdir(tmp_path)
    database = tmp_path / "mmad.sqlite"
    with closing(sqlite3.connect(database)) as old:
        old.executescript((HERE / "mmad-0004.sql").read_text("utf-8"))
    (tmp_path / "old.toml").write_bytes((HERE / "earlier-keys.toml").read_bytes())
    return str(database), mmad.load_ablation("old.toml")


def test_nothing_finished_is_planned_again(earlier: tuple[str, Ablation]) -> None:
    database, ablation = earlier
    with Store.open(database) as store:
        assert {run.key[:12] for run in store.run_records() if run.content is None} == {IMAGE_TWICE}
    plan = mmad.plan(ablation, database)
    assert [(key[:12], status) for key, status in zip(plan.key, plan.status, strict=True)] == PLANNED
    asked = [(one.key[:12], one.status) for one in asked_for([ablation], database)]
    assert asked == PLANNED


def test_what_was_begun_is_queued_under_the_key_it_has(earlier: tuple[str, Ablation]) -> None:
    database, ablation = earlier
    jobs = queue_up([ablation], database)
    assert [job.key[:12] for job in jobs] == [BEGUN, BEGUN_CLINICAL]
    with Store.open(database) as store:
        assert len(store.run_records()) == 11
        continued = store.run(LONGER_CLINICAL).protocol["continues"]
    assert continued["key"].startswith(DEEP)


def test_a_member_keeps_its_own_setup_beside_the_run_it_shares(earlier: tuple[str, Ablation]) -> None:
    database, ablation = earlier
    queue_up([ablation], database)
    with Store.open(database) as store:
        shared, own = run_detail(store, "old/depth 1/CXR"), run_detail(store, "old/depth 2/CXR")
    assert shared.run.key == own.run.key
    assert (shared.setup["fuse_depth"], own.setup["fuse_depth"]) == (1, 2)
    assert ModelSetup(**own.setup) == setup_of(ablation, "depth 2", "CXR")


def setup_of(ablation: Ablation, setting: str, arm: str) -> ModelSetup:
    """The setup of a member but for its name, which is no part of what is recorded."""
    found = next(m.run.setup for m in ablation.members if (m.setting, m.arm) == (setting, arm))
    return found.model_copy(update={"name": ""})


def test_new_rows_have_one_key(store: Store) -> None:
    samples.fill(store)
    assert all(run.content == run.key for run in store.run_records())


def test_an_ablation_says_under_which_keys_it_is_recorded(store: Store) -> None:
    member = samples.member()
    recorded = store.add_ablation(samples.made_of("one", [replace(member, ablation="one")]))
    assert recorded.members[0].run.key == member.run.key
