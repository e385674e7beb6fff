"""``mmad runs`` and ``mmad show``: the members of every ablation with their results, and one run in full."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from typing import TYPE_CHECKING, Annotated

import typer

from mmad.api.results import open_store
from mmad.base.formatting import four, moment, short_key
from mmad.cli.options import DEFAULT_DB, DatabaseOption, JsonOption
from mmad.cli.output import MOST_ROWS, console, file_line, print_json, result_line, section, status_text

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from mmad.analysis.arm_folds import ArmOverFolds
    from mmad.base.records import EnvironmentRecord, EpochRecord
    from mmad.store.lookup import MemberSummary, RunDetail
    from mmad.store.notes import Notes


RUNS_HELP = """List the members of every ablation with their results.

A member is ablation x setting x arm x seed; members with equal content share one run. AP and AR are those
of the best-AP checkpoint under the protocol the member asked for, or, where none was kept, of the final one,
which a * marks. The table ends after --limit members and says how many more there are. Below stands the figure of
each cross-validated arm over its folds.

Runs that no member asks for any more, as of a file that was edited, are listed below: mmad show KEY shows one,
mmad prune --unasked deletes them.

--json prints a list, one object per member, then one per run that no member asks for (ablation to documented and the
results null): key, ablation, setting, arm, seed, replicate, documented (the
log's entry it mirrors, or null), status (queued, running, finished, failed, interrupted), epoch (the last
committed one), epochs (how many were asked for), error (or null), and best_ap, best_ar, final: each null
or {epoch, val_ap, val_ar, test_ap, test_ar}, a figure null where it was not measured; notes, those of the
run and then of the ablation: {about, text, tags, moment}; over_folds: null or {done, of, seeds, ap, ar, sentence,
note}, the figure of its arm.
"""
#: The table's columns after setting and arm, and how soon each gives way on a narrow terminal (0: never).
COLUMNS = {
    "seed": 2,
    "status": 0,
    "epoch": 1,
    "best epoch": 5,
    "val AP": 0,
    "val AR": 6,
    "test AP": 0,
    "test AR": 4,
    "run": 3,
}


def runs(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Only an ablation's members, or those of ablation/setting/arm.")
    ] = None,
    db: DatabaseOption = DEFAULT_DB,
    ablation: Annotated[
        str | None, typer.Option("--ablation", metavar="NAME", help="Only the members of this ablation.")
    ] = None,
    tag: Annotated[
        str | None,
        typer.Option("--tag", metavar="TAG", help="Only members whose run or ablation has a note with this tag."),
    ] = None,
    most: Annotated[
        int, typer.Option("--limit", min=0, metavar="N", help="List at most N members; 0: all.")
    ] = MOST_ROWS,
    as_json: JsonOption = False,
) -> None:
    from mmad.store.lookup import epochs_asked, find_runs, is_ablation, member_summaries, named_ablation, unasked_runs
    from mmad.store.notes import read_notes
    from mmad.store.run_json import summary_json, unasked_json

    with open_store(db, read_only=True) as store:
        if name is not None and ablation is None and is_ablation(store, name):
            ablation, name = name, None
        keys = None if name is None else {found.run.key for found in find_runs(store, name)}
        if ablation is not None:
            ablation = named_ablation(store, ablation)
        whole = as_json or not most or tag is not None or keys is not None
        summaries, notes = member_summaries(store, ablation, None if whole else most), read_notes(store)
        unasked = unasked_runs(store) if ablation is None and tag is None and keys is None else []
        counts = store.member_counts()
    if keys is not None:
        summaries = [one for one in summaries if one.run.key in keys]
    if tag is not None:
        summaries = [one for one in summaries if tag in notes.tags(one.run.key, [one.member])]
    if as_json:
        over = {key: arm.plain for arm in _arms(summaries) for key in arm.keys}
        members = [{**summary_json(one, notes), "over_folds": over.get(one.run.key)} for one in summaries]
        print_json([*members, *({**unasked_json(run, notes), "over_folds": None} for run in unasked)])
        return
    out = console()
    if not (summaries or unasked):
        out.print(
            "no run yet: queue some with mmad ablate FILE" if tag is None else f"no run is tagged {tag}", markup=False
        )
        return
    for name, of in [(n, list(of)) for n, of in groupby(summaries, key=lambda summary: summary.member.ablation)]:
        out.print(_table(name, of, out.width))
        _print_over_folds(_arms(of))
    if any(_starred(summary) for summary in summaries):
        out.print("* final checkpoints: no best one was kept")
    for summary in summaries:
        if summary.run.error:
            out.print(f"{summary.member.path}: {summary.run.error}", style="red")
    for name in dict.fromkeys(summary.member.ablation for summary in summaries):
        for note in notes.of_ablation(name):
            out.print(f"{name}: {note.line}", markup=False, highlight=False)
    for summary in summaries:
        for note in notes.of_run(summary.run.key):
            out.print(f"{summary.member.path}: {note.line}", markup=False, highlight=False)
    lines = [
        f"{short_key(run.key)}: {run.status}, epoch {run.epochs_done}/{epochs_asked(run)}, queued {moment(run.created)}"
        for run in unasked
    ]
    section(out, "Runs that no member asks for (mmad prune --unasked deletes them)", *lines)
    more = (sum(counts.values()) if ablation is None else counts[ablation]) - most
    if not whole and more > 0:
        out.print(f"and {more:,} more: list all with --limit 0, or one ablation with --ablation")


def _arms(summaries: list[MemberSummary]) -> list[ArmOverFolds]:
    """The arms that are cross-validated; without any nothing is imported for them."""
    if all(one.run.protocol.get("fold") is None for one in summaries):
        return []
    from mmad.analysis.arm_folds import arms_over_folds

    return arms_over_folds(summaries)


def _print_over_folds(arms: list[ArmOverFolds]) -> None:
    from mmad.analysis.comparison import FOLDS

    for arm in arms:
        console().print(arm.sentence, markup=False, highlight=False)
    if any(arm.ap is not None and arm.done == arm.of for arm in arms):
        console().print(FOLDS, markup=False, highlight=False)


def _table(ablation: str, summaries: list[MemberSummary], width: int) -> Table:
    """The members of one ablation; a narrow terminal gets the columns that matter most."""
    from mmad.base.terminal import TerminalColumn, fitted_table

    columns = [TerminalColumn(name, wraps=True) for name in ("setting", "arm")]
    columns += [TerminalColumn(name, right=name not in ("status", "run"), yields=n) for name, n in COLUMNS.items()]
    rows = [[one.member.setting, one.member.arm, *_cells(one).values()] for one in summaries]
    return fitted_table(columns, rows, width, title=ablation)


def _cells(summary: MemberSummary) -> dict[str, str | Text]:
    member, shown = summary.member, summary.results.best_ap or summary.results.final
    star = "*" if _starred(summary) else ""
    return {
        "seed": str(member.seed) if member.replicate == 1 else f"{member.seed}/{member.replicate}",
        "status": status_text(summary.run.status),
        "epoch": f"{summary.run.epochs_done}/{summary.epochs}",
        "best epoch": f"{shown.epoch}{star}" if shown else "–",
        "val AP": four(shown.val_ap if shown else None) + star,
        "val AR": four(shown.val_ar if shown else None) + star,
        "test AP": four(shown.test_ap if shown else None) + star,
        "test AR": four(shown.test_ar if shown else None) + star,
        "run": short_key(summary.run.key),
    }


def _starred(summary: MemberSummary) -> bool:
    """Whether the figures are the final checkpoint's, for want of a best one."""
    return summary.results.best_ap is None and summary.results.final is not None


