"""Which split a study belongs to: read from a word, dealt out by whole patients, or by row as the log did."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from mmad.base.errors import DataError
from mmad.base.records import SPLITS, Split
from mmad.data.names import no_such, one_of

_WORDS = {"training": "train", "valid": "val", "validate": "val", "validation": "val", "dev": "val", "testing": "test"}


def read_split(word: str, where: str) -> Split:
    """``train``, ``val`` or ``test``, also spelled in full (``validation``) or in capitals. Raises DataError."""
    plain = _WORDS.get(word.casefold(), word.casefold())
    if plain not in SPLITS:
        raise DataError(no_such("split", word, SPLITS), where=where, mend=one_of(SPLITS))
    return SPLITS[SPLITS.index(plain)]


def split_by_patient(patients: Sequence[str]) -> list[Split]:
    """70/15/15 by image count, whole patients, in an order that only their ids decide.

    ``patients`` holds one id per image; the answer is parallel to it.
    """
    count = Counter(patients)
    order = sorted(count, key=lambda patient: hashlib.sha256(patient.encode()).hexdigest())
    of: dict[str, Split] = {}
    seen = 0
    for patient in order:
        share = (seen + count[patient] / 2) / len(patients)
        of[patient] = "train" if share < 0.70 else "val" if share < 0.85 else "test"
        seen += count[patient]
    return [of[patient] for patient in patients]


def split_by_row(rows: int, seed: int, held_out: float) -> list[Split]:
    """Shuffle ``rows`` rows by ``seed`` and hold out the share ``held_out``, rounded up, for val and for test each.

    Whose rows they are does not matter, as in the documented log: a patient may stand in all three splits. A share
    of 0.1 makes its 472/59/59 of 590 images, 0.15 its 468/101/101 of 670 readings.
    """
    each = min(math.ceil(round(rows * held_out, 6)), max(0, (rows - 1) // 2))
    splits: list[Split] = ["train"] * rows
    for rank, row in enumerate(np.random.default_rng(seed).permutation(rows)):
        splits[row] = "test" if rank < each else "val" if rank < 2 * each else "train"
    return splits


def policy_of(patients: Sequence[str], splits: Sequence[Split]) -> str:
    """``patient`` if no patient stands in two splits, else ``image``; both hold one entry per image."""
    return "patient" if len(set(zip(patients, splits, strict=True))) == len(set(patients)) else "image"
