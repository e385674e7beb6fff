"""What a report that is sent around leaves out: host, user, folders and the command line."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import PurePath
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

from mmad.analysis.comparison import PairStatistics
from mmad.analysis.report_frame import MemberFrame, ReportFrame, RunFrame
from mmad.analysis.verdicts import RunStatistics, Statistics
from mmad.report.pictures import Pictures

#: ``full`` says where and by whom a run was trained; ``brief`` says with which versions and on what kind of device.
Provenance = Literal["brief", "full"]
Found = TypeVar("Found", PairStatistics, RunStatistics)

_HOME = re.compile(r"""(?:/home|/Users)/[^\s/:;,'"()]+""")
_ABSOLUTE = re.compile(r"""(?<![\w.:/~-])~?/(?:[^\s/'"<>|:;,()]+/)*([^\s/'"<>|:;,()]+)/?""")


def without_folders(text: str) -> str:
    """The text with the last part of each absolute path alone."""
    return _ABSOLUTE.sub(r"\1", _HOME.sub("~", text))


def database_name(database: str) -> str:
    """The database of a server without its host, a file without its folders."""
    if "://" in database:
        return urlsplit(database).path.strip("/") or "a database server"
    return PurePath(database).name if PurePath(database).is_absolute() else database


def hosts_of(frame: ReportFrame) -> frozenset[str]:
    """The names of the machines that its runs were trained on."""
    return frozenset(place.host for run in frame.runs for place in run.environments if place.host)


def brief_frame(frame: ReportFrame, hosts: frozenset[str]) -> ReportFrame:
    """The frame without ``hosts``, user, absolute paths and command lines."""
    runs = {run.key: _brief_run(run, hosts) for run in frame.runs}

    def brief(members: tuple[MemberFrame, ...]) -> tuple[MemberFrame, ...]:
        return tuple(
            replace(
                member,
                run=runs[member.run.key],
                record=replace(member.record, overrides=tuple(map(_brief_override, member.record.overrides))),
            )
            for member in members
        )

    ablations = tuple(
        replace(
            ablation,
            record=replace(ablation.record, path=without_folders(ablation.record.path)),
            members=brief(ablation.members),
        )
        for ablation in frame.ablations
    )
    return replace(frame, ablations=ablations, runs=tuple(runs.values()), beside=brief(frame.beside))


def brief_statistics(statistics: Statistics) -> Statistics:
    """The reasons for what could not be computed without the folders they name."""
    return replace(
        statistics,
        pairs={key: _brief_reasons(pair) for key, pair in statistics.pairs.items()},
        runs={key: _brief_reasons(run) for key, run in statistics.runs.items()},
    )


def _brief_reasons(found: Found) -> Found:
    external = tuple(replace(one, why=without_folders(one.why)) for one in found.external)
    return replace(found, why=without_folders(found.why), external=external)


def brief_pictures(pictures: Pictures) -> Pictures:
    """Likewise why there are none."""
    return replace(
        pictures,
        ablations={
            name: replace(
                shown,
                pairs=tuple(replace(pair, why=without_folders(pair.why)) for pair in shown.pairs),
                notes=tuple(replace(note, text=without_folders(note.text)) for note in shown.notes),
            )
            for name, shown in pictures.ablations.items()
        },
    )


def _brief_override(word: str) -> str:
    field, equals, value = word.partition("=")
    return field + equals + without_folders(value)


def _brief_run(run: RunFrame, hosts: frozenset[str]) -> RunFrame:
    record = run.record
    brief = _words(record.dataset_path, hosts)
    return replace(
        run,
        record=replace(
            record,
            dataset_path=PurePath(record.dataset_path).name,
            setup={name: brief(value) for name, value in record.setup.items()},
            protocol={name: brief(value) for name, value in record.protocol.items()},
            error=brief(record.error),
        ),
        environments=tuple(
            replace(place, host="", platform=_kind_of_system(place.platform), command="") for place in run.environments
        ),
        warnings=tuple(map(brief, run.warnings)),
        audit=tuple(map(brief, run.audit)),
    )


def _words(dataset: str, hosts: frozenset[str]) -> Callable[[Any], Any]:
    """Makes a text brief; other values stay."""
    named = "|".join(map(re.escape, sorted(hosts, key=len, reverse=True)))
    host = re.compile(rf"(?<![\w.-])(?:{named})(?![\w-])") if named else None

    def brief(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: brief(one) for name, one in value.items()}
        if isinstance(value, list | tuple):
            return [brief(one) for one in value]
        if not isinstance(value, str):
            return value
        if PurePath(dataset).is_absolute():
            value = value.replace(dataset, PurePath(dataset).name)
        value = without_folders(value)
        return value if host is None else host.sub("HOST", value)

    return brief


def _kind_of_system(platform: str) -> str:
    """``Linux-6.1.0`` of a kernel that may bear the name of its machine."""
    found = re.match(r"\w+(-\d+(\.\d+)*)?", platform)
    return found[0] if found else ""
