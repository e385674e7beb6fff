"""The file of an evaluated checkpoint's detections, from which any figure can be computed later without a GPU.

A file is a compressed NumPy archive without pickles: the studies' names as JSON, the four arrays, and a
SHA-256 of them all, which reading verifies. Layout 2 adds the masks of a detector with a mask head: COCO's run lengths
one after the other; without masks a file has layout 1.
"""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmad.base.errors import EvaluationError
from mmad.base.files import write_atomically
from mmad.base.records import Detections, Masks

#: Raised when the layout of the file changes.
FORMAT = 2
_ARRAYS: tuple[tuple[str, str], ...] = (("study", "<i8"), ("boxes", "<f8"), ("scores", "<f8"), ("labels", "<i8"))
_MASKS: tuple[tuple[str, str], ...] = (
    ("mask_side", "<i8"), ("mask_extent", "<f8"), ("mask_lengths", "<i8"), ("mask_runs", "|u1"),
)  # fmt: skip
_HINT = "delete the file and run the ablation again"


def detections_file(detections: Detections) -> bytes:
    """The content of the file of ``detections``; equal detections give equal bytes.

    Raises EvaluationError when they are inconsistent.
    """
    check_detections(detections)
    arrays: dict[str, NDArray[Any]] = {
        name: np.ascontiguousarray(getattr(detections, name), dtype=kind) for name, kind in _ARRAYS
    }
    arrays["studies"] = np.frombuffer(json.dumps(list(detections.studies)).encode(), dtype=np.uint8)
    if detections.masks is not None:
        arrays |= _packed(detections.masks)
    arrays["format"] = np.array([1 if detections.masks is None else FORMAT], dtype="<i8")
    arrays["sha256"] = np.frombuffer(_digest(arrays), dtype=np.uint8)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def write_detections(path: Path, detections: Detections) -> None:
    """Write ``detections`` to ``path`` (.npz), atomically.

    Raises EvaluationError when they are inconsistent or the disk refuses.
    """
    write_detections_file(path, detections_file(detections))


def write_detections_file(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write what ``detections_file`` gave, atomically; ``durable`` as in ``mmad.base.files``.

    Raises EvaluationError when the disk refuses.
    """
    try:
        write_atomically(path, content, durable=durable)
    except OSError as error:
        raise EvaluationError(
            f"detections cannot be written ({error.strerror or error})",
            where=path,
            hint="free some space or make the folder writable, then run the ablation again",
        ) from error


def read_detections(path: Path) -> Detections:
    """The detections in the file ``path``.

    Raises EvaluationError when the file is missing, truncated, altered or of a newer layout.
    """
    arrays = _parse(path)
    expected = {name for name, _ in _ARRAYS} | {"studies", "format", "sha256"}
    if not expected <= set(arrays) or arrays["format"].shape != (1,):
        raise EvaluationError("not a detections file of this program", where=path, hint=_HINT)
    if int(arrays["format"][0]) > FORMAT:
        raise EvaluationError(
            f"layout {int(arrays['format'][0])} is newer than this program reads ({FORMAT})",
            where=path,
            hint="use the newer program that wrote it",
        )
    with_masks = int(arrays["format"][0]) == FORMAT
    if set(arrays) != expected | ({name for name, _ in _MASKS} if with_masks else set()):
        raise EvaluationError("not a detections file of this program", where=path, hint=_HINT)
    if arrays.pop("sha256").tobytes() != _digest(arrays):
        raise EvaluationError("the content does not have its recorded SHA-256", where=path, hint=_HINT)
    studies = tuple(json.loads(arrays["studies"].tobytes()))
    masks = _unpacked(arrays) if with_masks else None
    study, boxes, scores, labels = (arrays[name] for name, _ in _ARRAYS)
    detections = Detections(studies, study, boxes, scores, labels, masks)
    check_detections(detections)
    return detections


def _packed(masks: Masks) -> dict[str, NDArray[Any]]:
    whole: dict[str, Any] = {
        "mask_side": [masks.side],
        "mask_extent": masks.extent,
        "mask_lengths": [len(run) for run in masks.runs],
        "mask_runs": np.frombuffer(b"".join(masks.runs), dtype=np.uint8),
    }
    return {name: np.ascontiguousarray(whole[name], dtype=kind) for name, kind in _MASKS}


def _unpacked(arrays: dict[str, NDArray[Any]]) -> Masks:
    ends = np.cumsum(arrays["mask_lengths"]).tolist()
    whole = arrays["mask_runs"].tobytes()
    runs = tuple(whole[start:end] for start, end in zip([0, *ends], ends, strict=False))
    return Masks(int(arrays["mask_side"][0]), arrays["mask_extent"], runs)


def _parse(path: Path) -> dict[str, NDArray[Any]]:
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise EvaluationError("no such detections file", where=path, hint="run the ablation again") from error
    except OSError as error:
        raise EvaluationError(f"detections cannot be read ({error.strerror or error})", where=path) from error
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except Exception as error:  # damaged bytes make zip, zlib and numpy fail in a dozen ways
        raise EvaluationError("not a readable detections file", where=path, hint=_HINT) from error


def check_detections(detections: Detections) -> None:
    """Raise EvaluationError, naming the study, unless shapes agree and every number is finite."""
    count = len(detections.scores)
    shapes = {
        "study": (detections.study.shape, (count,)),
        "boxes": (detections.boxes.shape, (count, 4)),
        "scores": (detections.scores.shape, (count,)),
        "labels": (detections.labels.shape, (count,)),
    }
    for name, (found, expected) in shapes.items():
        if found != expected:
            raise EvaluationError(f"shape {found}, expected {expected}", where=f"detections, {name}")
    if (masks := detections.masks) is not None:
        if len(masks.runs) != count or masks.extent.shape != (len(detections.studies), 2):
            raise EvaluationError(f"{len(masks.runs)} masks of {count} detections", where="detections, masks")
        if masks.side < 1 or not (np.isfinite(masks.extent) & (masks.extent > 0)).all():
            raise EvaluationError("a grid or an image without extent", where="detections, masks")
    if count == 0:
        return
    outside = (detections.study < 0) | (detections.study >= len(detections.studies))
    if outside.any():
        raise EvaluationError(
            f"study position {int(detections.study[outside][0])} of {len(detections.studies)} studies",
            where="detections, study",
        )
    for name, broken in (
        ("score", ~np.isfinite(detections.scores)),
        ("box", ~np.isfinite(detections.boxes).all(axis=1)),
    ):
        if broken.any():
            study = detections.studies[int(detections.study[broken][0])]
            raise EvaluationError(
                f"{int(broken.sum())} detections with a {name} that is not finite, the first in study {study!r}",
                where="detections",
                hint="the training has diverged: lower the learning rate",
            )


def _digest(arrays: dict[str, NDArray[Any]]) -> bytes:
    """SHA-256 over every array's name, type, shape and bytes."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.digest()


# The versions under which results of this room are cached.

#: Raised whenever the code changes every analysis of unchanged detections; earlier ones are then computed anew.
ANALYSIS_VERSION = 1
#: Raised for one kind of analysis alone: controls need the network again, and are not thrown away for another's sake.
_OF_KIND = {
    "thresholds": 5, "estimate": 4, "difference": 5, "agreement": 2, "coco": 2, "masks": 2,
    "subgroups": 2, "interactions": 2,
}  # fmt: skip


def version_of(kind: str) -> int:
    """The version under which analyses of ``kind`` are cached."""
    return _OF_KIND.get(kind, ANALYSIS_VERSION)
