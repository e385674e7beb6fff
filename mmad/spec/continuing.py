"""Runs that go on where another ended: which run that is, and whether the one can go on from the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mmad.spec.architecture import architecture
from mmad.spec.lines import KeyPath
from mmad.spec.nearest import did_you_mean
from mmad.spec.protocol import Continues
from mmad.spec.runs import Member
from mmad.spec.source import Source

#: Digits of a run's whole key.
_KEY_LENGTH = 64
#: What the recorded epochs of both runs have to have in common, beside the detector's modules.
_ALIKE_PROTOCOL = ("selection_overlap", "selection_proposals", "threads", "steps_per_epoch")
_ALIKE_SETUP = ("dataset_mode", "clinical_values", "measure_test", "record_training_performance")


@dataclass(frozen=True)
class Wish:
    """What a setting's ``continue_from`` says, and where it says so.

    ``said`` is a setting with an arm (None: the same arm), an entry of the documented log, or a run's key.
    """

    said: str | Mapping[str, Any]
    place: KeyPath


def continued(members: Sequence[Member], wishes: Mapping[str, Wish], source: Source) -> tuple[Member, ...]:
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

    def one(index: int, member: Member, wish: Wish, path: tuple[int, ...]) -> Member:
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


def _found(members: Sequence[Member], child: Member, wish: Wish, source: Source) -> int:
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
    """What is wrong and its mend, where ``child`` cannot go on from ``parent``."""
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
