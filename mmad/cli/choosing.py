"""Which runs a command of the queue is about: named one by one, by ablation, or all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from mmad.base.errors import MmadError

if TYPE_CHECKING:
    from mmad.store.gateway import Store

RunsArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[RUN]...", help="Beginnings of keys, or ablation/setting/arm[/seed].", show_default=False),
]
AllOption = Annotated[bool, typer.Option("--all", help="Every run of the database.")]
AblationOption = Annotated[
    list[str] | None,
    typer.Option("--ablation", metavar="NAME", help="Every run of this ablation; may be repeated.", show_default=False),
]


def choose(store: Store, runs: Sequence[str] | None, ablations: Sequence[str] | None, every: bool) -> list[str]:
    """The keys of the runs that were named, each once, in the queue's order.

    Raises:
        MmadError: nothing was named, or no such ablation.
        StoreError: no such run.
    """
    from mmad.spec.nearest import did_you_mean
    from mmad.store.find import find_seeds

    if not (runs or ablations or every):
        raise MmadError("name runs", mend="give keys or ablation/setting/arm, --ablation NAME, or --all")
    there = {record.name: record for record in store.ablations()}
    chosen = {found.run.key for name in runs or () for found in find_seeds(store, name)}
    for name in ablations or ():
        if name not in there:
            raise MmadError(f"no ablation {name!r}", where="--ablation", mend=did_you_mean(name, list(there)))
        chosen |= {member.key for member in there[name].members}
    return [run.key for run in store.runs() if every or run.key in chosen]


def labels(store: Store, keys: Sequence[str]) -> dict[str, str]:
    """What to call each run: the path of the first member that asks for it, with the beginning of its key."""
    from mmad.store.results import member_path

    paths: dict[str, str] = {}
    for ablation in store.ablations():
        for member in ablation.members:
            paths.setdefault(member.key, member_path(member))
    return {key: f"{key[:12]} {paths[key]}" if key in paths else key[:12] for key in keys}
