"""What an experiment log holds: every entry as it was read, and what was not understood.

The log that mmad ships and those that users import have this one form. Everything is frozen;
``model_dump(mode="json")`` gives the form that ``--json`` prints and the store holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, PlainSerializer, ValidationError

from mmad.base.errors import StoreError
from mmad.base.formatting import clip

_T = TypeVar("_T")
#: A mapping from names that nobody can change; in JSON an object.
FrozenDict = Annotated[Mapping[str, _T], AfterValidator(MappingProxyType), PlainSerializer(dict)]

#: The kinds of results, in the order they are shown; ``unlabelled`` is a checkpoint name printed alone.
RESULTS = ("best_ap", "best_ar", "final", "unlabelled")
FIGURES = ("val_ap", "test_ap", "val_ar", "test_ar")


class FrozenRecord(BaseModel):
    """A frozen record that is the same in Python and in JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class LogNote(FrozenRecord):
    """One line or paragraph, and the number of the line it begins on."""

    line: int
    text: str


class SetupPrint(FrozenRecord):
    """One printed setup.

    ``form`` is ``constructor``, ``commented`` or ``repr``, or ``printed`` in the shipped log; ``fields`` what it
    prints, in its order; ``comments`` the remarks behind fields; ``commented_out`` whole lines that are comments, such
    as ``lr=1e-4,``.
    """

    form: str
    line: int = 0
    fields: FrozenDict[Any]
    comments: FrozenDict[str] = {}
    commented_out: tuple[str, ...] = ()


class Checkpoint(FrozenRecord):
    """One checkpoint, read from its name; AP and AR lie in [0, 1].

    ``stamp`` is the moment in its name, in the author's local time (ISO 8601, no zone).
    """

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


class LogFigure(FrozenRecord):
    """One figure of a heading.

    ``key`` is the word before it (``v``, ``best_t``, …) or None; ``printed`` its digits, ``value`` what they mean
    (``4076`` stands for 0.4076 and is ``scaled``); ``equals`` names the entry's own results that it equals, such as
    ``final.val_ap``.
    """

    key: str | None
    printed: str
    value: float
    scaled: bool = False
    equals: tuple[str, ...] = ()


class FigureGroup(FrozenRecord):
    """The figures between two brackets."""

    raw: str
    line: int = 0
    figures: tuple[LogFigure, ...]


class Losses(FrozenRecord):
    """A snippet that weights losses: a factor, or ``detach``. ``scope`` is ``entry``, or ``section`` (of several)."""

    weights: FrozenDict[int | float | str]
    scope: str
    line: int = 0
    printed: tuple[str, ...] = ()
    commented_out: FrozenDict[int | float | str] = {}


class LogEntry(FrozenRecord):
    """One entry of a log.

    Of the shipped log the facts are known, not its words: headings stand without level, remarks and figures, one that
    is only a sentence is left out, and there are no notes, images, lines of the program and line numbers.

    Attributes:
        id: ``e001``, ``e002``, … in the order of print (which need not be that of the runs).
        line, line_end: where it stands in the file; 0 where that is not known.
        heading: its own heading as printed, or None.
        sections: the headings it stands below as printed, outermost first, its own the last.
        title: the word of the banner ``For Training [title]``.
        setup: what was run: the repr if one is printed, else the constructor; other prints in ``other_setups``.
        inferred: fields that are not printed and follow from what is, only in the shipped log: from the counts (e002,
            e004, e010), or the original network's fuse convolutions of stride 2 (era A with clinical data).
        params: printed parameter counts by module.
        results: checkpoints by kind (``best_ap``, ``best_ar``, ``final``, ``unlabelled``, or another label).
        losses: the snippet that weights its losses, its own or its section's.
        figures: the figures in brackets of the heading, or of a line of its own.
        notes, images, log_lines: prose, pictures, and what the program wrote beside setup and results.
        unread: lines that were not understood.
    """

    id: str
    line: int = 0
    line_end: int = 0
    heading: str | None = None
    sections: tuple[str, ...] = ()
    title: str | None = None
    in_comment: bool = False
    setup: SetupPrint | None = None
    other_setups: tuple[SetupPrint, ...] = ()
    inferred: FrozenDict[Any] = {}
    params: FrozenDict[int] = {}
    params_line: int | None = None
    params_comments: FrozenDict[str] = {}
    results: FrozenDict[Checkpoint] = {}
    figures: tuple[FigureGroup, ...] = ()
    losses: Losses | None = None
    notes: tuple[LogNote, ...] = ()
    images: tuple[str, ...] = ()
    log_lines: tuple[LogNote, ...] = ()
    unread: tuple[LogNote, ...] = ()

    @property
    def fields(self) -> Mapping[str, Any]:
        """The fields of the printed setup; empty where none is."""
        return self.setup.fields if self.setup else {}

    @property
    def has_setup(self) -> bool:
        """Whether a setup is printed or could be inferred."""
        return bool(self.fields or self.inferred)

    @property
    def loss_weights(self) -> Mapping[str, int | float | str]:
        """The factors of the losses, or ``detach``; empty where none are printed."""
        return self.losses.weights if self.losses else {}


class Remark(FrozenRecord):
    """A question (Q), an idea for an experiment (E) or a lesson (L), with its number."""

    line: int
    kind: str
    number: int | None
    text: str


class LossTable(FrozenRecord):
    """A table, cell by cell as printed."""

    line: int
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class Log(FrozenRecord):
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

    @classmethod
    def from_json(cls, name: str, content: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]) -> Log:
        """The log whose ``to_json`` is ``content`` and ``entries``, under ``name``."""
        try:
            return cls.model_validate({**content, "name": name, "entries": list(entries)})
        except ValidationError as error:
            problem = error.errors(include_url=False, include_context=False)[0]
            place = ".".join(map(str, problem["loc"]))
            hint = "import the log again with mmad log import"
            raise StoreError(
                f"{place}: {clip(problem['msg'])}", where=f"documented_logs, row name {name}", hint=hint
            ) from error

    def to_json(self) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Plain JSON: everything but the entries, and the entries."""
        content = self.model_dump(mode="json")
        return content, content.pop("entries")
