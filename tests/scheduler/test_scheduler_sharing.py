"""Several runs on one GPU: nobody joins an unknown one, and no sum exceeds the memory."""

from __future__ import annotations

import copy
import random

import pytest
from gpu_world import Gpu as Gpu8
from gpu_world import Program, Training, World, alone_fits, made_up_queue, oracle_seconds, run_queue
from hypothesis import given
from hypothesis import strategies as st

from mmad.scheduler import devices
from mmad.scheduler.devices import FILL, GpuUse, Slot, Slots

GIB = 2**30


class Gpu:
    """A GPU of 80 GiB, of which ``others`` are somebody else's."""

    def __init__(self, others: float = 0.0) -> None:
        self.used = others * GIB

    def __call__(self, device: str) -> GpuUse:
        return GpuUse(0, "A100", "GPU-0", None, int(self.used), 80 * GIB)


def taken(slots: Slots, memory_key: str, *, alone: bool = False) -> Slot:
    slot = slots.take(1, memory_key, alone=alone)
    assert slot is not None
    return slot


def test_a_number_of_runs_share_a_gpu() -> None:
    slots = Slots(("cuda:0", "cuda:1"), cores=8, per_gpu=2)
    assert slots.capacity(1) == 4
    assert slots.describe(1) == "2 GPUs (cuda:0, cuda:1), 2 runs on each"
    four = [taken(slots, "") for _ in range(4)]
    assert [slot.device for slot in four] == ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]
    assert slots.take(1) is None
    slots.give_back(four[2])
    assert taken(slots, "").device == "cuda:0"


def test_an_unknown_run_is_measured_before_anybody_joins_it() -> None:
    known: dict[tuple[str, str], int] = {("small", "A100"): 4 * GIB}
    slots = Slots(("cuda:0",), cores=8, per_gpu=None, memory=known, look=Gpu())
    first = taken(slots, "new")
    assert slots.take(1, "small") is None
    assert slots.take(1, "new") is None
    slots.measured(first, 10 * GIB)
    assert known["new", "A100"] == 10 * GIB
    taken(slots, "small")
    taken(slots, "new")
    assert slots.take(1, "unknown") is None


def test_what_others_hold_is_left_to_them() -> None:
    known = {("small", "A100"): 10 * GIB}
    slots = Slots(("cuda:0",), cores=8, per_gpu=None, memory=known, look=Gpu(others=75))
    assert slots.take(1, "small") is None
    assert slots.take(1, "new", needs=6 * GIB) is None  # that failed for want of 6 GiB
    assert slots.held_by_others() == "75.0 GiB of cuda:0"
    taken(slots, "new")


def test_a_run_that_ran_out_of_memory_gets_a_gpu_of_its_own() -> None:
    slots = Slots(("cuda:0",), cores=8, per_gpu=3)
    beside = taken(slots, "")
    assert slots.take(1, alone=True) is None
    slots.give_back(beside)
    taken(slots, "", alone=True)
    assert slots.take(1) is None


def test_where_nothing_is_known_of_a_gpu_one_run_has_it() -> None:
    slots = Slots(("cuda:0",), cores=8, per_gpu=None, memory={("a", "cuda:0"): 1}, look=lambda device: None)
    taken(slots, "a")
    assert slots.take(1, "a") is None


@pytest.mark.parametrize(("whole", "together"), [(False, 2), (True, 3)])
def test_first_steps_promise_less_than_an_epoch_with_its_evaluation(whole: bool, together: int) -> None:
    slots = Slots(("cuda:0",), cores=8, per_gpu=None, look=Gpu())
    slots.measured(taken(slots, "a"), 22 * GIB, whole=whole)  # 33 or 24.2 GiB are kept for such a run
    assert 1 + sum(slots.take(1, "a") is not None for _ in range(8)) == together


