"""What a value of a column has to be: checked as it is read, so that a damaged one is named instead of passed on."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    DateTime,
    Dialect,
    Double,
    Integer,
    String,
    Text,
    TypeDecorator,
    select,
    type_coerce,
)
from sqlalchemy.types import NullType

from mmad.base.errors import StoreError
from mmad.base.formatting import clip, short_key
from mmad.base.paths import is_inner

T = TypeVar("T")
HINT = "mmad db check lists every damaged value"
#: How much of a damaged value is shown.
_SHOWN = 40
#: PostgreSQL's number for doubles, which is all that psycopg's numbers ask about.
_DOUBLE = 701
#: Rows that are looked at together.
_ROWS = 5_000


class DamagedValue(StoreError):
    """A value that its column cannot hold; where the transaction ends, ``Database`` names its row."""

    def __init__(self, column: Column[Any] | None, what: str) -> None:
        super().__init__(what, where=str(column), hint=HINT)
        self.column = column


class _Checked(TypeDecorator[T]):
    """A type whose ``process_result_value`` raises ValueError for what a column cannot hold. None passes."""

    cache_ok = True
    #: The column that has this type, as ``name_columns`` found it.
    column: Column[Any] | None = None

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        read = super().result_processor(dialect, coltype)
        assert read is not None
        column = self.column

        def checked(value: Any) -> Any:
            try:
                return read(value)
            except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
                raise DamagedValue(column, f"{shown(value)} ({clip(str(error), 100)})") from error

        return checked


def name_columns(columns: Iterable[Column[Any]]) -> None:
    """Lets the type of each column know the column, so that a damaged value can be found again."""
    for column in columns:
        if isinstance(column.type, _Checked):
            column.type.column = column


class Words(_Checked[str]):
    """Text; of ``choices`` where there are some."""

    impl: Any = Text
    cache_ok = True

    def __init__(self, length: int | None = None, choices: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.impl = Text() if length is None else String(length)
        self.length, self.choices = length, choices

    def process_result_value(self, value: Any | None, dialect: Dialect) -> str | None:
        if value is None:
            return None
        if not isinstance(value, str):
            raise ValueError("no text")
        if self.choices and value not in self.choices:
            raise ValueError(f"none of {', '.join(self.choices)}")
        return value


class Key(Words):
    """A run's key or a SHA-256: hexadecimal digits, which may name a folder."""

    cache_ok = True

    def __init__(self) -> None:
        super().__init__(64)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> str | None:
        if (found := super().process_result_value(value, dialect)) is None:
            return None
        if not found or not set(found) <= set("0123456789abcdef"):
            raise ValueError("no key")
        return found


class InnerPath(Words):
    """A file below its run's folder, with forward slashes."""

    cache_ok = True

    def __init__(self) -> None:
        super().__init__()

    def process_result_value(self, value: Any | None, dialect: Dialect) -> str | None:
        found = super().process_result_value(value, dialect)
        if found is not None and not is_inner(found):
            raise ValueError("no path within the run's folder")
        return found


class Whole(_Checked[int]):
    """A whole number of at least ``least`` and at most ``most``."""

    impl: Any = Integer
    cache_ok = True

    def __init__(self, least: int | None = 0, most: int | None = None, *, big: bool = False) -> None:
        super().__init__()
        self.impl = BigInteger() if big else Integer()
        self.least, self.most, self.big = least, most, big

    def process_result_value(self, value: Any | None, dialect: Dialect) -> int | None:
        if value is None:
            return None
        if type(value) is not int:
            raise ValueError("no whole number")
        if self.least is not None and value < self.least:
            raise ValueError(f"less than {self.least}")
        if self.most is not None and value > self.most:
            raise ValueError(f"more than {self.most}")
        return value


class Truth(_Checked[bool]):
    """True or false."""

    impl = Boolean
    cache_ok = True

    def process_result_value(self, value: Any | None, dialect: Dialect) -> bool | None:
        if value not in (None, 0, 1):
            raise ValueError("neither true nor false")
        return value


class FiniteFloat(_Checked[float]):
    """A finite number; ``share``: in (0, 1]."""

    impl = Double
    cache_ok = True

    def __init__(self, *, share: bool = False) -> None:
        super().__init__()
        self.share = share

    def process_result_value(self, value: Any | None, dialect: Dialect) -> float | None:
        if value is None:
            return None
        if isinstance(value, str | bytes) or not math.isfinite(value):
            raise ValueError("no finite number")
        if self.share and not 0 < value <= 1:
            raise ValueError("not in (0, 1]")
        return float(value)


class NanSafeFloat(_Checked[float]):
    """A double that was measured: NaN is written as NULL and read back as NaN."""

    impl = Double
    cache_ok = True

    def process_bind_param(self, value: float | None, dialect: Dialect) -> float | None:
        return None if value is None or math.isnan(value) else float(value)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> float:
        if value is None:
            return math.nan
        if isinstance(value, str | bytes):
            raise ValueError("no number")
        return float(value)


