"""Looks at a queue, their frames for every width, and the words they share with the other views."""

from __future__ import annotations

import io
import os
import re
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from rich.cells import cell_len
from rich.console import Console

from mmad.base.records import MemberRecord
from mmad.scheduler.dashboard import Snapshot, _repeat, draw, snapshot_json
from mmad.scheduler.devices import GpuUse, Machine, MachineUse, WorkerUse
from mmad.scheduler.progress import bar, counted
from mmad.store.claims import Owner
from mmad.store.run_status import Cost, FailedRun, QueueStatus, RunningRun, WaitingRun

NOON = datetime(2022, 5, 16, 12, 0, tzinfo=UTC)
GPU = GpuUse(0, "NVIDIA T4", "GPU-0abc", 87.0, 2**30, 16 * 2**30)


def member(setting: str, seed: int = 0) -> MemberRecord:
    return MemberRecord("patience", setting, "CXR", seed, 1, "k", 0, None, {})


def running(setting: str = "patience 10", **other: object) -> RunningRun:
    plain = RunningRun(
        key=f"key {setting}",
        member=member(setting),
        status="running",
        epoch=3,
        epochs=10,
        seconds_per_epoch=60.0,
        seconds_left=420.0,
        owner=Owner("cedar", 4711, 1.0, "boot"),
        alive=True,
        device="cuda:0",
        committed=NOON - timedelta(seconds=20),
        val_ap=0.125,
        best_val_ap=0.25,
    )
    return replace(plain, **other)  # type: ignore[arg-type]


def queue(*active: RunningRun, queued: int = 0, failed: int = 0, finished: int = 0, **other: object) -> QueueStatus:
    counts = Counter({"queued": queued, "failed": failed, "finished": finished})
    counts.update(run.status for run in active)
    plain = QueueStatus(
        counts={status: n for status, n in counts.items() if n},
        running=active,
        failed=tuple(FailedRun("f", member("lost", i), f"cause {i}") for i in range(min(failed, 20))),
        waiting=tuple(WaitingRun("w", member("later", i), 0, 10) for i in range(min(queued, 20))),
        costs=(Cost("patience", 10 * queued, 60.0),) if queued else (),
    )
    return replace(plain, **other)  # type: ignore[arg-type]


def drawn(look: Snapshot, width: int, height: int | None = None, *, plain: bool = False) -> list[str]:
    out = io.StringIO()
    console = Console(file=out, width=width, markup=False, highlight=False, color_system=None, force_terminal=False)
    console.print(draw(look, width, height, plain=plain))
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_a_wide_frame_tells_everything() -> None:
    use = MachineUse((GPU,), {"key patience 10": WorkerUse(98.5, 3 * 2**28, GPU)})
    look = Snapshot(queue(running(), running("patience 20"), queued=4, failed=1, finished=3), use, NOON)
    lines = drawn(look, 160)
    assert lines[0].endswith("4 of 10 runs ended, about 26 min 40 s to go, 2 running, 1 failed, 4 queued")
    assert " ".join(lines[1].split()) == "run status epoch val AP best ETA owner device CPU RAM GPU"
    assert " ".join(lines[2].split()) == (
        "patience/patience 10/CXR/0 running 3/10 ███░░░░░░░ 0.125 0.250 6 min 40 s cedar 4711 cuda:0 98 % 768 MiB "
        "87 %, 1.0 GiB"
    )
    assert lines[4:] == [
        "failed (1)",
        "  patience/lost/CXR/0: cause 0",
        "next (4)",
        "  patience/later/CXR/0",
        "  patience/later/CXR/1",
        "  patience/later/CXR/2",
        "  … and 1 more",
        "GPU 0 NVIDIA T4: 87 %, 1.0 GiB of 16.0 GiB",
    ]


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 120, 140, 200])
@pytest.mark.parametrize("height", [8, 12, 24, 50])
def test_a_frame_fits_its_terminal(width: int, height: int) -> None:
    active = tuple(running(f"a setting of a long name, number {i}") for i in range(30))
    look = Snapshot(queue(*active, queued=9_000, failed=700), MachineUse((GPU,), {}), NOON)
    lines = drawn(look, width, height)
    assert max(map(cell_len, lines)) <= width
    assert len(lines) <= height
    text = "\n".join(lines)
    if width >= 60:
        assert "0.125" in text
        assert "6 min 40 s" in text
        assert "3/10" in text
    if width >= 60 and height >= 24:
        assert "failed (700)" in text
        assert re.search(r"next \(9,000\)\n  .*later/CXR/0\n", text)
    shown = len(re.findall(r"^.{9,}\d+/CXR/0 ", text, flags=re.MULTILINE))
    hidden = re.search(r"… and (\d+) more that run", text)
    assert width < 40 or shown + (int(hidden[1]) if hidden else 0) == 30


