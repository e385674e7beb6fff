"""Processes that compute statistics ahead of a report: they begin at the far end and cache the results.

Nothing depends on them. What they cached in the store is read there, the rest is computed by the report itself; a
helper that dies or never starts costs time alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmad.analysis.cache import cached_together
from mmad.analysis.cached_statistics import pair_statistics, run_statistics
from mmad.analysis.comparison import Comparison
from mmad.analysis.evaluation_target import DetectionStore, EvaluationOptions, EvaluationTarget, evaluation_target
from mmad.base.cores import usable_cores
from mmad.base.errors import MmadError
from mmad.base.records import CheckpointKind, MemberRecord
from mmad.store.lookup import FoundRun
from mmad.store.store import Store

#: More helpers than this would wait for one another at the database.
MOST = 7


#: A run or a pair of arms, in the plain JSON of ``run_task`` and ``pair_task``.
PrefetchTask = dict[str, Any]


def run_task(member: MemberRecord, checkpoint: CheckpointKind) -> PrefetchTask:
    """One run as a member asks for it."""
    return {"run": _named(member, checkpoint)}


def pair_task(comparison: Comparison) -> PrefetchTask:
    """Two arms: (reference, other) of each seed, the conditions that differ by design, and whether over folds."""
    kind = comparison.kind
    pairs = [
        [_named(a.member, kind), _named(b.member, kind)]
        for a, b in comparison.pairs
        if a.member is not None and b.member is not None
    ]
    return {"pairs": pairs, "by_design": list(comparison.by_design), "folded": bool(comparison.folds)}


def _named(member: MemberRecord, checkpoint: CheckpointKind) -> list[Any]:
    return [member.ablation, member.setting, member.arm, member.seed, member.replicate, checkpoint]


@contextlib.contextmanager
def prefetching(
    store: Store, data: Path | None, options: EvaluationOptions, work: Sequence[PrefetchTask]
) -> Iterator[None]:
    """Lets the other cores begin with the end of ``work`` while the block runs; ends them with it."""
    helpers = min(usable_cores() - 1, MOST, len(work) // 2)
    started = []
    try:
        for n in range(helpers):
            task = {
                "database": store.paths.database,
                "data": None if data is None else str(data),
                "options": [options.resamples, options.seed],
                "work": list(reversed(work))[n::helpers],
            }
            with contextlib.suppress(OSError):
                started.append(_start(task))
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def _start(task: dict[str, Any]) -> subprocess.Popen[bytes]:
    """A process of this module with ``task`` on its standard input; silent, for nobody waits for what it says."""
    command = [sys.executable, "-P", "-m", "mmad.analysis.prefetch", str(os.getpid())]
    silent = subprocess.DEVNULL
    environment = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")  # a core each
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=silent, stderr=silent, env=environment)
    assert process.stdin is not None
    with contextlib.suppress(OSError), process.stdin as pipe:
        pipe.write(json.dumps(task).encode())
    return process


def run_prefetch(task: dict[str, Any], parent: int) -> None:
    """Does the work of ``task`` for as long as ``parent`` lives; what fails is left to it."""
    data, (resamples, seed) = task["data"], task["options"]
    options = EvaluationOptions(resamples=resamples, seed=seed)
    with Store.open(task["database"], create=False) as store, cached_together(store):
        finder = _Finder(store, options)
        detections = DetectionStore(None if data is None else Path(data))
        for one in task["work"]:
            if os.getppid() != parent:
                return
            with contextlib.suppress(MmadError):
                if "pairs" in one:
                    pairs = [(finder.target(a), finder.target(b)) for a, b in one["pairs"]]
                    done = pair_statistics(store, detections, pairs, options, one["by_design"], folded=one["folded"])
                    deque(done, maxlen=0)
                else:
                    deque(run_statistics(store, detections, finder.target(one["run"])), maxlen=0)


class _Finder:
    def __init__(self, store: Store, options: EvaluationOptions) -> None:
        self._store, self._options = store, options
        members = [m for a in store.ablations() for m in a.members]
        self._members = {(m.ablation, m.setting, m.arm, m.seed, m.replicate): m for m in members}
        self._runs = {run.key: run for run in store.run_records()}

    def target(self, name: Sequence[Any]) -> EvaluationTarget:
        *who, kind = name
        member = self._members[tuple(who)]
        return evaluation_target(
            self._store, FoundRun(self._runs[member.key], (member,)), replace(self._options, checkpoint=kind)
        )


if __name__ == "__main__":
    run_prefetch(json.load(sys.stdin), int(sys.argv[1]))
