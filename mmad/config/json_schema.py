"""The JSON Schema of the ablation file, draft 4, from the same pydantic models that check it."""

from __future__ import annotations

from typing import Any

from mmad.config.ablation_file import ALIASES, AblationTable
from mmad.config.named_parts import PARTS, USE
from mmad.config.setup import BACKBONES, LOSS_NAMES
from mmad.config.weights import HUB, SUFFIXES, TORCHVISION

DRAFT = "http://json-schema.org/draft-04/schema#"
TITLE = "Ablation file of mmad"

#: Words that draft 4 does not know; a unit goes into the description.
_DROPPED = ("propertyNames", "prefixItems", "unit")
_BOUNDS = (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum"))


def ablation_schema() -> dict[str, Any]:
    """The schema as plain JSON: every key with its description, type, range, default and unit."""
    schema = AblationTable.model_json_schema()
    converted: dict[str, Any] = _draft4(schema)
    _complete(converted)
    return {"$schema": DRAFT, **converted, "title": TITLE}


def _draft4(node: Any) -> Any:
    """Pydantic's draft 2020-12 in the words of draft 4; TOML's ``"none"`` in place of null."""
    if isinstance(node, list):
        return [_draft4(item) for item in node]
    if not isinstance(node, dict):
        return node
    if node.get("type") == "null":
        return {"type": "string", "enum": ["none"]}
    out: dict[str, Any] = {}
    for name, value in node.items():
        if name == "properties":
            out[name] = {key: _draft4(item) for key, item in value.items()}
        elif name == "$defs":
            out["definitions"] = {key: _draft4(item) for key, item in value.items()}
        elif name == "const":
            out["enum"] = [value]
        elif name == "$ref":
            out[name] = value.replace("#/$defs/", "#/definitions/")
        elif name in _DROPPED or (name == "default" and value is None and "anyOf" not in node):
            continue
        elif name == "default" and value is None:
            out[name] = "none"
        else:
            out[name] = value if name in ("default", "enum") else _draft4(value)
    for inclusive, exclusive in _BOUNDS:
        if exclusive in out:
            out[inclusive], out[exclusive] = out[exclusive], True
    if "unit" in node:
        out["description"] = f"{node.get('description', '')} [{node['unit']}]"
    out.pop("title", None)
    if "$ref" in out and len(out) > 1:  # draft 4 ignores what stands beside a reference
        out["allOf"] = [{"$ref": out.pop("$ref")}]
    return out


def _complete(schema: dict[str, Any]) -> None:
    """Add what the models check in code: backbones, names of losses, and other spellings of fields."""
    backbone = {"anyOf": [{"enum": list(BACKBONES)}, {"pattern": "^timm:."}, {"type": "object"}]}
    members = [member for model in TORCHVISION.values() for member in model]
    ending = "|".join(suffix.removeprefix(".") for suffix in SUFFIXES)
    weights = {
        "anyOf": [
            {"enum": ["imagenet", "none", *members]},
            {"pattern": f"^{HUB}.+/."},
            {"pattern": rf"\.({ending})$"},
        ]
    }
    weight = {"anyOf": [{"type": "number", "minimum": 0}, {"enum": ["detach"]}]}
    for table in schema["definitions"].values():
        fields = table["properties"]
        if (field := fields.get("backbone")) is not None:
            field.get("items", field).update(backbone)
        if (field := fields.get("weights")) is not None:
            field.get("items", field).update(weights)
        if (field := fields.get("loss_weights")) is not None:
            losses = dict.fromkeys(LOSS_NAMES, weight)
            field.get("items", field).update(properties=losses, additionalProperties=False)
        for name, kind in PARTS.items():
            if (field := fields.get(name)) is not None:
                field = field.get("items", field)
                tables = [branch for branch in field["anyOf"] if branch.get("type") == "object"]
                words = [{"enum": list(kind.words)}] if kind.words else []
                use = {"anyOf": [*words, {"pattern": USE}], "type": "string"}
                for branch in tables:
                    branch.update(properties={"use": use}, required=["use"])
        fields.update({alias: fields[name] for alias, name in ALIASES.items() if name in fields})
