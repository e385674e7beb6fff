"""Controls that ``mmad controls`` has kept, found again without the network and the data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mmad.base.records import AnalysisRecord
from mmad.evaluation.controls import Drop
from mmad.evaluation.version import version_of
from mmad.report.controls import Alteration, Control
from mmad.report.judged import Judged
from mmad.report.keeping import from_plain
from mmad.store.gateway import Store

_ORDER = ("column", "records", "image")


def controls_by_run(store: Store) -> dict[str, list[AnalysisRecord]]:
    """The kept controls of every run, oldest first."""
    found: dict[str, list[AnalysisRecord]] = {}
    for record in store.analyses("control"):
        for key in record.subject.get("runs", ()):
            found.setdefault(str(key), []).append(record)
    return found


def controls_of_judged(kept: Mapping[str, Sequence[AnalysisRecord]], judged: Judged) -> tuple[Control, ...]:
    """Those of exactly this checkpoint, split and protocol; of several of one alteration the latest."""
    wanted = {
        "epochs": [judged.checkpoint.epoch],
        "weights": [judged.checkpoint.sha256],
        "checkpoint": judged.checkpoint.kind,
        "split": judged.split,
        **judged.protocol.model_dump(mode="json"),
        "version": version_of("control"),
    }
    latest: dict[Alteration, Control] = {}
    for record in kept.get(judged.run.key, ()):
        if all(record.subject.get(name) == value for name, value in wanted.items()):
            kind, name = record.subject["alteration"]
            alteration = Alteration(kind, name)
            latest[alteration] = Control(alteration, from_plain(Drop, record.value))
    return tuple(sorted(latest.values(), key=lambda c: _ORDER.index(c.alteration.kind)))
