"""The tables of runs: parameter counts, what varied with what came of it, checkpoints, and every epoch."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mmad.base.records import RunRecord
from mmad.report.frames import AblationFrame, MemberFrame, RunFrame
from mmad.report.onset import lowest_loss, onset_of
from mmad.report.story import AblationStory, Story
from mmad.report.tables import FRACTION, JUDGED, MEMBER, Cell, Column, Printed, Row, Table, each, file_stem, of_judged
from mmad.report.tables import of_member as member_cells
from mmad.report.tables_pairs import titled
from mmad.report.words import DASH, clip, decimal, duration, whole

#: Fields that the paper's form of a table of runs shows at most; the CSV has all.
_MOST_FIELDS = 5
_RUN = (
    Column("key", "the run's whole key"),
    Column("status", "finished, running, queued, interrupted or failed"),
    Column("epochs_done", "committed epochs", "epochs"),
    Column("epochs_asked", "epochs asked for", "epochs"),
    Column("checkpoint", "the checkpoint that the figures are of: best_ap, or final where no best one was kept"),
    Column("epoch", "its epoch", "epoch, from 1"),
    Column("val_ap", "validation AP", FRACTION),
    Column("val_ar", "validation AR", FRACTION),
    Column("test_ap", "test AP", FRACTION),
    Column("test_ar", "test AR", FRACTION),
    *JUDGED,
    Column("best_ap_epoch", "epoch of the best validation AP", "epoch, from 1"),
    Column("best_ar_epoch", "epoch of the best validation AR", "epoch, from 1"),
    Column("lowest_val_loss_epoch", "epoch of the lowest validation loss", "epoch, from 1"),
    Column("overfitting_from_epoch", "where overfitting began; empty where none is seen", "epoch, from 1"),
    Column("time_s", "training and evaluation of all epochs", "s"),
    Column("started_utc", "first start", "ISO 8601, UTC"),
    Column("finished_utc", "end", "ISO 8601, UTC"),
    Column("parameters", "parameters of the whole detector", "parameters"),
    Column("data", "name of the data set"),
    Column("fingerprint", "SHA-256 of the data set's content"),
    Column("split_policy", "how the data set was split: by patient or by row"),
    Column("recipe", "version of the code that results depend on"),
    Column("documented", "entry of the documented log that it mirrors"),
    Column("changed_by_hand", "fields set on the command line"),
    Column("error", "why it failed"),
)


def parameters_table(story: AblationStory) -> Iterable[Table]:
    """Parameter counts of every module in every setting and arm."""
    if not story.count_rows:
        return
    frame, name = story.frame, story.frame.record.name
    first = {(m.record.setting, m.record.arm): m for m in reversed(frame.members) if m.run.counts}
    members = [first[s, a] for a in frame.arms for s in frame.settings if (s, a) in first]
    columns = (
        *(
            Column(x, y)
            for x, y in (("ablation", "name of the ablation's file"), ("setting", "setting"), ("arm", "arm"))
        ),
        Column("module", "module of the detector"),
        Column("parameters", "trainable and fixed parameters", "parameters"),
    )
    rows = [(name, m.record.setting, m.record.arm, c.module, c.count) for m in members for c in m.run.counts]
    yield Table(
        file_stem(name, "parameters"), f"{clip(story.title, 120)}: parameters", columns, rows, _printed_counts(story)
    )


def _printed_counts(story: AblationStory) -> Printed:
    settings = len(story.frame.settings)
    groups = [
        clip(row.arm if len(row.settings) == settings else f"{row.arm}: {', '.join(row.settings)}", 60)
        for row in story.count_rows
    ]
    counts = [[whole(count) for count in row.counts] for row in story.count_rows]
    if len(groups) > len(story.modules):
        heads = ("Arm and settings", *(clip(m.rsplit(".", 1)[-1], 40) for m in story.modules))
        return Printed(heads, tuple((group, *row) for group, row in zip(groups, counts, strict=True)))
    by_module = zip(story.modules, zip(*counts, strict=True), strict=True)
    return Printed(("Module", *groups), tuple((clip(module, 60), *row) for module, row in by_module))


def runs_table(name: str, title: str, frames: Sequence[AblationFrame]) -> Table:
    """Every member with what varied and what came of it."""
    members = [m for frame in frames for m in frame.members]
    setup = _varying([m.run.record for m in members], "setup")
    protocol = [field for field in _varying([m.run.record for m in members], "protocol") if field != "seed"]
    columns = (
        *MEMBER,
        *_RUN,
        *(Column(f"setup.{field}", "field of the setup that varies") for field in setup),
        *(Column(f"protocol.{field}", "field of the training protocol that varies") for field in protocol),
    )
    rows = [
        (
            *member_cells(m),
            *_run_cells(m),
            *(_plain(m.run.record.setup.get(field)) for field in setup),
            *(_plain(m.run.record.protocol.get(field)) for field in protocol),
        )
        for m in members
    ]
    return Table(name, title, columns, rows, _printed_runs(frames, setup) if len(frames) == 1 else None)


def _varying(runs: Sequence[RunRecord], part: str) -> list[str]:
    """The fields of which not all runs have the same value, in the order they are met."""
    found: dict[str, set[str]] = {}
    given: list[Mapping[str, Any]] = [getattr(run, part) for run in runs]
    for values in given:
        for field in values:
            found.setdefault(field, set())
    for field, texts in found.items():
        texts.update(json.dumps(values.get(field), sort_keys=True) for values in given)
    return [field for field, texts in found.items() if len(texts) > 1]


def _plain(value: Any) -> Cell:
    """A field's value as one cell: lists and tables as JSON."""
    return value if value is None or isinstance(value, str | int | float) else json.dumps(value, ensure_ascii=False)


