"""Checkpoints that survive a power cut: one file, tensors and JSON only, its name carrying its SHA-256."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmad.base.errors import CheckpointError
from mmad.base.files import remove_left_parts, write_atomically
from mmad.base.formatting import short_key
from mmad.base.paths import RunPaths

_NAME = re.compile(r"epoch-(\d{5,})(?:-step-(\d{8,}))?-([0-9a-f]{16})\.pt")
#: Stands behind the name of a checkpoint that was damaged and moved aside.
_DAMAGED = ".damaged"


@dataclass(frozen=True)
class CheckpointFile:
    """A checkpoint on disk: the epoch it ends, the full SHA-256 of its bytes, its size in bytes.

    Inside an epoch, ``step`` is how many batches of its training are done.
    """

    path: Path
    epoch: int
    sha256: str
    size: int
    step: int | None = None


@dataclass(frozen=True)
class Content:
    """What a checkpoint holds: ``tensors`` by group (model, optimiser …) and plain JSON ``facts``."""

    tensors: Mapping[str, Any]
    facts: Mapping[str, Any]


def save(paths: RunPaths, epoch: int, content: Content, step: int | None = None) -> CheckpointFile:
    """Write a checkpoint so that it is whole or absent: temporary file, fsync, rename, folder fsync.

    Args:
        step: batches of the epoch's training that are done; None where the epoch is over.

    Raises:
        CheckpointError: when the disk is full or not writable; nothing half-written stays.
    """
    buffer = io.BytesIO()
    torch.save({"tensors": dict(content.tensors), "facts": json.dumps(content.facts)}, buffer)
    data = buffer.getvalue()
    digest = hashlib.sha256(data).hexdigest()
    path = paths.checkpoint(epoch, digest) if step is None else paths.partial(epoch, step, digest)
    try:
        write_atomically(path, data)
    except OSError as error:
        raise CheckpointError(
            f"the checkpoint of epoch {epoch} cannot be written ({error.strerror or error})",
            where=path.parent,
            hint="free some space or name another database folder with --db, then run the command again",
        ) from error
    return CheckpointFile(path, epoch, digest, len(data), step)


def load(path: Path) -> tuple[CheckpointFile, Content]:
    """Read a checkpoint whose bytes match the SHA-256 in its name; code is never unpickled.

    Raises:
        CheckpointError: when it is missing, truncated or changed.
    """
    match = _NAME.fullmatch(path.name)
    if match is None:
        raise CheckpointError("is not named like a checkpoint", where=path, hint="use a file of a run's checkpoints")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"cannot be read ({error.strerror})", where=path, hint="run the ablation again"
        ) from error
    digest = hashlib.sha256(data).hexdigest()
    if not digest.startswith(match[3]):
        raise CheckpointError("is damaged: its content does not match its name", where=path, hint="delete it")
    try:
        held: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        content = Content(held["tensors"], json.loads(held["facts"]))
    except MemoryError:  # says nothing about the file
        raise
    except Exception as error:
        raise CheckpointError(
            f"is not a checkpoint of this program ({type(error).__name__})", where=path, hint="delete it"
        ) from error
    step = None if match[2] is None else int(match[2])
    return CheckpointFile(path, int(match[1]), digest, len(data), step), content


def latest(paths: RunPaths, warn: Callable[[str], None] = lambda text: None) -> tuple[CheckpointFile, Content] | None:
    """The newest checkpoint that is whole, or None.

    Damaged ones are moved aside, to their name with ``.damaged`` behind it, and ``warn`` hears of each.
    """
    for path in sorted(paths.checkpoints.glob("epoch-*.pt"), key=_age, reverse=True):
        try:
            file, content = load(path)
        except CheckpointError as error:
            warn(f"the checkpoint {path.name} {error.what}; {_set_aside(path)}, and the one before it is used")
            continue
        if not content.facts.get("copy"):  # of the run that this one continues: an end of nothing of its own
            return file, content
    return None


def newest_whole(paths: RunPaths) -> tuple[CheckpointFile, Content] | None:
    """As ``latest``, for a run that is not being trained: nothing is moved."""
    for path in sorted(paths.checkpoints.glob("epoch-*.pt"), key=_age, reverse=True):
        with contextlib.suppress(CheckpointError):
            file, content = load(path)
            if not content.facts.get("copy"):
                return file, content
    return None


def _age(path: Path) -> tuple[int, float]:
    """Later checkpoints have greater ones: by epoch, then by step, the end of the epoch last."""
    match = _NAME.fullmatch(path.name)
    if match is None:
        return 0, 0.0
    return int(match[1]), math.inf if match[2] is None else float(match[2])


def _set_aside(path: Path) -> str:
    aside = path.with_name(path.name + _DAMAGED)
    try:
        path.replace(aside)
    except OSError as error:
        return f"it cannot be moved aside ({error.strerror or error})"
    return f"it was moved to {aside.name}"


def prune(paths: RunPaths, keep: set[Path]) -> None:
    """Delete the run's checkpoints that are not in ``keep``, and what an interrupted write left.

    Later ones than those of ``keep`` stay: they are of the process that took the run over from this one while it was
    suspended.
    """
    newest = max(map(_age, keep), default=(0, 0.0))
    for path in paths.checkpoints.glob("epoch-*.pt"):
        if path not in keep and _age(path) <= newest:
            path.unlink(missing_ok=True)
    for folder in (paths.checkpoints, paths.detections_folder):
        remove_left_parts(folder)


def module_tensors(module: torch.nn.Module) -> dict[str, Tensor]:
    """The module's parameters and buffers, on the CPU."""
    return {name: value.detach().cpu() for name, value in module.state_dict().items()}


def require_key(file: CheckpointFile, content: Content, key: str) -> None:
    """Refuse a checkpoint of another specification.

    Raises:
        CheckpointError: naming both keys.
    """
    held = str(content.facts.get("key"))
    if held != key:
        raise CheckpointError(
            f"belongs to run {short_key(held)}, not to {short_key(key)}",
            where=file.path,
            hint="move it out of this run's folder",
        )
