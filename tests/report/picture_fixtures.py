"""Data sets and stores whose pictures are tested: a plain one, and one in which every name is an attack."""

from __future__ import annotations

import shutil
from pathlib import Path

import analysis_fixtures as made
from report_fixtures import WHEN
from statistics_fixtures import FEW

from mmad.analysis.report_frame import load_frame
from mmad.analysis.verdicts import FailureCachingStore, Statistics
from mmad.data.dataset import DataSet
from mmad.data.reader import load_dataset
from mmad.report.pictures import AblationPictures, Pictures, pictures_of
from mmad.report.sections import ReportModel, build_model
from mmad.store.store import Store

__all__ = ["ATTACKS", "FEW", "alone", "attacked", "gathered", "licensed", "model_of", "two_arms"]

SCRIPT = "<script>window.hacked = 7</script>"
ATTACKS = (SCRIPT, "../../etc/passwd", "x" * 10_000, "]]></title><img src=x onerror=hacked()>")


def licensed(folder: Path, source: DataSet, licence: str) -> DataSet:
    """A copy of the data set ``source`` under another licence."""
    shutil.copytree(source.root, folder)
    description = folder / "dataset.toml"
    text = description.read_text("utf-8")
    assert f'"{source.licence}"' in text
    description.write_text(text.replace(f'"{source.licence}"', f'"{licence}"'), "utf-8")
    return load_dataset(folder)


def attacked(folder: Path, source: DataSet) -> DataSet:
    """A copy of ``source`` in which the studies of the test split and the findings are called by ``ATTACKS``."""
    shutil.copytree(source.root, folder)
    names = {}
    for n, position in enumerate(source.split("test")):
        names[source.studies[position].study] = f"{ATTACKS[n % len(ATTACKS)]}{n}\u202e"
    for table in ("studies.csv", "boxes.csv"):
        path = folder / table
        head, *rows = path.read_text("utf-8").splitlines()
        rest = (row.partition(",") for row in rows)
        path.write_text("\n".join([head, *(f'"{names.get(a, a)}",{b}' for a, _, b in rest)]) + "\n", "utf-8")
    for path in (folder / "dataset.toml", folder / "boxes.csv"):
        text = path.read_text("utf-8")
        path.write_text(text.replace(source.labels[1], SCRIPT).replace(source.labels[2], "\u202eRTL"), "utf-8")
    return load_dataset(folder)


def two_arms(folder: Path, dataset: DataSet, *, settings: int = 1, seeds: int = 1, other: str = "CXR+Clinical") -> Path:
    """A database with both arms of some settings, every run finished with detections of its own."""
    database = folder / "db" / "mmad.sqlite"
    arms = {"CXR": 0.4, other: 0.8}
    members = [
        made.member(dataset, arm, seed, f"s{n}", lr=10.0 ** -(1 + n))
        for n in range(settings)
        for arm in arms
        for seed in range(seeds)
    ]
    with Store.open(database) as store:
        made.record(store, members, [("CXR", other)])
        for one in members:
            made.finish(store, one, dataset, arms[one.arm] + 0.05 * one.seed)
    return database


def gathered(store: Store, number: int | None = None, data: Path | None = None) -> Pictures:
    return pictures_of(load_frame(store), store, number=number, detections=FailureCachingStore(data))


def alone(pictures: Pictures) -> AblationPictures:
    """The pictures of the only ablation."""
    (found,) = pictures.ablations.values()
    return found


def model_of(store: Store, pictures: Pictures) -> ReportModel:
    return build_model(load_frame(store), created=WHEN, database="x", statistics=Statistics(), pictures=pictures)
