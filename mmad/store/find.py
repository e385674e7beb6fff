"""Finds the run a person means: by the beginning of its key, or by what it answers."""

from __future__ import annotations

from dataclasses import dataclass

from mmad.base.errors import StoreError
from mmad.base.records import MemberRecord, RunRecord
from mmad.spec.nearest import nearest
from mmad.store.gateway import Store
from mmad.store.results import member_path

_SHOWN = 6


@dataclass(frozen=True)
class Found:
    """A run, and the members it answers; the one a person named stands first."""

    run: RunRecord
    members: tuple[MemberRecord, ...]


def find_run(store: Store, name: str) -> Found:
    """The run ``name`` means: ``ablation/setting/arm`` (``/seed``, ``/replicate`` if need be) or a key's beginning.

    Raises:
        StoreError: nothing or more than one run is meant; names the candidates or the nearest.
    """
    members = [member for ablation in store.ablations() for member in ablation.members]
    named = [member for member in members if name in _names(member)]
    keys = list(dict.fromkeys(member.key for member in named))
    if len(keys) > 1:
        paths = [member_path(member) for member in named]
        raise StoreError(f"{name!r} is more than one run: {_some(paths)}", where="run", mend="add the seed")
    if keys:
        run = store.run(keys[0])
    else:
        _refuse_unknown_path(name, members)
        run = store.run(name.lower())
    others = [member for member in members if member.key == run.key and member not in named]
    return Found(run, (*named, *others))


def find_seeds(store: Store, name: str) -> list[Found]:
    """The runs ``name`` means: every seed of ``ablation/setting/arm``, else the one run of ``find_run``.

    Raises:
        StoreError: as ``find_run``.
    """
    members = [member for ablation in store.ablations() for member in ablation.members]
    seeds = [member for member in members if name == _names(member)[0]]
    return [Found(store.run(member.key), (member,)) for member in seeds] or [find_run(store, name)]


def _names(member: MemberRecord) -> tuple[str, ...]:
    short = f"{member.ablation}/{member.setting}/{member.arm}"
    seeded = f"{short}/{member.seed}"
    return (short, seeded, f"{seeded}/{member.replicate}")


def _refuse_unknown_path(name: str, members: list[MemberRecord]) -> None:
    """StoreError for a ``name`` that is no member's and cannot be a key."""
    if "/" not in name and all(digit in "0123456789abcdef" for digit in name.lower()):
        return
    paths = [member_path(member) for member in members]
    begun = [path for path in paths if path.lower().startswith(name.lower())]
    if begun:
        raise StoreError(f"{name!r} is not one run: {_some(begun)}", where="run", mend="name one of them in full")
    near = nearest(name, {spelling for member in members for spelling in _names(member)})
    mend = f"did you mean {near!r}?" if near else "mmad runs lists them all"
    raise StoreError(f"no run {name!r}", where="run", mend=mend)


def _some(paths: list[str]) -> str:
    rest = len(paths) - _SHOWN
    return ", ".join(paths[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
