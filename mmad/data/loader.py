"""Batches for training and evaluation, straight from the memory-mapped images.

What an epoch shows is a function of (seed, epoch, study): two arms, two processes and a resumed run
see the same batches, whatever else drew random numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, Protocol, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as transforms
from torchvision.tv_tensors import BoundingBoxes

from mmad.base.errors import DataError
from mmad.base.records import OnProgress
from mmad.config.setup import ModelSetup
from mmad.data.clinical import ClinicalEncoder, Records, permuted_records
from mmad.data.dataset import STUDIES, DataSet
from mmad.data.image_cache import image_cache

_ORDER, _FLIP, _HIDDEN, _VIEW, _OWN = 0, 1, 2, 3, 5  # streams of random numbers within one (seed, epoch)


#: What is missing together.
ClinicalDropout = Literal["value", "record"]


class Target(TypedDict):
    """The boxes of one image, in the form torchvision's detectors take."""

    boxes: Tensor  # float32 (n, 4), pixels of the S x S image
    labels: Tensor  # int64 (n,), from 1


@dataclass(frozen=True)
class Batch:
    """B studies. ``categorical`` is -1 where a value is missing; ``positions`` index ``dataset.studies``."""

    images: Tensor  # uint8 (B, 1, S, S)
    targets: list[Target]
    numeric: Tensor  # float32 (B, n)
    categorical: Tensor  # int64 (B, k)
    positions: list[int]


@dataclass(frozen=True)
class View:
    """How an image and its boxes are moved: degrees, pixels, factors."""

    rotation: float
    shift: tuple[int, int]
    scale: float
    contrast: float

    def show(self, image: NDArray[np.uint8], target: Target) -> tuple[NDArray[np.uint8], Target]:
        """The image (S, S) and its target; black comes in at the borders, and boxes that leave the image go."""
        side = image.shape[0]
        pixels = torch.from_numpy(np.array(image))[None]
        boxes = BoundingBoxes(target["boxes"], format="XYXY", canvas_size=(side, side))
        where = {"angle": self.rotation, "translate": list(self.shift), "scale": self.scale, "shear": [0.0, 0.0]}
        pixels = transforms.affine(pixels, **where, interpolation=InterpolationMode.BILINEAR)
        pixels = transforms.adjust_contrast(pixels, self.contrast)
        moved = transforms.clamp_bounding_boxes(transforms.affine(boxes, **where))
        whole, seen = transforms.sanitize_bounding_boxes(moved, min_size=1.0, min_area=1.0)
        return pixels[0].numpy(), {"boxes": whole.as_subclass(torch.Tensor), "labels": target["labels"][seen]}


@dataclass(frozen=True)
class Augmentation:
    """Largest changes to either side: of scale, place (as a share of the side), rotation (degrees) and contrast."""

    scale: float = 0.0
    shift: float = 0.0
    rotation: float = 0.0
    contrast: float = 0.0

    @classmethod
    def of(cls, setup: ModelSetup) -> Augmentation:
        """What the fields of ``setup`` say."""
        return cls(setup.augment_scale, setup.augment_shift, setup.augment_rotation, setup.augment_contrast)

    def views(self, studies: int, side: int, random: np.random.Generator) -> list[View | None]:
        """A view of each study, drawn evenly; None where nothing changes."""
        if self == Augmentation():
            return [None] * studies
        drawn = random.uniform(-1.0, 1.0, (studies, 5)).tolist()
        reach = self.shift * side
        return [
            View(
                self.rotation * turn,
                (round(reach * across), round(reach * down)),
                1.0 + self.scale * size,
                1.0 + self.contrast * light,
            )
            for turn, across, down, size, light in drawn
        ]


@dataclass(frozen=True)
class Item:
    """One study as it is to be shown; ``hidden`` says of every clinical column whether its value is missing."""

    position: int
    flip: bool
    hidden: tuple[bool, ...] = ()
    view: View | None = None


