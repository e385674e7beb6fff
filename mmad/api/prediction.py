"""What a trained run finds on images of no data set, and the run as files that need this package no more."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mmad import __version__
from mmad.api.arguments import argument, store_argument
from mmad.api.loading import ProgressBar, silent
from mmad.api.results import evaluation_options, rerun_inference
from mmad.base.errors import EvaluationError
from mmad.base.files import write_atomically
from mmad.base.formatting import plural, short_key

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image

    from mmad.analysis.evaluation_target import DetectionStore, EvaluationTarget
    from mmad.data.dataset import DataSet
    from mmad.data.unseen import UnseenImage
    from mmad.store.store import Store
    from mmad.training.inference import RestoredDetector

#: Name of the folder of pictures, and of the files beside it.
PICTURES, BOXES, COCO = "pictures", "boxes.csv", "boxes.json"
#: Files of an export.
WEIGHTS, MODEL, NETWORK = "weights.safetensors", "model.json", "network.pt2"
_COLUMNS = ("image", "label", "score", "xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class ScoreRule:
    """The score from which a box is shown, and the rule that fixed it on validation.

    At most ``max_detections`` boxes of a finding are counted in an image, those of the highest scores.
    """

    score: float
    false_positives: float
    max_detections: int

    @property
    def rule(self) -> str:
        """The rule in words."""
        return f"at most {self.false_positives:g} false positives per image on validation"

    def kept(self, labels: NDArray[np.int64], scores: NDArray[np.float64]) -> NDArray[np.int64]:
        """Which boxes of one image are shown, in the order of falling scores."""
        order = np.argsort(-scores, kind="stable")
        rank = np.array([(labels[order[:i]] == labels[row]).sum() for i, row in enumerate(order)], dtype=np.int64)
        return order[(scores[order] >= self.score) & (rank < self.max_detections)]


@dataclass(frozen=True)
class FoundImage:
    """An image, its size in pixels, and per box its label (from 1), its score and its corners (4,) in pixels."""

    name: str
    width: int
    height: int
    labels: NDArray[np.int64]  # (d,)
    scores: NDArray[np.float64]  # (d,), falling
    boxes: NDArray[np.float64]  # (d, 4)


@dataclass(frozen=True, repr=False)
class Predictions:
    """What a run finds on images, at an operating point.

    Args:
        run: ``ablation/setting/arm/seed``.
        checkpoint: ``best_ap``, ``best_ar`` or ``final``.
        point: the score from which a box is shown, and the rule that fixed it.
        labels: the findings, numbered from 1.
        found: the images with their boxes.
        notes: what a reader has to know, such as images without clinical values.
    """

    run: str
    checkpoint: str
    point: ScoreRule
    labels: tuple[str, ...]
    found: tuple[FoundImage, ...]
    notes: tuple[str, ...] = ()

    @property
    def boxes(self) -> pd.DataFrame:
        """One row a box: ``image``, ``label``, ``score``, and the corners in pixels of the image as it is shown."""
        import pandas as pd

        return pd.DataFrame([row for row in self._rows() if row[1]], columns=list(_COLUMNS))

    @property
    def images(self) -> pd.DataFrame:
        """One row an image: ``image``, ``width``, ``height``, ``boxes`` (how many)."""
        import pandas as pd

        rows = [(one.name, one.width, one.height, len(one.labels)) for one in self.found]
        return pd.DataFrame(rows, columns=["image", "width", "height", "boxes"])

    def __repr__(self) -> str:
        """One line: the run, how many boxes, in how many images."""
        boxes = sum(len(one.labels) for one in self.found)
        return f"<{self.run}: {plural(boxes, 'box', 'boxes')} in {plural(len(self.found), 'image')}>"

    def _rows(self) -> Iterator[tuple[Any, ...]]:
        for one in self.found:
            for label, score, box in zip(one.labels.tolist(), one.scores.tolist(), one.boxes.tolist(), strict=True):
                yield (one.name, self.labels[label - 1], score, *box)
            if not len(one.labels):
                yield (one.name, "", "", "", "", "", "")

    def csv(self) -> str:
        """The boxes as a CSV table; an image without a box has a row without label and corners."""
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows(self._rows())
        return text.getvalue()

    def coco(self) -> dict[str, Any]:
        """The boxes in COCO's form: images, categories, and annotations with ``score``."""
        annotations: list[dict[str, Any]] = []
        for number, one in enumerate(self.found, 1):
            for label, score, box in zip(one.labels.tolist(), one.scores.tolist(), one.boxes.tolist(), strict=True):
                width, height = box[2] - box[0], box[3] - box[1]
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": number,
                        "category_id": label,
                        "bbox": [box[0], box[1], width, height],
                        "area": width * height,
                        "iscrowd": 0,
                        "score": score,
                    }
                )
        info = {"run": self.run, "checkpoint": self.checkpoint, "score": self.point.score, "rule": self.point.rule}
        return {
            "info": {"description": f"Boxes that {self.run} finds", **info, "version": f"mmad {__version__}"},
            "images": [
                {"id": number, "file_name": one.name, "width": one.width, "height": one.height}
                for number, one in enumerate(self.found, 1)
            ],
            "annotations": annotations,
            "categories": [{"id": number, "name": name} for number, name in enumerate(self.labels, 1)],
        }


