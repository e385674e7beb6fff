"""The files of published data sets that are no table of boxes, read into one."""

from __future__ import annotations

import ast
import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

import pandas
import yaml

from mmad.base.errors import DataError
from mmad.config.messages import shown
from mmad.data.dataset import read_split
from mmad.data.importers.described.description import SIDES, SIZE, SPLIT, PublishedSet
from mmad.data.tables import read_table

NamedCells = dict[str, str]


def _table(path: Path, of: PublishedSet, src: Path) -> pandas.DataFrame:
    return read_table(path).frame


def _rows(rows: Iterator[tuple[object, NamedCells]]) -> pandas.DataFrame:
    lines, cells = zip(*rows, strict=True)
    return pandas.DataFrame(list(cells), index=list(lines), dtype="str").fillna("")


def _row(image: str, label: str = "", box: tuple[object, ...] = ("",) * 4) -> NamedCells:
    return {"image": image, "label": label, **dict(zip(SIDES, map(str, box), strict=True))}


def _size(width: object, height: object) -> NamedCells:
    """The size in whose pixels an image's boxes are, empty where a tool wrote none."""
    stated = [str(side or "") for side in (width, height)]
    return dict(zip(SIZE, stated if all(side not in ("", "0") for side in stated) else ("", ""), strict=True))


def _chestx_det(path: Path, of: PublishedSet, src: Path) -> pandas.DataFrame:
    """A list of images with the lists ``syms`` and ``boxes``."""

    def rows() -> Iterator[tuple[object, NamedCells]]:
        for place, one in enumerate(json.loads(path.read_text("utf-8-sig"))):
            if len(one["syms"]) != len(one["boxes"]):
                what = f"image {shown(one['file_name'])} has {len(one['boxes'])} boxes of {len(one['syms'])} names"
                raise DataError(what, where=f"{path}:[{place}]", hint="take the file as it was published")
            for name, box in zip(one["syms"], one["boxes"], strict=True):
                yield f"[{place}]", _row(one["file_name"], name, tuple(box))
            if not one["syms"]:
                yield f"[{place}]", _row(one["file_name"])

    return _checked(path, rows)


def _object_cxr(path: Path, of: PublishedSet, src: Path) -> pandas.DataFrame:
    """Shapes separated by ``;``: a type (0 rectangle, 1 ellipse, 2 polygon) and its points."""
    table = read_table(path)

    def rows() -> Iterator[tuple[object, NamedCells]]:
        for line, image, words in zip(
            table.frame.index, table.column(of.image), table.column("annotation"), strict=True
        ):
            for shape in filter(None, (part.split() for part in words.split(";"))):
                numbers = [float(word) for word in shape[1:]]
                points = list(zip(numbers[::2], numbers[1::2], strict=True))
                yield line, _row(image, "Foreign object", _around(points))
            if not words:
                yield line, _row(image)

    return _checked(path, rows)


def _siim(path: Path, of: PublishedSet, src: Path) -> pandas.DataFrame:
    """``boxes`` is a Python list of ``x``, ``y``, ``width``, ``height``."""
    table = read_table(path)

    def rows() -> Iterator[tuple[object, NamedCells]]:
        columns = (table.column(name) for name in ("id", "boxes", "StudyInstanceUID"))
        for line, name, words, study in zip(table.frame.index, *columns, strict=True):
            image = name.removesuffix("_image")
            for box in ast.literal_eval(words) if words else ():
                sides = tuple(box[side] for side in ("x", "y", "width", "height"))
                yield line, {**_row(image, "opacity", sides), "StudyInstanceUID": study}
            if not words:
                yield line, {**_row(image), "StudyInstanceUID": study}

    return _checked(path, rows)


def _padchest_gr(path: Path, of: PublishedSet, src: Path) -> pandas.DataFrame:
    """A record for each study, with findings of labels and relative boxes; ``master_table.csv`` has the patients."""
    table = next(iter(sorted(path.parent.glob("master_table*.csv"))), None)
    of_image: dict[str, NamedCells] = {}
    if table is not None:
        read = read_table(table)
        columns = (read.column(name) for name in ("ImageID", "PatientID", "split"))
        of_image = {image: {"PatientID": who, SPLIT: split} for image, who, split in zip(*columns, strict=True)}

    def rows() -> Iterator[tuple[object, NamedCells]]:
        for place, study in enumerate(json.loads(path.read_text("utf-8-sig"))):
            image = study["ImageID"]
            found = [
                _row(image, label, tuple(box))
                for finding in study["findings"]
                for label in finding.get("labels") or ()
                for box in finding.get("boxes") or ()
            ]
            for row in found or [_row(image)]:
                yield f"[{place}]", {**row, **of_image.get(image, {})}

    return _checked(path, rows)


def _around(points: Sequence[tuple[float, float]]) -> tuple[float, float, float, float]:
    across, down = zip(*points, strict=True)
    return min(across), min(down), max(across), max(down)


