"""What a log in the documented form holds: every entry as it was read, and what was not understood.

Everything is plain and frozen; ``model_dump(mode="json")`` gives the form that ``--json`` prints and the store keeps.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

#: The kinds of results, in the order they are shown; ``unlabelled`` is a checkpoint name printed alone.
RESULTS = ("best_ap", "best_ar", "final", "unlabelled")
FIGURES = ("val_ap", "test_ap", "val_ar", "test_ar")


class PlainValue(BaseModel):
    """A frozen record that is the same in Python and in JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class LogNote(PlainValue):
    """One line or paragraph, and the number of the line it begins on."""

    line: int
    text: str


class SetupPrint(PlainValue):
    """One printed setup.

    ``form`` is ``constructor``, ``commented`` or ``repr``; ``fields`` what it prints, in its order; ``comments`` the
    remarks behind fields; ``commented_out`` whole lines that are comments, such as ``lr=1e-4,``.
    """

    form: str
    line: int
    fields: dict[str, Any]
    comments: dict[str, str] = {}
    commented_out: tuple[str, ...] = ()


class Checkpoint(PlainValue):
    """One checkpoint, read from its name. ``stamp`` is the author's local time (ISO 8601, no zone)."""

    epoch: int
    val_ap: float
    val_ar: float
    test_ap: float
    test_ar: float
    stamp: str
    clinical: str | None = None
    name: str | None = None
    checkpoint: str | None = None
    line: int = 0


class LogFigure(PlainValue):
    """One figure of a heading: ``4076`` stands for 0.4076 and is ``scaled``; ``equals`` names equal results."""

    key: str | None
    printed: str
    value: float
    scaled: bool = False
    equals: tuple[str, ...] = ()


class FigureGroup(PlainValue):
    """The figures between two brackets."""

    raw: str
    line: int
    figures: tuple[LogFigure, ...]


class Losses(PlainValue):
    """A snippet that weights losses: a factor, or ``detach``. ``scope`` is ``entry``, or ``section`` (of several)."""

    weights: dict[str, int | float | str]
    scope: str
    line: int
    printed: tuple[str, ...] = ()
    commented_out: dict[str, int | float | str] = {}


class LogEntry(PlainValue):
    """One entry of a log.

    Attributes:
        id: ``e001``, ``e002``, … in the order of print.
        line, line_end: where it stands in the file.
        heading: its own heading as printed, or None.
        sections: the headings it stands below as printed, outermost first, its own the last.
        title: the word of the banner ``For Training [title]``.
        setup: what was run: the repr if one is printed, else the constructor; other prints in ``other_setups``.
        inferred: fields that are not printed and follow from what is; only of the log that mmad ships.
        params: printed parameter counts by module.
        results: checkpoints by kind (``best_ap``, ``best_ar``, ``final``, ``unlabelled``, or another label).
        figures: the figures in brackets of the heading, or of a line of its own.
        notes, images, log_lines: prose, pictures, and what the program wrote beside setup and results.
        unread: lines that were not understood.
    """

    id: str
    line: int
    line_end: int
    heading: str | None
    sections: tuple[str, ...]
    title: str | None = None
    in_comment: bool = False
    setup: SetupPrint | None = None
    other_setups: tuple[SetupPrint, ...] = ()
    inferred: dict[str, Any] = {}
    params: dict[str, int] = {}
    params_line: int | None = None
    params_comments: dict[str, str] = {}
    results: dict[str, Checkpoint] = {}
    figures: tuple[FigureGroup, ...] = ()
    losses: Losses | None = None
    notes: tuple[LogNote, ...] = ()
    images: tuple[str, ...] = ()
    log_lines: tuple[LogNote, ...] = ()
    unread: tuple[LogNote, ...] = ()

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of the setup; empty where none is printed."""
        return self.setup.fields if self.setup else {}


class Remark(PlainValue):
    """A question (Q), an experiment thought of (E) or what was learnt (L), with its number."""

    line: int
    kind: str
    number: int | None
    text: str


class LossTable(PlainValue):
    """A table, cell by cell as printed."""

    line: int
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class Log(PlainValue):
    """A whole log. ``prose`` belongs to no entry; ``unread`` are the lines of all entries that were not understood."""

    name: str
    sha256: str
    lines: int
    entries: tuple[LogEntry, ...]
    headings: tuple[LogNote, ...] = ()
    remarks: tuple[Remark, ...] = ()
    tables: tuple[LossTable, ...] = ()
    prose: tuple[LogNote, ...] = ()
    images: tuple[str, ...] = ()
    unread: tuple[LogNote, ...] = ()
