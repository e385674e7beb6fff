"""What a value of a column has to be: checked as it is read, so that a damaged one is named instead of passed on."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Double,
    Integer,
    String,
    Text,
    TypeDecorator,
)

from mmad.base.errors import StoreError
from mmad.base.formatting import clip, short_key
from mmad.base.paths import is_inner

T = TypeVar("T")
HINT = "mmad db check lists every damaged value"
#: How much of a damaged value is shown.
_SHOWN = 40
#: How many texts of JSON that were found sound are remembered.
_REMEMBERED = 10_000
Read = Callable[[Any], Any]


class DamagedValue(StoreError):
    """A value that its column cannot hold; where the transaction ends, ``Database`` names its row."""

    def __init__(self, column: Column[Any] | None, what: str) -> None:
        super().__init__(what, where=str(column), hint=HINT)
        self.column = column


class CheckedColumn(TypeDecorator[T]):
    """A type whose ``process_result_value`` raises ValueError for what a column cannot hold. None passes.

    ``fast`` reads what is sound at first sight in one call, and leaves everything else to the check.
    """

    cache_ok = True
    #: The column that has this type, as ``name_columns`` found it.
    column: Column[Any] | None = None
    #: What a damaged value that may not be NULL is read as, as SQL; None where nothing can stand in its place.
    instead: str | None = None

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        read = super().result_processor(dialect, coltype)
        assert read is not None
        column = self.column

        def checked(value: Any) -> Any:
            try:
                return read(value)
            except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
                raise DamagedValue(column, f"{shown(value)} ({clip(str(error), 100)})") from error

        return self.fast(checked, dialect)

    def fast(self, checked: Read, dialect: Dialect) -> Read:
        """``checked``, or a reader that calls it for what is not sound at first sight."""
        return checked


def name_columns(columns: Iterable[Column[Any]]) -> None:
    """Lets the type of each column know the column, so that a damaged value can be found again."""
    for column in columns:
        if isinstance(column.type, CheckedColumn):
            column.type.column = column


class Words(CheckedColumn[str]):
    """Text; of ``choices`` where there are some."""

    impl: Any = Text
    cache_ok = True

    def __init__(self, length: int | None = None, choices: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.impl = Text() if length is None else String(length)
        self.length, self.choices = length, choices
        self.instead = None if choices else "''"

    def fast(self, checked: Read, dialect: Dialect) -> Read:
        if not self.choices:
            return lambda value: value if value.__class__ is str else checked(value)
        known = frozenset(self.choices)
        return lambda value: value if value in known else checked(value)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> str | None:
        if value is None:
            return None
        if not isinstance(value, str):
            raise ValueError("no text")
        if self.choices and value not in self.choices:
            raise ValueError(f"none of {', '.join(self.choices)}")
        return value


_HEXADECIMAL = re.compile("[0-9a-f]+").fullmatch


class Key(Words):
    """A run's key or a SHA-256: hexadecimal digits, which may name a folder."""

    cache_ok = True

    def __init__(self) -> None:
        super().__init__(64)
        self.instead = None

    def fast(self, checked: Read, dialect: Dialect) -> Read:
        return lambda value: value if value.__class__ is str and _HEXADECIMAL(value) else checked(value)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> str | None:
        if (found := super().process_result_value(value, dialect)) is None:
            return None
        if not _HEXADECIMAL(found):
            raise ValueError("no key")
        return found


class InnerPath(Words):
    """A file below its run's folder, with forward slashes."""

    cache_ok = True

    def __init__(self) -> None:
        super().__init__()
        self.instead = None

    def fast(self, checked: Read, dialect: Dialect) -> Read:
        return checked

    def process_result_value(self, value: Any | None, dialect: Dialect) -> str | None:
        found = super().process_result_value(value, dialect)
        if found is not None and not is_inner(found):
            raise ValueError("no path within the run's folder")
        return found


class Whole(CheckedColumn[int]):
    """A whole number of at least ``least`` and at most ``most``; ``shown_as`` stands in a damaged one's place."""

    impl: Any = Integer
    cache_ok = True

    def __init__(
        self, least: int | None = 0, most: int | None = None, *, big: bool = False, shown_as: int | None = None
    ) -> None:
        super().__init__()
        self.impl = BigInteger() if big else Integer()
        self.least, self.most, self.big, self.shown_as = least, most, big, shown_as
        self.instead = None if shown_as is None else str(shown_as)

    def fast(self, checked: Read, dialect: Dialect) -> Read:
        least, most = self.least, self.most
        low = -math.inf if least is None else least
        high = math.inf if most is None else most
        return lambda value: value if value.__class__ is int and low <= value <= high else checked(value)

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


