"""Several runs on one GPU: nobody joins an unknown one, and no sum exceeds the memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

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
    taken(slots, "small")  # an empty GPU is always tried: the run may do with less than another did
    assert slots.take(1, "small") is None


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
