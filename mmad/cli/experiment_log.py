"""``mmad log``: read, list, show, compare and check documented experiment logs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmad.api.results import open_store
from mmad.base.json_values import picked
from mmad.base.records import KIND_WORDS
from mmad.cli.options import DEFAULT_DB, DatabaseOption, JsonOption
from mmad.cli.output import console, print_json, result_line, section

if TYPE_CHECKING:
    from mmad.experiment_log.checks import EntryComparison
    from mmad.experiment_log.model import Log, LogEntry, LogNote
    from mmad.experiment_log.shipped import Library, NamedEntry
    from mmad.store.lookup import RunDetail
    from mmad.store.measurements import ImportedLog


# What the commands about logs share: the logs of the database, and how an entry is named and shown.


EntryArgument = Annotated[
    str, typer.Argument(metavar="ENTRY", help="An entry such as e030, or LOG/e030 of an imported log.")
]


def library(database: str) -> Library:
    """The entries of the shipped log and of those in ``database``."""
    from mmad.api.experiment_logs import imported_logs
    from mmad.experiment_log.shipped import Library

    return Library.of(imported_logs(database))


def heading_of(entry: LogEntry) -> str:
    """The entry's heading without figures, or the one it stands below in brackets."""
    from mmad.experiment_log.parser import heading_name

    if entry.heading:
        return heading_name(entry.heading)
    return f"({heading_name(entry.sections[-1])})" if entry.sections else ""


def setup_text(fields: Mapping[str, Any]) -> str:
    """Fields as the log prints them."""
    return f"ModelSetup({', '.join(f'{name}={value!r}' for name, value in fields.items())})"


# ``mmad log diff``: an entry against a run.


_NAMES = {"val_ap": "val AP", "val_ar": "val AR", "test_ap": "test AP", "test_ar": "test AR"}


def diff(
    entry: EntryArgument,
    run: Annotated[str, typer.Argument(metavar="RUN", help="Beginning of a key, or ablation/setting/arm[/seed].")],
    db: DatabaseOption = DEFAULT_DB,
    json: JsonOption = False,
) -> None:
    """Compare an entry with a run, field by field.

    Only what the entry prints is compared. Measured figures are under the protocol the run's member asked for.

    --json prints {"log": …, "entry": "e069", "run": KEY, "evaluation": {…},
    "setup": [{"field": …, "documented": …, "run": …, "known": true, "equal": true}],
    "results": [{"result": "best_ap", "figure": "val_ap", "documented": …, "measured": …, "difference": …}],
    "params": [{"module": …, "documented": …, "counted": …, "equal": true}]}; measured and counted are null
    where the run has no such thing.
    """
    from mmad.base.json_values import to_json_value
    from mmad.experiment_log.checks import compare_entry
    from mmad.store.lookup import run_detail

    found = library(db).find(entry)
    with open_store(db, read_only=True) as store:
        detail = run_detail(store, run)
    measured = {kind: result or {} for kind, result in to_json_value(detail.results).items()}
    counts = {count.module: count.count for count in detail.counts}
    compared = compare_entry(found.entry, detail.setup, measured, counts)
    if json:
        print_json(_diff_json(found, detail, compared))
    else:
        _print_diff(found, detail, compared)


def _diff_json(found: NamedEntry, detail: RunDetail, compared: EntryComparison) -> dict[str, Any]:
    return {
        "log": found.log,
        "entry": found.entry.id,
        "run": detail.run.key,
        "evaluation": dict(detail.evaluation),
        "setup": [vars(field) for field in compared.setup],
        "results": [{**vars(figure), "difference": figure.difference} for figure in compared.results],
        "params": [{**vars(count), "equal": count.equal} for count in compared.params],
    }


def _print_diff(found: NamedEntry, detail: RunDetail, compared: EntryComparison) -> None:

    out = console()
    names = [member.path for member in detail.members] or [detail.run.key]
    section(out, f"{found.entry.id} of {found.log} against {names[0]}", f"key: {detail.run.key}")
    section(out, "Setup", *_setup_differences(compared))
    protocol = ", ".join(f"{name} {value}" for name, value in detail.evaluation.items())
    section(out, f"Results (measured under {protocol})", *_result_differences(compared))
    section(out, "Parameters", *_count_differences(compared))


