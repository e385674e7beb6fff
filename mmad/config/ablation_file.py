"""The ablation file: its text with the place of every key, its tables, and from one to the other."""

from __future__ import annotations

import datetime
import json
import os
import re
import tomllib
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from types import GenericAlias, NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError, create_model
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from mmad.base.errors import SpecError
from mmad.base.formatting import acting_character
from mmad.config.hypothesis import Hypothesis
from mmad.config.messages import did_you_mean, nearest, shown
from mmad.config.protocol import EvaluationProtocol, TrainingProtocol
from mmad.config.runs import NAMING_FIELDS, Ablation
from mmad.config.setup import ModelSetup, unit
from mmad.config.tuning import TuneRange, Tuning, as_drawn, is_number, is_whole, tunable

# The text, and where each key stands in it: ``tomllib`` gives values without their lines.

#: A larger file is no ablation file.
MAX_FILE_BYTES = 1 << 20
#: Tables and lists inside one another.
MAX_DEPTH = 16
#: Whole numbers are those of TOML, of 64 bits.
MAX_INTEGER = 2**63 - 1

KeyPath = tuple[str | int, ...]

_TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?"""+'  # texts over several lines
    r"|'''.*?'''+"
    r'|"(?:\\.|[^"\\\n])*"'  # texts on one line
    r"|'[^'\n]*'"
    r"|\#[^\n]*"
    r"|[\[\]{}\n]"
    r"""|[^"'\#\[\]{}\n]+""",
    re.DOTALL,
)
_KEY_PART = re.compile(r"""\s*("(?:\\.|[^"\\\n])*"|'[^'\n]*'|[A-Za-z0-9_-]+)\s*(\.?)""")


def key_lines(text: str) -> dict[KeyPath, int]:
    """The line (from 1) of every table and key of a valid TOML ``text``.

    A path holds names, and positions for the elements of ``[[tables]]``. Keys of inline tables are not
    listed: ``line_of`` falls back to what holds them.
    """
    lines: dict[KeyPath, int] = {}
    elements: dict[KeyPath, int] = {}
    table: KeyPath = ()
    for line, statement in _statements(text):
        if statement.startswith("[["):
            table = _resolve(_key_path(statement[2:]), elements, new_element=True)
        elif statement.startswith("["):
            table = _resolve(_key_path(statement[1:]), elements, new_element=False)
        else:
            path = (*table, *_key_path(statement))
            for end in range(len(table) + 1, len(path) + 1):
                lines.setdefault(path[:end], line)
            continue
        for end in range(1, len(table) + 1):
            lines.setdefault(table[:end], line)
    return lines


def line_of(lines: Mapping[KeyPath, int], path: KeyPath) -> int | None:
    """The line of ``path``, or of the nearest table or key that holds it; None when nothing does."""
    for end in range(len(path), 0, -1):
        if path[:end] in lines:
            return lines[path[:end]]
    return None


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Every header and every ``key = value`` with the line it starts on, comments left out."""
    line, depth = 1, 0
    start, parts = 1, ""
    for match in _TOKEN.finditer(text):
        token = match.group()
        if token == "\n" and depth == 0:
            if parts.strip():
                yield start, parts.strip()
            parts = ""
        elif not token.startswith("#"):
            if not parts.strip():
                start, parts = line, ""
            parts += token
            depth += (token in "[{") - (token in "]}") if len(token) == 1 else 0
        line += token.count("\n")
    if parts.strip():
        yield start, parts.strip()


def _key_path(statement: str) -> tuple[str, ...]:
    """The dotted key at the beginning of ``statement``."""
    names: list[str] = []
    position = 0
    while match := _KEY_PART.match(statement, position):
        part = match.group(1)
        names.append(next(iter(tomllib.loads(f"{part} = 0"))) if part[0] in "\"'" else part)
        position = match.end()
        if not match.group(2):
            break
    return tuple(names)


def _resolve(names: tuple[str, ...], elements: dict[KeyPath, int], *, new_element: bool) -> KeyPath:
    """``names`` with the position of the current element after every array of tables."""
    path: KeyPath = ()
    for depth, name in enumerate(names):
        path = (*path, name)
        if new_element and depth == len(names) - 1:
            elements[path] = elements.get(path, -1) + 1
        if path in elements:
            path = (*path, elements[path])
    return path


_LONG_KEY = re.compile(r"""(?<![\w-])(?:(?:[\w-]+|"[^"\n]*"|'[^'\n]*')[ \t]*\.[ \t]*){200}""")
_LINE_IN_MESSAGE = re.compile(r"\s*\((?:at line (\d+), column \d+|at end of document)\)$")


@dataclass(frozen=True)
class SourceFile:
    """A TOML document with its text; ``lines`` maps the path of a key to its line."""

    path: str
    text: str
    document: Mapping[str, Any]
    lines: Mapping[KeyPath, int]

    def where(self, key: KeyPath) -> str:
        """``file:line`` of ``key``, or of what holds it."""
        line = line_of(self.lines, key)
        return self.path if line is None else f"{self.path}:{line}"

    def error(self, key: KeyPath, what: str, hint: str | None = None) -> SpecError:
        """A SpecError that names the line of ``key`` and ``key`` itself."""
        name = dotted(key)
        return SpecError(f"{name}: {what}" if name else what, where=self.where(key), hint=hint)


#: A longer key is shortened where it is shown.
_LONGEST_KEY = 200


def dotted(key: KeyPath) -> str:
    """``key`` as a reader would look for it: ``settings[2].lr`` with positions from 1."""
    text = ""
    for part in key:
        if isinstance(part, int):
            text += f"[{part + 1}]"
        elif len(part) > _LONGEST_KEY:
            text += f".{shown(part)}"
        else:
            name = part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else f'"{part}"'
            text += f".{name}" if text else name
    return text