# mmad show


SHOW_HELP = """Show one run: setup, protocol, parameters, results, epochs, environment, warnings, error.

RUN is the beginning of a run's key, or ablation/setting/arm, followed by /seed (and /replicate) where that
alone is more than one run; or an ablation, which means all its runs. Of the setup it prints what differs from the
defaults.

--json prints (of an ablation: a list of) what mmad runs prints about the member, and: epochs_asked, members (every
member the run answers), evaluation, setup, protocol, params ({"model": 1040729, ...}), epochs (a list, one object per
committed epoch: epoch, lr, seconds, peak_memory in bytes, and every recorded metric flat as split_name, such
as train_loss, train_loss_classifier, val_ap_iou, test_ar_iobb; val_ap, val_ar, test_ap, test_ar are those
under the member's overlap), checkpoints, environments, warnings, notes, dataset, recipe, created, started,
finished, log. A number that is not finite is null.
"""
_LATEST_EPOCHS = 5


def show(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="An ablation, ablation/setting/arm[/seed], or a key's beginning.")
    ],
    db: DatabaseOption = DEFAULT_DB,
    as_json: JsonOption = False,
) -> None:
    from mmad.store.lookup import find_runs, is_ablation, member_summaries, run_detail
    from mmad.store.notes import read_notes
    from mmad.store.run_json import detail_json

    with open_store(db, read_only=True) as store:
        several = is_ablation(store, run)
        names = [found.run.key for found in find_runs(store, run)] if several else [run]
        details, notes = [run_detail(store, name) for name in names], read_notes(store)
        asked = {one.members[0].ablation for one in details if one.members and one.run.protocol.get("fold")}
        arms = [arm for name in sorted(asked) for arm in _arms(member_summaries(store, name))]
    if as_json:
        over = {key: arm.plain for arm in arms for key in arm.keys}
        plain = [{**detail_json(detail, notes), "over_folds": over.get(detail.run.key)} for detail in details]
        print_json(plain if several else plain[0])
        return
    for detail in details:
        _print(detail, notes)
    _print_over_folds([arm for arm in arms if any(detail.run.key in arm.keys for detail in details)])


