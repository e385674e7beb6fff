"""Estimates: the median epoch of runs like it, times what is left."""

from __future__ import annotations

from dataclasses import replace

from mmad.base.clock import now
from mmad.base.records import EpochRecord, RunRecord
from mmad.config.estimate import Estimator, Sizes, Trials
from mmad.config.protocol import TrainingProtocol
from mmad.config.runs import DataSource, RunSpec
from mmad.config.setup import ModelSetup


def _spec(fingerprint: str | None = "f", epochs: int = 10, **setup: object) -> RunSpec:
    data = DataSource("/data", "made up", fingerprint)
    return RunSpec(ModelSetup.model_validate(setup), TrainingProtocol(epochs=epochs), data)


def _record(run: RunSpec) -> RunRecord:
    setup, protocol = run.recorded()
    return RunRecord(
        run.key,
        "finished",
        setup,
        protocol,
        "made up",
        "/data",
        run.data.fingerprint or "",
        1,
        now(),
    )


def _epochs(*seconds: float) -> list[EpochRecord]:
    return [EpochRecord(i + 1, 0.1, value, 0, ()) for i, value in enumerate(seconds)]


def test_runs_like_it_tell_and_others_do_not() -> None:
    known = _spec()
    estimator = Estimator([_record(known)], {known.key: _epochs(9.0, 2.0, 2.0)})
    assert estimator.seconds(known) == 20.0
    assert estimator.seconds(_spec(lr=0.5, epochs=5)) == 10.0
    assert estimator.seconds(known, epochs_done=4) == 12.0
    assert estimator.seconds(known, epochs_done=99) == 0.0
    assert estimator.seconds(_spec(image_size=512)) is None
    assert estimator.seconds(_spec(use_clinical=True)) is None
    assert estimator.seconds(_spec(fingerprint="other")) is None
    assert estimator.seconds(_spec(fingerprint=None)) is None


def test_a_trial_of_a_few_steps_says_nothing_of_a_whole_epoch() -> None:
    whole = _spec()
    trial = replace(whole, protocol=TrainingProtocol(epochs=1, steps_per_epoch=1))
    estimator = Estimator([_record(trial)], {trial.key: _epochs(2.0)})
    assert estimator.seconds(whole) is None
    assert estimator.seconds(trial) == 2.0


def test_a_trial_of_the_same_architecture_tells_at_the_price_of_its_images() -> None:
    sizes = Sizes(train=100, val=20, test=30)
    tried = replace(_spec(batch_size=2, lr=0.5), protocol=TrainingProtocol(epochs=1, steps_per_epoch=5))
    trials = Trials([_record(tried), _record(_spec(image_size=512))], {tried.key: _epochs(25.0)})
    # 10 images a split: 30 + 10 + 10 evaluated ones in 25 s; an epoch has 3 * 100 + 20 + 30 of them
    assert trials.epoch_seconds(_spec().setup, sizes) == 175.0
    assert trials.epoch_seconds(_spec(image_size=512).setup, sizes) is None
    estimator = Estimator((), {}, trials)
    assert estimator.seconds(_spec(epochs=4), 1, sizes) == 3 * 175.0
    assert estimator.seconds(_spec()) is None


def test_a_trial_tells_of_a_backbone_under_either_of_its_names() -> None:
    tried = replace(_spec(backbone="custom"), protocol=TrainingProtocol(epochs=1, steps_per_epoch=1))
    trials = Trials([_record(tried)], {tried.key: _epochs(5.0)})
    for name in ("custom", "custom1"):
        assert trials.epoch_seconds(_spec(backbone=name).setup, Sizes(1, 1, 1)) is not None


def test_a_recorded_run_tells_before_a_trial() -> None:
    known, sizes = _spec(), Sizes(100, 20, 30)
    tried = replace(known, protocol=TrainingProtocol(epochs=1, steps_per_epoch=1))
    trials = Trials([_record(tried)], {tried.key: _epochs(25.0)})
    assert Estimator([_record(known)], {known.key: _epochs(2.0)}, trials).seconds(known, 0, sizes) == 20.0


def test_nothing_recorded_tells_nothing() -> None:
    assert Estimator((), {}).seconds(_spec()) is None
    assert Estimator([_record(_spec())], {}).seconds(_spec()) is None
