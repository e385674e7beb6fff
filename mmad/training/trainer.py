"""One run from its specification to its last epoch, resumable after every step.

From Python:

    from mmad.training.trainer import train
    outcome = train(spec, dataset_path=folder, run=paths, recorder=recorder)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Literal

import torch

from mmad.base import clock
from mmad.base.errors import RankLostError, SpecError
from mmad.base.paths import RunPaths
from mmad.base.recorder import Recorder
from mmad.base.records import (
    CheckpointRecord,
    ClinicalColumns,
    EnvironmentRecord,
    EpochRecord,
    EvaluationRecord,
    Metric,
    ParameterCount,
    Progress,
    Split,
)
from mmad.config.runs import RunSpec
from mmad.config.setup_checks import require_fit
from mmad.config.user_modules import make_importable
from mmad.data.clinical import ClinicalEncoder
from mmad.data.dataset import DataSet
from mmad.data.loader import Augmentation, Studies, evaluation_batches, training_batches
from mmad.detector.build import build_detector, parameter_counts
from mmad.detector.parts import make_part
from mmad.detector.roi_heads import EVALUATION_MODES, RoiMode
from mmad.detector.weights import name_seed
from mmad.training import checkpoint, loop
from mmad.training.device import (
    Precision,
    channels_last,
    describe_environment,
    in_layout,
    layout_facts,
    open_dataset,
    open_device,
    peak_memory,
    prepare_process,
    require_device,
    require_gain,
    reset_peak_memory,
    settings_restored,
)
from mmad.training.divergence import DivergenceMonitor
from mmad.training.history import RunHistory
from mmad.training.loop import PartialEpoch, Stepper
from mmad.training.losses import Weighing
from mmad.training.ranks import RankProcesses, RankRequest, Ranks, devices_of, synchronised
from mmad.training.resume import Continuation, Resumed, TrainingState, averaged_weights
from mmad.training.schedules import Schedule, build_optimiser, joins_ground_truth

TrainingOutcome = Literal["finished", "interrupted"]


def never() -> bool:
    """A run that nobody stops."""
    return False


def train(
    spec: RunSpec,
    *,
    dataset_path: Path,
    run: RunPaths,
    recorder: Recorder,
    device: str = "cpu",
    stop: Callable[[], bool] = never,
    weights_dir: Path | None = None,
    checkpoint_every: int | None = None,
    parent: RunPaths | None = None,
) -> TrainingOutcome:
    """Train ``spec``, or resume it after its newest whole checkpoint in ``run``.

    On the CPU two runs of one specification are equal bit for bit, interrupted or not; on a GPU they agree to about
    1e-4. torch's settings and threads are afterwards what they were. With ``gpus_per_run`` this process is rank 0 of as
    many, and starts the others.

    Args:
        spec: what to train.
        dataset_path: the data set's folder; its fingerprint must be the specification's.
        run: where checkpoints and detections go.
        recorder: receives every committed epoch, after its checkpoint is on disk.
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``mps``; of a run on several GPUs ``cuda`` or ``cuda:0,cuda:2``.
        stop: asked after every step; once True the run ends there, and a later call resumes with the next step.
        weights_dir: a folder with pretrained weights.
        checkpoint_every: training steps between two checkpoints inside an epoch: a kill then costs no more than
            these. None keeps one per epoch, and one where ``stop`` ended it. Changes no result.
        parent: the files of the run that ``spec`` continues; left out, those beside ``run``.

    Raises:
        SpecError: a device that is not there, half precision on another than ``cuda``, ``checkpoint_every`` below 1.
        CheckpointError: a checkpoint of another run; the run that ``spec`` continues is not finished here.
        RankLostError: another process of a run on several devices was killed.
        DivergedError: losses, gradients or weights that are not finite.
        MmadError: what else the user can fix (data, weights, disk).
    """
    if checkpoint_every is not None and checkpoint_every < 1:
        raise SpecError(f"checkpoint_every = {checkpoint_every}", hint="name 1 or more steps, or none")
    make_importable(spec.protocol.modules)
    devices = devices_of(device, spec.setup.gpus_per_run)
    place = _opened(spec, devices[0])
    with settings_restored(), ExitStack() as ends:
        processes = None
        if len(devices) > 1:
            processes = RankProcesses(devices)
            ends.callback(processes.end)
        prepare_process(spec.protocol.threads, spec.protocol.seed, place, tf32=spec.setup.tf32)
        dataset = open_dataset(spec, dataset_path)
        training = _Training(spec, dataset, run, recorder, place, stop, weights_dir, checkpoint_every, parent)
        if processes is not None:
            training.begin_ranks = lambda: processes.join(
                spec, training.model, place, dataset_path=dataset_path, run=run, weights_dir=weights_dir
            )
        try:
            return training.run_epochs()
        except loop.Interrupted:
            return "interrupted"
        except (RuntimeError, RankLostError) as error:
            cause = error if processes is None else processes.cause(error)
            if cause is error:
                raise
            raise cause from error


def follow(request: RankRequest) -> None:
    """Train as another rank than 0, which evaluates, records and keeps checkpoints, until the run is over."""
    spec, run = request.spec, RunPaths(Path(request.run))
    make_importable(spec.protocol.modules)
    place = _opened(spec, request.device)
    prepare_process(spec.protocol.threads, spec.protocol.seed, place, tf32=spec.setup.tf32)
    dataset = open_dataset(spec, Path(request.dataset_path))
    weights_dir = None if request.weights_dir is None else Path(request.weights_dir)
    training = _Training(spec, dataset, run, Unrecorded(), place, never, weights_dir, None, None)
    training.begin_ranks = lambda: request.join(training.model)
    training.follow_epochs()


def _opened(spec: RunSpec, device: str) -> torch.device:
    """The device called ``device``, which has to do what the setup asks of it."""
    place = open_device(device)
    require_device(spec.setup.mixed_precision, place, bf16=spec.setup.bf16)
    if spec.setup.sync_batch_norm and spec.setup.gpus_per_run > 1 and place.type != "cuda":
        raise SpecError("sync_batch_norm needs GPUs", hint="set sync_batch_norm = false, or use --device cuda")
    return place


class _Training:
    """The state of one run while it trains."""

    def __init__(
        self,
        spec: RunSpec,
        dataset: DataSet,
        run: RunPaths,
        recorder: Recorder,
        device: torch.device,
        stop: Callable[[], bool],
        weights_dir: Path | None,
        checkpoint_every: int | None,
        parent: RunPaths | None,
    ) -> None:
        self.spec, self.dataset, self.run, self.recorder = spec, dataset, run, recorder
        self.device, self.stop, self.checkpoint_every, self.parent = device, stop, checkpoint_every, parent
        setup, protocol = spec.setup, spec.protocol
        recorder.progress(Progress(spec.key, 0, protocol.epochs, "load", 0, 1))
        chosen = dataset.columns(setup.clinical_numeric, setup.clinical_categorical)
        self.columns = chosen if setup.use_clinical else ClinicalColumns()
        require_fit(setup, self.columns)
        self.encoder = ClinicalEncoder.fit(
            dataset, self.columns, setup.clinical_values, indicators=setup.missing_indicators
        )
        self.studies = Studies.of(dataset, setup, self.encoder, self._loading)
        self.scales = torch.tensor(
            [[s.width, s.height, s.width, s.height] for s in dataset.studies], dtype=torch.float64
        ).div_(setup.image_size)
        self.model = build_detector(
            setup,
            labels=len(dataset.labels),
            columns=self.columns,
            seed=protocol.seed,
            weights=protocol.weights,
            weights_dir=weights_dir,
            weights_hash=protocol.weights_hash,
        ).to(device)
        if setup.sync_batch_norm and setup.gpus_per_run > 1:
            self.model = synchronised(self.model)
        in_layout(self.model, channels_last(setup, device))
        self.begin_ranks: Callable[[], Ranks] | None = None
        self.weighing = Weighing.of(setup)
        self.state = self._state()
        self.batches = training_batches(
            dataset,
            self.studies,
            batch_size=setup.batch_size,
            seed=protocol.seed,
            flip=setup.horizontal_flip,
            clinical_dropout=setup.clinical_dropout if setup.use_clinical else 0.0,
            dropout_of=setup.clinical_dropout_of,
            augmentation=Augmentation.of(setup),
            own_augmentation=None if setup.augmentation is None else make_part("augmentation", setup.augmentation),
        )
        torch.manual_seed(protocol.seed)

    def _state(self) -> TrainingState:
        setup, protocol = self.spec.setup, self.spec.protocol
        learned = None if self.weighing.learned is None else self.weighing.learned.to(self.device)
        parameters = chain(self.model.parameters(), () if learned is None else learned.parameters())
        optimiser = build_optimiser(setup, parameters)
        self.precision = Precision(self.device, half=setup.mixed_precision, bf16=setup.bf16)
        averaged = None if setup.ema_decay is None else averaged_weights(self.model, setup.ema_decay)
        stepper = Stepper(
            optimiser,
            self.precision,
            accumulation=setup.gradient_accumulation,
            clip_norm=setup.gradient_clip_norm,
            stepped=(lambda: None) if averaged is None else lambda: averaged.update_parameters(self.model),
        )
        history = RunHistory(
            self.run,
            protocol.selection_overlap,
            tuple(self.dataset.labels),
            protocol.selection_proposals,
            keep_best=setup.use_early_stop_model,
        )
        schedule = Schedule(setup, optimiser, protocol.epochs)
        return TrainingState(self.model, learned, stepper, schedule, history, self.device, averaged)

    def _loading(self, done: int, images: int) -> None:
        self.recorder.progress(Progress(self.spec.key, 0, self.spec.protocol.epochs, "load", done, images))

    def run_epochs(self) -> TrainingOutcome:
        """Train from the first epoch that is not committed to the last."""
        warnings: list[str] = []
        resumed = self.state.resume(self.run, self.spec.key, warnings.append)
        if resumed == Resumed():
            require_gain(self.spec.setup, self.device)
        continuation = self._continuation() if resumed == Resumed() else None
        if continuation is not None:
            resumed = continuation.resumed
        else:
            self.state.history.restore_detections(warnings.append)
        done, over, partial = resumed.epoch, resumed.over, resumed.partial
        environment = describe_environment(self.device, self.spec.protocol.threads, done)
        if (gpus := self.spec.setup.gpus_per_run) > 1:
            environment = replace(environment, device=f"{gpus} processes, the first on {environment.device}")
        if layout_facts(self.model):
            environment = replace(environment, versions={**environment.versions, "layout": "channels_last"})
        self.recorder.started(
            environment,
            parameter_counts(self.spec.setup, len(self.dataset.labels), self.columns),
        )
        if (warning := self.model.warning()) is not None:
            warnings.append(warning)
        for text in warnings:
            self.recorder.warning(text)
        if continuation is not None:
            continuation.write(self.recorder)
        if over:
            self.state.history.make_durable()
        elif self.begin_ranks is not None:  # they begin where the newest checkpoint stands
            self.state.stepper.ranks = self.begin_ranks()
        if done:
            self.state.history.report_resumed(self.recorder)
            checkpoint.prune(self.run, self.state.history.files())  # a kill may have kept its last epoch from it
        epoch = done
        while epoch < self.spec.protocol.epochs and not over:
            if self.stop():
                raise loop.Interrupted
            epoch += 1
            over = self._epoch(epoch, partial or PartialEpoch())
            partial = None
        return "finished"

    def follow_epochs(self) -> None:
        """Train as ``run_epochs`` of rank 0 does, which says after each epoch what its evaluation says of the rate."""
        assert self.begin_ranks is not None
        resumed = self.state.resume(self.run, self.spec.key)
        ranks = self.state.stepper.ranks = self.begin_ranks()
        epoch, over, partial = resumed.epoch, resumed.over, resumed.partial
        while not over:
            epoch += 1
            partial = partial or PartialEpoch()
            self._train_pass(epoch, partial, _EpochClock(self.device, partial), self._monitor(epoch))
            ends, *plateau = ranks.hear(4)
            self.state.schedule.after_epoch(epoch, *plateau)
            over, partial = bool(ends), None

    def _continuation(self) -> Continuation | None:
        """Where a run that continues another begins; None for one that begins by itself."""
        continues = self.spec.protocol.continues
        if continues is None:
            return None
        parent = self.parent or self.run.sibling(continues.key)
        return Continuation.of(self.spec, continues, self.state, self.run, parent, self.encoder.statistics())

    def _epoch(self, epoch: int, partial: PartialEpoch) -> bool:
        """Train, evaluate and record one epoch, resuming from ``partial``; whether it is the last."""
        epoch_clock = _EpochClock(self.device, partial)
        history, schedule = self.state.history, self.state.schedule
        lr, before = schedule.lr, replace(history.selection)
        monitor = self._monitor(epoch)
        try:
            results = [self._train_pass(epoch, partial, epoch_clock, monitor)]
            if self.checkpoint_every is not None and partial.step % self.checkpoint_every:
                self._save_partial(epoch, partial, epoch_clock)  # a kill during the evaluation costs no step either
            results += self._evaluations("val", epoch)
            metrics = _metrics(results)
            stopped = schedule.ends(epoch)
            over = stopped or epoch == self.spec.protocol.epochs
            # As documented, the epoch that uses up the patience is final but not compared with the best.
            kinds = history.checkpoint_kinds(metrics, final=over, compared=not stopped)
            if kinds or self.spec.setup.measure_test:
                results += self._evaluations("test", epoch)
        except loop.Interrupted:
            history.selection = before
            self._save_partial(epoch, partial, epoch_clock)
            raise
        plateau = self._plateau_metrics(results)
        schedule.after_epoch(epoch, *plateau)
        history.add_epoch(EpochRecord(epoch, lr, *epoch_clock.read(), _metrics(results)), results[1:], kinds)
        history.write_detections()
        if over:
            history.make_durable()
        content = self.state.content(self.spec.key, over=over, clinical=self.encoder.statistics())
        history.set_file(checkpoint.save(self.run, epoch, content))
        history.report(self.recorder)
        checkpoint.prune(self.run, history.files())
        if self.state.stepper.ranks is not None:
            self.state.stepper.ranks.tell(over, *plateau)
        return over

    def _save_partial(self, epoch: int, partial: PartialEpoch, epoch_clock: _EpochClock) -> None:
        """Write a checkpoint inside ``epoch`` in place of its earlier one."""
        seconds, peak = epoch_clock.read()
        position = {"facts": partial.facts(seconds=seconds, peak_memory=peak), "tensors": partial.tensors()}
        content = self.state.content(self.spec.key, over=False, clinical=self.encoder.statistics(), partial=position)
        file = checkpoint.save(self.run, epoch, content, partial.step)
        checkpoint.prune(self.run, self.state.history.files() | {file.path})

    def _evaluations(self, split: Split, epoch: int) -> list[loop.PassResult]:
        """The evaluation of ``split``; nothing for a data set without it."""
        return [self._evaluation_pass(split, epoch)] if self.dataset.split(split) else []

    def _plateau_metrics(self, results: Sequence[loop.PassResult]) -> tuple[float, float, float]:
        """Validation loss, AP and the loss's mean over the last 20 batches, which a schedule may follow."""
        for result in results:
            if result.split == "val":
                ap = result.scores[self.spec.protocol.selection_overlap].ap
                return result.losses.get("loss", math.nan), ap, result.last_20
        return math.nan, math.nan, math.nan

    def _train_pass(
        self, epoch: int, partial: PartialEpoch, epoch_clock: _EpochClock, monitor: DivergenceMonitor
    ) -> loop.PassResult:
        setup, limit = self.spec.setup, self.spec.protocol.steps_per_epoch
        mode = RoiMode(
            add_ground_truth=joins_ground_truth(setup, epoch),
            detect="proposals" if setup.record_training_performance else "none",
        )
        return loop.train_pass(
            self.model,
            islice(self.batches.epoch(epoch, partial.step), None if limit is None else limit - partial.step),
            self.state.stepper,
            self.dataset,
            weighing=self.weighing,
            mode=mode,
            device=self.device,
            epoch=epoch,
            report=self._reporter(epoch, "train", len(self.batches)),
            stop=self.stop,
            monitor=monitor,
            partial=partial,
            save_every=self.checkpoint_every,
            save=lambda: self._save_partial(epoch, partial, epoch_clock),
        )

    def _evaluation_pass(self, split: Split, epoch: int) -> loop.PassResult:
        setup = self.spec.setup
        batches = evaluation_batches(self.dataset, split, self.studies, batch_size=setup.batch_size)
        return loop.evaluation_pass(
            self.state.evaluated,
            islice(batches, self.spec.protocol.steps_per_epoch),
            self.dataset,
            split,
            weighing=self.weighing,
            precision=self.precision,
            mode=EVALUATION_MODES[self.spec.protocol.selection_proposals],
            scales=self.scales,
            device=self.device,
            seed=name_seed(self.spec.protocol.seed, split),
            report=self._reporter(epoch, split, len(batches)),
            stop=self.stop,
            monitor=self._monitor(epoch),
        )

    def _monitor(self, epoch: int) -> DivergenceMonitor:
        newest = self.state.history.newest()
        return DivergenceMonitor(self.dataset, epoch, "" if newest is None else str(newest), half=self.precision.half)

    def _reporter(self, epoch: int, phase: Split, steps: int) -> loop.StepReport:
        key, epochs = self.spec.key, self.spec.protocol.epochs
        steps = min(steps, self.spec.protocol.steps_per_epoch or steps)

        def report(step: int, loss: float | None) -> None:
            self.recorder.progress(Progress(key, epoch, epochs, phase, step, steps, loss))

        return report


class Unrecorded:
    """Implements ``mmad.base.recorder.Recorder`` for a rank whose numbers rank 0 records."""

    def started(self, environment: EnvironmentRecord, counts: Sequence[ParameterCount]) -> None:
        """Drops what it is given, as all of these do."""

    def epoch(
        self,
        record: EpochRecord,
        checkpoints: Sequence[CheckpointRecord],
        evaluations: Sequence[EvaluationRecord],
    ) -> None: ...

    def warning(self, text: str) -> None: ...

    def progress(self, progress: Progress) -> None: ...


class _EpochClock:
    """Seconds and peak memory of an epoch, those before an interruption included."""

    def __init__(self, device: torch.device, partial: PartialEpoch) -> None:
        self.device, self.seconds, self.peak_memory = device, partial.seconds, partial.peak_memory
        self.begun = clock.seconds()
        reset_peak_memory(device)

    def read(self) -> tuple[float, int]:
        """Seconds of wall time and bytes up to now."""
        return self.seconds + clock.seconds() - self.begun, max(self.peak_memory, peak_memory(self.device))


def _metrics(results: Sequence[loop.PassResult]) -> tuple[Metric, ...]:
    return tuple(metric for result in results for metric in result.metrics())