def _print(detail: RunDetail, notes: Notes) -> None:
    out, run = console(), detail.run
    section(out, "Run", *_head(detail))
    if run.error:
        section(out, "Error", run.error, f"log: {file_line(detail.log)}")
    section(out, "Setup", *_setup(detail))
    fold = run.protocol.get("fold")
    named = {} if fold is None else {"fold": f"{fold['number']} of {fold['of']} (fold_seed {fold['seed']})"}
    section(out, "Protocol", _pairs({**run.protocol, **named}), f"evaluated with: {_pairs(detail.evaluation)}")
    section(out, "Parameters", *[f"[{count.module}]: {count.count:,}" for count in detail.counts])
    results = detail.results
    section(
        out,
        "Results",
        result_line("best AP", results.best_ap),
        result_line("best AR", results.best_ar),
        result_line("final", results.final),
    )
    section(out, f"Epochs ({len(detail.epochs)} recorded, the latest shown)", *_epochs(detail))
    section(out, "Environment", *[line for record in detail.environments for line in _environment(record)])
    section(out, "Warnings", *detail.warnings)
    section(
        out,
        "Notes",
        *[f"{note.moment:%Y-%m-%d %H:%M} UTC: {note.line}" for note in notes.about(run.key, detail.members)],
    )


def _head(detail: RunDetail) -> list[str | Text]:
    from mmad.store.lookup import epochs_asked

    run = detail.run
    lines: list[str | Text] = [f"key: {run.key}"]
    lines += [
        f"answers: {m.path}" + (f" (documented as {m.documented})" if m.documented else "") for m in detail.members
    ]
    lines.append(status_text(run.status).append(f", epoch {run.epochs_done} of {epochs_asked(run)}", style="default"))
    moments = (("queued", run.created), ("started", run.started), ("ended", run.finished))
    lines += [f"{name}: {when:%Y-%m-%d %H:%M:%S} UTC" for name, when in moments if when is not None]
    lines.append(f"data: {run.dataset_name} in {run.dataset_path} ({short_key(run.dataset_fingerprint)})")
    return lines


def _setup(detail: RunDetail) -> list[str]:
    from mmad.config.setup import ModelSetup

    member = detail.members[0] if detail.members else None
    default = ModelSetup().model_dump(mode="json")
    changed = {name: value for name, value in detail.setup.items() if value != default.get(name) and name != "name"}
    lines = [f"{name}: {_value(value)}" for name, value in changed.items()]
    lines.append(f"{len(detail.setup) - len(changed)} other fields have their defaults (mmad show --json lists all)")
    if member and member.overrides:
        lines.append(f"set on the command line: {', '.join(member.overrides)}")
    if member and member.inferred:
        lines.append(f"inferred, not printed by the log: {', '.join(member.inferred)}")
    return lines


def _value(value: object) -> str:
    from mmad.config.ablation_file import toml_value

    return "none" if value is None else toml_value(value)


def _pairs(values: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items() if value != "")


def _epochs(detail: RunDetail) -> list[str]:
    overlap = detail.evaluation["overlap"]
    return [_epoch(record, overlap) for record in detail.epochs[-_LATEST_EPOCHS:]]


def _epoch(record: EpochRecord, overlap: str) -> str:
    measured = (
        ("train loss", record.value("train", "loss")),
        ("val loss", record.value("val", "loss")),
        ("val AP", record.value("val", f"ap_{overlap}")),
        ("test AP", record.value("test", f"ap_{overlap}")),
    )
    words = [f"{name} {four(value)}" for name, value in measured]
    return ", ".join([f"{record.epoch}: lr {record.lr:g}", *words, f"{record.seconds:.1f} s"])


def _environment(record: EnvironmentRecord) -> list[str]:
    commit = short_key(record.git_commit) if record.git_commit else "no commit"
    dirty = " with changes" if record.git_dirty else ""
    versions = ", ".join(f"{name} {version}" for name, version in record.versions.items())
    return [
        f"{record.started:%Y-%m-%d %H:%M:%S} UTC, after epoch {record.from_epoch}: {record.host}, {record.device}, "
        f"{record.threads} thread{'s' * (record.threads != 1)}, {commit}{dirty}",
        f"{record.platform}, Python {record.python}, {versions}",
        f"$ {record.command}",
    ]


def register(app: typer.Typer) -> None:
    """Adds the commands of this file to ``app``."""
    app.command("runs", help=RUNS_HELP)(runs)
    app.command("show", help=SHOW_HELP)(show)
