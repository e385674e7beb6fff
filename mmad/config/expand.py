"""From a parsed file to its members: setting × grid × arm × seed, each with its run."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from mmad.base.errors import SpecError, WeightsError
from mmad.config.ablation_file import ContinueFrom, Layer, ParsedFile, Setting, said, shown, split_fields
from mmad.config.checks import architecture, unsupported
from mmad.config.messages import SourceFile, did_you_mean
from mmad.config.protocol import Continues, EvaluationProtocol, TrainingProtocol
from mmad.config.runs import Ablation, DataSource, Member, RunSpec
from mmad.config.setup import ModelSetup
from mmad.config.weights import weights_hash

# Runs that go on where another ended: which run that is, and whether the one can go on from the other.


#: Digits of a run's whole key.
_KEY_LENGTH = 64
#: What the recorded epochs of both runs have to have in common, beside the detector's modules.
_ALIKE_PROTOCOL = ("selection_overlap", "selection_proposals", "threads", "steps_per_epoch")
_ALIKE_SETUP = ("dataset_mode", "clinical_values", "measure_test", "record_training_performance")


def continued(members: Sequence[Member], wishes: Mapping[str, ContinueFrom], source: SourceFile) -> tuple[Member, ...]:
    """``members`` with the runs they continue; ``wishes`` by the name of the setting that has one.

    Raises:
        SpecError: a run that is not in the file, goes on from itself, or cannot be gone on from.
    """
    done: dict[int, Member] = {}

    def settled(index: int, path: tuple[int, ...]) -> Member:
        if index not in done:
            member = members[index]
            wish = wishes.get(member.setting)
            if index in path and wish is not None:
                names = " → ".join(repr(members[i].setting) for i in (*path[path.index(index) :], index))
                raise source.error(wish.place, f"runs that continue each other in a circle: {names}", "leave one out")
            done[index] = member if wish is None else one(index, member, wish, path)
        return done[index]

    def one(index: int, member: Member, wish: ContinueFrom, path: tuple[int, ...]) -> Member:
        if isinstance(wish.said, str) and len(wish.said) == _KEY_LENGTH:
            return _with(member, Continues(key=wish.said))
        parent = settled(_found(members, member, wish, source), (*path, index))
        if (problem := _unfit(member, parent)) is not None:
            raise source.error(wish.place, *problem)
        kind = "final" if isinstance(wish.said, str) else wish.said.get("checkpoint", "final")
        return _with(member, Continues(key=parent.run.key, checkpoint=kind))

    return tuple(settled(index, ()) for index in range(len(members)))


def _with(member: Member, continues: Continues) -> Member:
    protocol = member.run.protocol.model_copy(update={"continues": continues})
    return replace(member, run=replace(member.run, protocol=protocol))


def _found(members: Sequence[Member], child: Member, wish: ContinueFrom, source: SourceFile) -> int:
    """The position of the member that ``child`` continues, of its own seed and replicate."""
    if isinstance(wish.said, str):
        fitting = [i for i, m in enumerate(members) if m.documented == wish.said]
        if not fitting:
            named = sorted({m.documented for m in members if m.documented})
            raise source.error(
                wish.place, f"no setting of this file mirrors {wish.said}", did_you_mean(wish.said, named)
            )
        setting = members[fitting[0]].setting
        arm = child.arm if child.documented is None else members[fitting[0]].arm
    else:
        setting, arm = str(wish.said["setting"]), str(wish.said.get("arm", child.arm))
    settings = list(dict.fromkeys(m.setting for m in members))
    if setting not in settings:
        raise source.error(wish.place, f"no setting is named {setting!r}", did_you_mean(setting, settings))
    arms = list(dict.fromkeys(m.arm for m in members))
    if arm not in arms:
        raise source.error(wish.place, f"no arm is named {arm!r}", did_you_mean(arm, arms))
    same = [i for i, m in enumerate(members) if (m.setting, m.arm) == (setting, arm)]
    for i in same:
        if (members[i].seed, members[i].replicate) == (child.seed, child.replicate):
            return i
    seeds = ", ".join(str(members[i].seed) for i in same)
    raise source.error(
        wish.place, f"{setting!r} has no run of seed {child.seed}", f"give both the same seeds (it has {seeds})"
    )


def _unfit(child: Member, parent: Member) -> tuple[str, str] | None:
    """What is wrong and its hint, where ``child`` cannot go on from ``parent``."""
    ours, theirs = child.run, parent.run
    if architecture(ours.setup) != architecture(theirs.setup):
        fields = _differing(ours.setup, theirs.setup, type(ours.setup).model_fields)
        named = [
            name
            for name in fields
            if architecture(ours.setup.model_copy(update={name: fields[name]})) != architecture(ours.setup)
        ]
        return f"its detector is another than that of {parent.setting!r} ({', '.join(named)})", "give both the same"
    fields = _differing(ours.setup, theirs.setup, _ALIKE_SETUP) | _differing(
        ours.protocol, theirs.protocol, _ALIKE_PROTOCOL
    )
    if fields:
        name = next(iter(fields))
        return f"{name} is another than that of {parent.setting!r}", f"give both {name} = {fields[name]}"
    if ours.protocol.epochs < theirs.protocol.epochs:
        what = f"epochs = {ours.protocol.epochs} is less than the {theirs.protocol.epochs} of {parent.setting!r}"
        return what, "epochs counts those of both runs"
    return None


def _differing(ours: Any, theirs: Any, names: Iterable[str]) -> dict[str, Any]:
    """Fields in which two models differ, with the second one's value."""
    return {name: getattr(theirs, name) for name in names if getattr(ours, name) != getattr(theirs, name)}


