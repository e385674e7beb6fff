"""A store with two settings whose verdicts differ, and what a report makes of it."""

from __future__ import annotations

import re
from pathlib import Path

import analysis_fixtures as made
from report_fixtures import WHEN

from mmad.analysis.comparison import PairStatistics
from mmad.analysis.evaluation_target import EvaluationOptions
from mmad.analysis.report_frame import ReportFrame, load_frame
from mmad.analysis.verdicts import Statistics
from mmad.data.dataset import DataSet
from mmad.report.sections import ReportModel, build_model
from mmad.report.tables import statistics_rows
from mmad.store.store import Store

FEW = EvaluationOptions(resamples=60)


def two_settings(folder: Path, dataset: DataSet) -> Path:
    """Two settings: one whose second arm is far better, one whose arms are equally good."""
    database = folder / "db" / "mmad.sqlite"
    skills = {
        ("clear", "CXR"): 0.1,
        ("clear", "CXR+Clinical"): 0.95,
        ("even", "CXR"): 0.5,
        ("even", "CXR+Clinical"): 0.5,
    }
    members = {
        (setting, arm, seed): made.member(dataset, arm, seed, setting, lr=1e-3 if setting == "clear" else 1e-4)
        for setting, arm in skills
        for seed in (0, 1)
    }
    with Store.open(database) as store:
        made.record(store, list(members.values()))
        for (setting, arm, _), member in members.items():
            made.finish(store, member, dataset, skills[setting, arm])
    return database


def model_with(store: Store, found: Statistics, frame: ReportFrame | None = None) -> ReportModel:
    return build_model(frame or load_frame(store), created=WHEN, database="x", statistics=found)


def pairs(model: ReportModel) -> dict[str, PairStatistics]:
    (ablation,) = model.ablations
    (comparison,) = ablation.comparisons
    return {row.setting: stats for row, stats in statistics_rows(model.statistics, comparison)}


def words(page: str) -> str:
    body = re.sub(r"<(script|style)>.*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", body).split())
