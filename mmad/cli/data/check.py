"""``mmad data check``: what is wrong or suspicious in a data set, and a repaired copy of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmad.cli.common import JsonOption, make_console, print_json, progress_bar
from mmad.cli.data.common import FolderArgument

if TYPE_CHECKING:
    from mmad.data.audit.findings import Audit, Finding
    from mmad.data.audit.fix import Fixed

FixOption = Annotated[bool, typer.Option("--fix", help="Write a repaired copy to --out; DIR stays as it is.")]
NewOption = Annotated[
    Path | None,
    typer.Option("--out", metavar="NEW", help="With --fix: folder to make; must not hold anything yet."),
]


def register(data: typer.Typer) -> None:
    @data.command("check")
    def check(
        folder: FolderArgument, fix: FixOption = False, out: NewOption = None, as_json: JsonOption = False
    ) -> None:
        """List everything that is wrong or suspicious in a data set, by rows and with its mend.

        Errors make training impossible or its figures untrue: `mmad ablate` refuses them. Warnings are to be known.

        Exit code: 0 no error, 2 errors (with --fix: errors that are left in the copy).
        """
        from mmad.data.audit.check import audit_folder
        from mmad.data.audit.fix import fix_folder

        if fix != (out is not None):
            raise typer.BadParameter("--fix and --out NEW go together", param_hint="--fix")
        with progress_bar(f"looking at the images of {folder}") as report:
            audit = audit_folder(folder, report)
        fixed = None
        if out is not None:
            with progress_bar(f"writing a repaired copy to {out}") as report:
                fixed = fix_folder(folder, out, report)
        if as_json:
            print_json(_json(folder, audit, fixed))
        else:
            _show(folder, audit)
            if fixed is not None:
                _show_fixed(fixed)
        raise typer.Exit(2 if (fixed.audit if fixed is not None else audit).errors else 0)


def _json(folder: Path, audit: Audit, fixed: Fixed | None) -> dict[str, Any]:
    from mmad.data.audit.findings import plain

    copy = None
    if fixed is not None:
        copy = {"out": str(fixed.out), "done": list(fixed.done), **plain(fixed.audit)}
    return {"path": str(folder), **plain(audit), "fixed": copy}


def _show(folder: Path, audit: Audit) -> None:
    from rich.table import Table

    console = make_console()
    if audit.findings:
        table = Table("", "code", "what, and what to do about it", "studies", title=None, show_lines=True)
        for found in audit.findings:
            told = f"{found.where}: {found.what}\n→ {found.mend}"
            table.add_row(found.level, found.code, told, _rows(found))
        console.print(table)
    if audit.splits:
        counts = Table("split", "studies", "patients", "boxes", "label", "boxes", "studies", "small", "medium", "large")
        for split in audit.splits:
            head = [split.split, str(split.studies), str(split.patients), str(split.boxes)]
            for label in split.labels:
                sizes = (label.boxes, label.studies, label.small, label.medium, label.large)
                counts.add_row(*head, label.label, *map(str, sizes))
                head = [""] * 4
            counts.add_section()
        console.print(counts)
        typer.echo("boxes are small below 1 % of the image's area, large from 10 % on")
    typer.echo(f"{folder}: {_count(len(audit.errors), 'error')}, {_count(len(audit.warnings), 'warning')}")


def _rows(found: Finding) -> str:
    more = found.count - len(found.rows)
    return ", ".join(found.rows) + (f" and {more} more" if found.rows and more > 0 else "")


def _show_fixed(fixed: Fixed) -> None:
    for line in fixed.done or ("nothing was wrong that can be mended",):
        typer.echo(line)
    audit = fixed.audit
    typer.echo(f"{fixed.out}: {_count(len(audit.errors), 'error')}, {_count(len(audit.warnings), 'warning')}")
    for found in audit.errors:
        typer.echo(f"left: {found.code}: {found.where}: {found.what}; {found.mend}")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