def _setup_differences(compared: EntryComparison) -> list[str]:
    differing = [field for field in compared.setup if not field.equal]
    equal = len(compared.setup) - len(differing)
    lines = [
        f"{field.field}: documented {field.documented!r}, run {repr(field.run) if field.known else 'has no such field'}"
        for field in differing
    ]
    return [f"{equal} of {len(compared.setup)} printed fields are equal", *lines]


def _result_differences(compared: EntryComparison) -> list[str]:
    lines = []
    for figure in compared.results:
        name = f"{KIND_WORDS.get(figure.result, figure.result)}, {_NAMES.get(figure.figure, figure.figure)}"
        digits = "" if figure.figure == "epoch" else ".4f"
        documented = f"{name}: documented {figure.documented:{digits}}"
        if figure.difference is None:
            lines.append(f"{documented}, not measured")
        else:
            lines.append(f"{documented}, measured {figure.measured:{digits}} ({figure.difference:+{digits}})")
    return lines or ["the entry prints no results"]


def _count_differences(compared: EntryComparison) -> list[str]:
    differing = [count for count in compared.params if not count.equal]
    if not compared.params:
        return ["the entry prints no counts"]
    lines = [
        f"[{c.module}]: documented {c.documented:,}, counted {f'{c.counted:,}' if c.counted is not None else 'nothing'}"
        for c in differing
    ]
    return [f"{len(compared.params) - len(differing)} of {len(compared.params)} printed counts are equal", *lines]


# ``mmad log import``: an experiment log into the database.


_LONGEST = 100


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A log: Markdown, such as a README.md.")],
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="The log's name; default: the file's.")
    ] = None,
    db: DatabaseOption = DEFAULT_DB,
    json: JsonOption = False,
) -> None:
    """Read an experiment log and store its entries in the database.

    Setups (constructor, commented-out, repr), parameter counts, checkpoints, headings with figures, loss weights,
    tables and remarks are read in any order; lines that are not understood are listed with their numbers.
    Importing the same file again replaces the log.

    --json prints {"log": NAME, "state": "new", "path": …, "sha256": …, "lines": …, "entries": […], "unread": […],
    …}: every entry as it was read.
    """
    from mmad.base.errors import SpecError
    from mmad.experiment_log.parser import read_log_file
    from mmad.experiment_log.shipped import SHIPPED
    from mmad.store.store import Store

    log = read_log_file(file, name)
    if not log.name.strip() or "/" in log.name or len(log.name) > _LONGEST or not log.name.isprintable():
        raise SpecError(f"a log cannot be called {log.name!r}", where=file, hint="give another with --name")
    if log.name == SHIPPED:
        raise SpecError(f"{SHIPPED} is the log that mmad ships", where=file, hint="give another name with --name")
    content, entries = log.to_json()
    with Store.open(db) as store:
        done = store.put_log(log.name, str(file.resolve()), log.sha256, content, entries)
        where = store.where
    if json:
        first = {"log": done.name, "state": done.state, "path": str(file)}
        print_json({**first, **{n: v for n, v in content.items() if n != "name"}, "entries": entries})
    else:
        _print_imported(log, done, where)


def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The Markdown file to write.")],
    ablation: Annotated[
        list[str] | None, typer.Option("--ablation", metavar="NAME", help="Only this ablation; may be repeated.")
    ] = None,
    db: DatabaseOption = DEFAULT_DB,
    json: JsonOption = False,
) -> None:
    """Write your runs as a log that mmad log import reads.

    A heading and a block for each run: setup with names and protocols, checkpoints with their figures in four
    digits, parameter counts, loss weights, errors and notes.

    --json prints {"path": FILE, "ablations": n, "runs": n}.
    """
    from mmad.analysis.report_frame import load_frame
    from mmad.base.errors import SpecError
    from mmad.base.files import write_atomically
    from mmad.base.formatting import plural
    from mmad.report.log_export import export_log
    from mmad.store.notes import read_notes

    with open_store(db, read_only=True) as store:
        frame = load_frame(store, ablation or ())
        text = export_log(frame, read_notes(store))
    try:
        write_atomically(file, text.encode("utf-8"))
    except OSError as error:
        hint = "choose another place, or make room there"
        raise SpecError(f"cannot be written ({error.strerror or error})", where=file, hint=hint) from error
    if json:
        print_json({"path": file.as_posix(), "ablations": len(frame.ablations), "runs": len(frame.runs)})
    else:
        ablations, runs = plural(len(frame.ablations), "ablation"), plural(len(frame.runs), "run")
        typer.echo(f"{file}: {ablations}, {runs}; mmad log import reads it")


