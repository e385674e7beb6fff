"""One run from its specification to its last epoch, resumable at every committed one.

From Python::

    from mmad.training import train
    outcome = train(spec, dataset_path=folder, run=paths, recorder=recorder)
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from mmad.base import clock
from mmad.base.errors import DataError, MmadError
from mmad.base.paths import RunPaths
from mmad.base.recorder import Recorder
from mmad.base.records import ClinicalColumns, EpochRecord, Metric, Progress, Split
from mmad.data.cache import image_cache
from mmad.data.clinical import ClinicalEncoder
from mmad.data.dataset import DataSet, load_dataset
from mmad.data.loading.batches import evaluation_batches, training_batches
from mmad.detector import EVALUATION_MODES, RoiMode, build_detector, parameter_counts
from mmad.detector.clinical import fused_side
from mmad.detector.initial import name_seed
from mmad.spec.runs import RunSpec
from mmad.training import checkpoint, passes
from mmad.training.environment import describe_environment
from mmad.training.ledger import Ledger
from mmad.training.memory import peak_memory, reset_peak_memory
from mmad.training.schedules import Schedule, build_optimiser

Outcome = Literal["finished", "interrupted"]


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
) -> Outcome:
    """Train ``spec``, or go on with it after its newest whole checkpoint in ``run``.

    On the CPU two runs of one specification are equal bit for bit, interrupted or not.

    Args:
        spec: what to train.
        dataset_path: the data set's folder; its fingerprint must be the specification's.
        run: where checkpoints and detections go.
        recorder: told of every committed epoch, after its checkpoint is on disk.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        stop: asked after every step; once True the run ends at the last committed epoch.
        weights_dir: a folder with pretrained weights.

    Raises:
        MmadError: what the user can mend (data, weights, disk, a loss that is not finite).
    """
    place = torch.device(device)
    _prepare_process(spec.protocol.threads, spec.protocol.seed, place)
    dataset = _open_dataset(spec, dataset_path)
    training = _Training(spec, dataset, run, recorder, place, stop, weights_dir)
    try:
        return training.work()
    except passes.Interrupted:
        return "interrupted"


def _prepare_process(threads: int, seed: int, device: torch.device) -> None:
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - whatever a library draws from it must repeat too
    torch.manual_seed(seed)
    if device.type == "cpu":
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # no kernel here reads what it did not write
    else:
        torch.backends.cudnn.benchmark = False


def _open_dataset(spec: RunSpec, path: Path) -> DataSet:
    dataset = load_dataset(path)
    fingerprint = dataset.fingerprint()
    if spec.data.fingerprint is not None and fingerprint != spec.data.fingerprint:
        raise DataError(
            f"the data set changed: the run was queued for {spec.data.fingerprint[:12]}, the folder now holds "
            f"{fingerprint[:12]}",
            where=path,
            mend="restore the folder, or run the ablation again to queue new runs for the changed data",
        )
    return dataset


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
    ) -> None:
        self.spec, self.dataset, self.run, self.recorder = spec, dataset, run, recorder
        self.device, self.stop = device, stop
        setup, protocol = spec.setup, spec.protocol
        recorder.progress(Progress(spec.key, 0, protocol.epochs, "load", 0, 1))
        chosen = dataset.columns(setup.clinical_numeric, setup.clinical_categorical)
        self.columns = chosen if setup.use_clinical else ClinicalColumns()
        if setup.use_clinical and setup.clinical_num_len not in (None, len(self.columns.numeric)):
            raise MmadError(
                f"clinical_num_len = {setup.clinical_num_len}, but the data set has {len(self.columns.numeric)} "
                "numeric columns",
                mend="drop clinical_num_len, or choose columns with clinical_numeric",
            )
        self.encoder = ClinicalEncoder.fit(dataset, self.columns, setup.clinical_values)
        image_cache(dataset, setup.image_size, self._loading)
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
        ).to(device)
        self.optimiser = build_optimiser(setup, self.model.parameters())
        self.schedule = Schedule(setup, self.optimiser)
        self.ledger = Ledger(run, protocol.selection_overlap, tuple(dataset.labels), protocol.selection_proposals)
        self.batches = training_batches(
            dataset,
            setup.image_size,
            self.encoder,
            batch_size=setup.batch_size,
            seed=protocol.seed,
            flip=setup.horizontal_flip,
        )
        torch.manual_seed(protocol.seed)

    def _loading(self, done: int, images: int) -> None:
        self.recorder.progress(Progress(self.spec.key, 0, self.spec.protocol.epochs, "load", done, images))

    def work(self) -> Outcome:
        """Train from the first epoch that is not committed to the last."""
        done, over = self._resume()
        self.recorder.started(
            describe_environment(self.device, self.spec.protocol.threads, done),
            parameter_counts(self.spec.setup, len(self.dataset.labels), self.columns),
        )
        if fused_side(self.spec.setup, self.model.backbone.stride) == 1 and self.model.spatialises:
            self.recorder.warning(
                "the fused map shrinks to 1×1, so all boxes look alike to the heads: set fuse_stride = 1, "
                "unless the documented network is meant"
            )
        if done:
            self.ledger.report_again(self.recorder)
        epoch = done
        while epoch < self.spec.protocol.epochs and not over:
            if self.stop():
                raise passes.Interrupted
            epoch += 1
            over = self._epoch(epoch)
        return "finished"

    def _epoch(self, epoch: int) -> bool:
        begun = clock.seconds()
        reset_peak_memory(self.device)
        lr = self.schedule.lr
        trained = self._train_pass(epoch)
        judged = [self._evaluation_pass(split, epoch) for split in ("val", "test") if self.dataset.split(split)]
        metrics = [m for result in (trained, *judged) for m in result.metrics()]
        val_loss, val_ap = self._watched(metrics)
        over = self.schedule.after_epoch(epoch, val_loss, val_ap) or epoch == self.spec.protocol.epochs
        record = EpochRecord(epoch, lr, clock.seconds() - begun, peak_memory(self.device), tuple(metrics))
        self.ledger.take(record, judged, final=over)
        written = checkpoint.save(self.run, epoch, self._content(over))
        self.ledger.written(written)
        self.ledger.report(self.recorder)
        checkpoint.prune(self.run, self.ledger.files())
        return over

    def _watched(self, metrics: list[Metric]) -> tuple[float, float]:
        values = {(m.split, m.name): m.value for m in metrics}
        overlap = self.spec.protocol.selection_overlap
        return values.get(("val", "loss"), float("nan")), values.get(("val", f"ap_{overlap}"), float("nan"))

    def _train_pass(self, epoch: int) -> passes.PassResult:
        setup = self.spec.setup
        mode = RoiMode(
            add_ground_truth=epoch <= setup.gt_in_train_till,
            detect="proposals" if setup.record_training_performance else "none",
        )
        return passes.train_pass(
            self.model,
            self.batches.epoch(epoch),
            self.optimiser,
            self.dataset,
            weights=setup.loss_weights,
            mode=mode,
            device=self.device,
            judgement=passes.Judgement(),
            epoch=epoch,
            report=self._reporter(epoch, "train", len(self.batches)),
            stop=self.stop,
        )

    def _evaluation_pass(self, split: Split, epoch: int) -> passes.PassResult:
        setup = self.spec.setup
        batches = evaluation_batches(self.dataset, split, setup.image_size, self.encoder, batch_size=setup.batch_size)
        return passes.evaluation_pass(
            self.model,
            batches,
            self.dataset,
            split,
            weights=setup.loss_weights,
            mode=EVALUATION_MODES[self.spec.protocol.selection_proposals],
            scales=self.scales,
            device=self.device,
            judgement=passes.Judgement(),
            seed=name_seed(self.spec.protocol.seed, split),
            report=self._reporter(epoch, split, len(batches)),
            stop=self.stop,
        )

    def _reporter(self, epoch: int, phase: Split, steps: int) -> passes.StepReport:
        key, epochs = self.spec.key, self.spec.protocol.epochs

        def report(step: int, loss: float | None) -> None:
            self.recorder.progress(Progress(key, epoch, epochs, phase, step, steps, loss))

        return report

    def _content(self, over: bool) -> checkpoint.Content:
        tensors: dict[str, Any] = {
            "model": checkpoint.module_tensors(self.model),
            "optimiser": self.optimiser.state_dict(),
            "random": torch.get_rng_state(),
        }
        if self.device.type == "cuda":
            tensors["random_cuda"] = torch.cuda.get_rng_state(self.device)
        facts = {
            "key": self.spec.key,
            "over": over,
            "schedule": self.schedule.state(),
            "clinical": self.encoder.statistics(),
            "ledger": self.ledger.state(),
        }
        return checkpoint.Content(tensors, facts)

    def _resume(self) -> tuple[int, bool]:
        """Take the newest whole checkpoint in; (0, False) without one."""
        found = checkpoint.latest(self.run)
        if found is None:
            return 0, False
        file, content = found
        checkpoint.require_key(file, content, self.spec.key)
        self.model.load_state_dict(content.tensors["model"])
        self.optimiser.load_state_dict(content.tensors["optimiser"])
        self.schedule.load_state(content.facts["schedule"])
        self.ledger.load_state(content.facts["ledger"])
        self.ledger.written(file)
        torch.set_rng_state(content.tensors["random"])
        if self.device.type == "cuda" and "random_cuda" in content.tensors:
            torch.cuda.set_rng_state(content.tensors["random_cuda"], self.device)
        return file.epoch, bool(content.facts["over"])
