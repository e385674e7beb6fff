"""The recorder: what it tells the scheduler agrees with what the store keeps."""

from __future__ import annotations

from collections.abc import Callable

from queue_bench import Bench

from mmad.base.clock import now
from mmad.base.records import CheckpointRecord, EnvironmentRecord, EpochRecord, Metric
from mmad.scheduler.supervisor_link import EpochDone, Message, SupervisorLink, TrainRequest
from mmad.scheduler.worker import StoreRecorder
from mmad.store.claims import Owner
from mmad.store.store import Store


class Listening(SupervisorLink):
    def __init__(self) -> None:
        self.heard: list[Message] = []

    def send(self, message: Message) -> None:
        self.heard.append(message)

    @property
    def bests(self) -> list[float | None]:
        return [message.best_val_ap for message in self.heard if isinstance(message, EpochDone)]


def tell(recorder: StoreRecorder, epoch: int, ap: float, best: int | None) -> None:
    """An epoch of validation AP ``ap`` after which the epoch ``best`` is kept as the best."""
    kept = [] if best is None else [CheckpointRecord("best_ap", best, f"{best}.pt", "c" * 64, 1, now())]
    recorder.epoch(EpochRecord(epoch, 0.01, 1.0, 0, (Metric("val", "ap_iou", ap),)), kept, [])


def recorder_of(bench: Bench, store: Store, link: SupervisorLink, epochs: int) -> StoreRecorder:
    """The recorder of a worker that holds the first run."""
    (key, *_), me = bench.keys, Owner.current()
    store.claim([key], me)
    return StoreRecorder(store, link, TrainRequest(bench.database, key), epochs=epochs, owner=me)


def test_the_best_shown_is_that_of_the_epoch_kept(bench: Callable[..., Bench]) -> None:
    one, line = bench(runs=1, epochs=4), Listening()
    with Store.open(one.database) as store:
        recorder = recorder_of(one, store, line, epochs=4)
        tell(recorder, 1, 0.25, best=1)
        tell(recorder, 2, 0.5, best=2)
        tell(recorder, 3, 0.375, best=2)
        again = recorder_of(one, store, line, epochs=4)  # after an interruption
        tell(again, 4, 0.75, best=2)  # the epoch that ends a run early is not compared
    assert line.bests == [0.25, 0.5, 0.5, 0.5]


def test_no_best_is_shown_where_none_is_kept(bench: Callable[..., Bench]) -> None:
    one, line = bench(runs=1), Listening()
    with Store.open(one.database) as store:
        recorder = recorder_of(one, store, line, epochs=3)
        tell(recorder, 1, 0.25, best=None)
        tell(recorder_of(one, store, line, epochs=3), 2, 0.5, best=None)
    assert line.bests == [None, None]


def place(torch: str, from_epoch: int) -> EnvironmentRecord:
    versions = {"mmad": torch, "torch": torch, "cpu": "AVX2"}
    return EnvironmentRecord(
        now(), "cedar", "Linux", "3.11.7", versions, "cpu", 1, None, None, "mmad ablate", from_epoch
    )


def test_a_resume_under_other_versions_is_a_warning_once(bench: Callable[..., Bench]) -> None:
    one, line = bench(runs=1), Listening()
    with Store.open(one.database) as store:
        for torch, from_epoch in (("2.6.0", 0), ("2.7.1", 0), ("2.7.1", 1), ("2.8.0", 1), ("2.8.0", 2)):
            recorder_of(one, store, line, epochs=3).started(place(torch, from_epoch), ())
        (warning,) = store.warnings(one.keys[0])
    assert warning.startswith("resumed after epoch 1 under other versions (torch 2.7.1 / 2.8.0): not equal bit by bit")
