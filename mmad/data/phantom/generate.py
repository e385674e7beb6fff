"""The embedded data set: chest-like radiographs drawn from a seed, with findings, boxes and clinical values."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmad.base.errors import DataError
from mmad.base.records import DOCUMENTED_LABELS, OnProgress
from mmad.config.messages import one_of
from mmad.data.dataset import IMAGES, DataSet
from mmad.data.phantom import IMAGE_SIZE, NAME, STUDIES
from mmad.data.phantom.cases import CATEGORICAL, NUMERIC, Case, make_cases
from mmad.data.phantom.drawing import (
    Box,
    Field,
    Mark,
    add_artefacts,
    draw_chest,
    draw_findings,
    make_anatomy,
    smooth_noise,
)
from mmad.data.reader import load_dataset
from mmad.data.writer import BoxRow, StudyRow, new_folder, write_tables

#: Names of the image files' formats and their suffixes.
FORMATS = {"png": ".png", "jpeg": ".jpg"}
#: Largest side that is drawn as it is for an image of other sides; what is larger is drawn so and enlarged.
_DRAWN = 640


def make_phantom(
    out: str | Path,
    *,
    studies: int = STUDIES,
    image_size: int = IMAGE_SIZE,
    seed: int = 0,
    clinical_effect: float = 1.0,
    missing: float = 0.05,
    artefacts: bool = False,
    format: str = "png",
    width: int | None = None,
    height: int | None = None,
    progress: OnProgress | None = None,
) -> DataSet:
    """Draw a data set of ``studies`` images into the new folder ``out``, and load it.

    The same arguments give the same bytes.

    Args:
        out: a folder that does not hold anything yet.
        studies: how many images.
        image_size: side of an image in pixels.
        seed: of everything that is drawn.
        clinical_effect: how far the vital signs of the findings lie apart, as a share (0 to 1) of the distance at
            which they do not overlap; pictures, boxes and labels do not depend on it.
        missing: share of empty clinical cells.
        artefacts: draw side markers, tubes, lines and devices and vary the exposure; boxes and labels stay.
        format: of the image files, png or jpeg; JPEG is written with quality 92.
        width: of an image in pixels, in place of ``image_size``; height: likewise. An image that is not square is
            drawn on a square of 640 px at most, and enlarged with its boxes and fine noise.
        progress: hears (done, all).

    Raises:
        DataError: an argument out of range; a folder that is already filled or cannot be written.
    """
    _check("studies", studies, 10, 1_000_000)
    _check("image-size", image_size, 64, 4096)
    size = (image_size if width is None else width, image_size if height is None else height)
    for side in size:
        _check("size", side, 64, 4096)
    if format not in FORMATS:
        raise DataError(f"unknown format {format!r}", where="--format", hint=one_of(FORMATS))
    _check("seed", seed, 0, 2**31 - 1)
    _check("clinical-effect", clinical_effect, 0, 1)
    _check("missing", missing, 0, 0.9)
    cases = make_cases(studies, seed, clinical_effect, missing)
    rows: list[StudyRow] = []
    boxes: list[BoxRow] = []
    with new_folder(Path(out)) as folder:
        for done, case in enumerate(cases, 1):
            image, marks = draw_image(case, size, seed, artefacts=artefacts)
            file = f"{IMAGES}/{case.study}{FORMATS[format]}"
            (folder / file).write_bytes(_encoded(image, format))
            rows.append(StudyRow(case.study, file, *size, case.patient_id, case.split, _cells(case)))
            boxes.extend(BoxRow(case.study, "1", mark.box, mark.label) for mark in marks)
            if progress is not None:
                progress(done, studies)
        write_tables(
            folder,
            name=f"{NAME} (seed {seed}, clinical effect {clinical_effect:g}{', artefacts' if artefacts else ''})",
            labels=DOCUMENTED_LABELS,
            numeric=NUMERIC,
            categorical=CATEGORICAL,
            licence="CC0-1.0",
            split_policy="patient",
            studies=rows,
            boxes=boxes,
        )
    return load_dataset(out)


def draw_image(
    case: Case, size: tuple[int, int], seed: int, *, artefacts: bool = False
) -> tuple[NDArray[np.uint8], list[Mark]]:
    """The image of one case, uint8 (height, width) of ``size`` (width, height), and the boxes on it."""
    width, height = size
    if width == height:
        image, marks = draw_case(case, width, seed)
    else:
        drawn = min(max(size), _DRAWN)
        image, marks = draw_case(case, drawn, seed)
        image = _enlarged(image, size, np.random.default_rng([seed, 13, case.index]))
        marks = [replace(mark, box=_scaled(mark.box, width / drawn, height / drawn)) for mark in marks]
    if artefacts:
        image = add_artefacts(image, np.random.default_rng([seed, 12, case.index]))
    return image, marks


def _enlarged(image: NDArray[np.uint8], size: tuple[int, int], rng: np.random.Generator) -> NDArray[np.uint8]:
    """The image in another size, with the noise that a detector of such pixels has."""
    levels = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC), dtype=np.float32)
    noise = rng.standard_normal(levels.shape, dtype=np.float32)
    return np.clip(levels + np.float32(3) * noise, 0, 255).astype(np.uint8)


def _scaled(box: Box, across: float, down: float) -> Box:
    return box[0] * across, box[1] * down, box[2] * across, box[3] * down


def draw_case(case: Case, image_size: int, seed: int) -> tuple[NDArray[np.uint8], list[Mark]]:
    """The image of one case, uint8 (S, S), and the boxes on it; a function of (case's picture, size, seed)."""
    patient = np.random.default_rng([seed, 10, case.patient])
    visit = np.random.default_rng([seed, 11, case.index])
    chest = draw_chest(make_anatomy(patient, visit, case.female, case.big_heart), image_size, visit)
    density, marks = draw_findings(chest, case, visit)
    return _expose(density, visit), marks


def _expose(density: Field, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Image of a density field: blur of the focal spot, exposure, contrast, quantum noise."""
    size = density.shape[0]
    soft = np.pad(density, 1, mode="edge")
    soft = (soft[:-2] + 2 * soft[1:-1] + soft[2:]) / 4
    soft = (soft[:, :-2] + 2 * soft[:, 1:-1] + soft[:, 2:]) / 4
    exposure, contrast = float(rng.uniform(-0.03, 0.03)), float(rng.uniform(0.92, 1.06))
    image = (soft - 0.45) * np.float32(contrast) + np.float32(0.47 + exposure)
    image += np.float32(0.008) * smooth_noise(rng, size, 3)
    image += np.float32(0.014) * rng.standard_normal(image.shape, dtype=np.float32)
    return np.clip(image * 255, 0, 255).astype(np.uint8)


def _encoded(image: NDArray[np.uint8], format: str) -> bytes:
    buffer = io.BytesIO()
    if format == "png":
        Image.fromarray(image).save(buffer, format="PNG", compress_level=2)
    else:
        Image.fromarray(image).save(buffer, format="JPEG", quality=92)
    return buffer.getvalue()


def _cells(case: Case) -> tuple[str, ...]:
    numbers = ("" if value is None else f"{value:g}" for value in case.numeric)
    return (*numbers, *(value or "" for value in case.categorical))


def _check(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise DataError(f"{value:g} is out of range", where=f"--{name}", hint=f"choose from {low:g} to {high:g}")