def read_source(path: Path) -> SourceFile:
    """Read the TOML file ``path``.

    Raises:
        SpecError: no such file, a folder, no permission, not UTF-8, not TOML.
    """
    _check_path(path)
    text = _read_text(path)
    too_deep = SpecError(f"tables or lists nested more than {MAX_DEPTH} deep", where=path, hint="write it flatter")
    if _LONG_KEY.search(text):  # tomllib takes the square of its length
        raise too_deep
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(path, text, str(error)) from error
    except RecursionError:
        raise too_deep from None
    except ValueError as error:  # Python reads no decimal number of thousands of digits
        raise _long_number(path, text) from error
    if _deeper(document, MAX_DEPTH):
        raise too_deep
    return SourceFile(str(path), text, document, key_lines(text))


def _check_path(path: Path) -> None:
    """The file's name is the ablation's, and its path is recorded and printed."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise SpecError("the path is not UTF-8 text", where=shown(str(path)), hint="rename the file") from None
    if (acting := acting_character(path.stem)) is not None:
        raise SpecError(
            f"its name holds the control character {acting}", where=shown(str(path)), hint="rename the file"
        )


def _deeper(document: Any, most: int) -> bool:
    """Whether tables and lists are nested more than ``most`` deep; without recursion."""
    level = [document]
    for _ in range(most):
        level = [value for node in level for value in _inside(node) if isinstance(value, dict | list)]
    return bool(level)


def _inside(node: Any) -> Iterable[Any]:
    return node.values() if isinstance(node, dict) else node


def _long_number(path: Path, text: str) -> SpecError:
    found = re.search(r"[\d_]{4000,}", text)
    where = path if found is None else f"{path}:{text.count(chr(10), 0, found.start()) + 1}"
    what = f"a number of {len(found[0].replace('_', '')):,} digits" if found else "a number of too many digits"
    return SpecError(what, where=where, hint=f"a whole number is at most {MAX_INTEGER}")


def _read_text(path: Path) -> str:
    try:
        if not path.is_file() and path.exists() and not path.is_dir():
            raise SpecError("is no regular file", where=path, hint="name an ablation file (.toml)")
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
            size = os.fstat(file.fileno()).st_size
        if len(content) > MAX_FILE_BYTES:
            raise SpecError(
                f"is too large for an ablation file ({size:,} bytes)",
                where=path,
                hint=f"at most {MAX_FILE_BYTES:,} bytes are read; was another file meant?",
            )
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except FileNotFoundError:
        raise SpecError("no such file", where=path, hint=_similar_file(path)) from None
    except IsADirectoryError:
        inside = sorted(path.glob("*.toml"))
        hint = f"name a file in it, such as {inside[0]}" if inside else "name an ablation file (.toml)"
        raise SpecError("is a folder, not an ablation file", where=path, hint=hint) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise SpecError("is not UTF-8 text", where=f"{path}:{line}", hint="save the file as UTF-8") from None
    except OSError as error:
        raise SpecError(
            f"cannot be read ({error.strerror})", where=path, hint="check the path and its rights"
        ) from None


def _similar_file(path: Path) -> str:
    """The hint for a missing file: a file of like name beside it or among the shipped ones."""
    if "=" in path.name and path.parent == Path():
        return f"did you mean --set {path.name}?"
    shipped = Path("ablations")
    folders = [path.parent] if path.parent == shipped else [path.parent, shipped]
    present = {file.name: file for folder in reversed(folders) if folder.is_dir() for file in folder.glob("*.toml")}
    name = path.name if path.suffix else f"{path.name}.toml"
    best = name if name in present else nearest(name, present)
    if best is not None:
        return f"did you mean {present[best]}?"
    if present:
        return "there are " + ", ".join(str(file) for file in sorted(present.values()))
    return "give the path of an ablation file (.toml)"


def _syntax_error(path: Path, text: str, message: str) -> SpecError:
    match = _LINE_IN_MESSAGE.search(message)
    line = int(match.group(1)) if match and match.group(1) else text.rstrip("\n").count("\n") + 1
    what = _LINE_IN_MESSAGE.sub("", message)
    return SpecError(f"not valid TOML: {what}", where=f"{path}:{line}", hint="fix the syntax of this line")


# Its tables as pydantic models, made from the fields of setup and protocols. Every table may leave every field out.
# Values are checked strictly: no text for a number, no ``true`` for 1.

SETUP_FIELDS: dict[str, FieldInfo] = dict(ModelSetup.model_fields)
#: ``weights_hash`` and ``modules`` follow from the setup, ``continues`` from ``continue_from``, ``fold`` from
#: ``folds``: no user's words.
TRAINING_FIELDS: dict[str, FieldInfo] = {
    k: v for k, v in TrainingProtocol.model_fields.items() if k not in ("weights_hash", "modules", "continues", "fold")
}
#: Of ``[protocol]`` alone: one cross-validation is of the whole file.
FOLD_FIELDS: dict[str, FieldInfo] = {
    "folds": FieldInfo.from_annotated_attribute(
        int,
        Field(
            None,
            ge=2,
            le=100,
            description="Cross-validate: every member is trained once for each of so many folds of the patients, in "
            "place of the data set's own splits.",
        ),
    ),
    "fold_seed": FieldInfo.from_annotated_attribute(
        int,
        Field(0, ge=0, lt=2**31, description="Decides, with the data set's content, which patients are in which fold."),
    ),
}
EVALUATION_FIELDS: dict[str, FieldInfo] = dict(EvaluationProtocol.model_fields)
PROTOCOL_FIELDS: dict[str, FieldInfo] = TRAINING_FIELDS | EVALUATION_FIELDS
#: Spellings read beside a field's own name.
ALIASES = {"fusion_residual": "fusion_residule"}

Name = Annotated[str, StringConstraints(min_length=1)]
Seeds = Annotated[tuple[Annotated[int, Field(ge=0, lt=2**31)], ...], Field(min_length=1)]

_STRICT = ConfigDict(extra="forbid", strict=True, populate_by_name=True, allow_inf_nan=False)


class SeedsUntil(BaseModel):
    """Seeds that are trained one by one until every pair is settled: 0, 1, … and at most ``to`` of them."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    first: int = Field(alias="from", ge=3, le=1000, description="How many seeds the first look has.")
    most: int = Field(alias="to", ge=4, le=1000, description="How many seeds there are at most.")
    until: Literal["settled"] = Field("settled", description="What ends it.")


