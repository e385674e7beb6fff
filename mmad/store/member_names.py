"""Names of a database's members, read with the standard library alone: what completes a command line has no time."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

#: Seconds for which a database that is being written is waited for.
_PATIENCE = 0.05


def member_names(file: Path) -> list[tuple[str, str, str, int, int]]:
    """Ablation, setting, arm, seed and replicate of every member, in the ablations' order.

    Empty where there is no database of this version that can be read at once.
    """
    if not file.is_file():
        return []
    query = "SELECT ablation, setting, arm, seed, replicate FROM members ORDER BY ablation, position"
    try:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True, timeout=_PATIENCE)) as connection:
            return [(str(a), str(b), str(c), int(d), int(e)) for a, b, c, d, e in connection.execute(query)]
    except (sqlite3.Error, OSError, TypeError, ValueError):
        return []
