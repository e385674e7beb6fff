"""One made-up tree with every oddity of the distributions, each of them once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from reflacx_trees import VITALS, Ellipse, Tree

from mmad.data.importers.reflacx.build import Sources

#: Of :func:`odd_tree`: how many readings go for each reason in the mode ``unified``.
ODD_REASONS: Mapping[str, int] = {
    "duplicate_row": 1,
    "discarded": 1,
    "unknown_image": 1,
    "other_patient": 1,
    "lateral": 2,
    "no_time": 1,
    "no_stay": 1,
    "jpeg_missing": 1,
    "jpeg_unreadable": 1,
    "jpeg_other_shape": 1,
    "ellipses_missing": 1,
    "ellipses_lost": 1,
}
#: The readings of it that stay, with the image each is of.
ODD_KEPT = {"P102R000001": "d1", "P103R000002": "d1", "P200R000003": "d2", "P300R000004": "d3"}


def odd_tree(root: Path, **form: object) -> Tree:
    """Every oddity once: four readings of three images of two patients stay, one goes for each reason."""
    tree = Tree(root, **form)  # type: ignore[arg-type]
    _kept_readings(tree)
    _left_out_readings(tree)
    return tree


def _kept_readings(tree: Tree) -> None:
    tree.patient()
    tree.patient("10000002", "M", "91", "2150")
    tree.stay()
    tree.stay("30000002", "2181-01-01 01:00:00", "2181-01-02 03:00:00", vitals=("", "", "", "", "", "", "unable", ""))
    tree.stay("30000003", "2181-01-01 23:50:00", "2181-01-02 05:00:00", vitals=("99.1", *VITALS[1:6], "5-6", "2.0"))
    tree.stay("30000004", "2152-03-03 10:00:00", "2152-03-03 20:00:00", patient="10000002", vitals=None)
    tree.image("d1")
    tree.image("d2", study="50000002", view="PA", day="20", time="1")
    tree.images[-1][7:9] = ["21810102", "130.0"]  # 00:01:30 in two stays
    tree.image("d3", patient="10000002", study="50000003", day="21520303", time="100000.0", stored=(20, 15))
    both = Ellipse((5, 6, 25, 20), ["Pleural effusion", "Consolidation", "Pleural thickening"], 5)
    tree.reading("P102R000001", "d1", [both, both, Ellipse((1, 1, 9, 9), ["Emphysema"])])
    outside = Ellipse((-6, 10, 10, 33), ["Atelectasis"], 2)
    tree.reading("P103R000002", "d1", [outside, Ellipse((45, 3, 60, 9), ["Atelectasis"], 1)])
    tree.reading("P200R000003", "d2", study="50000002", split="validate")
    wide = Ellipse((10, 10, 30, 20), ["Pulmonary edema", "Pneumothorax"], 3)
    tree.reading("P300R000004", "d3", [wide], patient="10000002", study="50000003", split="test")


def _left_out_readings(tree: Tree) -> None:
    finding = [Ellipse((5, 6, 25, 20), ["Consolidation"])]
    tree.metadata[1].append(list(tree.metadata[1][0]))
    tree.reading("P101R000011", "d1", finding, discarded="True")
    tree.reading("P300R000012", "nowhere", finding)
    tree.reading("P300R000013", "d1", finding, patient="10000009")
    for number, view in ((14, "LATERAL"), (15, "")):
        tree.image(f"d{number}", view=view)
        tree.reading(f"P300R0000{number}", f"d{number}", finding)
    tree.image("d16", time="257070.0")
    tree.reading("P300R000016", "d16", finding)
    tree.image("d17", time="143000.001")  # a millisecond after the stay
    tree.reading("P300R000017", "d17", finding)
    tree.image("d18", stored=None)
    tree.reading("P300R000018", "d18", finding)
    tree.image("d19")
    tree.reading("P300R000019", "d19", finding)
    tree.image("d20", stored=(30, 30))
    tree.reading("P300R000020", "d20", finding)
    tree.image("d21")
    tree.reading("P300R000021", "d21", finding, file="missing")
    tree.reading("P300R000022", "d1", finding, file="\r\n")


def write_odd(tree: Tree) -> Sources:
    """Write an odd tree; its image d19 is cut off."""
    sources = tree.write()
    cut = next(path for path in tree.jpegs if path.stem == "d19")
    cut.write_bytes(cut.read_bytes()[:10])
    return sources
