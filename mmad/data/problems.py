"""What becomes of a problem found while a data set is read: raised at once, or collected to be told with the others.

The reading functions hand every problem to a ``Refuse``. The loader raises the first; the audit collects
them all, and each function then goes on without the row or the cell that cannot be used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from mmad.base.errors import DataError


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong. Those with one ``code`` and ``of`` (a column, a label) are told together.

    ``row`` is the id of the study it is about, as far as there is one.
    """

    code: str
    error: DataError
    row: str = ""
    of: str = ""


class Refuse(Protocol):
    """Hears of a problem and either raises its error or returns."""

    def __call__(self, problem: Problem, /) -> None: ...


def raise_first(problem: Problem) -> None:
    """The loader's way: the first problem is the end of it. Raises DataError."""
    raise problem.error
