"""From a parsed file to its members: setting × grid × arm × seed, each with its run."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from mmad.base.errors import SpecError, WeightsError
from mmad.spec.complaints import shown
from mmad.spec.continuing import Wish, continued
from mmad.spec.parse import Layer, ParsedFile, Setting, said, split_fields
from mmad.spec.protocol import EvaluationProtocol, TrainingProtocol
from mmad.spec.runs import Ablation, DataSource, Member, RunSpec
from mmad.spec.setup import ModelSetup
from mmad.spec.source import Source
from mmad.spec.support import unsupported
from mmad.spec.weights import weights_hash

#: Fields of the training that follow a field of the evaluation unless somebody gives them.
_FOLLOWS = {"selection_overlap": "overlap", "selection_proposals": "proposals"}


@dataclass(frozen=True)
class _Point:
    """A setting with one combination of the grid."""

    name: str
    layers: tuple[Layer, ...]
    documented: Mapping[str, str]
    inferred: tuple[str, ...]
    continues: Wish | None = None


def expand(parsed: ParsedFile, data: DataSource, overrides: Sequence[Layer] = ()) -> Ablation:
    """The ablation with all its members, in the order setting, arm, seed.

    Raises:
        SpecError: a combination of fields that is impossible or cannot be built yet; two members alike.
    """
    members: list[Member] = []
    seen: set[tuple[str, str, int, int]] = set()
    wishes: dict[str, Wish] = {}
    for point in _points(parsed):
        if point.continues is not None:
            wishes[point.name] = point.continues
        for arm, arm_layer in parsed.arms.items():
            layers = (parsed.protocol, parsed.setup, arm_layer, *point.layers, *overrides)
            for member in _members(parsed, point, arm, layers, data):
                identity = (member.setting, member.arm, member.seed, member.replicate)
                if identity in seen:
                    raise _twice(parsed, member)
                seen.add(identity)
                members.append(replace(member, overrides=tuple(layer.word or "" for layer in overrides)))
    arms = tuple(parsed.arms)
    return Ablation(
        name=parsed.name,
        path=parsed.source.path,
        title=parsed.title,
        description=parsed.description,
        source=parsed.source.text,
        arms=arms,
        compare=parsed.compare or tuple((arms[0], arm) for arm in arms[1:]),
        members=continued(members, wishes, parsed.source),
        on_out_of_memory=parsed.on_out_of_memory,
    )


def _points(parsed: ParsedFile) -> Iterator[_Point]:
    settings: Sequence[Setting | None] = parsed.settings or (None,)
    for setting in settings:
        for values in itertools.product(*parsed.grid.values()):
            chosen = dict(zip(parsed.grid, values, strict=True))
            words = ", ".join(f"{field}={_word(value)}" for field, value in chosen.items())
            own = (setting.name if setting else "", words)
            layers = (setting.layer,) if setting else ()
            if "seed" in chosen:
                chosen["seeds"] = (chosen.pop("seed"),)
            if chosen:
                layers = (*layers, Layer(chosen, ("grid",)))
            yield _Point(
                name=", ".join(part for part in own if part) or "default",
                layers=layers,
                documented=setting.documented if setting else {},
                inferred=setting.inferred if setting else (),
                continues=setting.continues if setting else None,
            )


def _word(value: object) -> str:
    if isinstance(value, str):
        return value
    return "none" if value is None else shown(value)


def one_setup(overrides: Sequence[Layer]) -> ModelSetup:
    """The default setup under ``overrides``; raises SpecError as ``expand`` does."""
    values = {name: value for layer in overrides for name, value in layer.values.items()}
    origin = {name: layer for layer in overrides for name in layer.values}
    setup, _, _ = split_fields(values)
    return _setup(setup, origin, Source("the default setup", "", {}, {}))


def _members(
    parsed: ParsedFile, point: _Point, arm: str, layers: Sequence[Layer], data: DataSource
) -> Iterator[Member]:
    values: dict[str, Any] = {}
    origin: dict[str, Layer] = {}
    for layer in layers:
        values.update(layer.values)
        origin.update(dict.fromkeys(layer.values, layer))
    for follower, leader in _FOLLOWS.items():
        if leader in values:
            values.setdefault(follower, values[leader])
    setup_values, training, evaluation = split_fields(values)
    setup = _setup({"name": arm} | setup_values, origin, parsed.source)
    if not setup.pretrained:
        training["weights"] = "none"
    elif training.get("weights", "imagenet") == "imagenet":
        training["weights_hash"] = _weights_hash(setup, origin, parsed.source)
    for seed in values.get("seeds", (0,)):
        protocol = TrainingProtocol(**training, seed=seed)
        yield Member(
            ablation=parsed.name,
            setting=point.name,
            arm=arm,
            seed=seed,
            run=RunSpec(setup, protocol, data),
            evaluation=EvaluationProtocol(**evaluation),
            replicate=protocol.replicate,
            documented=point.documented.get(arm),
            inferred=tuple(dict.fromkeys((*parsed.inferred, *point.inferred))),
        )


def _setup(values: dict[str, Any], origin: Mapping[str, Layer], source: Source) -> ModelSetup:
    """The setup, or the reason why its fields do not go together at the line of one that was given."""
    try:
        setup = ModelSetup.model_validate(values)
    except ValidationError as error:
        what = str(error.errors(include_url=False)[0].get("ctx", {}).get("error") or error)
        named = [word for word in re.findall(r"\w+", what) if word in ModelSetup.model_fields]
        given = [name for name in named if name in origin and _place(origin[name], name, source) != source.path]
        raise _blame(given[0] if given else "", what, None, origin, source) from None
    problem = unsupported(setup)
    if problem is not None:
        field, what, mend = problem
        raise _blame(field, f"{field}: {what}", mend, origin, source)
    return setup


def _weights_hash(setup: ModelSetup, origin: Mapping[str, Layer], source: Source) -> str:
    try:
        return weights_hash(setup.image_backbone)
    except WeightsError as error:
        raise _blame("backbone", error.what, error.mend, origin, source) from None


def _blame(field: str, what: str, mend: str | None, origin: Mapping[str, Layer], source: Source) -> SpecError:
    layer = origin.get(field)
    return SpecError(what, where=source.path if layer is None else _place(layer, field, source), mend=mend)


def _place(layer: Layer, field: str, source: Source) -> str:
    """Where ``layer`` gives ``field``: a line of the file, the file (a default), or the ``--set`` word."""
    return source.where(layer.key(field)) if layer.word is None else said(layer.word)


def _twice(parsed: ParsedFile, member: Member) -> SpecError:
    place = max((s.place for s in parsed.settings if member.setting.startswith(s.name)), default=("settings",))
    what = f"the setting {member.setting!r} is there twice (arm {member.arm}, seed {member.seed})"
    return SpecError(what, where=parsed.source.where(place), mend="name it differently or set replicate = 2")
