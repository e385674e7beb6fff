"""Device slots: what is found, what is refused, and how many runs fit at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmad.base.cores import usable_cores
from mmad.base.errors import MmadError
from mmad.scheduler import devices as room
from mmad.scheduler.devices import Slots, find_slots, visible_gpus
from mmad.scheduler.executors.base import ClusterSlots
from mmad.scheduler.process import run_python


def machine(monkeypatch: pytest.MonkeyPatch, gpus: int, *, broken: str = "", knows: bool = True) -> None:
    """A machine of ``gpus`` GPUs, the last of which does not work when ``broken`` says why."""
    last = f"cuda:{gpus - 1}"
    monkeypatch.setattr(room, "visible_gpus", lambda: ("",) * gpus)
    monkeypatch.setattr(room, "torch_knows_gpus", lambda: knows)
    monkeypatch.setattr(room, "try_gpus", lambda named: {name: broken if name == last else "" for name in named})


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, 2)


def test_a_run_takes_as_many_cores_as_it_has_threads() -> None:
    slots = Slots(cores=5)
    first, second = slots.take(2), slots.take(2)
    assert first is not None
    assert second is not None
    assert slots.take(2) is None
    third = slots.take(1)
    assert third is not None
    slots.give_back(first)
    assert slots.take(2) is not None
    assert slots.capacity(2) == 2


def test_a_run_that_wants_more_than_all_cores_gets_them_alone() -> None:
    slots = Slots(cores=2)
    assert slots.capacity(8) == 1
    taken = slots.take(8)
    assert taken is not None
    assert slots.take(1) is None
    slots.give_back(taken)
    assert slots.take(1) is not None


def test_one_run_per_gpu_and_the_first_free_one_again() -> None:
    slots = Slots(("cuda:0", "cuda:1"), cores=1)
    first, second = slots.take(4), slots.take(4)
    assert first is not None
    assert second is not None
    assert (first.device, second.device) == ("cuda:0", "cuda:1")
    assert slots.take(1) is None
    slots.give_back(second)
    slots.give_back(first)
    again = slots.take(1)
    assert again is not None
    assert again.device == first.device


def test_a_run_on_several_gpus_waits_until_nobody_is_on_them() -> None:
    slots = Slots(("cuda:0", "cuda:1", "cuda:2"), cores=4)
    first = slots.take(1)
    assert first is not None
    pair = slots.take(1, gpus=2)
    assert pair is not None
    assert (pair.devices, pair.torch_device) == (("cuda:1", "cuda:2"), "cuda:1,cuda:2")
    assert slots.take(1) is None
    slots.give_back(first)
    assert slots.take(1, gpus=2) is None
    assert slots.take(1) is not None
    slots.give_back(pair)
    assert slots.take(1, gpus=2) is not None
    assert (slots.capacity(1), slots.capacity(1, 2), slots.capacity(1, 3)) == (3, 1, 1)
    with pytest.raises(MmadError, match="gpus_per_run = 4, and this machine has 3 GPUs; set gpus_per_run to 3 or less"):
        slots.require(4)


def test_a_run_of_several_processes_takes_their_cores() -> None:
    slots = Slots(cores=4)
    taken = slots.take(1, gpus=3)
    assert taken is not None
    assert (taken.device, taken.cores) == ("cpu", 3)
    assert (slots.capacity(1, 2), slots.capacity(2, 2), slots.capacity(1, 8)) == (2, 1, 1)
    assert slots.take(1, gpus=2) is None


def test_a_cluster_counts_the_gpus_of_a_run() -> None:
    slots = ClusterSlots("a cluster", gpus=4, per_gpu=2, largest=2)
    assert (slots.capacity(1), slots.capacity(1, 2)) == (8, 2)
    pair = slots.take(1, gpus=2)
    assert pair is not None
    assert pair.device == "cuda"
    alone = [slots.take(1) for _ in range(5)]
    assert [one is not None for one in alone] == [True] * 4 + [False]
    slots.give_back(pair)
    assert slots.take(1, gpus=2) is not None
    with pytest.raises(MmadError, match="gpus_per_run = 3, and a node of the cluster has 2 GPUs"):
        slots.require(3)


@given(cores=st.integers(1, 16), wishes=st.lists(st.tuples(st.integers(1, 20), st.booleans()), max_size=40))
def test_never_more_cores_than_there_are_and_never_stuck(cores: int, wishes: list[tuple[int, bool]]) -> None:
    slots = Slots(cores=cores)
    held = []
    for threads, release in wishes:
        slot = slots.take(threads)
        if slot is not None:
            held.append(slot)
        assert sum(one.cores for one in held) <= cores
        assert held or slot is not None
        if release and held:
            slots.give_back(held.pop(0))
    for one in held:
        slots.give_back(one)
    assert slots.take(10**6) is not None


def test_auto_takes_every_gpu(two_gpus: None) -> None:
    assert find_slots("auto").devices == ("cuda:0", "cuda:1")
    assert find_slots("cuda").devices == ("cuda:0", "cuda:1")
    assert find_slots("CUDA:1").devices == ("cuda:1",)
    assert find_slots("cpu").devices == ()


def test_auto_is_the_cpu_without_a_gpu_or_with_a_torch_that_cannot_use_it(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, 0)
    assert not find_slots("auto").on_gpu
    machine(monkeypatch, 1, knows=False)
    assert find_slots("auto").cores == usable_cores()
    assert not find_slots("auto").on_gpu


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("cuda:2", "--device: no device cuda:2; there is cuda:0, cuda:1, or cpu"),
        ("gpu", "--device: no such device 'gpu'; use auto, cpu, cuda, cuda:N or mps"),
        ("cuda:-1", "--device: no such device 'cuda:-1'; use auto, cpu, cuda, cuda:N or mps"),
    ],
)
def test_a_device_that_is_not_there_is_refused_with_what_there_is(two_gpus: None, word: str, line: str) -> None:
    with pytest.raises(MmadError) as caught:
        find_slots(word)
    assert str(caught.value) == line


def test_cuda_without_a_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, 0)
    with pytest.raises(MmadError, match="no GPU; use --device cpu"):
        find_slots("cuda:0")


OLD = "The NVIDIA driver on your system is too old (found version 11040)."


def test_a_gpu_that_torch_cannot_use_is_left_out_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, 2, broken=OLD)
    assert find_slots("auto").devices == ("cuda:0",)
    assert f"one run on each (cuda:1 is not used: {OLD})" in find_slots("auto").describe(1)
    for word in ("cuda", "cuda:1"):
        with pytest.raises(MmadError, match=r"cuda:1: torch cannot use this GPU \(The NVIDIA driver .*; update its"):
            find_slots(word)
    assert find_slots("cuda:0").devices == ("cuda:0",)
    machine(monkeypatch, 1, broken=OLD)
    assert not find_slots("auto").on_gpu
    assert OLD in find_slots("auto").describe(1)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ('{"cuda:0": ""}', ""),
        ('{"cuda:0": "CUDA error: no kernel image is available"}', "CUDA error: no kernel image is available"),
        ('{"cuda:0": "CUDA error: out of memory"}', ""),  # of others: that passes
        ('{"cuda:0": "CUDA error: CUDA-capable device(s) is/are busy or unavailable"}', ""),
        ("", "a process that uses it ends at once"),
        (None, "its driver does not answer"),
    ],
)
def test_each_gpu_has_to_compute_something(monkeypatch: pytest.MonkeyPatch, answer: str | None, why: str) -> None:
    shown: list[dict[str, str]] = []
    monkeypatch.setattr(room, "run_python", lambda code, names, variables, limit: (shown.append(variables), answer)[1])
    assert room.try_gpus({"cuda:0": ""}) == {"cuda:0": why}
    assert room.try_gpus({"cuda:3": "MIG-a"}) == {"cuda:3": why}
    assert [one.get("CUDA_VISIBLE_DEVICES") for one in shown] == [None, "MIG-a"]


def test_a_trial_that_hangs_is_ended() -> None:
    assert run_python("import time; time.sleep(60)", (), {}, 0.2) is None
    assert run_python("import sys; print(sys.argv[1:])", ("a",), {}, 60.0) == "['a']\n"


def test_an_apple_gpu_takes_one_run_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room.sys, "platform", "linux")
    with pytest.raises(MmadError, match="mps: this machine has no Apple GPU; use auto, cpu or cuda"):
        find_slots("mps")
    monkeypatch.setattr(room.sys, "platform", "darwin")
    monkeypatch.setattr(room.platform, "machine", lambda: "arm64")
    monkeypatch.setattr(room, "try_gpus", lambda named: dict.fromkeys(named, ""))
    slots = find_slots("MPS", None)
    assert (slots.devices, slots.per_gpu) == (("mps",), 1)
    assert slots.take(1) is not None
    assert slots.take(1) is None


@pytest.mark.parametrize(
    ("visible", "count"),
    [(None, 4), ("0,1", 2), ("3", 1), ("", 0), ("-1", 0), ("1,9,2", 1), ("GPU-8932f937,GPU-1", 2), ("NoDevFiles", 0)],
)
def test_visible_devices_narrow_what_was_found(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, count: int
) -> None:
    monkeypatch.setattr(room, "_gpu_count", lambda: 4)
    assert len(visible_gpus({} if visible is None else {"CUDA_VISIBLE_DEVICES": visible})) == count


def test_words() -> None:
    assert Slots(cores=2).describe(1) == "CPU, 2 cores, 2 runs at once"
    assert Slots(cores=1).describe(4) == "CPU, 1 core, 1 run at once"
    assert Slots(("cuda:1",)).describe(1) == "1 GPU (cuda:1), one run on each"