def test_runs_share_one_budget_of_cores() -> None:
    known = {("a", "A100"): GIB}
    slots = Slots(("cuda:0", "cuda:1"), cores=6, per_gpu=None, memory=known, look=Gpu())
    assert sum(slots.take(2, "a") is not None for _ in range(9)) == 3
    few = Slots(("cuda:0", "cuda:1"), cores=1, per_gpu=None, memory=known, look=Gpu())
    assert sum(few.take(2, "a") is not None for _ in range(9)) == 2  # no GPU stays without a run


def test_the_driver_is_not_asked_for_every_run(monkeypatch: pytest.MonkeyPatch) -> None:
    moment, asked = [0.0], []
    monkeypatch.setattr(devices, "seconds", lambda: moment[0])
    gpu = Gpu(others=76)
    slots = Slots(
        ("cuda:0",),
        cores=64,
        per_gpu=None,
        memory={("a", "A100"): 3 * GIB},
        look=lambda device: (asked.append(device), gpu(device))[1],
    )
    taken(slots, "a")
    for _ in range(50):
        assert slots.take(1, "a") is None
    assert len(asked) == 1
    moment[0] = 3.0
    gpu.used = 0
    taken(slots, "a")
    assert len(asked) == 2


@pytest.mark.slow
def test_no_run_of_200_queues_fails_that_would_pass_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    took = best = 0.0
    for seed in range(200):
        world, kinds, cores = made_up_queue(random.Random(seed))
        gpus = copy.deepcopy(world.gpus)
        summary, _ = run_queue(monkeypatch, world, kinds, cores=cores)
        failed = {failure.job.key for failure in summary.failed}
        assert failed == {key for key, run in world.trainings.items() if not alone_fits(run, gpus[0])}, f"queue {seed}"
        took += world.now
        best += oracle_seconds(gpus, world.trainings, cores)
    assert best / took >= 0.85


@pytest.mark.parametrize("per_gpu", [1, 3, None])
def test_a_run_waits_for_the_memory_of_another_program(monkeypatch: pytest.MonkeyPatch, per_gpu: int | None) -> None:
    gpu = Gpu8(8 * GIB, program=Program([(0.0, 3 * GIB), (400.0, 0)]))
    world = World([gpu], {"a": Training(4 * GIB, 6 * GIB, 20.0, 60.0), "b": Training(GIB, GIB, 20.0, 60.0)})
    world.advance(1.0)
    summary, view = run_queue(monkeypatch, world, {"a": "large", "b": "small"}, cores=4, per_gpu=per_gpu)
    assert {job.key for job in summary.finished} == {"a", "b"}
    assert world.now > 400
    assert any("other programs, which h" in note and "3.0 GiB of cuda:0" in note for note in view.notes)


def test_idle_workers_leave_the_memory_of_a_gpu_to_the_next_run(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Gpu8(8 * GIB)
    small = {f"s{number}": Training(GIB, GIB, 20.0, 60.0) for number in range(4)}
    world = World([gpu], {**small, "all": Training(7 * GIB, int(7.4 * GIB), 20.0, 60.0)})
    kinds = {**dict.fromkeys(small, "small"), "all": "large"}
    summary, view = run_queue(monkeypatch, world, kinds, cores=8)
    assert len(summary.finished) == 5
    assert view.notes == []
    assert world.most_at_once >= 3


@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    deeds=st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=40),
)
def test_known_runs_never_exceed_the_memory_together(sizes: list[int], deeds: list[tuple[int, bool]]) -> None:
    known = {(str(i), "A100"): size * GIB for i, size in enumerate(sizes)}
    slots = Slots(("cuda:0",), cores=64, per_gpu=None, memory=known, look=Gpu())
    held: list[tuple[Slot, int]] = []
    for which, gives_back in deeds:
        if gives_back and held:
            slots.give_back(held.pop(0)[0])
        else:
            index = which % len(sizes)
            slot = slots.take(1, str(index))
            if slot is not None:
                held.append((slot, sizes[index]))
        assert len(held) <= 1 or sum(size for _, size in held) <= FILL * 80
    if not held:
        taken(slots, "0")  # never stuck
