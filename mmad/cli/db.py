"""``mmad db``: copy, merge, check, back up, upgrade and export the database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmad.base.formatting import plural, short_key
from mmad.cli.options import DEFAULT_DB, DatabaseOption, JsonOption
from mmad.cli.output import print_json, progress_bar

if TYPE_CHECKING:
    from mmad.store.maintenance import Checked, Copied
    from mmad.store.merge import MergeConflict, Merged


# mmad db check


#: How many findings with one hint are listed for people.
_SHOWN = 12


def check(
    db: DatabaseOption = DEFAULT_DB,
    deep: Annotated[
        bool, typer.Option("--deep", help="Read every file: SHA-256 of checkpoints, check sums of detections.")
    ] = False,
    fix: Annotated[
        bool, typer.Option("--fix", help="Remove damaged rows of caches, and secrets from recorded command lines.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Look for what is wrong in the database and beside it.

    Damaged pages, values that their column cannot hold, rows that name a row which is not there, a schema that
    lacks something, command lines with passwords or tokens, runs that nobody trains although they say so, missing
    epochs, and files that are named and not there. Exit code 1 when something was found.

    Nothing is changed, unless --fix asks for what loses nothing: damaged rows that are computed or measured again
    when they are needed are removed, and passwords and tokens are taken out of the command lines that earlier
    versions recorded. What is left is listed.

    --json prints {"database", "schema", "tables", "runs", "files", "read", "findings": [{check, where, what,
    hint}], "fixed": null or {rows, commands}}; check is integrity, schema, values, references, secrets, runs,
    epochs or files.
    """
    from mmad.store.maintenance import check_database, fix_database

    fixed = fix_database(db) if fix else None
    with progress_bar("looking at the files" if deep else "") as progress:
        checked = check_database(db, deep=deep, progress=progress)
    if json:
        print_json(asdict(checked) | {"fixed": None if fixed is None else asdict(fixed)})
    else:
        if fixed is not None:
            removed = f"removed {plural(fixed.rows, 'damaged row')} of caches"
            typer.echo(f"{removed}; took secrets out of {plural(fixed.commands, 'command line')}")
        _print_checked(checked)
    if checked.findings:
        raise typer.Exit(1)


def _print_checked(checked: Checked) -> None:
    for hint in dict.fromkeys(finding.hint for finding in checked.findings):
        alike = [finding for finding in checked.findings if finding.hint == hint]
        for finding in alike[:_SHOWN]:
            typer.echo(f"{finding.check}: {finding.where}: {finding.what}")
        if len(alike) > _SHOWN:
            typer.echo(f"  … and {len(alike) - _SHOWN} more, which --json lists")
        typer.echo(f"  → {hint}")
    read = f", {checked.read} of them read" if checked.read else ""
    number = len(checked.findings)
    typer.echo(
        f"{checked.database}: schema {checked.schema}, {plural(checked.tables, 'table')}, "
        f"{plural(checked.runs, 'run')}, {plural(checked.files, 'file')}{read}: "
        f"{plural(number, 'finding') if number else 'all sound'}"
    )


# mmad db copy