def takes_none(field: FieldInfo) -> bool:
    """Whether the word ``none`` stands for an absent value of ``field``."""
    return NoneType in get_args(field.annotation)


def _no_bool(value: object) -> object:
    """Python takes ``True`` for 1, so a choice of whole numbers has to refuse it by hand."""
    if isinstance(value, bool):
        raise PydanticCustomError("int_type", "Input should be a whole number")
    return value


def _annotation(field: FieldInfo) -> Any:
    choices = get_args(field.annotation)
    if get_origin(field.annotation) is Literal and all(type(choice) is int for choice in choices):
        return Annotated[field.annotation, BeforeValidator(_no_bool)]
    return field.annotation


def _optional(fields: dict[str, FieldInfo]) -> dict[str, Any]:
    """Definitions for ``create_model``: the same fields, none of them required."""
    return {name: (_annotation(field), copy(field)) for name, field in fields.items()}


def _lists(fields: dict[str, FieldInfo]) -> dict[str, Any]:
    """Definitions for ``create_model``: per field a list of at least one of its values."""
    definitions: dict[str, Any] = {}
    for name, field in fields.items():
        value = Annotated[(_annotation(field), *field.metadata)] if field.metadata else _annotation(field)
        definitions[name] = (
            Annotated[GenericAlias(list, (value,)), Field(min_length=1)],
            Field(
                None,
                description=field.description,
                validation_alias=field.validation_alias,
                json_schema_extra=field.json_schema_extra,
            ),
        )
    return definitions


class _Seeded(BaseModel):
    model_config = _STRICT

    seeds: Seeds | SeedsUntil = Field(
        (0,),
        description="One member per seed; both arms of a pair share it. In [protocol] also { from = 3, to = 12, "
        'until = "settled" }: more seeds are trained only for pairs that are not settled.',
    )
    inferred: tuple[str, ...] = Field(
        (), description="Fields whose values the log does not print; they follow from its results or its code."
    )


class ContinueTable(BaseModel):
    """The run that a setting's runs continue, each the one of its own seed."""

    model_config = _STRICT

    setting: Name = Field(description="A setting of this file.")
    arm: Name = Field("", description="Its arm; default: the arm that continues.")
    checkpoint: Literal["final", "best_ap", "best_ar"] = Field("final", description="Which of its checkpoints.")


class _Setting(_Seeded):
    name: Name = Field(description="Name of this point of the ablation, as tables and charts print it.")
    documented: dict[str, Annotated[str, StringConstraints(pattern=r"^[en]\d{3}$")]] = Field(
        default_factory=dict, description="Arm → the entry of the documented log that it mirrors."
    )
    continue_from: ContinueTable | Annotated[str, StringConstraints(pattern=r"^([en]\d{3}|[0-9a-f]{64})$")] = Field(
        "",
        description="Continue another run: a setting, an entry of the log that this file mirrors, or a run's key. "
        "epochs counts those of both.",
    )


class PhantomTable(BaseModel):
    """How the embedded data set is drawn; what is left out takes the generator's default."""

    model_config = _STRICT

    studies: int = Field(480, ge=10, le=1_000_000, description="How many studies.", json_schema_extra=unit("studies"))
    image_size: int = Field(256, ge=64, le=4096, description="Side of the images.", json_schema_extra=unit("px"))
    seed: int = Field(0, ge=0, lt=2**31, description="Same seed, same bytes.")
    clinical_effect: float = Field(
        1.0, ge=0, le=1, description="How far vital signs of the findings lie apart: 1 without overlap, 0 not at all."
    )
    missing: float = Field(0.05, ge=0, le=0.9, description="Share of the clinical values that are missing.")
    artefacts: bool = Field(
        False, description="Side markers, tubes, lines, devices and uneven exposure; boxes and labels stay."
    )
    format: Literal["png", "jpeg"] = Field("png", description="Of the image files.")
    width: int = Field(
        256,
        ge=64,
        le=4096,
        description="Width of images that are not square.",
        json_schema_extra=unit("px"),
    )
    height: int = Field(
        256,
        ge=64,
        le=4096,
        description="Height of images that are not square.",
        json_schema_extra=unit("px"),
    )


class ExternalTable(BaseModel):
    """A data set that no run is trained on: kept checkpoints are evaluated on all of its studies."""

    model_config = _STRICT

    name: Name = Field(description="What tables call it.")
    dir: Name = Field(description="Its folder, relative to this file.")
    map: dict[Name, Name] = Field(
        default_factory=dict, description="Its label → the finding of the runs, where the names differ."
    )