def _voc(path: Path, of: PublishedSet, src: Path) -> pandas.DataFrame:
    """A file for each image; the corners by name, and as they are."""

    def rows() -> Iterator[tuple[object, NamedCells]]:
        root = ElementTree.parse(path).getroot()
        image, objects = root.findtext("filename", ""), root.findall("object")
        size = _size(root.findtext("size/width"), root.findtext("size/height"))
        for one in objects:
            box = tuple(one.findtext(f"bndbox/{side}", "") for side in SIDES)
            yield 1, _row(image, one.findtext("name", ""), box) | size
        if not objects:
            yield 1, _row(image) | size

    return _checked(path, rows)


def _cvat(path: Path, of: PublishedSet, src: Path) -> pandas.DataFrame:
    """Boxes, and the boxes around polygons."""

    def rows() -> Iterator[tuple[object, NamedCells]]:
        root = ElementTree.parse(path).getroot()
        if root.find("track") is not None:
            raise ValueError("it is a video's, with tracks")
        for image in root.iter("image"):
            name, shapes = image.attrib["name"], [*image.iter("box"), *image.iter("polygon")]
            size = _size(image.get("width"), image.get("height"))
            for shape in shapes:
                if shape.tag == "box":
                    box: tuple[object, ...] = tuple(shape.attrib[side] for side in ("xtl", "ytl", "xbr", "ybr"))
                else:
                    pairs = (point.split(",") for point in shape.attrib["points"].split(";"))
                    box = _around([(float(x), float(y)) for x, y in pairs])
                yield image.attrib["id"], _row(name, shape.attrib["label"], box) | size
            if not shapes:
                yield image.attrib["id"], _row(name) | size

    return _checked(path, rows)


def _labelme(path: Path, of: PublishedSet, src: Path) -> pandas.DataFrame:
    """A file for each image; a rectangle has two corners in any order, a polygon gets the box around it."""

    def rows() -> Iterator[tuple[object, NamedCells]]:
        found = json.loads(path.read_text("utf-8-sig"))
        image = found["imagePath"].replace("\\", "/").rpartition("/")[2]
        size = _size(found.get("imageWidth"), found.get("imageHeight"))
        for shape in found["shapes"]:
            if shape["shape_type"] not in ("rectangle", "polygon"):
                raise ValueError(f"a {shape['shape_type']} is no box")
            yield 1, _row(image, shape["label"], _around(shape["points"])) | size
        if not found["shapes"]:
            yield 1, _row(image) | size

    return _checked(path, rows)


def _chexlocalize(path: Path, of: PublishedSet, src: Path) -> pandas.DataFrame:
    """By image the polygons of each finding; the key is the image's path in CheXpert, its parts joined by ``_``.

    Images in which nothing was found have no key here, and one in the file of masks, if that lies beside it.
    """

    def rows() -> Iterator[tuple[object, NamedCells]]:
        found = json.loads(path.read_text("utf-8-sig"))
        masks = path.with_name(path.name.replace("annotations", "segmentations"))
        looked = json.loads(masks.read_text("utf-8-sig")) if masks.is_file() else {}
        for key in dict.fromkeys((*found, *looked)):
            image = _file_of_key(src, path, key)
            size = _size(*reversed(found.get(key, {}).get("img_size", ("", ""))))
            outlines = {name: several for name, several in found.get(key, {}).items() if name != "img_size"}
            for name, several in outlines.items():
                for points in several:
                    yield f"[{key}]", _row(image, name, _around(points)) | size
            if not outlines:
                yield f"[{key}]", _row(image) | size

    return _checked(path, rows)


def _file_of_key(src: Path, path: Path, key: str) -> str:
    """The path below ``src`` of the image with this key. Raises DataError."""
    below = "/".join(key.split("_", 2))  # patient64622_study1_view1_frontal
    files = sorted(src.glob(f"**/{below}.*"))
    if len(files) == 1:
        return files[0].relative_to(src).as_posix()
    what = f"{len(files) or 'no'} files below the folder are called {below}"
    raise DataError(what, where=f"{path}:[{key}]", hint="put the images of CheXpert there, each once")


