"""Whether a file lies on a network file system, whose locks and shared memory SQLite cannot count on."""

from __future__ import annotations

import logging
import re
from pathlib import Path

#: Where Linux lists what is mounted where; absent elsewhere.
MOUNTS = Path("/proc/self/mountinfo")

#: Types of file systems that several machines share; with ``fuse.`` before it, any of these counts too.
NETWORK_TYPE = re.compile(
    "9p|afs|beegfs|ceph|cifs|fhgfs|gcsfuse|gfs2|glusterfs|gpfs|juicefs|lustre|ncpfs|nfs[0-9]*|ocfs2|orangefs|"
    "panfs|pvfs2|quobyte|rclone|s3fs|smb[0-9]|smbfs|sshfs|virtiofs|wekafs"
)

_told: set[Path] = set()
log = logging.getLogger(__name__)


def network_type(path: Path) -> str | None:
    """The type (such as ``nfs4``) of the network file system that ``path`` lies on, or None.

    The path, or what is there of its folders, is followed through links. None where the system does not tell.
    """
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    target = path.resolve()
    best, kind = -1, ""
    for line in lines:
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) < 5 or not after:
            continue
        point = Path(_unescaped(fields[4]))
        # a later line hides an earlier one of the same place
        if len(point.parts) >= best and target.is_relative_to(point):
            best, kind = len(point.parts), after.split(" ")[0]
    return kind if NETWORK_TYPE.fullmatch(kind.removeprefix("fuse.")) else None


def warn_once(file: Path, kind: str) -> None:
    """Tells, once per process and file, that a database lies where it can be damaged or stay locked."""
    if file in _told:
        return
    _told.add(file)
    log.warning(
        "%s: lies on a network file system (%s), where SQLite's locks may fail: one machine at a time, without its "
        "write-ahead log; give a PostgreSQL server with --db, or a file on a local disk",
        file.as_posix(),
        kind,
    )


def _unescaped(text: str) -> str:
    """A mount point as it is: mountinfo writes spaces, tabs, line ends and backslashes as octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
