"""Device slots: what is found, what is refused, and how many runs fit at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmad.base.cores import usable_cores
from mmad.base.errors import MmadError
from mmad.scheduler import devices as room
from mmad.scheduler.devices import Slots, cuda_count, find_slots


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_gpu_count", lambda: 2)
    monkeypatch.setattr(room, "torch_knows_cuda", lambda: True)
    monkeypatch.setattr(room, "cuda_count", lambda: 2)


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
    monkeypatch.setattr(room, "cuda_count", lambda: 0)
    assert not find_slots("auto").on_gpu
    monkeypatch.setattr(room, "cuda_count", lambda: 1)
    monkeypatch.setattr(room, "torch_knows_cuda", lambda: False)
    assert find_slots("auto").cores == usable_cores()
    assert not find_slots("auto").on_gpu


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("cuda:2", "--device: no device cuda:2; there is cuda:0, cuda:1, or cpu"),
        ("gpu", "--device: no such device 'gpu'; use auto, cpu, cuda or cuda:N"),
        ("cuda:-1", "--device: no such device 'cuda:-1'; use auto, cpu, cuda or cuda:N"),
    ],
)
def test_a_device_that_is_not_there_is_refused_with_what_there_is(two_gpus: None, word: str, line: str) -> None:
    with pytest.raises(MmadError) as caught:
        find_slots(word)
    assert str(caught.value) == line


def test_cuda_without_a_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "cuda_count", lambda: 0)
    with pytest.raises(MmadError, match="no CUDA GPU; use --device cpu"):
        find_slots("cuda:0")


@pytest.mark.parametrize(
    ("visible", "count"),
    [(None, 4), ("0,1", 2), ("3", 1), ("", 0), ("-1", 0), ("1,9,2", 1), ("GPU-8932f937,GPU-1", 2), ("NoDevFiles", 0)],
)
def test_visible_devices_narrow_what_was_found(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, count: int
) -> None:
    monkeypatch.setattr(room, "_gpu_count", lambda: 4)
    assert cuda_count({} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}) == count


def test_words() -> None:
    assert Slots(cores=2).describe(1) == "CPU, 2 cores, 2 runs at once"
    assert Slots(cores=1).describe(4) == "CPU, 1 core, 1 run at once"
    assert Slots(("cuda:1",)).describe(1) == "1 GPU (cuda:1), one run on each"