def predict(
    store: Store,
    run: str,
    images: str | Path | Sequence[str | Path],
    *,
    clinical: str | Path | None = None,
    out: str | Path | None = None,
    ensemble: bool = False,
    checkpoint: str | None = None,
    false_positives: float = 0.5,
    device: str = "auto",
    data: str | Path | None = None,
    progress_bar: ProgressBar = silent,
) -> Predictions:
    """Find boxes on images that no data set holds, with a run's stored checkpoint.

    An image is read as those of the run's data set were, DICOM files as an import reads them. A box is shown from the
    score on at which the same checkpoint has at most ``false_positives`` false positives per image on validation.

    Args:
        store: of ``open_store``.
        run: ``ablation/setting/arm`` (``/seed`` if there are several), or the beginning of a key.
        images: an image, a folder of images, or several of both.
        clinical: a CSV table with a column ``image`` and columns of the run's data set, in its units. A missing value,
            column or row is imputed from the training split, as in training.
        out: a new folder for ``boxes.csv``, ``boxes.json`` (COCO) and ``pictures/``; None writes nothing.
        ensemble: fuse the boxes of all seeds and folds of ``ablation/setting/arm``, by weighted box fusion.
        checkpoint: ``best_ap``, ``best_ar`` or ``final``; None for ``best_ap``, or ``final`` where no best one is
            stored.
        false_positives: per image on validation.
        device: where the network runs: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        data: where the run's data set lies now, if it was moved.

    Raises:
        StoreError: no such run.
        EvaluationError: a run that is not finished, or stored no such checkpoint.
        CheckpointError: a checkpoint that is gone or damaged.
        DataError: an image in colour or one that cannot be read, an unknown column, a cell that is none of its
            column's; a data set that is gone or changed; ``out`` exists already.
    """
    from mmad.data.dataset import in_another_unit
    from mmad.data.unseen import find_unseen, read_clinical
    from mmad.data.writer import whole_folder

    argument("images", images, str, Path, list, tuple)
    argument("clinical", clinical, str, Path, optional=True)
    argument("out", out, str, Path, optional=True)
    with ExitStack() as stack:
        folder = None if out is None else stack.enter_context(whole_folder(Path(out)))
        chosen = _choose(store, run, checkpoint, false_positives, data, ensemble=ensemble)
        words = [images] if isinstance(images, str | Path) else images
        unseen = find_unseen([Path(word) for word in words])
        if clinical is not None and not chosen.target.run.setup.get("use_clinical"):
            what = f"{chosen.target.name} reads no clinical data"
            raise EvaluationError(what, where="clinical", hint="leave the table out, or name a run with use_clinical")
        values = {} if clinical is None else read_clinical(Path(clinical), chosen.dataset, unseen)
        notes = _notes(chosen, unseen, len(values), clinical)
        notes += tuple(in_another_unit(chosen.dataset.numeric, [numbers for numbers, _ in values.values()]))
        point = _operating_point(store, chosen, false_positives, device, progress_bar)
        stack.enter_context(_settings_restored())
        detectors = [_restored(store, chosen, one, device) for one in chosen.runs]
        write = None
        if folder is not None:
            write = _picture_writer(folder / PICTURES, unseen, chosen.dataset.labels)
        found = []
        with progress_bar(f"{chosen.target.name}: {plural(len(unseen), 'image')}") as progress:
            for image in unseen:
                found.append(_found(detectors, chosen.dataset, image, values, point, write))
                progress(len(found), len(unseen))
        name, kind = chosen.target.name, chosen.target.checkpoint.kind
        made = Predictions(name, kind, point, chosen.dataset.labels, tuple(found), notes)
        if folder is not None:
            write_atomically(folder / BOXES, made.csv().encode())
            write_atomically(folder / COCO, json.dumps(made.coco(), indent=1, allow_nan=False).encode())
        return made