def time_of(run: RunFrame) -> float:
    """Seconds of all epochs that were measured."""
    return math.fsum(e.seconds for e in run.epochs if math.isfinite(e.seconds))


def _run_cells(member: MemberFrame) -> Row:
    run, record, best = member.run, member.run.record, member.alone
    turned = onset_of(run)
    return (
        record.key,
        record.status,
        record.epochs_done,
        run.epochs_asked,
        *((best.kind, best.epoch, best.val_ap, best.val_ar, best.test_ap, best.test_ar) if best else (None,) * 6),
        *of_judged(member),
        member.best_ap.epoch if member.best_ap else None,
        member.best_ar.epoch if member.best_ar else None,
        lowest_loss(run),
        turned.epoch if turned else None,
        time_of(run) if run.epochs else None,
        record.started,
        record.finished,
        run.count("model"),
        record.dataset_name,
        record.dataset_fingerprint or None,
        run.split_policy,
        record.recipe,
        member.record.documented,
        ", ".join(member.record.overrides) or None,
        record.error,
    )


def _printed_runs(frames: Sequence[AblationFrame], setup: Sequence[str]) -> Printed:
    shown, left = setup[:_MOST_FIELDS], setup[_MOST_FIELDS:]
    heads = ("Run", *(clip(field, 40) for field in shown), "Epochs", "Best AP at", "Best AR at", "Lowest loss at",
             "Overfitting from", "Val AP", "Test AP", "Val AR", "Test AR", "Time")  # fmt: skip
    rows = []
    for frame in frames:
        for m in frame.members:
            best, turned = m.alone, onset_of(m.run)
            epochs = (m.best_ap.epoch if m.best_ap else None, m.best_ar.epoch if m.best_ar else None,
                      lowest_loss(m.run), turned.epoch if turned else None)  # fmt: skip
            figures = (best.val_ap, best.test_ap, best.val_ar, best.test_ar) if best else (None,) * 4
            state = "" if m.run.finished else f" ({m.run.record.status})"
            rows.append(
                (
                    titled(m, frame) + state,
                    *(_words(m.run.record.setup.get(field)) for field in shown),
                    f"{m.run.record.epochs_done} / {m.run.epochs_asked}",
                    *(DASH if n is None else str(n) for n in epochs),
                    *(decimal(value) for value in figures),
                    duration(time_of(m.run)) if m.run.epochs else DASH,
                )
            )
    also = f" These vary too: {', '.join(left)}." if left else ""
    return Printed(heads, tuple(rows), note=f"AP and AR of best-AP checkpoints, or final ones without them.{also}")


def _words(value: Any) -> str:
    cell = _plain(value)
    return DASH if cell is None else f"{cell:g}" if isinstance(cell, float) else clip(str(cell), 40)


def checkpoints_table(story: AblationStory) -> Iterable[Table]:
    """AP and AR of the three kept checkpoints of every run."""
    frame = story.frame
    figures = ("val_ap", "val_ar", "test_ap", "test_ar")
    words = {"val": "validation", "test": "test"}
    columns = (
        *MEMBER,
        Column("checkpoint", "best_ap, best_ar or final"),
        Column("epoch", "its epoch", "epoch, from 1"),
        *(Column(f, f"{words[f[:-3]]} {f[-2:].upper()}", FRACTION) for f in figures),
        *JUDGED,
    )
    rows = each(
        frame.members,
        lambda m: [(o.kind, o.epoch, *(getattr(o, f) for f in figures), *of_judged(m)) for _, o in m.outcomes if o],
    )
    if rows:
        printed = tuple(
            (titled(m, frame), name, str(o.epoch), *(decimal(getattr(o, f), 4) for f in figures))
            for m in frame.members
            for name, o in m.outcomes
            if o
        )
        heads = ("Run", "Checkpoint", "Epoch", "Val AP", "Val AR", "Test AP", "Test AR")
        title = f"{clip(story.title, 120)}: checkpoints"
        yield Table(file_stem(frame.record.name, "checkpoints"), title, columns, rows, Printed(heads, printed, 2))


def epochs_table(story: Story) -> Table:
    """Every metric of every epoch in long form, each run once."""
    columns = (
        Column("run", "first 12 digits of the run's key"),
        Column("epoch", "the epoch", "epoch, from 1"),
        Column("split", "train, val or test; empty of what belongs to no split"),
        Column("metric", "loss, a part of it, ap_iou, ar_iou, ap_iobb, ar_iobb, or lr, time_s, peak_memory_bytes"),
        Column("value", "AP and AR as fractions, time_s in seconds, peak_memory_bytes in bytes", "as the metric says"),
    )
    rows: list[Row] = []
    for told in story.runs:
        key = told.run.key[:12]
        for e in told.run.epochs:
            rows += [
                (key, e.epoch, None, "lr", e.lr),
                (key, e.epoch, None, "time_s", e.seconds),
                (key, e.epoch, None, "peak_memory_bytes", e.peak_memory),
            ]
            rows += [(key, e.epoch, m.split, m.name, m.value) for m in e.metrics]
    return Table("epochs", "Every metric of every epoch", columns, rows)