@pytest.mark.parametrize(("width", "height"), [(80, 24), (140, 40)])
def test_many_machines_have_one_row_each(width: int, height: int) -> None:
    def on(number: int, gpu: int) -> RunningRun:
        owner = Owner(f"node{number}", 100 + gpu, 1.0, "boot")
        return running(
            f"{number} {gpu}",
            owner=owner,
            device=f"cuda:{gpu}",
            alive=number != 33,
            silent_since=NOON if number == 33 else None,
            started=NOON - timedelta(hours=number, minutes=gpu),
            seconds_left=60.0 * (1 + gpu),
        )

    active = tuple(on(number, gpu) for gpu in range(8) for number in range(64))
    look = Snapshot(queue(*active, queued=4_438, failed=50, finished=5_000), MachineUse(), NOON)
    lines = drawn(look, width, height)
    assert max(map(cell_len, lines)) <= width
    assert len(lines) <= height
    assert "64 machines" in lines[0]
    assert lines[1].split()[:4] == ["machine", "trouble", "runs", "devices"]
    assert lines[2].split()[:5] == ["node33", "8", "silent", "8", "cuda:0-7"]
    rows = [line.split()[0] for line in lines if line.startswith("node")]
    assert rows == ["node33", *(f"node{number}" for number in range(len(rows) - 1))]
    (hidden,) = (line for line in lines if "more machines" in line)
    left = 64 - len(rows)
    assert hidden == f"… and {left} more machines with {8 * left} runs; --host NAME shows those of one"
    assert " ".join(lines[4].split()).endswith(" 1 h 07 min 40 s 7 min 40 s")
    one = drawn(replace(look, host="node2"), width, height)
    assert sum("patience/2 " in line for line in one) == 8
    assert not any("patience/3 " in line for line in one)
    assert one[0] == lines[0]
    assert drawn(replace(look, host="node99"), width, height)[1] == "nothing trains on node99"


def test_a_long_look_is_followed_by_a_long_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    look, waited = Snapshot(queue(running()), MachineUse(), NOON), []
    moments = iter(range(100))
    monkeypatch.setattr(time, "process_time", lambda: next(moments) / 4)

    class Watch:
        def snapshot(self) -> Snapshot:
            return look

    def pressed(rest: float, changed: object) -> bool:
        waited.append(rest)
        return len(waited) == 2

    _repeat(Watch(), Console(file=io.StringIO()), 2.0, False, pressed)  # type: ignore[arg-type]
    assert waited == [5.0, 5.0]


def test_columns_of_nothing_are_absent() -> None:
    bare = running(device=None, val_ap=None, best_val_ap=None, owner=None, alive=False, seconds_left=None)
    lines = drawn(Snapshot(queue(bare), MachineUse(), NOON), 200)
    assert lines[0].endswith("0 of 1 run ended, no process trains, 1 running")
    assert lines[1].split() == ["run", "status", "epoch"]
    assert lines[2].split()[-3:] == ["gone", "3/10", "███░░░░░░░"]
    silent = drawn(Snapshot(queue(replace(bare, silent_since=NOON)), MachineUse(), NOON), 200)
    assert silent[2].split()[-3] == "silent"


def test_statuses_of_other_versions_show_as_themselves() -> None:
    lines = drawn(Snapshot(queue(running(status="dreaming")), MachineUse(), NOON), 100)
    assert "1 dreaming" in lines[0]
    assert " dreaming " in lines[2]


def test_an_empty_database_and_a_finished_one() -> None:
    assert drawn(Snapshot(queue(), MachineUse(), NOON), 80) == ["no run yet: queue some with mmad ablate FILE"]
    assert drawn(Snapshot(queue(finished=2), MachineUse(), NOON), 80) == ["2 of 2 runs ended"]


def test_ascii_terminals_get_ascii_bars() -> None:
    assert "###-------" in drawn(Snapshot(queue(running()), MachineUse(), NOON), 80, plain=True)[2]


def test_times_left() -> None:
    one, two = running(), running("b", seconds_per_epoch=None, seconds_left=None, committed=None)
    assert one.left_at(NOON) == 400.0
    assert one.left_at(NOON + timedelta(hours=1)) == 360.0  # one epoch at most
    assert one.left_at(NOON - timedelta(hours=1)) == 420.0  # another machine's clock
    assert running(alive=False).left_at(NOON) == 420.0
    assert queue(one).seconds_left(NOON) == 400.0
    assert queue(one, two, queued=3).seconds_left(NOON) == (400 + 400 + 1800) / 2
    assert queue(one, queued=1, costs=(Cost("patience", 10, None),)).seconds_left(NOON) is None
    assert queue(two).seconds_left(NOON) is None
    assert queue(queued=3).seconds_left(NOON) is None
    assert queue(finished=3).seconds_left(NOON) == 0.0


def test_a_local_worker_tells_cpu_and_memory() -> None:
    here = running(owner=Owner.current())
    machine = Machine()
    use = machine.look([here, running("far", owner=Owner("elsewhere", 1, 1.0, "x"))], settle=True)
    assert use.workers.get("key far") is None
    worker = use.workers.get(here.key)
    assert worker is not None
    assert worker.memory > 2**20
    assert worker.cpu is not None
    gone = replace(Owner.current(), pid=2**22 + 1)
    assert machine.look([running(owner=gone)]).workers.get(here.key) is None
    assert os.getpid() == Owner.current().pid


def test_json_tells_what_the_frame_tells() -> None:
    use = MachineUse((GPU,), {"key patience 10": WorkerUse(None, 5, GPU)})
    plain = snapshot_json(Snapshot(queue(running(), queued=1, failed=1), use, NOON), "patience")
    assert (plain["runs"], plain["over"], plain["places"], plain["seconds_left"]) == (3, 1, 1, 1000.0)
    (run,) = plain["running"]
    assert (run["cpu"], run["memory"], run["gpu"], run["seconds_left"], run["pid"]) == (None, 5, 0, 400.0, 4711)
    assert plain["gpus"] == [
        {"index": 0, "name": "NVIDIA T4", "percent": 87.0, "used": 2**30, "total": 16 * 2**30},
    ]
    assert (plain["failed"][0]["error"], plain["next"][0]["setting"]) == ("cause 0", "later")


def test_words() -> None:
    assert counted({"queued": 1200, "running": 2, "odd": 1, "failed": 0}) == "2 running, 1,200 queued, 1 odd"
    assert bar(0.5, 4, plain=True) == "##--"
