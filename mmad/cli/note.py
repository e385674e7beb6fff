"""``mmad note``: what a person has to say about a run or an ablation."""

from __future__ import annotations

from typing import Annotated

import typer

from mmad.api.results import open_store
from mmad.base.errors import StoreError
from mmad.cli.options import DEFAULT_DB, DatabaseOption, JsonOption
from mmad.cli.output import console, print_json


def note(
    name: Annotated[
        str,
        typer.Argument(metavar="RUN|ABLATION", help="An ablation; or a key's beginning, ablation/setting/arm[/seed]."),
    ],
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What to write; default: show what is written.")] = "",
    tag: Annotated[
        list[str] | None, typer.Option("--tag", metavar="TAG", help="A word to find it by; may be repeated.")
    ] = None,
    edit: Annotated[
        int | None, typer.Option("--edit", metavar="N", min=1, help="Give note N this text, or these tags.")
    ] = None,
    remove: Annotated[int | None, typer.Option("--remove", metavar="N", min=1, help="Remove note N.")] = None,
    db: DatabaseOption = DEFAULT_DB,
    as_json: JsonOption = False,
) -> None:
    """Write a note about a run or an ablation, or show those that are written.

    Notes stand in the report, in `mmad runs` and in `mmad show`. N counts those of the run or ablation, from 1 for the
    oldest, as they are shown. --edit leaves the note's text or tags where none are given.

    --json prints the notes of the run or ablation, oldest first, the new one last: a list of
    {"about": "run" or "ablation", "text": …, "tags": [words], "moment": …}.
    """
    from mmad.store.notes import add_note, edit_note, read_notes, remove_note, subject_of

    writes = bool(text.strip() or tag)
    if remove is not None and (writes or edit is not None):
        raise StoreError("it takes no text, tag or --edit", where="--remove", hint="leave out one of them")
    with open_store(db, read_only=not writes and edit is None and remove is None) as store:
        if remove is not None:
            said = [remove_note(store, name, remove)]
        elif edit is not None:
            said = [edit_note(store, name, edit, text, tag or ())]
        else:
            said = [add_note(store, name, text, tag or ())] if writes else []
        about, named = subject_of(store, name)
        notes = read_notes(store)
    found = notes.of_run(named) if about == "run" else notes.of_ablation(named)
    if as_json:
        print_json([one.plain for one in found])
        return
    out = console()
    for one in said or found:
        number = "" if said else f"{found.index(one) + 1}. "
        gone = "removed: " if remove is not None else ""
        line = f"{number}{one.moment:%Y-%m-%d %H:%M} UTC: {gone}{one.line}"
        out.print(line, markup=False, highlight=False, soft_wrap=True)
    if not said and not found:
        out.print("no note yet", markup=False)


def register(app: typer.Typer) -> None:
    app.command("note")(note)