class Truth(CheckedColumn[bool]):
    """True or false."""

    impl = Boolean
    cache_ok = True
    instead = "FALSE"

    def process_result_value(self, value: Any | None, dialect: Dialect) -> bool | None:
        if value not in (None, 0, 1):
            raise ValueError("neither true nor false")
        return value


_LARGEST = sys.float_info.max


class FiniteFloat(CheckedColumn[float]):
    """A finite number; ``share``: in (0, 1]."""

    impl = Double
    cache_ok = True

    def __init__(self, *, share: bool = False) -> None:
        super().__init__()
        self.share = share

    def fast(self, checked: Read, dialect: Dialect) -> Read:
        if self.share:
            return lambda value: value if value.__class__ is float and 0 < value <= 1 else checked(value)
        return lambda value: value if value.__class__ is float and -_LARGEST <= value <= _LARGEST else checked(value)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> float | None:
        if value is None:
            return None
        if isinstance(value, str | bytes) or not math.isfinite(value):
            raise ValueError("no finite number")
        if self.share and not 0 < value <= 1:
            raise ValueError("not in (0, 1]")
        return float(value)


class NanSafeFloat(CheckedColumn[float]):
    """A double that was measured: NaN is written as NULL and read back as NaN."""

    impl = Double
    cache_ok = True

    def process_bind_param(self, value: float | None, dialect: Dialect) -> float | None:
        return None if value is None or math.isnan(value) else float(value)

    def fast(self, checked: Read, dialect: Dialect) -> Read:
        return lambda value: value if value.__class__ is float else checked(value)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> float:
        if value is None:
            return math.nan
        if isinstance(value, str | bytes):
            raise ValueError("no number")
        return float(value)


class Moment(CheckedColumn[datetime]):
    """A moment in UTC; SQLite stores it as text without an offset."""

    impl = DateTime(timezone=True)
    cache_ok = True
    instead = "'1970-01-01 00:00:00+00:00'"

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone; take moments from mmad.base.clock")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def fast(self, checked: Read, dialect: Dialect) -> Read:
        if dialect.name != "sqlite":
            return checked

        def read(value: Any) -> datetime | None:
            try:
                found = datetime.fromisoformat(value)
            except (ValueError, TypeError):
                return cast(datetime | None, checked(value))
            return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)

        return read

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Json(CheckedColumn[Any]):
    """JSON of the form ``shape``. It is written as the text it is given, so that equal content has equal bytes."""

    impl = Text
    cache_ok = True

    def __init__(self, shape: JsonShape, instead: str | None = None) -> None:
        super().__init__()
        self.shape = shape
        self.instead = instead or {"object": None, "texts": "'{}'"}.get(shape.form, "'[]'")

    def process_result_value(self, value: Any | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        if not isinstance(value, str):
            raise ValueError("no text")
        found = _DECODER.decode(value)
        self.shape.check(found, value)
        return found


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
#: Models and texts whose fields were found to be of their types.
_sound: set[tuple[type[BaseModel], str]] = set()


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
        if self.model is None or (self.model, text) in _sound:
            return
        try:
            _fields_of(self.model).model_validate_json(text)
        except ValidationError as error:
            for problem in error.errors(include_url=False, include_context=False):
                if _of_another_type(problem):
                    raise ValueError(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}") from error
        if len(_sound) >= _REMEMBERED:
            _sound.clear()
        _sound.add((self.model, text))


@cache
def _fields_of(model: type[BaseModel]) -> type[BaseModel]:
    """The fields of ``model`` with their types alone, any of which may be missing: quicker than its own checks."""
    fields: dict[str, Any] = {name: (field.annotation, None) for name, field in model.model_fields.items()}
    return create_model(f"{model.__name__}Fields", __config__=ConfigDict(extra="ignore", strict=True), **fields)


def _texts(values: Iterable[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


def _of_another_type(problem: Any) -> bool:
    kind, value = problem["type"], problem["input"]
    if kind in ("missing", "extra_forbidden") or not problem["loc"]:
        return False
    return kind.endswith(("_type", "_parsing", "_number")) or not isinstance(value, str | int | None)


def shown(value: Any) -> str:
    """A stored value as a message has it."""
    if isinstance(value, str) and set(value) <= set("0123456789abcdef") and len(value) == 64:
        return short_key(value)
    return clip(repr(value[:_SHOWN] if isinstance(value, str | bytes) else value), _SHOWN + 20)