def export(
    store: Store,
    run: str,
    out: str | Path,
    *,
    checkpoint: str | None = None,
    false_positives: float = 0.5,
    device: str = "auto",
    data: str | Path | None = None,
    progress_bar: ProgressBar = silent,
) -> Path:
    """Write a run as files that programs without this package read: weights, setup and network.

    ``weights.safetensors`` holds the tensors, ``model.json`` the setup, labels, clinical statistics, suppression and
    operating point, ``network.pt2`` the network up to boxes and logits before suppression, of ``torch.export``.

    Args:
        store: of ``open_store``.
        run: as for ``predict``; ``checkpoint``, ``false_positives``, ``device`` and ``data`` likewise.
        out: a new folder.

    Returns:
        The folder.

    Raises:
        MmadError: as ``predict``.
    """
    import safetensors.torch
    import torch

    from mmad.base.json_values import to_json_value
    from mmad.data.writer import whole_folder
    from mmad.detector.export import export_network

    argument("out", out, str, Path)
    with whole_folder(Path(out)) as folder:
        chosen = _choose(store, run, checkpoint, false_positives, data)
        point = _operating_point(store, chosen, false_positives, device, progress_bar)
        with _settings_restored():
            detector = _restored(store, chosen, chosen.target, device)
        model, encoder = detector.model, detector.encoder
        tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
        write_atomically(folder / WEIGHTS, safetensors.torch.save(tensors, {"key": chosen.target.run.key}))
        numbers = len(encoder.numeric) * (1 + encoder.indicators)
        program = export_network(model, numbers, len(encoder.columns.categorical))
        torch.export.save(program, folder / NETWORK)
        facts = to_json_value(_facts(chosen, detector, point))
        write_atomically(folder / MODEL, json.dumps(facts, indent=1, allow_nan=False).encode())
    return Path(out)


def _facts(chosen: _ChosenRun, detector: RestoredDetector, point: ScoreRule) -> dict[str, Any]:
    """What a program has to know beside the tensors, in plain words and numbers."""
    from mmad.data.pixels import BITS
    from mmad.detector.roi_heads import MIN_SIZE

    target, setup, heads = chosen.target, detector.spec.setup, detector.model.roi_heads
    return {
        "version": f"mmad {__version__}",
        "run": target.name,
        "key": target.run.key,
        "checkpoint": {"kind": target.checkpoint.kind, "epoch": target.checkpoint.epoch},
        "setup": setup.model_dump(mode="json"),
        "labels": list(chosen.dataset.labels),
        "images": {"side": setup.image_size, "bits": chosen.dataset.bits or BITS},
        "clinical": detector.encoder.statistics() if setup.use_clinical else None,
        "suppression": {
            "score_thresh": heads.score_thresh,
            "min_size": MIN_SIZE,
            "nms_thresh": heads.nms_thresh,
            "detections_per_img": heads.detections_per_img,
        },
        "operating_point": {
            "score": point.score,
            "rule": point.rule,
            "max_detections": point.max_detections,
        },
    }


# The run, its data set and its operating point.


@dataclass(frozen=True)
class _ChosenRun:
    """The checkpoint on validation, what reads its detections, and the data set that the run saw."""

    target: EvaluationTarget
    detections: DetectionStore
    dataset: DataSet

    @property
    def runs(self) -> tuple[EvaluationTarget, ...]:
        """The runs of an ensemble, else the one run."""
        return self.target.seeds or (self.target,)


def _choose(
    store: Store,
    run: str,
    checkpoint: str | None,
    false_positives: float,
    data: str | Path | None,
    *,
    ensemble: bool = False,
) -> _ChosenRun:
    from mmad.analysis.evaluation_target import DetectionStore, ensemble_of, evaluation_target
    from mmad.store.lookup import find_run, find_seeds

    store_argument(store)
    argument("run", run, str)
    argument("false_positives", false_positives, int, float, least=0)
    options = evaluation_options("val", checkpoint, None, "clean")
    detections = DetectionStore(None if data is None else Path(data))
    found = find_seeds(store, run) if ensemble else [find_run(store, run)]
    targets = [evaluation_target(store, one, options) for one in found]
    target = ensemble_of(targets, unseen=True) if ensemble else targets[0]
    setup = target.run.setup
    if setup.get("clinical_records", "true") != "true" or setup.get("image_input", "xray") != "xray":
        what = f"{target.name} is a control: it does not read the records or the image of the patient"
        raise EvaluationError(what, where="run", hint="name a run that reads both")
    return _ChosenRun(target, detections, detections.dataset(target.run))


