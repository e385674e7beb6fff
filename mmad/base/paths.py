"""The one place that builds paths: where a database keeps its runs, a run its files, a cache its arrays."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from mmad.base.errors import StoreError

DEFAULT_DATABASE = Path("db/mmad.sqlite")
DEFAULT_REPORT = Path("reports/index.html")

_PATH_HINT = "look for more with mmad db check, or go back to a backup"

# as SQLAlchemy takes a URL apart
_URL = re.compile(r"[^:]+://(?:(?P<user>[^:/]*)(?::[^@]*)?@)?[^/?]*(?:/(?P<name>[^?]*))?")

# names of options, in a URL or in NAME=VALUE, whose values are nobody's business
_SECRET = re.compile(
    r"pass|pwd|secret|token|auth|credential|signature|(api|access|private)[_-]?key|^(sig|key|user|username)$",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class RunPaths:
    """Every file of one run, below ``folder``."""

    folder: Path

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def detections_folder(self) -> Path:
        return self.folder / "detections"

    def checkpoint(self, epoch: int, digest: str) -> Path:
        """The checkpoint written at the end of ``epoch`` (from 1); its name carries the content's SHA-256."""
        return self.checkpoints / f"epoch-{epoch:05d}-{digest[:16]}.pt"

    def partial(self, epoch: int, step: int, digest: str) -> Path:
        """The checkpoint written inside ``epoch``, after ``step`` batches of its training."""
        return self.checkpoints / f"epoch-{epoch:05d}-step-{step:08d}-{digest[:16]}.pt"

    def sibling(self, key: str) -> RunPaths:
        """The files of the run ``key`` of the same store."""
        return RunPaths(self.folder.parent.parent / key[:2] / key)

    def detections(self, epoch: int, split: str, proposals: str) -> Path:
        """The stored detections of the checkpoint of ``epoch`` on ``split``."""
        return self.detections_folder / f"epoch-{epoch:05d}-{split}-{proposals}.npz"

    def checkpoints_after(self, epoch: int) -> list[Path]:
        """The checkpoints of epochs later than ``epoch`` that are there, by their names alone."""
        found = self.checkpoints.glob("epoch-*-*.pt")
        return sorted(path for path in found if _epoch_of(path) > epoch)

    @property
    def log(self) -> Path:
        return self.folder / "run.log"

    def logs(self) -> list[Path]:
        """The log and what was rotated out of it, oldest first; those that are there."""
        rotated = [path for path in self.folder.glob(f"{self.log.name}.*") if path.suffix[1:].isdecimal()]
        rotated.sort(key=lambda path: -int(path.suffix[1:]))
        return [path for path in (*rotated, self.log) if path.exists()]

    @property
    def tensorboard(self) -> Path:
        """The folder of the run's TensorBoard event files."""
        return self.folder / "tensorboard"

    def inner(self, name: str) -> Path:
        """The file ``name`` of a row (see ``is_inner``), to be opened; StoreError where it is anything but a file."""
        path = self.folder / name
        if not is_inner(name):
            raise StoreError(f"no path within the run's folder: {name!r}", where=self.folder, hint=_PATH_HINT)
        try:
            mode = path.stat().st_mode
        except OSError:  # such as one that is not there, which whoever opens it says
            return path
        if not stat.S_ISREG(mode):
            raise StoreError("is not a regular file", where=path, hint=_PATH_HINT)
        return path

    def relative(self, path: Path) -> str:
        """``path`` as the store has it: relative to the run's folder, with forward slashes."""
        return path.relative_to(self.folder).as_posix()


def is_inner(name: str) -> bool:
    """Whether ``name`` is a path below a folder: relative, with forward slashes, without ``..``."""
    return (
        bool(name)
        and not name.startswith(("/", "~"))
        and not {"\\", "\0"} & set(name)
        and not {"", ".", ".."} & set(name.split("/"))
    )


def _epoch_of(checkpoint: Path) -> int:
    digits = checkpoint.name.split("-")[1]
    return int(digits) if digits.isdecimal() else 0


