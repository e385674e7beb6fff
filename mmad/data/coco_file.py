"""Reads a COCO detection file into records, every value checked and refused by its place.

The form is COCO's (https://cocodataset.org/#format-data). Keys that COCO does not know are read where
``mmad data export coco`` writes them: ``study``, ``patient``, ``split``, ``source`` and ``clinical`` of an
image, ``reading``, ``certainty`` and ``corner`` of an annotation, and ``info.mmad``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmad.base.errors import DataError
from mmad.data.clipping import Box
from mmad.data.coco_form import CocoForm, read_form
from mmad.data.csv_columns import number_text
from mmad.data.json_file import Node, read_json, unique
from mmad.data.names import no_such, one_of, shown


@dataclass(frozen=True)
class CocoImage:
    """One entry of ``images``; ``clinical`` holds cells as text, empty where missing."""

    where: str
    identity: int | str
    file_name: str
    size: tuple[int, int] | None
    study: str | None
    patient: str | None
    split: str | None
    source: str
    clinical: Mapping[str, str]


@dataclass(frozen=True)
class CocoBox:
    """One annotation that is kept: ``(xmin, ymin, xmax, ymax)`` in pixels, not yet clipped to its image."""

    where: str
    image: int | str
    box: Box
    label: str
    reading: str
    certainty: str


@dataclass(frozen=True)
class CocoFile:
    """What the file holds; ``crowds`` counts regions left out, ``outlined`` boxes that come from polygons."""

    path: Path
    images: tuple[CocoImage, ...]
    labels: tuple[str, ...]
    boxes: tuple[CocoBox, ...]
    crowds: int
    outlined: int
    licence: str | None
    form: CocoForm | None


def read_coco(path: Path) -> CocoFile:
    """The COCO file at ``path``. Raises DataError naming the entry, its key and the mend."""
    root = read_json(path)
    form = read_form(root)
    nodes = root.nodes("images")
    images = tuple(_image(node, form) for node in nodes)
    if not images:
        raise DataError("holds no image", where=path, mend="a data set needs at least one")
    unique(nodes, [image.identity for image in images])
    categories = _categories(root)
    marks = root.nodes("annotations")
    unique(*_with_ids(marks))
    known = {image.identity for image in images}
    boxes = [_box(node, known, categories) for node in marks if not node.flag("iscrowd")]
    return CocoFile(
        path=path,
        images=images,
        labels=tuple(categories.values()),
        boxes=tuple(boxes),
        crowds=len(marks) - len(boxes),
        outlined=sum(1 for node in marks if not node.flag("iscrowd") and not _has_box(node)),
        licence=_licence(root),
        form=form,
    )


def _with_ids(nodes: Sequence[Node]) -> tuple[list[Node], list[int | str]]:
    """The annotations that have an id, and their ids; many tools leave them out."""
    named = [node for node in nodes if node.has("id")]
    return named, [node.identity("id") for node in named]


def _image(node: Node, form: CocoForm | None) -> CocoImage:
    size = (node.pixels("width"), node.pixels("height")) if node.has("width") or node.has("height") else None
    patient = next((key for key in ("patient", "patient_id") if node.has(key)), None)
    return CocoImage(
        where=node.where,
        identity=node.identity("id"),
        file_name=node.text("file_name"),
        size=size,
        study=str(node.identity("study")) if node.has("study") else None,
        patient=str(node.identity(patient)) if patient else None,
        split=node.text("split") if node.has("split") else None,
        source=node.text("source") if form is not None and node.has("source") else "",
        clinical=_clinical(node, form),
    )


def _clinical(node: Node, form: CocoForm | None) -> dict[str, str]:
    if form is None or not node.has("clinical"):
        return {}
    cells, values = {}, node.node("clinical")
    numbers, words = form.numeric_names, form.categorical_names
    for name in values.fields:
        if name not in numbers and name not in words:
            values.refuse(no_such("clinical column", name, numbers + words), one_of(numbers + words))
        if values.has(name):
            cells[name] = number_text(values.number(name)) if name in numbers else _word(values, name, form)
    return cells


def _word(values: Node, name: str, form: CocoForm) -> str:
    word, known = values.text(name), next(column.values for column in form.categorical if column.name == name)
    if word not in known:
        values.refuse(f"key {name!r} holds a value that info.mmad does not list", "add it there, or remove the key")
    return word


def _categories(root: Node) -> dict[int | str, str]:
    nodes = root.nodes("categories")
    ids, names = [node.identity("id") for node in nodes], [node.text("name") for node in nodes]
    unique(nodes, ids)
    if not nodes:
        root.refuse("key 'categories' is empty", "a detector needs at least one label")
    seen: set[str] = set()
    for node, name in zip(nodes, names, strict=True):
        if name in seen:
            node.refuse(f"name {shown(name)} stands twice", "make one category of the two")
        seen.add(name)
    return dict(zip(ids, names, strict=True))


def _box(node: Node, images: set[int | str], categories: Mapping[int | str, str]) -> CocoBox:
    image, category = node.identity("image_id"), node.identity("category_id")
    if image not in images:
        node.refuse(f"image_id {shown(str(image))} is that of no image", "add the image or drop the annotation")
    if category not in categories:
        mend = "add the category or drop the annotation"
        node.refuse(f"category_id {shown(str(category))} is that of no category", mend)
    return CocoBox(
        where=node.where,
        image=image,
        box=_corners(node) if _has_box(node) else _around(node),
        label=categories[category],
        reading=_reading(node),
        certainty=number_text(node.number("certainty")) if node.has("certainty") else "",
    )


def _reading(node: Node) -> str:
    if node.fields.get("reading") == "":
        return ""
    return str(node.identity("reading")) if node.has("reading") else "1"


def _has_box(node: Node) -> bool:
    """COCO writes an empty list where there is no box."""
    return node.has("bbox") and node.fields["bbox"] != []


def _corners(node: Node) -> Box:
    """x, y, width, height to corners; ``corner`` restores what the difference of two numbers cannot hold."""
    x, y, width, height = node.numbers("bbox", 4)
    if width <= 0 or height <= 0:
        node.refuse("key 'bbox' has no area", "write [x, y, width, height], or drop the annotation")
    right, bottom = x + width, y + height
    if node.has("corner"):
        exact = node.numbers("corner", 2)
        if abs(exact[0] - right) <= 1e-6 and abs(exact[1] - bottom) <= 1e-6:
            right, bottom = exact
    return x, y, right, bottom


def _around(node: Node) -> Box:
    """The box around the polygons of an annotation without one."""
    polygons = node.fields.get("segmentation")
    if not isinstance(polygons, list) or not polygons:
        what = "has neither a bbox nor polygons" if not isinstance(polygons, dict) else "has a mask and no bbox"
        node.refuse(what, "write bbox as [x, y, width, height]")
    xs: list[float] = []
    ys: list[float] = []
    for i, polygon in enumerate(polygons):
        points = Node(f"{node.where}: segmentation", {str(i): polygon}).numbers(str(i))
        if len(points) < 6 or len(points) % 2:
            node.refuse(f"segmentation {i} is no polygon of x, y pairs", "write at least three corners")
        xs += points[::2]
        ys += points[1::2]
    return min(xs), min(ys), max(xs), max(ys)


def _licence(root: Node) -> str | None:
    """The names of the licences, as far as they have one."""
    if not root.has("licenses"):
        return None
    names = [node.text("name") for node in root.nodes("licenses") if node.has("name")]
    return "; ".join(dict.fromkeys(names)) or None
