"""Whether a data set can be trained on, found out before the first run instead of in each."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from mmad.base.errors import DataError
from mmad.base.records import Split
from mmad.data.cache import image_cache
from mmad.data.dataset import BOXES, STUDIES, DataSet

#: The splits a training cannot do without, and what for.
_NEEDED: tuple[tuple[Split, str], ...] = (("train", "learn from"), ("val", "choose the best checkpoints by"))


def require_trainable(dataset: DataSet) -> None:
    """Refuses a data set without studies or boxes to learn from, or to choose checkpoints by. Raises DataError."""
    for split, purpose in _NEEDED:
        if not dataset.split(split):
            raise DataError(
                f"no study is in the split {split!r}: nothing to {purpose}",
                where=dataset.root / STUDIES,
                mend=f"put some patients into {split}",
            )
        if not len(dataset.ground_truth(split).labels):
            raise DataError(
                f"no study of the split {split!r} has a box: nothing to {purpose}",
                where=dataset.root / BOXES,
                mend="add its boxes, or divide the studies otherwise",
            )


def prepare_images(
    dataset: DataSet, image_sizes: Iterable[int], progress: Callable[[int, int], None] | None = None
) -> None:
    """Decodes every image for each size once, for all runs to come; ``progress`` hears (done, all) of a size.

    Raises DataError naming the image that cannot be decoded or has another size than its row says.
    """
    for size in sorted(set(image_sizes)):
        image_cache(dataset, size, progress)