def external_tables(source: str, path: str) -> tuple[ExternalTable, ...]:
    """The ``[[external]]`` tables of an ablation file's text; their folders start from the file at ``path``."""
    tables = (ExternalTable.model_validate(table) for table in tomllib.loads(source).get("external", ()))
    return tuple(one.model_copy(update={"dir": str(Path(path).parent / one.dir)}) for one in tables)


_WITHOUT_NAME = {name: field for name, field in SETUP_FIELDS.items() if name != "name"}
_DECIDING = {name: field for name, field in SETUP_FIELDS.items() if name not in NAMING_FIELDS}

SetupTable = create_model("SetupTable", __config__=_STRICT, **_optional(SETUP_FIELDS))
ProtocolTable = create_model("ProtocolTable", __base__=_Seeded, **_optional(PROTOCOL_FIELDS | FOLD_FIELDS))
SettingTable = create_model("SettingTable", __base__=_Setting, **_optional(_WITHOUT_NAME | PROTOCOL_FIELDS))
GridTable = create_model("GridTable", __config__=_STRICT, **_lists(_DECIDING | PROTOCOL_FIELDS))
OverrideTable = create_model(
    "OverrideTable",
    __config__=_STRICT,
    seeds=(Seeds, Field((0,))),
    **_optional(SETUP_FIELDS | PROTOCOL_FIELDS | FOLD_FIELDS),
)

_SPACE: dict[str, Any] = {
    name: (TuneRange | kind if is_number(name) else kind, field)
    for name, (kind, field) in _lists({name: SETUP_FIELDS[name] for name in tunable()}).items()
    if name in _DECIDING
}
SpaceTable = create_model("SpaceTable", __config__=_STRICT, **_SPACE)


class _Tune(BaseModel):
    model_config = _STRICT

    trials: int = Field(ge=2, le=1000, description="How many trials each arm has in each setting.")
    sampler: Literal["random", "tpe"] = Field(
        "random", description="random draws all of them beforehand, tpe (Optuna's) each after those before it."
    )
    seed: int = Field(
        1000,
        ge=0,
        lt=2**31,
        description="Of the search, and of the training of each trial; none of the file's own seeds.",
    )


TuneTable = create_model(
    "TuneTable",
    __base__=_Tune,
    space=(SpaceTable, Field(description="Fields of the setup with a range { from, to, log } or a list of values.")),
)

OutOfMemory = Literal["fail", "accumulate"]
Pair = Annotated[tuple[Name, ...], Field(min_length=2, max_length=2)]

AblationTable = create_model(
    "AblationTable",
    __config__=_STRICT,
    title=(str, Field("", description="Heading in the report; empty takes the file's name.")),
    description=(str, Field("", description="The question, in a sentence or two.")),
    on_out_of_memory=(
        OutOfMemory,
        Field(
            "fail",
            description="What happens to a run whose batch does not fit into its device's memory even alone: it fails, "
            "or is trained at half the batch with twice the accumulated steps, under a key of its own.",
        ),
    ),
    data=(Name, Field("phantom", description='The data set: a folder relative to this file, or "phantom".')),
    phantom=(PhantomTable, Field(default_factory=PhantomTable, description="How the embedded data set is drawn.")),
    setup=(SetupTable, Field(default_factory=SetupTable, description="Fields of ModelSetup that all runs share.")),
    arms=(
        Annotated[dict[Name, SetupTable], Field(min_length=1)],
        Field(None, description="The sides of a comparison; default: CXR and CXR+Clinical."),
    ),
    settings=(
        Annotated[list[SettingTable], Field(min_length=1)],
        Field(None, description="The points of the ablation, one table each."),
    ),
    grid=(GridTable, Field(None, description="Lists of values: every combination becomes a setting.")),
    protocol=(
        ProtocolTable,
        Field(default_factory=ProtocolTable, description="How runs are trained and evaluated, and with which seeds."),
    ),
    compare=(
        tuple[Pair, ...],
        Field((), description="Pairs (reference arm, other arm); default: the first arm with each other."),
    ),
    external=(
        list[ExternalTable],
        Field([], description="Data sets that kept checkpoints are evaluated on beside the runs' own, one table each."),
    ),
    hypothesis=(
        Hypothesis,
        Field(None, description="What the study sets out to show; registered when its first run is queued."),
    ),
    tune=(
        TuneTable,
        Field(None, description="The search for each arm's setup: equally many trials, chosen by validation AP."),
    ),
)


# What pydantic finds wrong, in one line that names file, line, key, what was expected and the hint.

_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "a text in quotes",
    "finite_number": "a finite number",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "greater_than": "a number greater than {gt}",
    "greater_than_equal": "a number of at least {ge}",
    "less_than": "a number less than {lt}",
    "less_than_equal": "a number of at most {le}",
    "string_too_short": "a text that is not empty",
    "string_pattern_mismatch": "an entry of the log such as e069",
    "too_long": "at most {max_length} values",
}


def first_problem(error: ValidationError, source: SourceFile) -> SpecError:
    """The problem that stands first in the file, in words."""
    groups: dict[KeyPath, list[Any]] = {}
    for problem in _of_given_form(source.document, error.errors(include_url=False)):
        groups.setdefault(_key_in(source.document, problem), []).append(problem)
    # what holds a wrong value may be reported for it once more (a list that is too short without it)
    holders = {path[:end] for path in groups for end in range(len(path))}
    inner = [path for path in groups if path not in holders]
    key = min(inner, key=lambda path: (line_of(source.lines, path) or 0, len(path)))
    what, hint = explain(key, groups[key])
    return source.error(key, what, hint)


#: Tables in whose place a list may stand.
_TABLES = (SeedsUntil.__name__, TuneRange.__name__)


