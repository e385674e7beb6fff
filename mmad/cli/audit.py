"""The audit of data sets before a training: errors refuse it, warnings are said and kept with the runs."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from mmad.cli.common import progress_bar

if TYPE_CHECKING:
    from mmad.data.audit.findings import Finding
    from mmad.data.dataset import DataSet
    from mmad.spec.runs import Ablation

#: Fingerprint of a data set → what its audit warns of.
Warnings = Mapping[str, tuple["Finding", ...]]


def audit_data(datasets: Iterable[DataSet]) -> Warnings:
    """What is to be known of each data set; a line for each kind of warning on stderr. Raises DataError for an error.

    An audit is made once for a data set's content and remembered in the cache.
    """
    from mmad.data.audit.check import remembered_audit, require_sound

    warnings: dict[str, tuple[Finding, ...]] = {}
    for dataset in datasets:
        fingerprint = dataset.fingerprint()
        if fingerprint in warnings:
            continue
        with progress_bar(f"checking {len(dataset.studies)} studies of {dataset.root}") as progress:
            audit = remembered_audit(dataset, progress)
        require_sound(dataset, audit)
        warnings[fingerprint] = audit.warnings
        for line in _lines(audit.warnings):
            print(f"mmad: warning: {dataset.root}: {line}", file=sys.stderr)
    return warnings


def _lines(warnings: Iterable[Finding]) -> list[str]:
    """One line per code: its first finding, and how many more there are."""
    groups: dict[str, list[Finding]] = {}
    for found in warnings:
        groups.setdefault(found.code, []).append(found)
    return [
        f"{code}: {group[0].what}" + (f" (and {len(group) - 1} more like it)" if len(group) > 1 else "")
        for code, group in groups.items()
    ]


def keep_warnings(db: str, ablations: Iterable[Ablation], warnings: Warnings) -> None:
    """Keeps each data set's warnings with the recorded runs that train on it, once."""
    from mmad.store.gateway import Store

    wanted = {member.run.key for ablation in ablations for member in ablation.members}
    with Store.open(db) as store:
        runs = {run.key: run.dataset_fingerprint for run in store.runs() if run.key in wanted}
        lines = {key: [found.line for found in warnings.get(print_, ())] for key, print_ in runs.items()}
        known = store.all_warnings([key for key in runs if lines[key]])
        for key, kept in known.items():
            for line in lines[key]:
                if line not in kept:
                    store.add_warning(key, line)
