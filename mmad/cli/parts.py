"""``mmad parts`` and ``schema``: what fields of the setup can name, and what an ablation file can hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmad.cli.options import JsonOption
from mmad.cli.output import console, print_json

if TYPE_CHECKING:
    from mmad.config.named_parts import PartKind


def parts(
    field: Annotated[str | None, typer.Argument(metavar="FIELD", help="A field, such as fusion.")] = None,
    json: JsonOption = False,
) -> None:
    """List the parts that fields of the setup can name, their arguments, and the Protocol of each kind.

    A part is a word, or { use = "MODULE:CLASS", … } with arguments: a class of your own, in a module beside the
    ablation file or installed.

    --json prints {"fusion": {"protocol": "MODULE:CLASS", "words": {"film": {"class": "MODULE:CLASS", "what": "…",
    "arguments": {}}}, "others": {"era": "…"}}, …}.
    """
    from mmad.base.errors import SpecError
    from mmad.config.messages import did_you_mean
    from mmad.config.named_parts import PARTS

    if field is not None and field not in PARTS:
        raise SpecError(f"{field}: no field that names a part", hint=did_you_mean(field, PARTS))
    kinds = [kind for kind in PARTS.values() if field in (None, kind.field)]
    if json:
        print_json({kind.field: _json(kind) for kind in kinds})
        return
    for kind in kinds:
        _print(kind)


def _json(kind: PartKind) -> dict[str, Any]:
    from mmad.config.named_parts import describe

    words = {word: describe(path) for word, path in kind.words.items()}
    return {
        "protocol": kind.protocol,
        "words": {
            word: {"class": one.path, "what": one.what, "arguments": dict(one.arguments)} for word, one in words.items()
        },
        "others": dict(kind.others),
    }


def _print(kind: PartKind) -> None:
    from mmad.base.terminal import TerminalColumn, fitted_table
    from mmad.config.named_parts import describe

    columns = [TerminalColumn("word"), TerminalColumn("arguments"), TerminalColumn("what it is", wraps=True)]
    rows = [[word, "", what] for word, what in kind.others.items()]
    for word, path in kind.words.items():
        one = describe(path)
        rows.append([word, ", ".join(f"{name} = {value}" for name, value in one.arguments.items()), one.what])
    out = console()
    out.print(fitted_table(columns, rows, out.width, title=kind.field))
    print(f'your own: {kind.field} = {{ use = "MODULE:CLASS", … }}, a class that implements {kind.protocol}\n')


def schema() -> None:
    """Print the JSON Schema (draft 4) of the ablation file.

    The shipped files name their copy of it in the first line, so that editors with Taplo complete and check them.
    """
    from mmad.config.json_schema import ablation_schema

    print_json(ablation_schema())


def register(app: typer.Typer) -> None:
    """Adds both commands."""
    app.command()(parts)
    app.command()(schema)