def _of_given_form(document: Mapping[str, Any], problems: Iterable[Any]) -> Iterator[Any]:
    """``seeds`` and what is tuned are lists or tables: what is wrong with the one that was given, at its own place."""
    for problem in problems:
        loc = problem["loc"]
        place = len(_key_in(document, problem))
        branch = str(loc[place]) if place < len(loc) else ""
        if branch in _TABLES or branch.startswith(("tuple[", "list[")):
            given: Any = document
            for part in loc[:place]:
                given = given[part]
            if isinstance(given, list if branch in _TABLES else dict):
                continue
            problem["loc"] = (*loc[:place], *loc[place + 1 :])
        yield problem


def explain(key: KeyPath, problems: Iterable[Any]) -> tuple[str, str | None]:
    """What is wrong with ``key`` and the hint; ``problems`` are pydantic's about it."""
    found = list(problems)
    kind, value = found[0]["type"], found[0]["input"]
    if kind == "extra_forbidden":
        return "unknown key", _unknown_hint(key)
    if kind == "missing":
        name = str(found[0]["loc"][-1])
        return f"{name} is missing", _MISSING.get(name, f'add the line {name} = "…"')
    if kind == "too_short" and not value:
        return _empty(key)
    expected = [word for problem in found for word in _expectation(problem)]
    if isinstance(key[-1], str) and (field := (SETUP_FIELDS | PROTOCOL_FIELDS).get(key[-1])) and takes_none(field):
        expected.append('"none"')
    words = " or ".join(dict.fromkeys(expected))
    choices = re.findall(r'"([^"]+)"', words)
    best = nearest(value, choices) if isinstance(value, str) else None
    return f"expected {words}, got {toml_value(value)}", f'did you mean "{best}"?' if best else None


#: What to do about a key that is missing and takes no text.
_MISSING = {
    "trials": "add the line trials = 20",
    "space": "add a table [tune.space] with a line such as lr = { from = 1e-5, to = 1e-2, log = true }",
}


def toml_value(value: object, most: int | None = 60) -> str:
    """``value`` about as TOML writes it, cut where it has more than ``most`` characters (None: never)."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if most is None or len(text) <= most else f"{text[: most - 3]}…"


def _expectation(problem: Mapping[str, Any]) -> list[str]:
    kind, context = problem["type"], problem.get("ctx", {})
    if kind == "literal_error":
        return re.split(r", | or ", str(context["expected"]).replace("'", '"'))
    if kind in ("too_short", "too_long") and context.get("min_length", context.get("max_length")) == 2:
        return ["two arms"]
    if kind in _EXPECTED:
        limits = {name: f"{value:g}" for name, value in context.items() if isinstance(value, int | float)}
        words = _EXPECTED[kind].format(**limits)
        in_list = any(str(part).startswith("tuple[") for part in problem["loc"][:-1])
        return [f"a list of such: {words}" if in_list else words]
    return [str(problem["msg"]).removeprefix("Input should be ")]


def _key_in(document: Mapping[str, Any], problem: Mapping[str, Any]) -> KeyPath:
    """Pydantic's location as far as the document has it: what follows names branches of a union."""
    key: list[str | int] = []
    node: Any = document
    for part in problem["loc"]:
        inside = (isinstance(node, dict) and part in node) or (
            isinstance(node, list) and isinstance(part, int) and part < len(node)
        )
        if not inside:
            break
        key.append(part)
        node = node[part]
    return tuple(key)


def _empty(key: KeyPath) -> tuple[str, str]:
    if key[:1] == ("grid",):
        return "an empty grid", "give at least one value or leave the line out"
    if key == ("settings",):
        return "there are no settings", "add a [[settings]] table or leave the line out"
    if key == ("arms",):
        return "there are no arms", "add an [arms.NAME] table or leave the line out"
    return "expected at least one value, got none", "give a value or leave the line out"


def _table_words(key: KeyPath) -> list[str]:
    """The keys that are valid where ``key`` stands."""
    tables: dict[str, type[BaseModel]] = {
        "setup": SetupTable,
        "arms": SetupTable,
        "settings": SettingTable,
        "grid": GridTable,
        "protocol": ProtocolTable,
        "phantom": PhantomTable,
        "hypothesis": Hypothesis,
        "external": ExternalTable,
        "tune": TuneTable if len(key) == 2 else SpaceTable,
    }
    if len(key) == 1:
        return list(AblationTable.model_fields)
    if key[0] == "tune" and len(key) > 3:
        return [field.alias or name for name, field in TuneRange.model_fields.items()]
    own = ("phantom", "hypothesis", "external", "tune")
    return [*tables[str(key[0])].model_fields, *(() if key[0] in own else ALIASES)]


def _unknown_hint(key: KeyPath) -> str:
    word, valid = str(key[-1]), _table_words(key)
    if key[0] == "tune" and len(key) > 3:
        return did_you_mean(word, valid)
    if ALIASES.get(word) in valid:
        return f"{ALIASES[word]} is given too; leave one of them out"
    place = {"name": "[setup]"} | dict.fromkeys(PROTOCOL_FIELDS, "[protocol]") | dict.fromkeys(SETUP_FIELDS, "[setup]")
    if word in place and word not in valid:
        return f"it belongs in {place[word]} or in a [[settings]] table"
    if word in ("seeds", "inferred", *FOLD_FIELDS) and word not in valid:
        return "it belongs in [protocol]"
    best = nearest(word, valid)
    if best is None and (elsewhere := nearest(word, place)) is not None:
        return f"did you mean {elsewhere}? (it belongs in {place[elsewhere]})"
    return f"did you mean {best}?" if best else did_you_mean(word, valid, "mmad schema")


# From the text to its parts, every value checked by itself.

