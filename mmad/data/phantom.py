"""The embedded data set: chest-like radiographs drawn from a seed, with findings, boxes and clinical values."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmad.base.errors import DataError
from mmad.base.records import DOCUMENTED_LABELS
from mmad.data.dataset import IMAGES, DataSet, load_dataset
from mmad.data.phantom_cases import CATEGORICAL, NUMERIC, Case, make_cases
from mmad.data.phantom_chest import Field, draw_chest, make_anatomy, smooth_noise
from mmad.data.phantom_findings import Mark, draw_findings
from mmad.data.writing import BoxRow, StudyRow, new_folder, write_tables

STUDIES = 480
IMAGE_SIZE = 256

Progress = Callable[[int, int], None]


def make_phantom(
    out: Path,
    *,
    studies: int = STUDIES,
    image_size: int = IMAGE_SIZE,
    seed: int = 0,
    clinical_effect: float = 1.0,
    missing: float = 0.05,
    progress: Progress | None = None,
) -> DataSet:
    """Draw a data set of ``studies`` images of ``image_size`` px into the new folder ``out``, and load it.

    ``clinical_effect`` (0 to 1) is the share of studies whose clinical values belong to their finding;
    pictures, boxes and labels do not depend on it. ``missing`` is the share of empty clinical cells. The same
    arguments give the same bytes. ``progress`` hears (done, all). Raises DataError for an argument out of
    range and for a folder that is already filled or cannot be written.
    """
    _check("studies", studies, 10, 1_000_000)
    _check("image-size", image_size, 64, 4096)
    _check("seed", seed, 0, 2**31 - 1)
    _check("clinical-effect", clinical_effect, 0, 1)
    _check("missing", missing, 0, 0.9)
    cases = make_cases(studies, seed, clinical_effect, missing)
    rows: list[StudyRow] = []
    boxes: list[BoxRow] = []
    with new_folder(out) as folder:
        for done, case in enumerate(cases, 1):
            film, marks = draw_case(case, image_size, seed)
            image = f"{IMAGES}/{case.study}.png"
            (folder / image).write_bytes(_png(film))
            rows.append(StudyRow(case.study, image, image_size, image_size, case.patient_id, case.split, _cells(case)))
            boxes.extend(BoxRow(case.study, "1", mark.box, mark.label) for mark in marks)
            if progress is not None:
                progress(done, studies)
        write_tables(
            folder,
            name=f"phantom (seed {seed}, clinical effect {clinical_effect:g})",
            labels=DOCUMENTED_LABELS,
            numeric=NUMERIC,
            categorical=CATEGORICAL,
            licence="CC0-1.0",
            split_policy="patient",
            studies=rows,
            boxes=boxes,
        )
    return load_dataset(out)


def draw_case(case: Case, image_size: int, seed: int) -> tuple[NDArray[np.uint8], list[Mark]]:
    """The film of one case, uint8 (S, S), and the boxes on it; a function of (case's picture, size, seed)."""
    patient = np.random.default_rng([seed, 10, case.patient])
    visit = np.random.default_rng([seed, 11, case.index])
    chest = draw_chest(make_anatomy(patient, visit, case.female, case.big_heart), image_size, visit)
    density, marks = draw_findings(chest, case, visit)
    return _expose(density, visit), marks


def _expose(density: Field, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Film of a density field: blur of the focal spot, exposure, contrast, quantum noise."""
    size = density.shape[0]
    soft = np.pad(density, 1, mode="edge")
    soft = (soft[:-2] + 2 * soft[1:-1] + soft[2:]) / 4
    soft = (soft[:, :-2] + 2 * soft[:, 1:-1] + soft[:, 2:]) / 4
    exposure, contrast = float(rng.uniform(-0.03, 0.03)), float(rng.uniform(0.92, 1.06))
    film = (soft - 0.45) * np.float32(contrast) + np.float32(0.47 + exposure)
    film += np.float32(0.008) * smooth_noise(rng, size, 3)
    film += np.float32(0.014) * rng.standard_normal(film.shape, dtype=np.float32)
    return np.clip(film * 255, 0, 255).astype(np.uint8)


def _png(film: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(film).save(buffer, format="PNG", compress_level=2)
    return buffer.getvalue()


def _cells(case: Case) -> tuple[str, ...]:
    numbers = ("" if value is None else f"{value:g}" for value in case.numeric)
    return (*numbers, *(value or "" for value in case.categorical))


def _check(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise DataError(f"{value:g} is out of range", where=f"--{name}", mend=f"choose from {low:g} to {high:g}")