def copy(
    source: Annotated[str, typer.Argument(metavar="FROM", help="An SQLite file or a URL; only read.")],
    target: Annotated[str, typer.Argument(metavar="TO", help="An SQLite file or a URL; empty, or not there yet.")],
    files: Annotated[
        bool, typer.Option("--files", help="Copy checkpoints, detections and logs of the runs too.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Copy every table of FROM into the empty TO.

    A file to a PostgreSQL server, back, or between two of a kind. All rows arrive in one transaction, counted and
    compared by check sums, or none does. Refused while runs are running. Checkpoints, detections and logs are
    files beside the database: --files copies them too; without it the copy has every figure, but its runs can
    neither be evaluated again nor resumed.

    --json prints {"source", "target", "tables": [{name, rows, checksum}], "source_files", "target_files",
    "files": null or {copied, size (bytes), there}}.
    """
    from mmad.store.maintenance import copy_database

    with progress_bar("copying the rows") as progress:
        copied = copy_database(source, target, files=files, progress=progress)
    if json:
        places = {"source_files": copied.source_files.as_posix(), "target_files": copied.target_files.as_posix()}
        print_json(asdict(copied) | places)
    else:
        _print_copied(copied)


def _print_copied(copied: Copied) -> None:
    for table in copied.tables:
        if table.rows:
            typer.echo(f"  {table.name}: {plural(table.rows, 'row')}, checksum {short_key(table.checksum)}")
    typer.echo(f"{copied.target}: {plural(copied.rows, 'row')} of {copied.source}, counts and check sums equal")
    if copied.source_files.resolve() == copied.target_files.resolve():
        typer.echo(f"both find the runs' files in {copied.source_files}")
    elif copied.files is None:
        typer.echo(
            f"checkpoints, detections and logs stayed in {copied.source_files}: copy them with --files, or name that "
            f"folder as MMAD_RUNS; the copy looks for them in {copied.target_files}"
        )
    else:
        there = f", {copied.files.there} were there already" if copied.files.there else ""
        size = f"{plural(copied.files.copied, 'file')}, {plural(copied.files.size, 'byte')}"
        typer.echo(f"{copied.target_files}: {size}{there}")


# mmad db merge


def merge(
    other: Annotated[str, typer.Argument(metavar="OTHER", help="An SQLite file or a URL; only read.")],
    db: DatabaseOption = DEFAULT_DB,
    files: Annotated[
        bool, typer.Option("--files", help="Copy checkpoints, detections and logs of the runs too.")
    ] = False,
    keep_own: Annotated[
        bool, typer.Option("--keep-own", help="Where the two contradict one another, keep what --db has.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be merged, and write nothing.")] = False,
    json: JsonOption = False,
) -> None:
    """Write into the database what OTHER has beside it.

    Runs with epochs, checkpoints, evaluations, warnings and versions, ablations and members, notes with tags,
    cached results and imported logs. A run of both databases is kept once; one that was trained further in OTHER,
    and is not finished here, continues from there. What is finished here is never changed. All rows arrive in one
    transaction, or none does. Refused while runs of OTHER are running.

    Conflicts are named: an epoch or an evaluation of one run with two figures, another file or text of the same
    name, a member that is another run. Then nothing is written, unless --keep-own keeps what is here. An SQLite
    file of an older schema is read from an upgraded copy and stays as it is.

    --json prints {"source", "target", "upgraded", "added": [keys], "continued": [keys], "equal", "ablations",
    "members", "evaluations", "notes", "logs", "conflicts": [{about, name, what}], "files": null or {copied, size
    (bytes), there}}; about is run, ablation, member or log.
    """
    from mmad.store.merge import ConflictsFound, merge_database

    try:
        merged = merge_database(other, db, files=files, keep_own=keep_own, dry_run=dry_run)
    except ConflictsFound as error:
        if len(error.conflicts) > 1:
            _print_conflicts(error.conflicts)
        raise
    if json:
        print_json(asdict(merged))
    else:
        _print_merged(merged, dry_run)


def _print_conflicts(conflicts: Sequence[MergeConflict]) -> None:
    for conflict in conflicts[:_SHOWN]:
        typer.echo(f"conflict: {conflict}", err=True)
    if len(conflicts) > _SHOWN:
        typer.echo(f"  … and {len(conflicts) - _SHOWN} more, which --dry-run --json lists", err=True)


def _print_merged(merged: Merged, dry_run: bool) -> None:
    if merged.upgraded:
        typer.echo(f"{merged.source} has an older schema: read from an upgraded copy, and left as it is")
    _print_conflicts(merged.conflicts)
    counted = (
        (len(merged.added), "run", "new"),
        (len(merged.continued), "run", "trained further there"),
        (merged.equal, "run", "here already"),
        (merged.ablations, "ablation", "new"),
        (merged.members, "member", "new"),
        (merged.evaluations, "evaluation", "new of runs that were here"),
        (merged.notes, "note", "new"),
        (merged.logs, "log", "new"),
    )
    for number, noun, words in counted:
        if number:
            typer.echo(f"  {plural(number, noun)} {words}")
    kept = f", {plural(len(merged.conflicts), 'conflict')} kept as here" if merged.conflicts and not dry_run else ""
    would = "would take over" if dry_run else "took over"
    typer.echo(
        f"{merged.target}: {would} {plural(len(merged.added) + len(merged.continued), 'run')} of {merged.source}{kept}"
    )
    if merged.files is not None:
        there = f", {merged.files.there} were there already" if merged.files.there else ""
        typer.echo(f"{plural(merged.files.copied, 'file')}, {plural(merged.files.size, 'byte')}{there}")
    elif not dry_run and (merged.added or merged.continued):
        typer.echo("checkpoints, detections and logs stayed there: merge again with --files to copy them")


# mmad db export


def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write; must be empty or not there.")],
    form: Annotated[
        str,
        typer.Option(
            "--format", metavar="csv|parquet|mlflow|wandb|trackio", help="Form of the files, or a tracker of runs."
        ),
    ] = "csv",
    db: DatabaseOption = DEFAULT_DB,
    json: JsonOption = False,
) -> None:
    """Write every table as CSV or Parquet, or runs for a tracker.

    Tables and views, DIR/NAME.csv or .parquet, all as they are at one moment. In CSV an empty cell is NULL, a
    moment is ISO 8601 in UTC and a truth true or false. Parquet has the columns' own types and needs pyarrow. The
    folder is whole or not there; one that holds something is refused.

    mlflow, wandb and trackio write parameters, tags and every epoch's metrics of each run through the tracker's own
    library: a database for mlflow ui, offline runs for wandb sync, a folder for trackio show. Nothing is sent.

    --json prints {"folder", "format", "tables": [{name, file, rows}]}, of a tracker {"folder", "format", "runs":
    [names]}.
    """
    from mmad.api.results import open_store
    from mmad.base.errors import StoreError
    from mmad.config.messages import did_you_mean
    from mmad.store.export import FORMATS, export_tables
    from mmad.store.trackers import TRACKERS, export_runs

    chosen = next((known for known in FORMATS if known == form), None)
    tracker = next((known for known in TRACKERS if known == form), None)
    if tracker is not None:
        with open_store(db, read_only=True) as store, progress_bar("writing the runs") as progress:
            runs = export_runs(store, folder, tracker, progress)
        if json:
            print_json({"folder": folder.as_posix(), "format": tracker, "runs": list(runs)})
        else:
            typer.echo(f"{folder}: {plural(len(runs), 'run')} for {tracker}")
        return
    if chosen is None:
        raise StoreError(f"unknown form {form!r}", where="--format", hint=did_you_mean(form, [*FORMATS, *TRACKERS]))
    with open_store(db, read_only=True) as store, progress_bar("writing the tables") as progress:
        written = export_tables(store, folder, chosen, progress)
    if json:
        tables = [{"name": one.name, "file": one.file.as_posix(), "rows": one.rows} for one in written]
        print_json({"folder": folder.as_posix(), "format": chosen, "tables": tables})
        return
    for one in written:
        typer.echo(f"{one.file}: {plural(one.rows, 'row')}")


# mmad db backup


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File to write; must not be there yet.")],
    db: DatabaseOption = DEFAULT_DB,
    json: JsonOption = False,
) -> None:
    """Copy the database to FILE while runs are trained.

    SQLite's own online copy of one moment, checked before it counts. Checkpoints and detections are files beside
    the database and are not in it. A server's database is backed up with pg_dump, or with mmad db copy URL FILE.

    --json prints {"database", "file", "size" (bytes), "runs", "epochs"}.
    """
    from mmad.store.migrate import back_up_database

    with progress_bar("") as progress:
        made = back_up_database(db, file, progress)
    if json:
        print_json(asdict(made) | {"file": made.file.as_posix()})
        return
    held = f"{plural(made.runs, 'run')}, {plural(made.epochs, 'epoch')}"
    typer.echo(f"{made.file}: {plural(made.size, 'byte')}, {held} of {made.database}")
    typer.echo("checkpoints and detections are not in it: they are files in the runs' folder")


# mmad db upgrade


def upgrade(db: DatabaseOption = DEFAULT_DB, json: JsonOption = False) -> None:
    """Bring the database to the schema of this version.

    All of it, or nothing. An SQLite file is copied to FILE.REVISION.backup first. Commands that write do the same
    by themselves when they meet an older database; this one does nothing else. Of a server's database, take a
    pg_dump first.

    --json prints {"database", "from", "to", "backup" (a file, or null)}.
    """
    from mmad.store.migrate import upgrade_database

    done = upgrade_database(db)
    if json:
        backup = None if done.backup is None else done.backup.as_posix()
        print_json({"database": done.where, "from": done.found, "to": done.now, "backup": backup})
    elif done.found == done.now:
        typer.echo(f"{done.where}: has schema {done.now}, the newest")
    else:
        kept = f"; as it was before: {done.backup}" if done.backup else ""
        typer.echo(f"{done.where}: upgraded from schema {done.found} to {done.now}{kept}")


def register(app: typer.Typer) -> None:
    db = typer.Typer(
        help="Copy, merge, check, back up, upgrade and export the database.",
        rich_markup_mode=None,
        no_args_is_help=True,
    )
    for command in (check, backup, copy, merge, export, upgrade):
        db.command(command.__name__)(command)
    app.add_typer(db, name="db")