DEFAULT_ARMS: Mapping[str, Mapping[str, Any]] = {
    "CXR": {"use_clinical": False},
    "CXR+Clinical": {"use_clinical": True},
}
_FIELDS = SETUP_FIELDS | PROTOCOL_FIELDS
_SEEDS = ("seed", "seeds")


@dataclass(frozen=True)
class ContinueFrom:
    """What a setting's ``continue_from`` says, and where it says so.

    ``run`` is a setting with an arm (None: the same arm), an entry of the documented log, or a run's key.
    """

    run: str | Mapping[str, Any]
    place: KeyPath


@dataclass(frozen=True)
class Layer:
    """Values that one place gives to fields, and that place."""

    values: Mapping[str, Any]
    place: KeyPath
    word: str | None = None  # the --set word, when it is no place of the file

    def key(self, field: str) -> KeyPath:
        return (*self.place, field)


@dataclass(frozen=True)
class Setting:
    """One ``[[settings]]`` table: a point of the ablation."""

    name: str
    layer: Layer
    documented: Mapping[str, str]
    inferred: tuple[str, ...]
    place: KeyPath
    continues: ContinueFrom | None = None


@dataclass(frozen=True)
class ParsedFile:
    """An ablation file, its values checked one by one but not yet put together."""

    source: SourceFile
    title: str
    description: str
    on_out_of_memory: str
    data: str
    phantom: Mapping[str, Any]
    setup: Layer
    protocol: Layer
    inferred: tuple[str, ...]
    arms: Mapping[str, Layer]
    settings: tuple[Setting, ...]
    grid: Mapping[str, tuple[Any, ...]]
    compare: tuple[tuple[str, str], ...]
    hypothesis: Hypothesis | None = None
    looks: tuple[int, int] | None = None
    tuning: Tuning | None = None

    @property
    def name(self) -> str:
        """The ablation's name: the file's, without its ending."""
        return Path(self.source.path).stem


def parse_file(path: Path) -> ParsedFile:
    """Read and check the ablation file ``path``.

    Raises:
        SpecError: whatever is wrong first, with file, line, key and hint.
    """
    source = read_source(path)
    document = _prepared(source, source.document, ())
    try:
        table = AblationTable.model_validate_json(json.dumps(document))
    except ValidationError as error:
        raise first_problem(error, source) from None
    given = table.model_dump(exclude_unset=True)
    protocol = dict(given.get("protocol", {}))
    looks = _looks(source, table, protocol)
    inferred = _inferred(protocol, source, ("protocol", "inferred"))
    parsed = ParsedFile(
        source=source,
        title=given.get("title") or Path(source.path).stem,
        description=given.get("description", ""),
        on_out_of_memory=given.get("on_out_of_memory", "fail"),
        data=given.get("data", "phantom"),
        phantom=given.get("phantom", {}),
        setup=Layer(given.get("setup", {}), ("setup",)),
        protocol=Layer(_seeded(protocol, source, ("protocol",)), ("protocol",)),
        inferred=inferred,
        arms={name: Layer(values, ("arms", name)) for name, values in given.get("arms", DEFAULT_ARMS).items()},
        settings=tuple(_setting(source, i, values) for i, values in enumerate(given.get("settings", ()))),
        grid=_grid(source, given.get("grid")),
        compare=tuple((pair[0], pair[1]) for pair in given.get("compare", ())),
        hypothesis=table.hypothesis,  # type: ignore[attr-defined]
        looks=looks,
        tuning=_tuning(source, table.tune),  # type: ignore[attr-defined]
    )
    _check_arms(parsed)
    _check_names(source, ((("arms", name), name) for name in parsed.arms))
    _check_names(source, (((*setting.place, "name"), setting.name) for setting in parsed.settings))
    _check_external(source, table.external)  # type: ignore[attr-defined]
    return parsed


def parse_override(word: str) -> Layer:
    """One ``--set field=value``: the value as TOML reads it, else as plain text.

    Raises:
        SpecError: no ``=``, an unknown field (with the nearest), a value of the wrong type or range.
    """
    field, equals, text = word.partition("=")
    field, text = field.strip(), text.strip()
    where = override_place(word)
    if not equals or not field:
        raise SpecError("expected field=value", where=where, hint="write it as --set epochs=1")
    if any("\ud800" <= letter <= "\udfff" for letter in word):  # bytes of the command line that are no text
        raise SpecError("is not UTF-8 text", where=where, hint="write it in UTF-8")
    field = ALIASES.get(field, field)
    known = [*_FIELDS, *ALIASES, "seeds", *FOLD_FIELDS]
    if field not in known:
        raise SpecError(f"{field}: unknown field", where=where, hint=did_you_mean(field, known, "mmad schema"))
    candidates: list[Any] = [text]
    try:
        document = tomllib.loads(f"value = {text}")
        json.dumps(document, default=str)
    except (ValueError, RecursionError):  # no TOML, or more of it than Python reads: a plain text
        pass
    else:
        if list(document) == ["value"] and document["value"] != text:
            candidates.insert(0, document["value"])
    problem: ValidationError | None = None
    for value in candidates:
        try:
            table = OverrideTable.model_validate_json(json.dumps({field: _none_or(field, value)}, default=str))
        except ValidationError as error:
            problem = problem or error
            continue
        values = table.model_dump(exclude_unset=True)
        for acting in filter(None, map(acting_character, _texts(values))):
            raise SpecError(f"{field}: holds the control character {acting}", where=where, hint="leave it out")
        return Layer({"seeds": (values["seed"],)} if field == "seed" else values, (), word)
    assert problem is not None
    what, hint = explain((field,), problem.errors(include_url=False))
    raise SpecError(f"{field}: {what}", where=where, hint=hint)


