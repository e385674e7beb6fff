"""A kept checkpoint looks at a split again: under another protocol, or at altered data.

Everything that follows from detections is computed from the kept ones (``mmad.evaluation``); this is for what
needs the network. Example:

    judge = Judge(spec, dataset_path=folder, run=paths)
    found = judge.detections(file, "test", proposals="with_ground_truth")
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from mmad.base.errors import EvaluationError
from mmad.base.formatting import short_key
from mmad.base.paths import RunPaths
from mmad.base.records import ClinicalColumns, Detections, Split
from mmad.config.protocol import Proposals
from mmad.config.runs import RunSpec
from mmad.data.clinical import ClinicalEncoder
from mmad.data.loader import Batch, Studies, evaluation_batches
from mmad.detector import EVALUATION_MODES, build_detector, load_weights
from mmad.detector.weights import name_seed
from mmad.training import checkpoint, loop
from mmad.training.device import Precision, in_layout, open_dataset, open_device, prepare_process, require_device
from mmad.training.losses import Weighing


@dataclass(frozen=True)
class InputAlteration:
    """What is altered before the network looks; a permutation is drawn anew for every ``seed``.

    Args:
        columns: clinical columns whose values are dealt out among the studies of the split, each by itself.
        patients: deal out whole clinical records among the studies.
        blank: every image becomes its split's mean grey value.
    """

    columns: tuple[str, ...] = ()
    patients: bool = False
    blank: bool = False
    seed: int = 0


AS_IT_IS = InputAlteration()


class InferenceRunner:
    """The network of one run and its data, ready to look at splits; made once for several questions.

    Args:
        spec: the run's specification; its data set's fingerprint must be that of the folder.
        dataset_path: the data set's folder.
        run: where the checkpoints are.
        device: ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        MmadError: a changed data set, a checkpoint that is missing or belongs to another run.
    """

    def __init__(self, spec: RunSpec, *, dataset_path: Path, run: RunPaths, device: str = "cpu") -> None:
        self.spec, self.run, self.device = spec, run, open_device(device)
        setup = spec.setup
        require_device(setup.mixed_precision, self.device)
        prepare_process(spec.protocol.threads, spec.protocol.seed, self.device)
        self.dataset = open_dataset(spec, dataset_path)
        chosen = self.dataset.columns(setup.clinical_numeric, setup.clinical_categorical)
        self.columns = chosen if setup.use_clinical else ClinicalColumns()
        encoder = ClinicalEncoder.fit(
            self.dataset, self.columns, setup.clinical_values, indicators=setup.clinical_missing_indicators
        )
        self.encoder = encoder
        self.studies = Studies(self.dataset, setup.image_size, encoder)
        self.model = build_detector(
            setup, labels=len(self.dataset.labels), columns=self.columns, seed=spec.protocol.seed, weights="none"
        ).to(self.device)
        in_layout(self.model, setup)
        sides = [[s.width, s.height, s.width, s.height] for s in self.dataset.studies]
        self.scales = torch.tensor(sides, dtype=torch.float64).div_(setup.image_size)
        self._loaded: Path | None = None

    def detections(
        self,
        file: Path,
        split: Split,
        *,
        proposals: Proposals = "clean",
        change: InputAlteration = AS_IT_IS,
        report: Callable[[int, int], None] = lambda done, whole: None,
    ) -> Detections:
        """What the checkpoint ``file`` finds in ``split``, in pixels of the original images.

        Without a change and under the run's own proposals these are the detections that were kept.

        Args:
            file: a checkpoint of the run.
            split: ``val`` or ``test`` (or ``train``).
            proposals: whose proposals the heads look at.
            change: what is altered first.
            report: hears (batches done, batches in all).

        Raises:
            CheckpointError: missing, damaged or of another run.
            EvaluationError: a change of clinical columns that the network does not read.
        """
        self._load(file)
        batches = self._batches(split)
        whole = len(batches)
        result = loop.evaluation_pass(
            self.model,
            batches if change == AS_IT_IS else _changed(batches, self._alteration(split, change)),
            self.dataset,
            split,
            weighing=Weighing.of(self.spec.setup),
            precision=Precision(self.device, half=self.spec.setup.mixed_precision),
            mode=EVALUATION_MODES[proposals],
            scales=self.scales,
            device=self.device,
            judgement=loop.Judgement(),
            seed=name_seed(self.spec.protocol.seed, split),
            report=lambda step, loss: report(step, whole),
            stop=lambda: False,
        )
        assert result.detections is not None
        return result.detections

    def _batches(self, split: Split) -> DataLoader[Batch]:
        setup = self.spec.setup
        return evaluation_batches(
            self.dataset, split, setup.image_size, self.encoder, batch_size=setup.batch_size, studies=self.studies
        )

    def _load(self, file: Path) -> None:
        if file == self._loaded:
            return
        kept, content = checkpoint.load(file)
        checkpoint.require_key(kept, content, self.spec.key)
        load_weights(self.model, content.tensors["model"])
        self._loaded = file

    def _alteration(self, split: Split, change: InputAlteration) -> _Alteration:
        positions = list(self.dataset.split(split))
        numeric, categorical = self.encoder.encode(self.dataset, positions)
        reads = {n: i for i, n in enumerate(self.columns.numeric)}
        names = {n: i for i, (n, _) in enumerate(self.columns.categorical)}
        unread = [c for c in change.columns if c not in reads and c not in names]
        if unread or (change.patients and not (reads or names)):
            raise EvaluationError(
                f"the run does not read the clinical column {unread[0]!r}"
                if unread
                else "the run reads no clinical data",
                where=f"run {short_key(self.spec.key)}",
                hint="choose a run with use_clinical = true and one of its columns",
            )
        rng = np.random.default_rng([change.seed, 3])
        if change.patients:
            order = rng.permutation(len(positions))
            numeric, categorical = numeric[order], categorical[order]
        for name in change.columns:
            order = rng.permutation(len(positions))
            if name in names:
                categorical[:, names[name]] = categorical[order, names[name]]
            else:
                # beside a number may stand the indicator of its absence, which moves with it
                width = len(self.columns.numeric)
                beside = range(reads[name], numeric.shape[1], width)
                for column in beside:
                    numeric[:, column] = numeric[order, column]
        grey = None
        if change.blank:
            means = [(float(batch.images.double().mean()), len(batch.positions)) for batch in self._batches(split)]
            grey = round(sum(mean * images for mean, images in means) / len(positions))
        rows = {position: row for row, position in enumerate(positions)}
        return _Alteration(rows, torch.from_numpy(numeric), torch.from_numpy(categorical), grey)


@dataclass(frozen=True, eq=False)
class _Alteration:
    """Clinical values by study, and the grey value that stands for every image (None: the image itself)."""

    rows: dict[int, int]
    numeric: Tensor
    categorical: Tensor
    grey: int | None


def _changed(batches: Iterable[Batch], alteration: _Alteration) -> Iterator[Batch]:
    for batch in batches:
        rows = [alteration.rows[position] for position in batch.positions]
        images = batch.images if alteration.grey is None else torch.full_like(batch.images, alteration.grey)
        yield replace(batch, images=images, numeric=alteration.numeric[rows], categorical=alteration.categorical[rows])
