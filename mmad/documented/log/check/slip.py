"""What a rule finds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Slip:
    """One inconsistency of a log.

    Attributes:
        rule: the rule's name, such as ``figure-unequal``.
        entry: the entry it is about.
        what: what does not fit, with both values.
        level: ``slip`` for a contradiction, ``note`` for what a reader of the figures should know.
        others: other entries it involves.
        line: where it stands in the file; None where that is not known.
    """

    rule: str
    entry: str
    what: str
    level: str = "slip"
    others: tuple[str, ...] = ()
    line: int | None = None

    def __str__(self) -> str:
        """The slip in one line."""
        place = f" (line {self.line})" if self.line else ""
        return f"{self.entry}{place}: {self.what} [{self.rule}]"
