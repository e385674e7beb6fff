"""The experiment logs that a database knows: the shipped one and those that were imported."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mmad.base.errors import SpecError

if TYPE_CHECKING:
    from mmad.config.runs import Ablation
    from mmad.experiment_log.model import Log


def imported_logs(database: str) -> list[Log]:
    """The logs that were imported into ``database``; none where there is no such file."""
    from mmad.api.results import open_store
    from mmad.base.paths import StorePaths
    from mmad.experiment_log.model import Log

    file = StorePaths(database).file
    if file is not None and not file.exists():
        return []
    with open_store(database, read_only=True) as store:
        records = store.logs()
    return [Log.from_json(record.name, record.content, record.entries) for record in records]


def require_documented(ablations: Iterable[Ablation], database: str) -> None:
    """Refuses a member that mirrors no entry of the shipped log, nor of one that was imported into ``database``.

    Raises:
        SpecError: with file and line, and the nearest entry.
    """
    from mmad.config.ablation_file import place_of_part
    from mmad.experiment_log.shipped import entry

    for ablation in ablations:
        named = {member.documented: member.arm for member in ablation.members if member.documented}
        for id, arm in named.items():
            try:
                entry(id)
            except SpecError as unknown:
                if not any(id == one.id for log in imported_logs(database) for one in log.entries):
                    where = place_of_part(ablation, arm, id)
                    raise SpecError(f"documented: {unknown.what}", where=where, hint=unknown.hint) from None
