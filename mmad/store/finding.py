"""One thing that is wrong with a database."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """What is wrong, where, and what to do about it.

    ``check`` is ``integrity``, ``schema``, ``references``, ``runs``, ``epochs`` or ``files``; ``where`` a run's
    key, a file or the database.
    """

    check: str
    where: str
    what: str
    mend: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}; {self.mend}"