@dataclass(frozen=True)
class StorePaths:
    """Where one database lives and what is beside it.

    ``database`` is a file path or an SQLAlchemy URL. Runs are in ``runs/NAME/`` beside the SQLite file
    NAME (the one that a link leads to), so that two databases of one folder share none, or in
    ``db/runs/NAME.postgresql/`` for the database NAME of a server; ``MMAD_RUNS`` takes the place of either.
    """

    database: str

    def __post_init__(self) -> None:
        try:
            self.database.encode()
        except UnicodeEncodeError:
            raise StoreError(
                "the path is not UTF-8 text", where=repr(self.database), hint="name another file"
            ) from None

    @property
    def url(self) -> str:
        if "://" in self.database:
            return self.database
        return f"sqlite:///{Path(self.database).absolute()}"

    @property
    def file(self) -> Path | None:
        """The SQLite file, or None for a database server."""
        if "://" not in self.database:
            return Path(self.database)
        if self.database.startswith("sqlite:///"):
            return Path(self.database.removeprefix("sqlite:///"))
        return None

    @property
    def missing(self) -> bool:
        """Whether the SQLite file is not there yet; a server has its database."""
        return self.file is not None and not self.file.exists()

    @property
    def runs(self) -> Path:
        """The folder of new runs."""
        return self.places[0]

    @property
    def places(self) -> tuple[Path, ...]:
        """The folders in which a run may be, that of new ones first."""
        override, file = os.environ.get("MMAD_RUNS"), self.file
        named = () if override is None else (Path(override),)
        if file is None:
            return (*named, DEFAULT_DATABASE.parent / "runs" / f"{self._server_name}.postgresql")
        led_to = (file.resolve(),) if file.is_symlink() else ()
        return (*named, *(one.parent / "runs" / one.name for one in (*led_to, file)))

    def elsewhere(self, key: str) -> list[Path]:
        """Folders of the run ``key`` beside the database that belong to other names: it may have been renamed."""
        siblings = {sibling for place in self.places for sibling in place.parent.glob("*") if sibling.is_dir()}
        found = (sibling / key[:2] / key for sibling in sorted(siblings - set(self.places)))
        return [folder for folder in found if RunPaths(folder).checkpoints.is_dir()]

    @property
    def _server_name(self) -> str:
        """The name of a server's database, as a folder can be called; that of the user where the URL has none."""
        found = _URL.match(self.database)
        name = (found["name"] or found["user"]) if found else None
        return unquote(name or "database").replace("/", "_")

    def run(self, key: str) -> RunPaths:
        """The files of the run ``key``: in the first of the places that has some, else in that of new runs."""
        folders = [place / key[:2] / key for place in self.places]
        return RunPaths(next((folder for folder in folders if folder.is_dir()), folders[0]))


def without_secrets(text: str) -> str:
    """A URL, or one word of a command line, as it is shown and recorded: user-info, passwords and tokens are ``***``.

    Rather too much is hidden than too little: a password may hold ``@``, ``/`` and ``?``.
    """
    if "://" not in text:
        return _without_secret_value(text, r"(?<![^=,])([\w-]+)=")
    parts = re.sub(r"(\w://).*@", r"\1***@", text, flags=re.DOTALL).split("&")
    return "&".join(_without_secret_value(part, r"([^=?;,/\s]+)=") for part in parts)


def _without_secret_value(text: str, named: str) -> str:
    for name in re.finditer(named, text):
        if _SECRET.search(unquote(name[1])):
            return f"{text[: name.end()]}***"
    return text


def command_line(words: Sequence[str]) -> str:
    """A command as it is shown and recorded: without secrets, and without the command of ``--on-finish``."""
    shown = [without_secrets(word) for word in words]
    for position, word in enumerate(words):
        if word.startswith("--on-finish="):
            shown[position] = "--on-finish=***"
        elif position and words[position - 1] == "--on-finish":
            shown[position] = "***"
    return shlex.join(shown)


def clean_command(text: str) -> str:
    """A recorded command line without secrets; ``text`` itself where it holds none."""
    try:
        words = shlex.split(text)
    except ValueError:  # an open quotation mark
        words = text.split()
    shown = command_line(words)
    return text if shown == shlex.join(words) else shown


def near(path: str) -> str:
    """``path``, relative to the working directory where it lies below it."""
    try:
        return Path(path).relative_to(Path.cwd()).as_posix()
    except ValueError:
        return path


def cache_folder() -> Path:
    """Where decoded images are cached: ``MMAD_CACHE`` or the user's cache folder."""
    override = os.environ.get("MMAD_CACHE")
    if override:
        return Path(override)
    from platformdirs import user_cache_path

    return user_cache_path("mmad")


def file_stem(ablation: str, kind: str) -> str:
    """``patience--pairs-1``: a file name that is the same in every export and safe for any name of an ablation.

    A name of small letters, digits, ``_`` and single ``-`` stays as it is; of any other, what can be kept is
    followed by eight digits of its SHA-256 (and so is a name that ends as if it were), so that no two names share
    a file.
    """
    kept = re.sub(r"-{2,}", "-", re.sub(r"[^a-z0-9_]+", "-", ablation.lower()))[:60].strip("-")
    if kept != ablation or not kept or re.search(r"-[0-9a-f]{8}$|^[0-9a-f]{8}$", kept):
        digest = hashlib.sha256(ablation.encode("utf-8", "surrogatepass")).hexdigest()[:8]
        kept = f"{kept}-{digest}" if kept else digest
    return f"{kept}--{kind}"


def shipped_ablations() -> Path:
    """The folder of the ablation files that come with mmad: inside the installed package, or beside it in a clone."""
    package = Path(__file__).parents[1]
    inside = package / "ablations"
    return inside if inside.is_dir() else package.parent / "ablations"
