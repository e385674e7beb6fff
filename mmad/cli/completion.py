"""What completes a command line: names of runs and ablations, members of a file, fields, values, entries, choices.

The kind of a parameter follows from what stands for it in ``--help``: ``RUN``, ``FIELD=VALUE``, ``val|test``. Neither
torch nor pandas, NumPy, SQLAlchemy or Rich is imported.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import MethodType
from typing import Any

from mmad.base.paths import StorePaths, shipped_ablations
from mmad.cli.options import VARIABLE

#: At most so many names are offered at once.
_MOST = 500

Candidates = Iterable[str]


def answer(run: Callable[[], None]) -> None:
    """Prints what may stand at the cursor, as the shell that asks in ``VARIABLE`` reads it.

    Bash ends a word at ``=`` and takes what it gets as it is: there words are joined before, and names quoted after.
    """
    head = ""
    bash = os.environ[VARIABLE] == "complete_bash"
    if bash:
        head = _join_words()
    out = io.StringIO()
    code: object = 0
    with contextlib.redirect_stdout(out):
        try:
            run()
        except SystemExit as end:
            code = end.code
    lines = [line for line in out.getvalue().splitlines() if line]
    if bash:
        lines = [_quoted(line.removeprefix(head)) for line in lines]
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.exit(code if isinstance(code, int) else 0)


def _join_words() -> str:
    """Puts together what Bash took apart at ``=``; the part before the word that it completes."""
    words = os.environ.get("COMP_WORDS", "").split("\n")
    place = int(os.environ.get("COMP_CWORD", "0") or 0)
    words = (words if len(words) > 1 else _split(words[0]))[: place + 1]
    joined: list[str] = []
    head = ""
    for n, word in enumerate(words):
        if joined and (word == "=" or (n and words[n - 1] == "=")):
            head = joined[-1] + ("=" if word == "=" else "")
            joined[-1] += word
        else:
            head = ""
            joined.append(word)
    if len(words) <= place:
        joined.append("")
    os.environ["COMP_WORDS"] = "\n".join(joined)
    os.environ["COMP_CWORD"] = str(len(joined) - 1)
    return head


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def _quoted(word: str) -> str:
    return re.sub(r"([^\w@%+=:,./·\[\]-])", r"\\\1", word) if word else word


def completed(command: Any) -> Any:
    """``command``, whose parameters complete themselves where their kind is known; groups with what they hold."""
    for inner in getattr(command, "commands", {}).values():
        completed(inner)
    for param in command.params:
        if (candidates := _kind(param)) is not None:
            param.shell_complete = MethodType(_completing(candidates), param)
    return command


def _completing(candidates: Callable[[Any], Candidates]) -> Callable[..., list[Any]]:
    from typer._click.shell_completion import CompletionItem

    def complete(_: Any, ctx: Any, incomplete: str) -> list[Any]:
        begun = incomplete.casefold()
        found: list[Any] = []  # without help: Typer would load Rich to write it
        for word in candidates(ctx):
            if word.casefold().startswith(begun):
                found.append(CompletionItem(word))
            if len(found) == _MOST:
                break
        return found

    return complete


def _kind(param: Any) -> Callable[[Any], Candidates] | None:
    """What may be offered for a parameter, by its metavar; None where the shell completes files."""
    metavar = re.sub(r"[\[\]….]", "", param.metavar or "").strip()
    kinds = {
        "RUN": _runs,
        "RUN_A RUN_B": _runs,
        "RUN|ABLATION": _runs,
        "ABLATION": _ablations,
        "FIELD=VALUE": _overrides,
        "WORDS": _members,
        "RUN|MEMBER": _members,
        "ENTRY": _entries,
        "ID": _entries,
    }
    if metavar == "NAME" and param.name in ("ablation", "name"):
        return _runs if param.param_type_name == "argument" else _ablations
    if metavar in kinds:
        return kinds[metavar]
    words = [word for word in re.split(r"[|,]", metavar) if re.fullmatch(r"[a-z][a-z0-9_-]*", word)]
    return (lambda _: words) if len(words) > 1 else None


def _recorded(ctx: Any) -> list[tuple[str, str, str, int, int]]:
    from mmad.store.member_names import member_names

    database = ctx.params.get("db") or os.environ.get("MMAD_DB") or "db/mmad.sqlite"
    file = StorePaths(str(database)).file
    return [] if file is None else member_names(file)


def _ablations(ctx: Any) -> Candidates:
    return dict.fromkeys(member[0] for member in _recorded(ctx))


def _runs(ctx: Any) -> Candidates:
    """Ablations, then arms, then runs: a prefix of one another, as the commands take them."""
    members = _recorded(ctx)
    arms = ["/".join(member[:3]) for member in members]
    seeds = [f"{arm}/{seed}" for arm, (*_, seed, _) in zip(arms, members, strict=True)]
    return dict.fromkeys([*(member[0] for member in members), *arms, *seeds])


def _entries(ctx: Any) -> Candidates:
    """Ids of the documented log."""
    folder = Path(__file__).parents[1] / "experiment_log"
    for file in ("entries.json", "later_entries.json"):
        yield from (entry["id"] for entry in json.loads((folder / file).read_text("utf-8")))


def _members(ctx: Any) -> Candidates:
    """Settings, arms and seeds of the files that were named."""
    import tomllib

    words = _split(os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS", ""))
    for file in (Path(word) for word in words if word.endswith(".toml")):  # an option without its value hides them
        try:
            content = tomllib.loads(file.read_text("utf-8"))
        except (OSError, ValueError):
            continue
        arms = list(content.get("arms", {})) or ["CXR", "CXR+Clinical"]
        settings = [str(one.get("name", "")) for one in content.get("settings", [])] or ["default"]
        yield from arms
        yield from settings
        protocol = content.get("protocol", {})
        yield from (f"seed={seed}" for seed in protocol.get("seeds", [0]))
        yield from (f"fold={number + 1}" for number in range(int(protocol.get("folds", 0))))
        yield from (f"{file.stem}/{setting}/{arm}" for setting in settings for arm in arms)


def _overrides(ctx: Any) -> Candidates:
    """Every field with ``=``, and ``field=value`` for each value that its schema names."""
    for name, field in _fields().items():
        yield f"{name}="
        yield from (f"{name}={value}" for value in dict.fromkeys(_values(field)))


def _fields() -> dict[str, dict[str, Any]]:
    file = shipped_ablations() / "schema.json"
    try:
        tables = json.loads(file.read_text("utf-8"))["definitions"]
    except (OSError, ValueError, KeyError):
        return {}
    return {**tables["SetupTable"]["properties"], **tables["ProtocolTable"]["properties"]}


def _values(field: dict[str, Any]) -> Iterator[str]:
    if field.get("type") == "boolean":
        yield from ("true", "false")
    yield from map(str, field.get("enum", ()))
    for part in (*field.get("anyOf", ()), *field.get("allOf", ())):
        yield from _values(part)
