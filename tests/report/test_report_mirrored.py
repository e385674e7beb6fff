"""Documented beside measured: the log's own figures, of the same checkpoint, for members that mirror an entry."""

from __future__ import annotations

import re

from report_fixtures import WHEN, Sample
from undrawn import undrawn_html, undrawn_markdown

from mmad.analysis.report_frame import AblationFrame, load_frame
from mmad.base.formatting import decimal
from mmad.experiment_log.shipped import entries, entry
from mmad.report.sections import build_model, mirrored


def made(*documented: str | None, **setup: object) -> AblationFrame:
    return load_frame(sample(*documented, **setup).source).ablations[0]


def sample(*documented: str | None, **setup: object) -> Sample:
    made = Sample()
    made.ablation("a", "A", "")
    for n, name in enumerate(documented):
        made.member(f"s{n}", "CXR", documented=name, setup=setup, protocol={"epochs": 3})
    return made


def test_best_checkpoints_are_paired_with_best_ones() -> None:
    ablation = made("e069")
    (row,) = mirrored(ablation)
    assert (row.entry, row.checkpoint, row.documented) == ("e069", "best AP", entry("e069").results["best_ap"])
    assert row.measured == ablation.members[0].best_ap
    assert row.measured is not None
    assert row.figures[0] == (row.documented.test_ap, row.measured.test_ap)
    assert row.figures[3] == (row.documented.val_ar, row.measured.val_ar)


def test_a_run_without_a_best_checkpoint_is_paired_with_the_final_one() -> None:
    ablation = made("e069", use_early_stop_model=False)
    (row,) = mirrored(ablation)
    assert (row.checkpoint, row.measured) == ("final", ablation.members[0].final)
    assert row.documented == entry("e069").results["final"]


def test_an_unlabelled_result_is_paired_with_the_representative_checkpoint() -> None:
    unlabelled = next(e.id for e in entries() if "unlabelled" in e.results)
    (row,) = mirrored(made(unlabelled))
    assert row.checkpoint == "unlabelled"
    assert row.measured is not None


def test_nothing_is_shown_for_no_entry_an_unknown_one_or_one_without_results() -> None:
    silent = next(e.id for e in entries() if not e.results)
    assert mirrored(made(None, "e999", silent)) == ()


def test_both_forms_show_both_figures() -> None:
    model = build_model(load_frame(sample("e069").source), created=WHEN, database="x")
    (row,) = mirrored(model.ablations[0].frame)
    both = [decimal(value) for pair in row.figures for value in pair]
    page = " ".join(re.sub(r"<[^>]+>", " ", undrawn_html(model)).split())
    assert f"e069 best AP {' '.join(both)} IoU, clean" in page
    assert f"| e069 | best AP | {' | '.join(both)} |" in undrawn_markdown(model).text
