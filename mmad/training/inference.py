"""Re-run inference of a checkpoint on a split: under another protocol, or on altered data.

Everything that follows from detections is computed from the stored ones (``mmad.evaluation``); this is for what
needs the network. Example:

    runner = InferenceRunner(spec, dataset_path=folder, run=paths)
    found = runner.detections(file, "test", proposals="with_ground_truth")
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from mmad.base.errors import EvaluationError
from mmad.base.formatting import short_key
from mmad.base.paths import RunPaths
from mmad.base.records import ClinicalColumns, Detections, Split
from mmad.config.protocol import Proposals
from mmad.config.runs import RunSpec
from mmad.config.user_modules import make_importable
from mmad.data.clinical import ClinicalEncoder, Mechanism, missing_values
from mmad.data.dataset import DataSet
from mmad.data.loader import Batch, Studies, evaluation_batches
from mmad.detector.build import build_detector
from mmad.detector.roi_heads import EVALUATION_MODES
from mmad.detector.weights import load_weights, name_seed
from mmad.training import checkpoint, loop
from mmad.training.device import (
    Precision,
    begun_layout,
    in_layout,
    open_dataset,
    open_device,
    prepare_process,
    require_device,
)
from mmad.training.losses import Weighing


@dataclass(frozen=True)
class InputAlteration:
    """What is altered in the network's inputs; every ``seed`` draws another permutation.

    Args:
        columns: clinical columns whose values are permuted among the studies of the split, each by itself.
        patients: permute whole clinical records among the studies.
        blank: every image becomes its split's mean grey value.
        missing: what decides which clinical values are missing, and their share.
    """

    columns: tuple[str, ...] = ()
    patients: bool = False
    blank: bool = False
    missing: tuple[Mechanism, float] | None = None
    seed: int = 0


UNALTERED = InputAlteration()


class RestoredDetector:
    """The network of one run, with the weights of one of its checkpoints at a time.

    Args:
        spec: the run's specification.
        dataset: the data set that it was trained on; its training split says how clinical values are encoded.
        device: ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        MmadError: a device that is not there, or on which the run's precision does not work.
    """

    def __init__(self, spec: RunSpec, dataset: DataSet, device: str = "cpu") -> None:
        make_importable(spec.protocol.modules)
        self.spec, self.device = spec, open_device(device)
        setup = spec.setup
        require_device(setup.mixed_precision, self.device, bf16=setup.bf16)
        prepare_process(spec.protocol.threads, spec.protocol.seed, self.device, tf32=setup.tf32)
        chosen = dataset.columns(setup.clinical_numeric, setup.clinical_categorical)
        self.columns = chosen if setup.use_clinical else ClinicalColumns()
        self.encoder = ClinicalEncoder.fit(
            dataset, self.columns, setup.clinical_values, indicators=setup.missing_indicators
        )
        self.model = build_detector(
            setup, labels=len(dataset.labels), columns=self.columns, seed=spec.protocol.seed, weights="none"
        ).to(self.device)
        self.precision = Precision(self.device, half=setup.mixed_precision, bf16=setup.bf16)
        self._loaded: Path | None = None

    def load(self, file: Path) -> None:
        """Take the weights of the checkpoint ``file``. CheckpointError: missing, damaged or of another run."""
        if file == self._loaded:
            return
        held, content = checkpoint.load(file)
        checkpoint.require_key(held, content, self.spec.key)
        load_weights(in_layout(self.model, begun_layout(self.spec.setup, content.facts)), content.tensors["model"])
        self._loaded = file

    @torch.no_grad()
    def detect(
        self, images: NDArray[np.uint8], numeric: NDArray[np.float32], categorical: NDArray[np.int64]
    ) -> list[dict[str, NDArray[Any]]]:
        """Per image ``boxes`` (d, 4) in pixels of the square, ``labels`` (d,) from 1 and ``scores`` (d,), falling.

        Args:
            images: (B, S, S) grey.
            numeric: (B, n) and ``categorical`` (B, k), of the encoder.
        """
        self.model.eval()
        shown = [torch.from_numpy(values).to(self.device) for values in (images[:, None], numeric, categorical)]
        with self.precision.autocast():
            output = self.model(shown[0], None, *shown[1:])
        return [
            {name: found[name].cpu().double().numpy() for name in ("boxes", "scores")}
            | {"labels": found["labels"].cpu().numpy()}
            for found in output.detections
        ]


class InferenceRunner:
    """The network of one run and its data, for inference on several splits, checkpoints and alterations.

    Args:
        spec: the run's specification; its data set's fingerprint must be that of the folder.
        dataset_path: the data set's folder.
        run: where the checkpoints are.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        outside: another data set, in the labels and columns of the run's, on which the network is to look.

    Raises:
        MmadError: a changed data set, a checkpoint that is missing or belongs to another run.
    """

    def __init__(
        self, spec: RunSpec, *, dataset_path: Path, run: RunPaths, device: str = "cpu", outside: DataSet | None = None
    ) -> None:
        self.spec, self.run = spec, run
        trained = open_dataset(spec, dataset_path)
        self.restored = RestoredDetector(spec, trained, device)
        self.dataset = trained if outside is None else outside
        self.studies = Studies.of(self.dataset, spec.setup, self.restored.encoder, trained=trained)
        sides = [[s.width, s.height, s.width, s.height] for s in self.dataset.studies]
        self.scales = torch.tensor(sides, dtype=torch.float64).div_(spec.setup.image_size)

    def detections(
        self,
        file: Path,
        split: Split,
        *,
        proposals: Proposals = "clean",
        alteration: InputAlteration = UNALTERED,
        report: Callable[[int, int], None] = lambda done, whole: None,
    ) -> Detections:
        """What the checkpoint ``file`` finds in ``split``, in pixels of the original images.

        Without an alteration and under the run's own proposals these are the detections of the training's evaluation.

        Args:
            file: a checkpoint of the run.
            split: ``val`` or ``test`` (or ``train``).
            proposals: which proposals the heads read.
            alteration: of the inputs.
            report: hears (batches done, batches in all).

        Raises:
            CheckpointError: missing, damaged or of another run.
            EvaluationError: an alteration of clinical columns that the network does not read.
        """
        self.restored.load(file)
        batches = self._batches(split)
        whole = len(batches)
        result = loop.evaluation_pass(
            self.restored.model,
            batches if alteration == UNALTERED else _altered(batches, self._altered_inputs(split, alteration)),
            self.dataset,
            split,
            weighing=Weighing.of(self.spec.setup),
            precision=self.restored.precision,
            mode=EVALUATION_MODES[proposals],
            scales=self.scales,
            device=self.restored.device,
            seed=name_seed(self.spec.protocol.seed, split),
            report=lambda step, loss: report(step, whole),
            stop=lambda: False,
        )
        assert result.detections is not None
        return result.detections

    def _batches(self, split: Split) -> DataLoader[Batch]:
        return evaluation_batches(self.dataset, split, self.studies, batch_size=self.spec.setup.batch_size)

    def _altered_inputs(self, split: Split, alteration: InputAlteration) -> _AlteredInputs:
        positions, columns = list(self.dataset.split(split)), self.restored.columns
        numeric, categorical = self.studies.clinical(positions)
        numbers = {n: i for i, n in enumerate(columns.numeric)}
        categories = {n: i for i, (n, _) in enumerate(columns.categorical)}
        unread = [c for c in alteration.columns if c not in numbers and c not in categories]
        asks = alteration.patients or alteration.missing is not None
        if unread or (asks and not (numbers or categories)):
            raise EvaluationError(
                f"the run does not read the clinical column {unread[0]!r}"
                if unread
                else "the run reads no clinical data",
                where=f"run {short_key(self.spec.key)}",
                hint="choose a run with use_clinical = true and one of its columns",
            )
        rng = np.random.default_rng([alteration.seed, 3])
        if alteration.patients:
            order = rng.permutation(len(positions))
            numeric, categorical = numeric[order], categorical[order]
        for name in alteration.columns:
            order = rng.permutation(len(positions))
            if name in categories:
                categorical[:, categories[name]] = categorical[order, categories[name]]
            else:
                # the indicator of a missing number, where there is one, moves with the number
                for column in range(numbers[name], numeric.shape[1], len(columns.numeric)):
                    numeric[:, column] = numeric[order, column]
        if alteration.missing is not None:
            hidden = missing_values(self.dataset, columns, positions, *alteration.missing, alteration.seed)
            numeric, categorical = self.restored.encoder.hide(numeric, categorical, hidden)
        grey = None
        if alteration.blank:
            means = [(float(batch.images.double().mean()), len(batch.positions)) for batch in self._batches(split)]
            grey = round(sum(mean * images for mean, images in means) / len(positions))
        rows = {position: row for row, position in enumerate(positions)}
        return _AlteredInputs(rows, torch.from_numpy(numeric), torch.from_numpy(categorical), grey)


@dataclass(frozen=True, eq=False)
class _AlteredInputs:
    """Clinical values by study, and the grey value that stands for every image (None: the image itself)."""

    rows: dict[int, int]
    numeric: Tensor
    categorical: Tensor
    grey: int | None


def _altered(batches: Iterable[Batch], inputs: _AlteredInputs) -> Iterator[Batch]:
    for batch in batches:
        rows = [inputs.rows[position] for position in batch.positions]
        images = batch.images if inputs.grey is None else torch.full_like(batch.images, inputs.grey)
        yield replace(batch, images=images, numeric=inputs.numeric[rows], categorical=inputs.categorical[rows])