class Moment(_Checked[datetime]):
    """A moment in UTC; SQLite stores it as text without an offset."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone; take moments from mmad.base.clock")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Json(_Checked[Any]):
    """JSON of the form ``shape``. It is written as the text it is given, so that equal content has equal bytes."""

    impl = Text
    cache_ok = True

    def __init__(self, shape: JsonShape) -> None:
        super().__init__()
        self.shape = shape

    def process_result_value(self, value: Any | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        if not isinstance(value, str):
            raise ValueError("no text")
        found = json.loads(value, parse_constant=_refuse_constant)
        self.shape.check(found, value)
        return found


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


@dataclass(frozen=True)
class JsonShape:
    """``form`` is ``object``, ``words`` (a list of text), ``pairs`` (a list of two texts each) or ``texts`` (an object
    of texts); of an object, what ``model`` has a field for must be of the field's type.

    Fields that a model lacks, or that an earlier version did not write, pass: rows of earlier versions stay readable.
    """

    form: str
    model: type[BaseModel] | None = None

    def check(self, found: Any, text: str) -> None:
        """ValueError where ``found``, which ``text`` says, has another form."""
        sound = {
            "object": lambda: isinstance(found, dict),
            "texts": lambda: isinstance(found, dict) and _texts(found.values()),
            "words": lambda: isinstance(found, list) and _texts(found),
            "pairs": lambda: (
                isinstance(found, list) and all(isinstance(p, list) and len(p) == 2 and _texts(p) for p in found)
            ),
        }
        if not sound[self.form]():
            raise ValueError(f"no JSON of the form {self.form}")
        if self.model is not None:
            try:
                self.model.model_validate_json(text, strict=True)
            except ValidationError as error:
                for problem in error.errors(include_url=False, include_context=False):
                    if _of_another_type(problem):
                        raise ValueError(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}") from error


def _texts(values: Iterable[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


def _of_another_type(problem: Any) -> bool:
    kind, value = problem["type"], problem["input"]
    if kind in ("missing", "extra_forbidden") or not problem["loc"]:
        return False
    return kind.endswith(("_type", "_parsing", "_number")) or not isinstance(value, str | int | None)


@dataclass(frozen=True)
class Damage:
    """A value that its column cannot hold: of which row, and why."""

    table: str
    row: str
    column: str
    value: str
    why: str

    @property
    def where(self) -> str:
        return f"{self.table}, row {self.row}"

    @property
    def what(self) -> str:
        return f"{self.column} is {self.value} ({self.why})"


def find_damage(connection: Connection, columns: Sequence[Column[Any]]) -> Iterator[Damage]:
    """Every value of ``columns``, which are of one table, that its column cannot hold; nothing else is raised."""
    checked = [column for column in columns if isinstance(column.type, _Checked)]
    if not checked:
        return
    table = checked[0].table
    keys = list(table.primary_key)
    read: list[Any] = [
        column.type.dialect_impl(connection.dialect).result_processor(connection.dialect, _DOUBLE) for column in checked
    ]
    raw = select(*(type_coerce(column, NullType()) for column in (*keys, *checked)))
    with _lenient(connection):
        for part in connection.execute(raw.execution_options(yield_per=_ROWS)).partitions():
            for row in part:
                for column, processor, value in zip(checked, read, row[len(keys) :], strict=True):
                    if (why := _fault(processor, value)) is not None:
                        held = ", ".join(f"{key.name} {shown(of)}" for key, of in zip(keys, row, strict=False))
                        yield Damage(table.name, held, column.name, shown(value), why)


def _fault(read: Callable[[Any], Any], value: Any) -> str | None:
    try:
        if isinstance(value, str):
            value.encode()  # what is not UTF-8 was read as lone surrogates
        read(value)
    except UnicodeEncodeError:
        return "no UTF-8"
    except DamagedValue as error:
        return clip(str(error.__cause__), 100)
    return None


def shown(value: Any) -> str:
    """A stored value as a message has it."""
    if isinstance(value, str) and set(value) <= set("0123456789abcdef") and len(value) == 64:
        return short_key(value)
    return clip(repr(value[:_SHOWN] if isinstance(value, str | bytes) else value), _SHOWN + 20)


@contextmanager
def _lenient(connection: Connection) -> Iterator[None]:
    """Within the block, SQLite's text that is not UTF-8 is read instead of refused."""
    if connection.dialect.name != "sqlite":
        yield
        return
    own: Any = connection.connection.dbapi_connection
    before = own.text_factory
    own.text_factory = lambda text: text.decode("utf-8", "surrogateescape")
    try:
        yield
    finally:
        own.text_factory = before