class Studies(Dataset[Batch]):
    """The decoded studies of a data set. It is asked for whole batches: see ``__getitems__``.

    Made once and shared by training and evaluations: making it looks at every file of the data set.

    Args:
        dataset: where the studies are.
        image_size: side of the images in pixels.
        encoder: of the clinical values; None for none.
        progress: hears of the images that are decoded.
        records: whose record stands beside an image.
        permutation: which permutation of the records.
        mean_of: the mean image of the training split of this data set stands for every image; None for the images.
    """

    def __init__(
        self,
        dataset: DataSet,
        image_size: int,
        encoder: ClinicalEncoder | None,
        progress: OnProgress | None = None,
        *,
        records: Records = "true",
        permutation: int = 0,
        mean_of: DataSet | None = None,
    ) -> None:
        self._images: NDArray[np.uint8] = np.asarray(image_cache(dataset, image_size, progress))  # (M, S, S)
        self._rows: list[int] = dataset.image_rows.tolist()
        if mean_of is not None:
            self._images = _mean_image(mean_of, image_size, progress)
            self._rows = [0] * len(self._rows)
        self._size = image_size
        everyone = range(len(dataset.studies))
        self._encoder = encoder
        if encoder is None:
            self._numeric = np.zeros((len(everyone), 0), dtype=np.float32)
            self._categorical = np.zeros((len(everyone), 0), dtype=np.int64)
        else:
            self._numeric, self._categorical = encoder.encode(dataset, everyone)
            if records == "permuted":
                donors = permuted_records(dataset, permutation)
                self._numeric, self._categorical = self._numeric[donors], self._categorical[donors]
            elif records == "constant":
                self._numeric[:], self._categorical[:] = encoder.constant(), 0
            elif records == "missing":
                self._numeric, self._categorical = encoder.missing(self._numeric, self._categorical)
        sides = np.array([(s.width, s.height, s.width, s.height) for s in dataset.studies], dtype=np.float64)
        order = np.argsort(dataset.box_study, kind="stable")
        owner = dataset.box_study[order]
        self._boxes: NDArray[np.float32] = (dataset.boxes[order] * (image_size / sides[owner])).astype(np.float32)
        self._labels: NDArray[np.int64] = dataset.labels_of[order]
        #: Study ``i`` has the boxes from ``_begin[i]`` up to ``_begin[i + 1]``.
        self._begin: list[int] = np.searchsorted(owner, np.arange(len(everyone) + 1)).tolist()

    @classmethod
    def of(
        cls,
        dataset: DataSet,
        setup: ModelSetup,
        encoder: ClinicalEncoder,
        progress: OnProgress | None = None,
        *,
        trained: DataSet | None = None,
    ) -> Studies:
        """The studies as a run of ``setup`` sees them; ``trained`` is the data set of the run where it is another."""
        return cls(
            dataset,
            setup.image_size,
            encoder,
            progress,
            records=setup.clinical_records if setup.use_clinical else "true",
            permutation=setup.clinical_permutation,
            mean_of=(trained or dataset) if setup.image_input == "training_mean" else None,
        )

    def clinical(self, positions: Sequence[int]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The numbers (N, n) and categories (N, k) that stand beside the images of studies."""
        return self._numeric[positions], self._categorical[positions]

    def hidden(self, share: float, of: ClinicalDropout, random: np.random.Generator) -> list[tuple[bool, ...]]:
        """Of each study which of its clinical values are missing; none where there are no columns or no share."""
        columns = 0 if self._encoder is None else len(self._encoder.numeric) + len(self._encoder.columns.categorical)
        if not share or not columns:
            return [()] * len(self)
        drawn = random.random((len(self), columns if of == "value" else 1)) < share
        return [tuple(row) for row in np.broadcast_to(drawn, (len(self), columns)).tolist()]

    @property
    def side(self) -> int:
        """Pixels per side of an image."""
        return self._size

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, item: Item) -> Batch:
        return self.__getitems__([item])

    def __getitems__(self, items: Sequence[Item]) -> Batch:
        """The studies asked for, as one batch."""
        positions = [item.position for item in items]
        images = np.empty((len(items), 1, self._size, self._size), dtype=np.uint8)
        targets = []
        for row, item in enumerate(items):
            image, target = self._images[self._rows[item.position]], self._target(item)
            image = image[:, ::-1] if item.flip else image
            if item.view is not None:
                image, target = item.view.show(image, target)
            images[row, 0] = image
            targets.append(target)
        numeric, categorical = self.clinical(positions)
        if self._encoder is not None and any(item.hidden for item in items):
            numeric, categorical = self._encoder.hide(numeric, categorical, np.array([item.hidden for item in items]))
        return Batch(
            images=torch.from_numpy(images),
            targets=targets,
            numeric=torch.from_numpy(numeric),
            categorical=torch.from_numpy(categorical),
            positions=positions,
        )

    def _target(self, item: Item) -> Target:
        mine = slice(self._begin[item.position], self._begin[item.position + 1])
        boxes = self._boxes[mine].copy()  # (n, 4)
        if item.flip:
            boxes[:, [0, 2]] = self._size - boxes[:, [2, 0]]
        return {"boxes": torch.from_numpy(boxes), "labels": torch.from_numpy(self._labels[mine].copy())}


def _mean_image(dataset: DataSet, image_size: int, progress: OnProgress | None) -> NDArray[np.uint8]:
    """The mean (1, S, S) of the training images, each as often as a study has it. DataError where there are none."""
    positions, images = _positions(dataset, "train"), image_cache(dataset, image_size, progress)
    total = np.zeros(images.shape[1:], dtype=np.int64)
    for row in dataset.image_rows[list(positions)]:
        total += images[row]
    return np.rint(total / len(positions)).astype(np.uint8)[None]


class _Listed(Sampler[list[Item]]):
    """Batches in a fixed list."""

    def __init__(self, items: Sequence[Item], batch_size: int, start_step: int = 0) -> None:
        self._batches = [list(items[i : i + batch_size]) for i in range(0, len(items), batch_size)][start_step:]

    def __iter__(self) -> Iterator[list[Item]]:
        return iter(self._batches)

    def __len__(self) -> int:
        return len(self._batches)


def _loader(studies: Studies, sampler: _Listed) -> DataLoader[Batch]:
    # A generator of its own: a loader without one draws from the global state that dropout depends on.
    return DataLoader(
        studies, batch_sampler=sampler, num_workers=0, collate_fn=_as_is, generator=torch.Generator().manual_seed(0)
    )


def _as_is(batch: Any) -> Any:
    return batch


class OwnAugmentation(Protocol):
    """Changes training images, each with its boxes, after the flip."""

    def __call__(
        self,
        image: NDArray[np.uint8],
        boxes: NDArray[np.float32],
        labels: NDArray[np.int64],
        random: np.random.Generator,
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.int64]]:
        """The image (S, S), its boxes (n, 4) in pixels and their labels (n,), changed.

        All chance comes from ``random``, which follows from seed, epoch and study. Boxes stay within the image and keep
        an area; one that is lost is left out with its label.
        """


class EpochBatches:
    """The training split, shuffled anew each epoch; ``len()`` is the number of batches of an epoch."""

    def __init__(
        self,
        studies: Studies,
        positions: Sequence[int],
        batch_size: int,
        seed: int,
        flip: float,
        clinical_dropout: float = 0.0,
        dropout_of: ClinicalDropout = "value",
        augmentation: Augmentation | None = None,
        own_augmentation: OwnAugmentation | None = None,
    ) -> None:
        self._studies = studies
        self._own_augmentation = own_augmentation
        self._positions = np.array(positions, dtype=np.int64)
        self._batch_size = batch_size
        self._seed = seed
        self._flip = flip
        self._clinical_dropout, self._dropout_of = clinical_dropout, dropout_of
        self._augmentation = augmentation or Augmentation()

    def __len__(self) -> int:
        return -(-len(self._positions) // self._batch_size)

    def items(self, epoch: int) -> list[Item]:
        """The order of ``epoch``, its views and missing values: a function of seed, epoch and study position."""
        order = np.random.default_rng([self._seed, epoch, _ORDER]).permutation(self._positions)
        flips = np.random.default_rng([self._seed, epoch, _FLIP]).random(len(self._studies)) < self._flip
        random = np.random.default_rng([self._seed, epoch, _HIDDEN])
        hidden = self._studies.hidden(self._clinical_dropout, self._dropout_of, random)
        random = np.random.default_rng([self._seed, epoch, _VIEW])
        views = self._augmentation.views(len(self._studies), self._studies.side, random)
        return [Item(int(p), bool(flips[p]), hidden[p], views[p]) for p in order]

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """The batches of ``epoch`` (from 1), beginning with number ``start_step`` (from 0)."""
        batches = iter(_loader(self._studies, _Listed(self.items(epoch), self._batch_size, start_step)))
        return batches if self._own_augmentation is None else map(partial(self._augmented, epoch), batches)

    def _augmented(self, epoch: int, batch: Batch) -> Batch:
        assert self._own_augmentation is not None
        images, targets = [], []
        for image, target, position in zip(batch.images, batch.targets, batch.positions, strict=True):
            random = np.random.default_rng([self._seed, epoch, _OWN, position])
            changed, boxes, labels = self._own_augmentation(
                image[0].numpy(), target["boxes"].numpy(), target["labels"].numpy(), random
            )
            images.append(torch.from_numpy(np.ascontiguousarray(changed, dtype=np.uint8))[None])
            targets.append(
                Target(
                    boxes=torch.from_numpy(np.asarray(boxes, dtype=np.float32).reshape(-1, 4)),
                    labels=torch.from_numpy(np.asarray(labels, dtype=np.int64)),
                )
            )
        return replace(batch, images=torch.stack(images), targets=targets)


def training_batches(
    dataset: DataSet,
    studies: Studies,
    *,
    batch_size: int,
    seed: int,
    flip: float = 0.5,
    clinical_dropout: float = 0.0,
    dropout_of: ClinicalDropout = "value",
    augmentation: Augmentation | None = None,
    own_augmentation: OwnAugmentation | None = None,
) -> EpochBatches:
    """Batches of the training split. ``flip`` is the share of images mirrored left-right with their boxes.

    ``clinical_dropout`` is the share of clinical values, or of records, that are missing in an epoch; after the flip
    images are moved as ``augmentation`` says.

    ``studies`` are those of ``dataset``. Raises DataError for an empty training split.
    """
    positions = _positions(dataset, "train")
    return EpochBatches(
        studies, positions, batch_size, seed, flip, clinical_dropout, dropout_of, augmentation, own_augmentation
    )


def evaluation_batches(dataset: DataSet, split: str, studies: Studies, *, batch_size: int) -> DataLoader[Batch]:
    """The studies of ``split`` in the order of the file, unflipped; sized. Arguments and errors as for training."""
    items = [Item(position, False) for position in _positions(dataset, split)]
    return _loader(studies, _Listed(items, batch_size))


def _positions(dataset: DataSet, split: str) -> tuple[int, ...]:
    positions = dataset.split(split)
    if not positions:
        raise DataError(
            f"no study is in the split {split!r}", where=dataset.root / STUDIES, hint="give some studies this split"
        )
    return positions
