"""Helpers compute ahead what a report needs; without them, or when they fail, it is the same report."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from statistics_fixtures import FEW, two_settings

from mmad.analysis import prefetch, verdicts
from mmad.analysis.prefetch import PrefetchTask, prefetching, run_prefetch
from mmad.analysis.report_frame import load_frame
from mmad.analysis.verdicts import _request, _work, compute_statistics
from mmad.data.dataset import DataSet
from mmad.data.phantom.generate import make_phantom
from mmad.store.store import Store


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    return make_phantom(tmp_path_factory.mktemp("data") / "phantom", studies=60, image_size=64)


@pytest.fixture
def store(tmp_path: Path, dataset: DataSet) -> Iterator[Store]:
    with Store.open(two_settings(tmp_path, dataset)) as opened:
        yield opened


def work_of(store: Store) -> list[PrefetchTask]:
    return [one for piece in _work(load_frame(store)) if (one := _request(piece)) is not None]


def task_of(store: Store) -> dict[str, object]:
    options = [FEW.resamples, FEW.seed]
    return {"database": store.paths.database, "data": None, "options": options, "work": work_of(store)}


@pytest.mark.slow
def test_what_a_helper_kept_is_not_computed_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run_prefetch(task_of(store), os.getppid())
    kept = len(store.analyses())
    monkeypatch.setattr(verdicts.FailureCachingStore, "matched", lambda *_: pytest.fail("computed again"))
    found = compute_statistics(load_frame(store), store, options=FEW)
    assert not [sure.why for sure in (*found.runs.values(), *found.pairs.values()) if sure.why]
    assert all(sure.difference and sure.reference and sure.other for sure in found.pairs.values())
    assert len(store.analyses()) == kept == 8 * 4 + 2 * 3


def test_a_helper_stops_when_nobody_waits_for_it(store: Store) -> None:
    run_prefetch(task_of(store), -1)
    assert store.analyses() == []


@pytest.mark.slow
def test_what_a_helper_cannot_tell_it_leaves(store: Store) -> None:
    task = task_of(store)
    for run in store.run_records()[:3]:
        for file in (store.run_paths(run.key).folder / "detections").glob("*-test-*.npz"):
            file.unlink()
    run_prefetch(task, os.getppid())
    assert 0 < len(store.analyses()) < 38


@pytest.mark.slow
def test_with_helpers_a_report_knows_the_same(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []
    start = prefetch._start
    monkeypatch.setattr(prefetch, "_start", lambda task: (begun.append(len(task["work"])), start(task))[1])
    monkeypatch.setattr(prefetch, "usable_cores", lambda: 3)
    monkeypatch.setattr(verdicts, "LONG", 1)
    monkeypatch.setattr(verdicts, "FEW", 1)
    helped = compute_statistics(load_frame(store), store, options=FEW)
    assert len(begun) == 2
    with store.database.writing() as connection:
        connection.exec_driver_sql("DELETE FROM analyses")
    monkeypatch.setattr(prefetch, "usable_cores", lambda: 1)
    alone = compute_statistics(load_frame(store), store, options=FEW)
    assert len(begun) == 2
    assert repr(helped) == repr(alone)


@pytest.mark.slow
def test_a_helper_really_computes_and_ends_with_the_block(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefetch, "usable_cores", lambda: 2)
    processes = []
    start = prefetch._start
    monkeypatch.setattr(prefetch, "_start", lambda task: (processes.append(start(task)), processes[-1])[1])
    with prefetching(store, None, FEW, work_of(store)):
        assert processes[0].wait(timeout=600) == 0
        assert len(store.analyses()) == 38
    with prefetching(store, None, FEW, work_of(store)):
        pass
    assert processes[1].returncode is not None