def _print_imported(log: Log, done: ImportedLog, where: str) -> None:
    states = {"new": "imported", "changed": "imported anew", "same": "already there, unchanged"}
    typer.echo(f"{done.name}: {len(log.entries)} entries {states[done.state]} ({where})")
    counted = (
        ("with a setup", sum(bool(entry.setup) for entry in log.entries)),
        ("with parameter counts", sum(bool(entry.params) for entry in log.entries)),
        ("with results", sum(bool(entry.results) for entry in log.entries)),
        ("with loss weights", sum(bool(entry.losses) for entry in log.entries)),
        ("with figures in the heading", sum(bool(entry.figures) for entry in log.entries)),
    )
    typer.echo("  " + ", ".join(f"{number} {what}" for what, number in counted))
    typer.echo(f"  beside them {len(log.remarks)} remarks, {len(log.tables)} tables, {len(log.prose)} paragraphs")
    lines = len(log.unread)
    typer.echo(f"  {lines or 'no'} line{'s' * (lines != 1)} not understood{':' * bool(lines)}")
    for note in log.unread:
        typer.echo(f"    {note.line}: {note.text[:_LONGEST]}")


# ``mmad log show``: everything an entry prints.


def show(entry: EntryArgument, db: DatabaseOption = DEFAULT_DB, json: JsonOption = False) -> None:
    """Show an entry: setup, parameter counts, results, remarks.

    --json prints the entry as mmad log import --json does, and the name of its log. Of the log that mmad ships
    the facts are known, not its words: notes, images and lines of the program are empty, line numbers are 0.
    """
    found = library(db).find(entry)
    if json:
        print_json({"log": found.log, **found.entry.model_dump(mode="json")})
    else:
        _print_entry(found)


def _print_entry(found: NamedEntry) -> None:
    out, entry = console(), found.entry
    lines = f", lines {entry.line} to {entry.line_end}" if entry.line else ""
    section(out, f"{entry.id} of {found.log}{lines}", *[text.lstrip("# ") for text in entry.sections])
    section(out, "Setup", *_setup_lines(entry))
    section(out, "Loss weights", *_loss_lines(entry))
    section(out, "Parameters", *[f"[{module}]: {count:,}" for module, count in entry.params.items()])
    results = [result_line(KIND_WORDS.get(kind, kind), result) for kind, result in entry.results.items()]
    section(out, "Results", *results)
    section(out, "Heading figures", *_figure_lines(entry))
    section(out, "Notes", *_note_lines(entry.notes))
    section(out, "Not understood", *_note_lines(entry.unread))


def _setup_lines(entry: LogEntry) -> list[str]:
    if entry.setup is None and not entry.inferred:
        return ["none is printed"]
    lines = [setup_text(entry.fields)] if entry.setup else []
    lines += [f"{name}: {text}" for name, text in (entry.setup.comments if entry.setup else {}).items()]
    if entry.setup and entry.setup.commented_out:
        lines.append(f"commented out: {' '.join(entry.setup.commented_out)}")
    if entry.inferred:
        lines.append(f"inferred, not printed: {', '.join(f'{n}={v!r}' for n, v in entry.inferred.items())}")
    return lines + [f"printed too ({other.form}): {setup_text(other.fields)}" for other in entry.other_setups]


def _loss_lines(entry: LogEntry) -> list[str]:
    if entry.losses is None:
        return []
    where = " (for its whole section)" if entry.losses.scope == "section" else ""
    return [", ".join(f"{name} {factor}" for name, factor in entry.losses.weights.items()) + where]


def _figure_lines(entry: LogEntry) -> list[str]:
    return [
        f"{figure.key + '=' if figure.key else ''}{figure.printed}: {', '.join(figure.equals) or 'no result equals it'}"
        for group in entry.figures
        for figure in group.figures
    ]


