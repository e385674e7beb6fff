"""SHA-256 of a data set's content, remembered while no file changes."""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from mmad.base.clock import now
from mmad.base.errors import DataError
from mmad.base.files import write_atomically
from mmad.base.paths import cache_folder
from mmad.data.dataset import BOXES, STUDIES, TOML, DataSet

#: A file changed less than this long ago might change again without its time stamp moving.
_SETTLED_SECONDS = 2.0
_MEMORY = "fingerprints"


@dataclass(frozen=True)
class Digests:
    """``content`` covers tables and images; ``images`` each image once, in the order of ``image_studies``."""

    content: str
    images: str


def digests(dataset: DataSet) -> Digests:
    """Both digests (64 hex digits each); neither depends on where the folder stands. Raises DataError."""
    files = [TOML, STUDIES, BOXES, *sorted({study.image for study in dataset.studies})]
    signature, newest = _signature(dataset.root, files)
    place = hashlib.sha256(str(dataset.root.resolve()).encode()).hexdigest()
    memory = cache_folder() / _MEMORY / f"{place}.json"
    known = _remembered(memory, signature)
    if known is not None:
        return known
    found = _compute(dataset, files)
    if now().timestamp() - newest > _SETTLED_SECONDS:
        text = json.dumps({"signature": signature, "content": found.content, "images": found.images})
        with contextlib.suppress(OSError):  # a cache that cannot be written costs time, nothing else
            write_atomically(memory, text.encode())
    return found


def _signature(root: Path, files: list[str]) -> tuple[str, float]:
    digest, newest = hashlib.sha256(), 0.0
    for name in files:
        try:
            status = (root / name).stat()
        except OSError as error:
            raise DataError(f"cannot be read: {error.strerror}", where=root / name, mend="put the file back") from None
        digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\0{status.st_ino}\n".encode())
        newest = max(newest, status.st_mtime)
    return digest.hexdigest(), newest


def _remembered(memory: Path, signature: str) -> Digests | None:
    try:
        known = json.loads(memory.read_text(encoding="utf-8"))
        if known["signature"] == signature:
            return Digests(str(known["content"]), str(known["images"]))
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def _compute(dataset: DataSet, files: list[str]) -> Digests:
    hashes = {name: _hash_file(dataset.root / name) for name in files}
    content = hashlib.sha256("".join(f"{name}\0{hashes[name]}\n" for name in files).encode())
    images = hashlib.sha256("".join(f"{hashes[dataset.studies[i].image]}\n" for i in dataset.image_studies).encode())
    return Digests(content.hexdigest(), images.hexdigest())


def _hash_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=path, mend="put the file back") from None
