"""What tells that a database has changed: counts and moments of its rows, on any server alike."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from mmad.store.schema import (
    ablations,
    analyses,
    checkpoints,
    documented_logs,
    environments,
    epochs,
    evaluations,
    members,
    runs,
    warnings,
)


@dataclass(frozen=True)
class StoreState:
    """Two states are equal while nothing was recorded between them that a report would show.

    Intervals and the like, which a report itself computes and keeps, do not count. ``statuses`` holds (status, runs).
    """

    statuses: tuple[tuple[str, int], ...]
    marks: tuple[object, ...]


def read_state(connection: Connection) -> StoreState:
    """A few aggregates: some milliseconds on a hundred thousand epochs."""
    statuses = connection.execute(select(runs.c.status, func.count()).group_by(runs.c.status).order_by(runs.c.status))
    found = tuple((str(status), int(count)) for status, count in statuses)
    asked = (
        select(func.max(runs.c.created), func.max(runs.c.started), func.max(runs.c.finished)),
        select(func.count(), func.max(epochs.c.committed), func.sum(epochs.c.replaced)).select_from(epochs),
        select(func.count(), func.max(evaluations.c.id)).select_from(evaluations),
        select(func.count(), func.max(checkpoints.c.created)).select_from(checkpoints),
        select(func.count(), func.max(warnings.c.id)).select_from(warnings),
        select(func.max(environments.c.id)),
        select(func.count(), func.max(ablations.c.added)).select_from(ablations),
        select(func.count()).select_from(members),
        select(func.count(), func.max(documented_logs.c.imported)).select_from(documented_logs),
        select(func.count(), func.max(analyses.c.created)).where(analyses.c.kind == "control"),
    )
    marks = tuple(value for query in asked for value in connection.execute(query).one())
    return StoreState(found, marks)