#: Fields of the training that follow a field of the evaluation unless somebody gives them.
_FOLLOWS = {"selection_overlap": "overlap", "selection_proposals": "proposals"}


@dataclass(frozen=True)
class _Point:
    """A setting with one combination of the grid."""

    name: str
    layers: tuple[Layer, ...]
    documented: Mapping[str, str]
    inferred: tuple[str, ...]
    continues: ContinueFrom | None = None


def expand(parsed: ParsedFile, data: DataSource, overrides: Sequence[Layer] = ()) -> Ablation:
    """The ablation with all its members, in the order setting, arm, seed.

    Raises:
        SpecError: a combination of fields that is impossible or cannot be built yet; two members alike.
    """
    members: list[Member] = []
    seen: set[tuple[str, str, int, int]] = set()
    wishes: dict[str, ContinueFrom] = {}
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
    return _setup(setup, origin, SourceFile("the default setup", "", {}, {}))


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


def _setup(values: dict[str, Any], origin: Mapping[str, Layer], source: SourceFile) -> ModelSetup:
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
        field, what, hint = problem
        raise _blame(field, f"{field}: {what}", hint, origin, source)
    return setup


def _weights_hash(setup: ModelSetup, origin: Mapping[str, Layer], source: SourceFile) -> str:
    try:
        return weights_hash(setup.image_backbone)
    except WeightsError as error:
        raise _blame("backbone", error.what, error.hint, origin, source) from None


def _blame(field: str, what: str, hint: str | None, origin: Mapping[str, Layer], source: SourceFile) -> SpecError:
    layer = origin.get(field)
    return SpecError(what, where=source.path if layer is None else _place(layer, field, source), hint=hint)


def _place(layer: Layer, field: str, source: SourceFile) -> str:
    """Where ``layer`` gives ``field``: a line of the file, the file (a default), or the ``--set`` word."""
    return source.where(layer.key(field)) if layer.word is None else said(layer.word)


def _twice(parsed: ParsedFile, member: Member) -> SpecError:
    place = max((s.place for s in parsed.settings if member.setting.startswith(s.name)), default=("settings",))
    what = f"the setting {member.setting!r} is there twice (arm {member.arm}, seed {member.seed})"
    return SpecError(what, where=parsed.source.where(place), hint="name it differently or set replicate = 2")
