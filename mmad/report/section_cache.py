"""The sections of an HTML report, ablation by ablation: made anew where anything they show has changed, else cached.

Only one ablation's epochs are in memory at a time. A section is kept in the store beside the figures, one of each
ablation and form of page, under a fingerprint of all that it is made of; it is used while that is the same.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import os
import platform
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.metadata import requires, version
from pathlib import Path
from typing import Any

from mmad.analysis.cache import from_json_value
from mmad.analysis.evaluation_target import DetectionStore, EvaluationOptions
from mmad.analysis.external import KIND as EXTERNAL
from mmad.analysis.report_frame import MemberFrame, ReportFrame, ReportSource, with_measured
from mmad.analysis.run_readers import KIND as READERS
from mmad.analysis.run_readers import PAIR_KIND as READER_DIFFERENCES
from mmad.analysis.run_subgroups import KIND as SUBGROUPS
from mmad.analysis.run_subgroups import PAIR_KIND as INTERACTIONS
from mmad.analysis.run_subgroups import require_columns
from mmad.analysis.verdicts import (
    FailureCachingStore,
    compute_statistics,
    detections_of,
    finished_comparisons,
    helpers_for,
)
from mmad.base.json_values import to_json_value
from mmad.report.cohort import cohorts_of, flows_of
from mmad.report.figure_renderer import FigureRenderer
from mmad.report.pictures import MOST_IN_ALL, USUAL, PageShare, pictures_of
from mmad.report.provenance import (
    Provenance,
    brief_frame,
    brief_pictures,
    brief_statistics,
    database_name,
    hosts_of,
)
from mmad.report.sections import Links, PageForm, ReportModel, build_model, layout
from mmad.report.writers.html import RunProgress, Section, SectionFigures, render_section
from mmad.store.measurements import analysis_key
from mmad.store.notes import Notes, read_notes
from mmad.store.store import Store

KIND = "section"
_PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True)
class ModelOptions:
    """What decides how a report is made, besides the store; as of ``write_report``."""

    data: Path | None = None
    evaluation: EvaluationOptions | None = None
    pictures: int | None = None
    provenance: Provenance = "brief"
    by: tuple[str, ...] = ()


class ModelMaker:
    """Makes the model of a frame: reads what was measured, and computes what is not cached.

    Args:
        records: the whole report's frame of ``load_records``.
        outline: its model: titles, members and runs, with the notes.
    """

    def __init__(
        self,
        source: ReportSource,
        records: ReportFrame,
        options: ModelOptions,
        *,
        created: datetime,
        database: str,
    ) -> None:
        self.source, self.options, self.records = source, options, records
        self.store = source if isinstance(source, Store) else None
        self._hosts = hosts_of(records)
        if options.by and self.store is not None:
            require_columns([run.record for run in records.runs], self._detections, options.by)
        self.outline = build_model(
            self._shown(records),
            created=created,
            database=database_name(database) if options.provenance == "brief" else database,
            notes=Notes() if self.store is None else read_notes(self.store),
        )

    def model(
        self,
        frame: ReportFrame,
        *,
        progress: Callable[[float], None] = lambda share: None,
        share: PageShare | None = None,
        pages: bool = False,
        helped: bool = False,
    ) -> ReportModel:
        """The model of ``frame``, which is the whole report's or of one ablation.

        Args:
            progress: hears which share is computed.
            share, pages: of ``pictures_of``.
            helped: of ``compute_statistics``.
        """
        frame, options = with_measured(self.source, frame), self.options
        statistics, pictures, cohorts, flows = None, None, None, None
        if self.store is not None:
            statistics = compute_statistics(
                frame,
                self.store,
                data=options.data,
                options=options.evaluation,
                progress=lambda done, whole: progress(done / whole),
                detections=self._detections,
                helped=helped,
                by=options.by,
            )
            cohorts = cohorts_of(frame, self.store, self._data_sets)
            flows = flows_of(frame, self.store, self._data_sets)
            pictures = pictures_of(
                frame,
                self.store,
                number=options.pictures,
                separate_pages=pages,
                share=share,
                detections=self._data_sets,
            )
        if options.provenance == "brief":
            statistics = statistics and brief_statistics(statistics)
            pictures = pictures and brief_pictures(pictures)
        return build_model(
            self._shown(frame),
            created=self.outline.created,
            database=self.outline.database,
            statistics=statistics,
            pictures=pictures,
            cohorts=cohorts,
            flows=flows,
            notes=self.outline.notes,
        )

    def _shown(self, frame: ReportFrame) -> ReportFrame:
        return brief_frame(frame, self._hosts) if self.options.provenance == "brief" else frame

    @functools.cached_property
    def _detections(self) -> DetectionStore:
        assert self.store is not None
        return detections_of(self.store, self.options.data)

    @functools.cached_property
    def _data_sets(self) -> DetectionStore:
        """For pictures, which are shown although nothing can be cached."""
        found = self._detections
        return found if self.store and not self.store.read_only else FailureCachingStore(self.options.data)


def make_sections(
    maker: ModelMaker,
    outline: ReportModel,
    form: PageForm,
    renderer: FigureRenderer,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Section]:
    """The section of each ablation, in order.

    Args:
        outline: of ``maker``, with the anchors of the logs.
        progress: is called with (done, total) runs.
    """
    cache = _SectionCache(maker, outline, form)
    heard = RunProgress(len(outline.runs), progress)
    frames = list(maker.records.alone())
    stale = [frame for frame, kept in zip(frames, cache.kept, strict=True) if kept is None]
    alone, half = len(frames) == 1, 0.0 if maker.store is None else 0.5
    with ExitStack() as stack:
        helped = len(stale) > 1 and maker.store is not None
        if helped and maker.store is not None:
            ahead = [with_measured(maker.source, frame, epochs=False) for frame in stale]
            options = maker.options
            stack.enter_context(helpers_for(ahead, maker.store, data=options.data, options=options.evaluation))
        for number, frame in enumerate(frames):
            runs = len(outline.ablations[number].runs)
            section = cache.get(number)
            if section is None:
                model = maker.model(
                    frame,
                    progress=heard.of(runs, 0, half),
                    share=cache.page_share,
                    pages=bool(form.folder),
                    helped=helped,
                )
                model = replace(model, anchors=outline.anchors, logbook=outline.logbook)
                (ablation,) = model.ablations
                figures = SectionFigures(ablation, model.statistics, renderer, heard.of(runs, half))
                section = render_section(model, ablation, form, cache.links, figures, alone=alone)
                cache.put(number, section)
            cache.shown += section.studies
            heard.end(runs)
            yield section


def with_outcomes(model: ReportModel, sections: Sequence[Section]) -> ReportModel:
    """The model with the checkpoints that its sections found: what an overview says of single runs."""
    ablations = []
    for ablation, section in zip(model.ablations, sections, strict=True):
        members = tuple(
            replace(member, best_ap=best_ap, best_ar=best_ar, final=final)
            for member, (best_ap, best_ar, final) in zip(ablation.frame.members, section.outcomes, strict=True)
        )
        ablations.append(replace(ablation, frame=replace(ablation.frame, members=members)))
    return replace(model, ablations=tuple(ablations))


class _SectionCache:
    """The sections that the store keeps and that are still true.

    ``shown`` counts the studies whose pictures earlier sections of one file show, which limits those of the next.
    """

    def __init__(self, maker: ModelMaker, outline: ReportModel, form: PageForm) -> None:
        self._store, self._outline, self._form = maker.store, outline, form
        self._frame = maker.records
        _, self.links = layout(outline, form)
        self.shown = 0
        self._pairs = [0] * len(outline.ablations)
        if self._store is not None and not form.folder and maker.options.pictures is None:
            self._pairs = [len(finished_comparisons(section.frame)) for section in outline.ablations]
        self._prints = [] if self._store is None else _fingerprints(self._store, maker, outline, form, self.links)
        self.kept = list(map(self._read, range(len(outline.ablations))))

    @property
    def page_share(self) -> PageShare | None:
        """What the pictures of the next section have to know of the page, where it shows other ablations, too."""
        return None if self._form.folder else PageShare(sum(self._pairs), self.shown)

    def get(self, number: int) -> Section | None:
        """The section at ``number``; None where it has to be made."""
        kept = self.kept[number]
        self.kept[number] = None
        return _unpacked(kept["section"]) if kept is not None and kept["share"] == self._share(number) else None

    def put(self, number: int, section: Section) -> None:
        """Keep it, where the store can be written."""
        if self._store is not None and not self._store.read_only:
            packed = {"fingerprint": self._prints[number], "share": self._share(number), "section": _packed(section)}
            self._store.put_analysis(KIND, self._subject(number), packed)

    def _share(self, number: int) -> list[int]:
        """What decides how many pictures the section at ``number`` may show."""
        own = self._pairs[number]
        return [sum(self._pairs), min(max(0, MOST_IN_ALL - self.shown), USUAL * own)] if own else []

    def _subject(self, number: int) -> dict[str, Any]:
        return {"ablation": self._outline.ablations[number].frame.record.name, "pages": bool(self._form.folder)}

    def _read(self, number: int) -> Mapping[str, Any] | None:
        if self._store is None:
            return None
        found = self._store.get_analysis(analysis_key(KIND, self._subject(number)))
        return found.value if found and found.value.get("fingerprint") == self._prints[number] else None


def _packed(section: Section) -> str:
    plain = json.dumps(to_json_value(section), ensure_ascii=False)
    return base64.b64encode(zlib.compress(plain.encode("utf-8", "surrogatepass"), 3)).decode()


def _unpacked(packed: str) -> Section:
    plain = zlib.decompress(base64.b64decode(packed)).decode("utf-8", "surrogatepass")
    return from_json_value(Section, json.loads(plain))


# The fingerprint: of everything that a section is made of.


def _fingerprints(store: Store, maker: ModelMaker, outline: ReportModel, form: PageForm, links: Links) -> list[str]:
    """A SHA-256 for each ablation: rows, notes, code, options, links, and the files of data sets and detections."""
    frame, data = maker.records, maker.options.data
    rows = store.row_digests([run.key for run in frame.runs])
    controls: dict[str, list[str]] = {}
    asked = ("control", EXTERNAL, SUBGROUPS, INTERACTIONS, READERS, READER_DIFFERENCES)
    for record in (one for kind in asked for one in store.analyses(kind)):
        for key in record.subject.get("runs", ()):
            controls.setdefault(str(key), []).append(repr((record.subject, record.value)))
    paths = {run.key: Path(run.record.dataset_path) if data is None else data for run in frame.runs}
    folders = {path: _folder(path) for path in set(paths.values())}
    alone = len(outline.ablations) == 1
    common = (code_digest(), store.read_only, store.left_out, maker.options, form, alone)
    places = {} if outline.logbook is None else outline.logbook.anchors
    found = []
    for section in outline.ablations:
        parts: list[object] = [common, replace(section.frame.record, members=())]
        parts += [outline.notes.of_ablation(section.frame.record.name)]
        parts += [[(anchor, links(anchor)) for _, anchor in section.shown_elsewhere]]
        for member in section.frame.members:
            place = places.get(member.record.documented or "")
            parts.append((member.record, member.protocol, place, links(place) if place else ""))
        shown = {run.run.key: run for run in section.runs}
        for key, run in {member.run.key: member.run for member in section.frame.members}.items():
            beside = _beside(shown[key].members, section.frame.record.name) if key in shown else ()
            parts += [run, beside, rows.get(key), outline.notes.of_run(key), controls.get(key)]
            parts += [folders[paths[key]], _files(store.run_paths(key).detections_folder)]
        found.append(hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).hexdigest())
    return found


def _beside(members: Sequence[MemberFrame], ablation: str) -> list[object]:
    """What other ablations ask of a run."""
    return [(member.record, member.protocol) for member in members if member.record.ablation != ablation]


@functools.cache
def code_digest() -> str:
    """Of all code and templates of mmad, and of the versions of what it is built on."""
    digest = hashlib.sha256()
    for path in sorted(path for path in _PACKAGE.rglob("*") if path.suffix not in (".pyc", "") and path.is_file()):
        digest.update(path.relative_to(_PACKAGE).as_posix().encode() + b"\0" + path.read_bytes())
    names = sorted({_name(line) for line in requires("mmad") or () if "extra ==" not in line})
    digest.update(repr((platform.python_version(), [(name, version(name)) for name in names])).encode())
    return digest.hexdigest()


def _name(requirement: str) -> str:
    """``numpy`` of ``numpy>=1.26``."""
    return next(iter("".join(c if c.isalnum() or c in "._-" else " " for c in requirement).split()))


def _folder(path: Path) -> str:
    """Of names, sizes and times of all files of a data set, which change with its content."""
    digest = hashlib.sha256()
    for folder, inner, _ in os.walk(path):
        inner.sort()
        digest.update(repr((os.path.relpath(folder, path), _files(Path(folder)))).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _files(folder: Path) -> list[tuple[str, int, int]]:
    """Name, size and time of the files in ``folder``; nothing where there is none."""
    try:
        with os.scandir(folder) as entries:
            stats = [(entry.name, entry.stat()) for entry in entries if not entry.is_dir()]
    except OSError:
        return []
    return sorted((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)
