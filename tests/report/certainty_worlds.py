"""A store with two settings whose verdicts differ, and what a report makes of it."""

from __future__ import annotations

import re
from pathlib import Path

import analysis_worlds as made
from report_worlds import WHEN

from mmad.data.dataset import DataSet
from mmad.report.certainty import Certainty, SurePair
from mmad.report.evidence import sure_rows
from mmad.report.frames import ReportFrame, load_frame
from mmad.report.judged import How
from mmad.report.story import Story, tell
from mmad.store.gateway import Store

FEW = How(resamples=60)


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


def told(store: Store, found: Certainty, frame: ReportFrame | None = None) -> Story:
    return tell(frame or load_frame(store), created=WHEN, database="x", certainty=found)


def pairs(story: Story) -> dict[str, SurePair]:
    (ablation,) = story.ablations
    (comparison,) = ablation.comparisons
    return {row.setting: sure for row, sure in sure_rows(story.certainty, ablation.frame, comparison)}


def words(page: str) -> str:
    body = re.sub(r"<(script|style)>.*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", body).split())
