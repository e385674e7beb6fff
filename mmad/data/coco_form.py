"""``info.mmad`` of a COCO file: what ``dataset.toml`` says, so that an export loses nothing."""

from __future__ import annotations

from dataclasses import dataclass

from mmad.data.dataset import CategoricalColumn, DataSet, NumericColumn
from mmad.data.json_file import Node
from mmad.data.names import no_such, one_of
from mmad.data.reading import MODES, SPLIT_POLICIES


@dataclass(frozen=True)
class CocoForm:
    """Name, licence, policy, mode and clinical columns of the data set that was exported."""

    name: str
    licence: str
    split_policy: str | None
    mode: str | None
    numeric: tuple[NumericColumn, ...]
    categorical: tuple[CategoricalColumn, ...]

    @property
    def numeric_names(self) -> list[str]:
        return [column.name for column in self.numeric]

    @property
    def categorical_names(self) -> list[str]:
        return [column.name for column in self.categorical]


def written_form(dataset: DataSet) -> dict[str, object]:
    """``info.mmad`` as it is written."""
    return {
        "name": dataset.name,
        "licence": dataset.licence,
        "split_policy": dataset.split_policy,
        "mode": dataset.mode,
        "numeric": [{"name": c.name, "unit": c.unit, "low": c.low, "high": c.high} for c in dataset.numeric],
        "categorical": [{"name": c.name, "values": list(c.values)} for c in dataset.categorical],
    }


def read_form(root: Node) -> CocoForm | None:
    """``info.mmad`` of the file, None where another tool wrote it. Raises DataError."""
    info = root.fields.get("info")
    if not isinstance(info, dict) or info.get("mmad") is None:
        return None
    node = Node(f"{root.where}: info", info).node("mmad")
    numeric = tuple(_numeric(column) for column in node.nodes("numeric"))
    categorical = tuple(_categorical(column) for column in node.nodes("categorical"))
    policy, mode = _known(node, "split_policy", SPLIT_POLICIES), _known(node, "mode", MODES)
    return CocoForm(node.text("name"), node.text("licence"), policy, mode, numeric, categorical)


def _numeric(node: Node) -> NumericColumn:
    unit = node.text("unit") if node.fields.get("unit") not in (None, "") else ""
    return NumericColumn(node.text("name"), unit, node.number("low"), node.number("high"))


def _categorical(node: Node) -> CategoricalColumn:
    values = node.fields.get("values")
    if not isinstance(values, list):
        node.refuse("key 'values' is not a list of texts", 'write "values": ["first", "second"]')
    texts = [Node(node.where, {"values": value}).text("values") for value in values]
    return CategoricalColumn(node.text("name"), tuple(texts))


def _known(node: Node, key: str, known: tuple[str, ...]) -> str | None:
    if not node.has(key):
        return None
    word = node.text(key)
    if word not in known:
        node.refuse(no_such(key, word, known), one_of(known))
    return word