def _note_lines(notes: Sequence[LogNote]) -> list[str]:
    return [f"{note.line}: {note.text}" for note in notes]


# ``mmad log list``: the entries of every log.


def list_(
    log: Annotated[str | None, typer.Option("--log", metavar="LOG", help="Only this log.")] = None,
    db: DatabaseOption = DEFAULT_DB,
    json: JsonOption = False,
) -> None:
    """List the entries of the shipped log and of imported ones.

    --json prints one object per entry: log, id, heading, sections, fields and params (how many are printed) and
    best_ap ({epoch, val_ap, val_ar, test_ap, test_ar}, or null).
    """
    from mmad.base.errors import SpecError
    from mmad.config.messages import did_you_mean

    logs = library(db).logs
    if log is not None and log not in logs:
        raise SpecError(f"there is no log {log!r}", where="--log", hint=did_you_mean(log, list(logs)))
    chosen = [(name, entry) for name, entries in logs.items() if log in (None, name) for entry in entries]
    if json:
        print_json([_entry_json(name, entry) for name, entry in chosen])
        return
    for name, entry in chosen:
        typer.echo(_entry_line(name if len(logs) > 1 else "", entry))


def _entry_json(log: str, entry: LogEntry) -> dict[str, Any]:
    best = entry.results.get("best_ap")
    return {
        "log": log,
        "id": entry.id,
        "heading": heading_of(entry),
        "sections": list(entry.sections),
        "fields": len(entry.fields),
        "params": len(entry.params),
        "best_ap": picked(best, "epoch", "val_ap", "val_ar", "test_ap", "test_ar") if best else None,
    }


def _entry_line(log: str, entry: LogEntry) -> str:
    best = entry.results.get("best_ap")
    figures = f"val {best.val_ap:.4f} test {best.test_ap:.4f}" if best else "–"
    count = f"{entry.params['model']:,}" if "model" in entry.params else "–"
    place = f"{log}/{entry.id}" if log else entry.id
    return f"{place}  {figures:<22}  {count:>11}  {heading_of(entry)}".rstrip()


# ``mmad log check``: the slips of a log.


def check(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="A log that need not be imported.")] = None,
    db: DatabaseOption = DEFAULT_DB,
    json: JsonOption = False,
) -> None:
    """Find contradictions in a log: FILE, or every imported one.

    Without FILE and imported logs it checks the shipped one. It finds heading figures that no result equals or that
    are another entry's; names, headings and checkpoints that contradict the setup; setups printed twice; fields of an
    odd type; counts that miss lines or do not add up; checkpoints that contradict each other or the schedule; as
    notes, equal setups with different results.

    --json prints one object per slip: log, rule, level (slip or note), entry, line (null where unknown), what,
    others. Slips are no failure: the exit code is 0.
    """
    from mmad.experiment_log.checks import check_entries

    logs = _logs_to_check(file, db)
    found = [(name, slip) for name, entries in logs.items() for slip in check_entries(entries)]
    if json:
        print_json([{"log": name, **vars(slip)} for name, slip in found])
        return
    for name, entries in logs.items():
        slips = [slip for of, slip in found if of == name]
        notes = sum(slip.level == "note" for slip in slips)
        typer.echo(f"{name}: {len(slips) - notes} slips and {notes} notes in {len(entries)} entries")
        for slip in slips:
            typer.echo(f"  {'note: ' if slip.level == 'note' else ''}{slip}")


def _logs_to_check(file: Path | None, database: str) -> dict[str, tuple[LogEntry, ...]]:
    from mmad.api.experiment_logs import imported_logs
    from mmad.experiment_log.parser import read_log_file
    from mmad.experiment_log.shipped import SHIPPED, entries

    if file is not None:
        log = read_log_file(file)
        return {log.name: log.entries}
    return {log.name: log.entries for log in imported_logs(database)} or {SHIPPED: entries()}


def register(app: typer.Typer) -> None:
    log = typer.Typer(help="Read, show and check experiment logs.", rich_markup_mode=None, no_args_is_help=True)
    log.command("import")(import_)
    log.command("export")(export)
    log.command("list")(list_)
    log.command("show")(show)
    log.command("diff")(diff)
    log.command("check")(check)
    app.add_typer(log, name="log")