def _operating_point(
    store: Store, chosen: _ChosenRun, false_positives: float, device: str, progress_bar: ProgressBar
) -> ScoreRule:
    """The lowest score that the rule allows; of clean proposals, for nothing else is known of a new image."""
    from mmad.evaluation.diagnosis import score_allowing

    for one in chosen.runs:
        if not one.file.exists():
            rerun_inference(store, chosen.detections, one, device, progress_bar)
    score = score_allowing(chosen.detections.matched(chosen.target), false_positives)
    return ScoreRule(score, false_positives, chosen.target.protocol.max_detections)


def _restored(store: Store, chosen: _ChosenRun, target: EvaluationTarget, device: str) -> RestoredDetector:
    from mmad.scheduler.devices import find_slots
    from mmad.scheduler.worker import run_spec

    place = next(iter(find_slots(device).devices), "cpu")
    spec = run_spec(target.run, chosen.detections.data)
    if (control := spec.setup.control) is not None:
        raise EvaluationError(
            f"was trained as a control ({control}): what it finds on a new image says nothing",
            where=f"run {short_key(spec.key)}",
            hint="name a run that reads X-rays and their own records",
        )
    from mmad.training.inference import RestoredDetector

    detector = RestoredDetector(spec, chosen.detections.dataset(target.run), place)  # each fold has its statistics
    detector.load(store.run_paths(target.run.key).inner(target.checkpoint.path))
    return detector


def _settings_restored() -> AbstractContextManager[None]:
    from mmad.training.device import settings_restored

    return settings_restored()


def _notes(
    chosen: _ChosenRun, unseen: Sequence[UnseenImage], rows: int, clinical: str | Path | None
) -> tuple[str, ...]:
    """How many images have no clinical values, where the run reads some; and what an ensemble is."""
    from mmad.analysis.evaluation_target import ensemble_note

    without, notes = len(unseen) - rows, (ensemble_note(chosen.target),) if chosen.target.seeds else ()
    if not chosen.target.run.setup.get("use_clinical") or not without:
        return notes
    where = "as no clinical table is named" if clinical is None else f"as {clinical} has no row of theirs"
    what = f"{without} of {plural(len(unseen), 'image')} without clinical values, {where}"
    return (*notes, f"{what}: imputed from the training split")


# The network over the images, and the files.


def _found(
    detectors: Sequence[RestoredDetector],
    dataset: DataSet,
    image: UnseenImage,
    values: dict[str, Any],
    rule: ScoreRule,
    write: Callable[[FoundImage, Image.Image], None] | None,
) -> FoundImage:
    """The boxes of one image, which by itself is a batch: what is found in it depends on no other.

    Those of several detectors are fused. ``write`` is given them with the picture.
    """
    from mmad.base.records import Detections
    from mmad.data.image_cache import as_square
    from mmad.data.unseen import as_dataset, read_unseen
    from mmad.evaluation.ensembles import fused

    side = detectors[0].spec.setup.image_size
    grey = read_unseen(image, dataset.bits)
    shown, alone = np.array(as_square(grey, side))[None], as_dataset(dataset, [image], [grey.size], values)
    networks = []
    for detector in detectors:
        (one,) = detector.detect(shown, *detector.encoder.encode(alone, [0]))
        study = np.zeros(len(one["scores"]), dtype=np.int64)
        networks.append(Detections((image.name,), study, one["boxes"], one["scores"], one["labels"]))
    result = networks[0] if len(networks) == 1 else fused(networks)
    kept = rule.kept(result.labels, result.scores)
    boxes = result.boxes[kept] * (np.array(grey.size * 2, dtype=np.float64) / side)
    found = FoundImage(image.name, *grey.size, result.labels[kept], result.scores[kept], boxes)
    if write is not None:
        write(found, grey)
    return found


def _picture_writer(
    folder: Path, images: Sequence[UnseenImage], labels: Sequence[str]
) -> Callable[[FoundImage, Image.Image], None]:
    """Draws each image with its boxes as ``NAME.png``; where two differ in their ending alone it stays in the name."""
    from mmad.report.picture_drawing import annotated
    from mmad.report.pictures import PanelBox

    plain = Counter(Path(image.name).with_suffix("") for image in images)

    def write(one: FoundImage, grey: Image.Image) -> None:
        drawn = [
            PanelBox(label, (box[0], box[1], box[2], box[3]), score, "right")
            for label, box, score in zip(one.labels.tolist(), one.boxes.tolist(), one.scores.tolist(), strict=True)
        ]
        bare = Path(one.name).with_suffix("")
        path = folder / f"{bare if plain[bare] == 1 else one.name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        annotated(grey, drawn, labels).save(path)

    return write