def _texts(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        yield from _texts([*node, *node.values()])
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _texts(value)


def override_place(word: str) -> str:
    """How a message names the ``--set`` word, on one line whatever is in it."""
    return f"--set {word if word.isprintable() else repr(word)}"


def _none_or(field: str, value: Any) -> Any:
    """TOML has no null: the word ``none`` stands for it where a field may be absent."""
    absent = isinstance(value, str) and value.lower() == "none" and field in _FIELDS and takes_none(_FIELDS[field])
    return None if absent else value


#: Texts that may have several lines.
_PROSE: tuple[KeyPath, ...] = (("title",), ("description",), ("hypothesis", "intended_use"))


def place_in_file(ablation: Ablation, table: str, field: str) -> str:
    """``file:line`` where ``ablation`` gives ``field`` in ``table``, or the ``--set`` word that does; else the file."""
    words = [word for word in ablation.members[0].overrides if word.partition("=")[0].strip() == field]
    line = line_of(key_lines(ablation.source), (table, field))
    return override_place(words[-1]) if words else ablation.path if line is None else f"{ablation.path}:{line}"


def place_of_part(ablation: Ablation, field: str, value: Any, argument: str = "") -> str:
    """``file:line`` where ``ablation`` gives ``field`` the table ``value``, or one of its arguments; else the file."""
    lines = key_lines(ablation.source)
    document = tomllib.loads(ablation.source)

    def places(node: Any, path: KeyPath) -> Iterator[KeyPath]:
        named = next((part for part in reversed(path) if isinstance(part, str)), "")
        if named == field and node == value:
            yield path
        inside = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for part, child in inside:
            yield from places(child, (*path, part))

    found = next(places(document, ()), None)
    if found is None:
        words = [word for member in ablation.members for word in member.overrides if word.startswith(f"{field}=")]
        return override_place(words[-1]) if words else ablation.path
    line = line_of(lines, (*found, argument))
    return ablation.path if line is None else f"{ablation.path}:{line}"


def _prepared(source: SourceFile, node: Any, key: KeyPath) -> Any:
    """The document with ``"none"`` as null; what no field takes is refused: dates, control characters, long numbers."""
    if isinstance(node, datetime.date | datetime.time):
        raise source.error(key, f"expected no date or time, got {node}", "put it in quotes if it is a text")
    if isinstance(node, int) and abs(node) > MAX_INTEGER:
        raise source.error(key, "the number is too large", f"a whole number is at most {MAX_INTEGER}")
    if isinstance(node, str):
        _check_text(source, key, node, "\n\t" if key in _PROSE else "")
    if isinstance(node, dict):
        for name in node:
            _check_text(source, (*key, name), name)
        return {name: _prepared(source, value, (*key, name)) for name, value in node.items()}
    if isinstance(node, list):
        return [_prepared(source, value, (*key, position)) for position, value in enumerate(node)]
    named = next((str(part) for part in reversed(key) if isinstance(part, str)), "")
    return _none_or(ALIASES.get(named, named), node)


def _check_text(source: SourceFile, key: KeyPath, text: str, allowed: str = "") -> None:
    if (acting := acting_character(text, allowed)) is not None:
        what = f"{shown(text)} holds the control character {acting}"
        raise SpecError(what, where=source.where(key), hint="leave it out")


def _setting(source: SourceFile, position: int, given: Mapping[str, Any]) -> Setting:
    place: KeyPath = ("settings", position)
    values = dict(given)
    name, documented = values.pop("name"), values.pop("documented", {})
    run = values.pop("continue_from", None)
    continues = None if run is None else ContinueFrom(run, (*place, "continue_from"))
    inferred = _inferred(values, source, (*place, "inferred"))
    return Setting(name, Layer(_seeded(values, source, place), place), documented, inferred, place, continues)


def _inferred(values: dict[str, Any], source: SourceFile, key: KeyPath) -> tuple[str, ...]:
    """The names under ``inferred``, taken out of ``values``."""
    names = values.pop("inferred", ())
    for position, name in enumerate(names):
        if ALIASES.get(name, name) not in _FIELDS:
            raise source.error(key, f"{name!r} is no field", did_you_mean(name, _FIELDS, "mmad schema"))
        if name in names[:position]:
            raise source.error(key, f"{name!r} is listed twice", "leave one of them out")
    return tuple(ALIASES.get(name, name) for name in names)


def _seeded(values: Mapping[str, Any], source: SourceFile, place: KeyPath) -> dict[str, Any]:
    """``seed = 3`` written as ``seeds = [3]``; both at once, or a seed twice, are refused."""
    result = dict(values)
    if all(name in values for name in _SEEDS):
        raise source.error((*place, "seed"), "seeds is given too", "leave one of them out")
    if "seed" in result:
        result["seeds"] = (result.pop("seed"),)
    if len(set(result.get("seeds", ()))) != len(result.get("seeds", ())):
        raise source.error((*place, "seeds"), "a seed is listed twice", "leave one out, or set replicate = 2")
    return result


def _looks(source: SourceFile, table: Any, protocol: dict[str, Any]) -> tuple[int, int] | None:
    """The seeds of the first and of the last look, if ``[protocol]`` has seeds until pairs are settled.

    In ``protocol`` all of them take their place.
    """
    settings = table.settings or ()
    for position, setting in enumerate(settings):
        if isinstance(setting.seeds, SeedsUntil):
            raise source.error(
                ("settings", position, "seeds"), "seeds until settled are one plan", "put it in [protocol]"
            )
    if table.protocol is None or not isinstance(table.protocol.seeds, SeedsUntil):
        return None
    until = table.protocol.seeds
    if until.most <= until.first:
        raise source.error(("protocol", "seeds"), f"from {until.first} to {until.most}", "let to be more than from")
    fixed = [(n, name) for n, one in enumerate(settings) for name in _SEEDS if name in one.model_fields_set]
    if fixed:
        raise source.error(("settings", *fixed[0]), "[protocol] has seeds until settled", "leave one of them out")
    if table.grid is not None and "seed" in table.grid.model_fields_set:
        raise source.error(("grid", "seed"), "[protocol] has seeds until settled", "leave one of them out")
    protocol["seeds"] = tuple(range(until.most))
    return until.first, until.most


def _tuning(source: SourceFile, table: Any) -> Tuning | None:
    """``[tune]``, its ranges checked by themselves: against one another, and against what their fields take."""
    if table is None:
        return None
    space: dict[str, TuneRange | tuple[Any, ...]] = {}
    for name in table.space.model_fields_set:
        key, within = ("tune", "space", name), getattr(table.space, name)
        space[name] = within if isinstance(within, TuneRange) else tuple(within)
        if isinstance(within, TuneRange):
            low, high = within.low, within.high
            if low >= high:
                raise source.error(key, f"from {low:g} to {high:g} holds nothing to choose", "let to be more than from")
            if within.log and low <= 0:
                raise source.error(key, f"from {low:g} has no logarithm", "let from be more than 0")
            if is_whole(name) and not (low.is_integer() and high.is_integer()):
                raise source.error(
                    key, f"from {low:g} to {high:g}, and {name} is a whole number", "write whole numbers"
                )
            for end in (low, high):
                if (near := as_drawn(name, end)) != end:
                    raise source.error(key, f"{end!r} has more digits than a trial", f"round it, to {near!r}")
            ends = [int(low), int(high)] if is_whole(name) else [low, high]
            try:
                GridTable.model_validate_json(json.dumps({name: ends}))
            except ValidationError as error:
                what, hint = explain(key, error.errors(include_url=False))
                raise source.error(key, what, hint) from None
        elif len({json.dumps(value, sort_keys=True, default=str) for value in within}) < max(2, len(within)):
            what = "a value is listed twice" if len(within) > 1 else "one value is nothing to choose from"
            raise source.error(key, what, "give different values, or put the one into [setup]")
    if not space:
        raise source.error(
            ("tune", "space"), "nothing to search", "name a field: lr = { from = 1e-5, to = 1e-2, log = true }"
        )
    order = [ALIASES.get(name, name) for name in source.document["tune"]["space"]]
    ordered = {name: space[name] for name in order}
    found = Tuning(table.trials, table.sampler, table.seed, ordered)
    if found.trials > (most := found.combinations()):
        what = f"{found.trials} trials of a space of {most:g} combinations"
        raise source.error(("tune", "trials"), what, f"at most trials = {most:g}, or more values in [tune.space]")
    return found


def _grid(source: SourceFile, given: Mapping[str, Any] | None) -> dict[str, tuple[Any, ...]]:
    if given is None:
        return {}
    if not given:
        raise source.error(("grid",), "an empty grid", "give a field a list of values, or leave [grid] out")
    grid: dict[str, tuple[Any, ...]] = {}
    for field, values in given.items():
        if len({json.dumps(value, sort_keys=True, default=str) for value in values}) < len(values):
            raise source.error(("grid", field), "a value is listed twice", "leave one of them out")
        grid[field] = tuple(values)
    return grid


def _check_arms(parsed: ParsedFile) -> None:
    """Every arm that ``compare`` and ``documented`` name has to exist."""
    source = parsed.source
    if parsed.compare and len(parsed.arms) == 1:
        raise source.error(("compare",), "there is only one arm", "add an arm or leave compare out")
    for position, pair in enumerate(parsed.compare):
        for arm in pair:
            if arm not in parsed.arms:
                raise source.error(("compare", position), f"no arm is named {arm!r}", did_you_mean(arm, parsed.arms))
        if pair[0] == pair[1]:
            raise source.error(("compare", position), f"{pair[0]!r} with itself", "name two arms")
        if set(pair) in map(set, parsed.compare[:position]):
            what = f"{pair[0]!r} and {pair[1]!r} are compared twice"
            raise source.error(("compare", position), what, "leave one of them out")
    for setting in parsed.settings:
        for arm in setting.documented:
            if arm not in parsed.arms:
                key = (*setting.place, "documented", arm)
                raise source.error(key, f"no arm is named {arm!r}", did_you_mean(arm, parsed.arms))


def _check_names(source: SourceFile, names: Iterable[tuple[KeyPath, str]]) -> None:
    """No name of an arm, or of a setting, differs from another in what nobody sees."""
    seen: dict[str, str] = {}
    for key, name in names:
        if name != name.strip():
            raise source.error(key, f"{name!r} has blanks at an end", "leave them out")
        other = seen.setdefault(unicodedata.normalize("NFC", name), name)
        if other != name:
            raise source.error(key, f"{name!a} and {other!a} look like one name", "write one of them otherwise")


def _check_external(source: SourceFile, tables: Iterable[ExternalTable]) -> None:
    seen: set[str] = set()
    for position, one in enumerate(tables):
        if one.name in seen:
            raise source.error(("external", position, "name"), f"{one.name!r} is named twice", "give each its own name")
        seen.add(one.name)


def split_fields(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """``values`` sorted into setup, training protocol and evaluation protocol."""
    return (
        {name: value for name, value in values.items() if name in SETUP_FIELDS},
        {name: value for name, value in values.items() if name in TRAINING_FIELDS},
        {name: value for name, value in values.items() if name in EVALUATION_FIELDS},
    )