def _yolo(path: Path, of: PublishedSet, src: Path) -> pandas.DataFrame:
    """The text files below ``labels`` folders beside ``data.yaml`` or ``classes.txt``, and the images of ``images``.

    A line is a class, from 0, and the centre and size of a box or the corners of a polygon, as shares of the image.
    An image without a file, or with an empty one, shows nothing. The split is a folder's name.
    """
    names = _yolo_names(path)
    images = {file.with_suffix(""): file for file in sorted(path.parent.rglob("images/**/*")) if file.is_file()}
    texts = {}
    for text in sorted(path.parent.rglob("labels/**/*.txt")):
        parts = list(text.with_suffix("").parts)
        parts[len(parts) - 1 - parts[::-1].index("labels")] = "images"
        texts[Path(*parts)] = text
    lost = next((text for stem, text in texts.items() if stem not in images), None)
    if lost is not None:
        raise DataError("is of no image", where=lost, hint="put its image into the folder images, under the same name")

    def rows() -> Iterator[tuple[object, NamedCells]]:
        for stem, image in images.items():
            known = {"image": image.relative_to(src).as_posix(), SPLIT: _split_of(image.relative_to(src))}
            lines = texts[stem].read_text("utf-8").splitlines() if stem in texts else []
            marks = [(number, line.split()) for number, line in enumerate(lines, 1) if line.strip()]
            for number, words in marks:
                at = f"{texts[stem].relative_to(path.parent).as_posix()}:{number}"
                yield at, {**_yolo_row(words, names, f"{path.parent}/{at}"), **known}
            if not marks:
                yield image.name, {**_row(""), **known}

    return _checked(path, rows)


def _yolo_names(path: Path) -> dict[int, str]:
    """By number the classes of ``data.yaml`` (a list, or number: name) or ``classes.txt`` (a line for each)."""
    text = path.read_text("utf-8-sig")
    if path.suffix == ".txt":
        return dict(enumerate(map(str.strip, text.splitlines())))
    try:
        names = yaml.safe_load(text)["names"]
        pairs = names.items() if isinstance(names, dict) else enumerate(names)
        return {int(number): str(name).strip() for number, name in pairs}
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        what = f"does not list its classes under 'names' ({type(error).__name__})"
        raise DataError(what, where=path, hint="write names: [Consolidation, Effusion]") from None


def _yolo_row(words: Sequence[str], names: Mapping[int, str], where: str) -> NamedCells:
    try:
        numbers = [float(word) for word in words[1:]]
        label = names[int(words[0])]
    except (ValueError, KeyError):
        what = f"{shown(' '.join(words))} is not a class from 0 to {len(names) - 1} with numbers"
        raise DataError(what, where=where, hint="write class, x_center, y_center, width, height") from None
    if len(numbers) == 5:
        raise DataError("has six numbers: predictions, with a score", where=where, hint="take the annotations")
    if len(numbers) == 4:
        return _row("", label, tuple(words[1:]))
    if len(numbers) < 6 or len(numbers) % 2:
        what = f"has {len(words)} numbers, and no box or polygon has that many"
        raise DataError(what, where=where, hint="write class, x_center, y_center, width, height")
    left, top, right, bottom = _around(list(zip(numbers[::2], numbers[1::2], strict=True)))
    return _row("", label, ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top))


def _coco(path: Path, of: PublishedSet, src: Path) -> pandas.DataFrame:
    """A COCO file beside its images; categories without a box, such as one that groups the others, are left out."""

    def rows() -> Iterator[tuple[object, NamedCells]]:
        found = json.loads(path.read_text("utf-8-sig"))
        names = {category["id"]: category["name"] for category in found["categories"]}
        files = {image["id"]: (path.parent / image["file_name"]).relative_to(src) for image in found["images"]}
        sizes = {image["id"]: _size(image.get("width"), image.get("height")) for image in found["images"]}
        bare = dict(files)
        for place, mark in enumerate(found["annotations"]):
            if mark.get("iscrowd"):  # a region of many findings
                continue
            bare.pop(mark["image_id"], None)
            image, label = files[mark["image_id"]].as_posix(), names[mark["category_id"]]
            yield f"annotations[{place}]", _row(image, label, tuple(mark["bbox"])) | sizes[mark["image_id"]]
        for place, (number, file) in enumerate(bare.items()):
            yield f"images[{place}]", _row(file.as_posix()) | sizes[number]

    return _checked(path, rows)


def _split_of(file: Path) -> str:
    """The split that a folder of ``file`` names, empty where none does."""
    for part in file.parts[:-1]:
        with contextlib.suppress(DataError):
            return read_split(part, "")
    return ""


def _checked(path: Path, rows: Callable[[], Iterator[tuple[object, NamedCells]]]) -> pandas.DataFrame:
    try:
        return _rows(rows())
    except (KeyError, TypeError, ValueError, SyntaxError, IndexError, AttributeError, OSError) as error:
        what = f"cannot be read as it is published ({type(error).__name__}: {error})"
        raise DataError(what, where=path, hint="take the file as it was published") from None


FORMS: Mapping[str, Callable[[Path, PublishedSet, Path], pandas.DataFrame]] = {
    "table": _table,
    "chestx-det": _chestx_det,
    "object-cxr": _object_cxr,
    "siim-covid": _siim,
    "padchest-gr": _padchest_gr,
    "voc": _voc,
    "cvat": _cvat,
    "labelme": _labelme,
    "chexlocalize": _chexlocalize,
    "yolo": _yolo,
    "coco": _coco,
}
