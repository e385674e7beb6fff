"""All tables of a report, written as one CSV and one LaTeX file each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mmad.base.errors import ReportError
from mmad.base.files import write_atomically
from mmad.report.csv_form import as_csv, columns_csv
from mmad.report.latex_form import as_latex
from mmad.report.story import Story
from mmad.report.tables import Table, file_stem
from mmad.report.tables_measured import (
    confusion_table,
    controls_table,
    findings_table,
    froc_table,
    threshold_tables,
)
from mmad.report.tables_pairs import documented_table, pair_tables, refused_table
from mmad.report.tables_runs import checkpoints_table, epochs_table, parameters_table, runs_table
from mmad.report.words import clip


def all_tables(story: Story) -> Iterator[Table]:
    """Every table of ``story``: of each ablation, of all runs, and of every epoch."""
    for ablation in story.ablations:
        name = ablation.frame.record.name
        yield from pair_tables(ablation, story.certainty)
        yield from refused_table(ablation)
        yield from documented_table(ablation)
        yield from parameters_table(ablation)
        yield runs_table(file_stem(name, "runs"), f"{clip(ablation.title, 120)}: runs", [ablation.frame])
        yield from checkpoints_table(ablation)
        yield from findings_table(ablation, story.certainty)
        yield from threshold_tables(ablation, story.certainty)
        yield from froc_table(ablation, story.certainty)
        yield from confusion_table(ablation, story.certainty)
        yield from controls_table(ablation, story.certainty)
    if len(story.ablations) > 1:
        yield runs_table("runs", "All runs", [a.frame for a in story.ablations])
    yield epochs_table(story)


def write_tables(
    story: Story, *, csv: Path | None = None, latex: Path | None = None
) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Write the tables of ``story`` into the folders ``csv`` and ``latex``; the files of either, in order.

    A file takes the place of one of its name; others in the folders stay.

    Raises:
        ReportError: a file that cannot be written.
    """
    tables = [table for table in all_tables(story) if table.rows]
    data: list[Path] = []
    if csv is not None:
        data += [_write(csv / f"{table.name}.csv", as_csv(table), "--csv") for table in tables]
        data.append(_write(csv / "columns.csv", columns_csv(tables), "--csv"))
    printed = [t for t in tables if t.printed is not None]
    sources = (
        [] if latex is None else [_write(latex / f"{table.name}.tex", as_latex(table), "--latex") for table in printed]
    )
    return tuple(data), tuple(sources)


def _write(path: Path, text: str, option: str) -> Path:
    try:
        write_atomically(path, text.encode("utf-8"))
    except OSError as error:
        raise ReportError(
            f"cannot be written ({error.strerror or error})",
            where=path,
            mend=f"choose another folder with {option}, or make room there",
        ) from error
    return path
