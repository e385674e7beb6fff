"""``mmad note``: what a person has to say about a run or an ablation."""

from __future__ import annotations

from typing import Annotated

import typer

from mmad.api.results import open_store
from mmad.cli.options import DEFAULT_DB, DatabaseOption, JsonOption
from mmad.cli.output import console, print_json


def note(
    name: Annotated[
        str,
        typer.Argument(metavar="RUN|ABLATION", help="An ablation; or a key's beginning, ablation/setting/arm[/seed]."),
    ],
    text: Annotated[str, typer.Argument(metavar="[TEXT]", help="What to write; left out: show what is written.")] = "",
    tag: Annotated[
        list[str] | None, typer.Option("--tag", metavar="TAG", help="A word to find it by; may be repeated.")
    ] = None,
    db: DatabaseOption = DEFAULT_DB,
    as_json: JsonOption = False,
) -> None:
    """Write a note about a run or an ablation, or show those that are written.

    Notes stand in the report, in `mmad runs` and in `mmad show`. A note is added, never changed.

    --json prints the notes of the run or ablation, oldest first, the new one last: a list of
    {"about": "run" or "ablation", "text": …, "tags": [words], "moment": …}.
    """
    from mmad.store.notes import add_note, read_notes, subject_of

    reads = not text.strip() and not tag
    with open_store(db, read_only=reads) as store:
        if not reads:
            add_note(store, name, text, tag or ())
        about, named = subject_of(store, name)
        notes = read_notes(store)
    found = notes.of_run(named) if about == "run" else notes.of_ablation(named)
    if as_json:
        print_json([one.plain for one in found])
        return
    out = console()
    for one in found if reads else found[-1:]:
        out.print(f"{one.moment:%Y-%m-%d %H:%M} UTC: {one.line}", markup=False, highlight=False, soft_wrap=True)
    if not found:
        out.print("no note yet", markup=False)


def register(app: typer.Typer) -> None:
    app.command("note")(note)
