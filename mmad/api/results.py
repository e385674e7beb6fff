"""Reading what was recorded: the store, evaluations, comparisons and the report."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast, get_args

from mmad.api.arguments import argument, store_argument
from mmad.api.loading import ProgressBar, _listed, silent
from mmad.base.errors import DataError, EvaluationError, ReportError
from mmad.base.paths import DEFAULT_DATABASE, StorePaths
from mmad.base.records import KEPT_KINDS

if TYPE_CHECKING:
    import pandas as pd

    from mmad.analysis.cached_statistics import Diagnosis, MaskFigures, Profile
    from mmad.analysis.comparison import Comparison, MeasuredRun
    from mmad.analysis.evaluation_target import DetectionStore, EvaluationOptions, EvaluationTarget
    from mmad.analysis.input_controls import Alteration, Inference
    from mmad.analysis.run_readers import RunReaders
    from mmad.analysis.run_subgroups import RunSubgroups
    from mmad.base.records import CheckpointKind, Detections, OnProgress, Split
    from mmad.config.protocol import EvaluationProtocol, Overlap, Proposals
    from mmad.data.clinical import Mechanism
    from mmad.evaluation.coco_summary import CocoSet
    from mmad.evaluation.resampling import Interval
    from mmad.report.figures import FigureFormat
    from mmad.report.provenance import Provenance
    from mmad.report.write_report import Report
    from mmad.store.store import Store
    from mmad.training.inference import InferenceRunner


def open_store(db: str | Path = DEFAULT_DATABASE, *, read_only: bool = False) -> Store:
    """Open the database of an earlier training; use it as a context manager.

    A damaged value is warned of and left out; from then on nothing is written.

    Args:
        db: the database: an SQLite file or a URL.
        read_only: never write, so that intervals are computed anew each time. A file that cannot be written, or
            lies on a full disk, is opened so, too. An older schema is upgraded first in either case.

    Raises:
        StoreError: missing, locked, not a database of mmad, or of a newer schema.
    """
    from mmad.store.engine import DiskFull
    from mmad.store.migrate import OlderSchema
    from mmad.store.store import Store

    file = StorePaths(str(db)).file
    locked = file is not None and file.exists() and not (os.access(file, os.W_OK) and os.access(file.parent, os.W_OK))
    if not (read_only or locked):
        with contextlib.suppress(DiskFull):
            return Store.open(db, create=False, lenient=True)
    try:
        return Store.open(db, create=False, read_only=True, lenient=True)
    except OlderSchema:
        Store.open(db, create=False).close()
        return Store.open(db, create=False, read_only=True, lenient=True)


@dataclass(frozen=True, repr=False)
class Evaluation:
    """One checkpoint of one run, evaluated on one split under one protocol.

    Args:
        target: the run, its checkpoint, the split and the protocol.
        measured: AP and AR with 95 % intervals over whole patients.
        profile: operating points, FROC, confusion and calibration.
        diagnosis: images and patients at a score fixed on validation, wAFROC, calibration and the cost of errors.
        coco: COCO's twelve figures, where they were asked for.
        masks: AP and AR of the masks; None for a run without a mask head, or whose masks were not stored.
        subgroups: parts of the split, by the columns that were asked for.
        readers: what readers find of each other's boxes, and the detector; None where nobody asked.
    """

    target: EvaluationTarget
    measured: MeasuredRun
    profile: Profile
    diagnosis: Diagnosis
    coco: CocoSet | None = None
    masks: MaskFigures | None = None
    subgroups: tuple[RunSubgroups, ...] = ()
    readers: RunReaders | None = None

    @property
    def name(self) -> str:
        """``ablation/setting/arm/seed``."""
        return self.target.name

    @property
    def protocol(self) -> EvaluationProtocol:
        """Overlap, its threshold, detections per image, and the source of the proposals."""
        return self.target.protocol

    @property
    def ap(self) -> Interval:
        """Average precision in [0, 1], mean over the findings: ``value``, and ``low`` to ``high``."""
        return self.measured.estimate.ap

    @property
    def ar(self) -> Interval:
        """Average recall in [0, 1], mean over the findings: ``value``, and ``low`` to ``high``."""
        return self.measured.estimate.ar

    @property
    def findings(self) -> pd.DataFrame:
        """One row a finding: ``finding``, and AP and AR with the bounds of their intervals."""
        from mmad.analysis.comparison import findings_frame

        return findings_frame(self.measured.estimate.per_class)

    @property
    def thresholds(self) -> pd.DataFrame:
        """One row a score: ``score``, ``ap``, ``ar``, ``precision``, ``recall``, ``f1``, ``per_image`` (detections)."""
        import pandas as pd

        return pd.DataFrame([vars(row) for row in self.profile.rows])

    def __repr__(self) -> str:
        """One line: the run, its checkpoint, the split, AP and AR."""
        from mmad.base.formatting import interval

        where = f"{self.name}, {self.target.checkpoint.kind}, {self.target.split}"
        return f"<{where}: AP {interval(self.ap)}, AR {interval(self.ar)}>"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from mmad.analysis.comparison import conditions_of, html_rows
        from mmad.base.formatting import interval, level_words
        from mmad.evaluation.resampling import LEVEL

        level = level_words(LEVEL)
        rows = {f"AP [{level}]": interval(self.ap), f"AR [{level}]": interval(self.ar)}
        size = {"images": self.measured.images, "patients": self.measured.patients}
        return html_rows({"run": self.name, **rows, **size, **conditions_of(self.target).words()})


def evaluate(
    store: Store,
    run: str,
    *,
    split: str = "test",
    checkpoint: str | None = None,
    overlap: str | None = None,
    proposals: str | None = None,
    scores: Sequence[float] | None = None,
    false_positives: float = 0.5,
    coco: bool = False,
    by: str | Sequence[str] = (),
    by_reader: bool = False,
    on: str | Path | None = None,
    labels: Mapping[str, str] | None = None,
    ensemble: bool = False,
    rerun: bool = False,
    device: str = "auto",
    data: str | Path | None = None,
) -> Evaluation:
    """AP and AR of a run's checkpoint with intervals, operating points, FROC, confusion and calibration.

    Everything is computed from the stored detections, once, and cached in the store. The network runs only where
    there are no detections under ``proposals``, or with ``rerun``.

    Args:
        store: of ``open_store``.
        run: ``ablation/setting/arm`` (``/seed`` if there are several), or the beginning of a key.
        split: ``test`` or ``val``.
        checkpoint: ``best_ap``, ``best_ar`` or ``final``; None for ``best_ap``, or ``final`` where no best one is
            stored.
        overlap: ``iou`` or ``iobb``; None for what the member asked for.
        proposals: ``clean``, ``sampled`` or ``with_ground_truth``; None for what the member asked for.
        scores: score thresholds of the operating points, in [0, 1]; None for 0.05, 0.1 and 0.3.
        false_positives: per image on validation, that set the score from which a box counts.
        coco: add COCO's twelve figures.
        by: columns (a clinical one, or ``source``) whose parts of the split have figures of their own: ``subgroups``.
        by_reader: add what readers find of each other's boxes, and the detector beside them: ``readers``.
        on: another data set, of which all studies are evaluated; None for the run's own. Labels are the same by name,
            clinical columns by name and unit; statistics and the operating point stay those of the run's own data set.
        labels: of that data set, mapped to the run's findings, where their names differ.
        ensemble: of all seeds of ``ablation/setting/arm`` together, by weighted box fusion: another detector than any
            of its runs, and never the estimand. With ``on``, of all folds, too. Masks are not fused.
        rerun: run the network again even if its detections are stored.
        device: where the network runs: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        data: where the data set lies now, if it was moved.

    Raises:
        StoreError: no such run.
        EvaluationError: a run that is not finished, an unknown word, or detections that are missing or damaged.
        DataError: a data set that is gone or changed.
    """
    from mmad.analysis.cached_statistics import SCORES
    from mmad.analysis.evaluation_target import DetectionStore, ensemble_of, evaluation_target
    from mmad.analysis.external import outside_target
    from mmad.store.lookup import find_run, find_seeds

    store_argument(store)
    argument("run", run, str)
    argument("scores", scores, list, tuple, optional=True)
    argument("on", on, str, Path, optional=True)
    argument("labels", labels, dict, optional=True)
    argument("false_positives", false_positives, int, float, least=0)
    for score in scores or ():
        argument("scores", score, int, float, least=0)
    options = evaluation_options(split, checkpoint, overlap, proposals)
    detections = DetectionStore(None if data is None else Path(data))
    found = find_seeds(store, run) if ensemble else [find_run(store, run)]
    targets = [evaluation_target(store, one, options) for one in found]
    if on is not None:
        if split != "test":
            hint = "leave split out"
            raise EvaluationError("all studies of the other data set are evaluated", where="on", hint=hint)
        targets = [outside_target(store, detections, one, Path(on), labels or {}) for one in targets]
    target = ensemble_of(targets) if ensemble else targets[0]
    for one in targets:
        if rerun or ((proposals is not None or on is not None) and not one.file.exists()):
            rerun_inference(store, detections, one, device)
    scores = SCORES if scores is None else scores
    asked = (store, detections, target, scores)
    return evaluation_of(*asked, coco=coco, false_positives=false_positives, by=_listed(by), by_reader=by_reader)


def evaluation_of(
    store: Store,
    detections: DetectionStore,
    target: EvaluationTarget,
    scores: Sequence[float],
    *,
    coco: bool = False,
    false_positives: float = 0.5,
    by: Sequence[str] = (),
    by_reader: bool = False,
) -> Evaluation:
    """All figures of ``target``, from its stored detections; AP and AR become a row of the store."""
    from mmad.analysis.cached_statistics import (
        coco_of,
        diagnosis_of,
        estimate_of,
        masks_of,
        note_evaluation,
        profile_of,
    )
    from mmad.analysis.external import note_external
    from mmad.analysis.run_readers import readers_of
    from mmad.analysis.run_subgroups import subgroups_of

    found = Evaluation(
        target,
        estimate_of(store, detections, [target]),
        profile_of(store, detections, target, scores),
        diagnosis_of(store, detections, target, false_positives),
        coco_of(store, detections, target) if coco else None,
        masks_of(store, detections, target),
        subgroups_of(store, detections, target, by, false_positives),
        readers_of(store, detections, target, false_positives) if by_reader else None,
    )
    if target.outside is None:
        note_evaluation(store, detections, target)
    elif not target.seeds:
        note_external(store, target)
    return found


def rerun_inference(
    store: Store,
    detections: DetectionStore,
    target: EvaluationTarget,
    device: str = "auto",
    progress_bar: ProgressBar = silent,
) -> None:
    """Run the network of ``target`` again, and store its detections with their AP and AR."""
    from mmad.analysis.cached_statistics import keep_detections

    detections.truth(target)  # refuses before the network is built
    runner = inference_runner(store, detections, target, device)
    file = runner.run.inner(target.checkpoint.path)
    where = target.split if target.outside is None else target.outside.name
    with progress_bar(f"{target.name}: inference on {where}, {target.protocol.proposals} proposals") as progress:
        found = runner.detections(file, target.split, proposals=target.protocol.proposals, report=progress)
    keep_detections(store, detections, target, found)


def evaluate_external(
    store: Store,
    detections: DetectionStore,
    ablation: str,
    device: str = "auto",
    progress_bar: ProgressBar = silent,
) -> list[DataError]:
    """Evaluate the finished runs of ``ablation`` on the external data sets that its file declares, where it is due.

    Returns:
        why data sets are left out.
    """
    from mmad.analysis.evaluation_target import EvaluationOptions, evaluation_target
    from mmad.analysis.external import declared_targets, note_external
    from mmad.config.ablation_file import external_tables
    from mmad.store.lookup import find_runs

    problems: dict[str, DataError] = {}
    (file,) = (one for one in store.ablations() if one.name == ablation)
    tables = external_tables(file.source, file.path)
    for found in find_runs(store, ablation) if tables else ():
        if found.run.status == "finished":
            own = evaluation_target(store, found, EvaluationOptions())
            there, refused = declared_targets(store, detections, own, tables)
            problems |= {str(error): error for error in refused}
            for target in there:
                if not target.file.exists():
                    rerun_inference(store, detections, target, device, progress_bar)
                note_external(store, target)
    return list(problems.values())


def altered_inference(store: Store, detections: DetectionStore, target: EvaluationTarget, device: str) -> Inference:
    """Runs the network of ``target``, built on the first call, on altered inputs."""
    runners: list[InferenceRunner] = []

    def infer(alteration: Alteration | None, seed: int) -> Detections:
        from mmad.training.inference import UNALTERED, InputAlteration

        if not runners:
            runners.append(inference_runner(store, detections, target, device))
        change = UNALTERED
        if alteration is not None:
            missing = (cast("Mechanism", alteration.name), alteration.share) if alteration.kind == "missing" else None
            change = InputAlteration(
                columns=(alteration.name,) if alteration.kind == "column" else (),
                patients=alteration.kind == "records",
                blank=alteration.kind == "image",
                missing=missing,
                seed=seed,
            )
        file = runners[0].run.inner(target.checkpoint.path)
        return runners[0].detections(file, target.split, proposals=target.protocol.proposals, alteration=change)

    return infer


def inference_runner(
    store: Store, detections: DetectionStore, target: EvaluationTarget, device: str
) -> InferenceRunner:
    from mmad.scheduler.devices import find_slots
    from mmad.scheduler.worker import run_spec

    place = next(iter(find_slots(device).devices), "cpu")
    spec = run_spec(target.run, detections.data)
    from mmad.training.inference import InferenceRunner

    return InferenceRunner(
        spec,
        dataset_path=Path(spec.data.path),
        run=store.run_paths(target.run.key),
        device=place,
        outside=None if target.outside is None else target.outside.dataset,
    )


def evaluation_options(
    split: str,
    checkpoint: str | None,
    overlap: str | None,
    proposals: str | None,
    resamples: int = 1000,
    seed: int = 0,
    *,
    named: Callable[[str], str] = str,
) -> EvaluationOptions:
    """The words of a call, each checked; ``named`` says what its user calls a parameter."""
    from mmad.analysis.evaluation_target import EvaluationOptions
    from mmad.config.protocol import Overlap, Proposals

    argument(named("resamples"), resamples, int, least=1)
    argument(named("seed"), seed, int, least=0)
    return EvaluationOptions(
        cast("Split", known_word(named("split"), split, ("val", "test"))),
        cast("CheckpointKind | None", known_word(named("checkpoint"), checkpoint, KEPT_KINDS)),
        cast("Overlap | None", known_word(named("overlap"), overlap, get_args(Overlap))),
        cast("Proposals | None", known_word(named("proposals"), proposals, get_args(Proposals))),
        resamples,
        seed,
    )


def known_word(where: str, word: str | None, known: Sequence[str]) -> str | None:
    """``word``, or None; EvaluationError with the nearest of ``known`` for another one."""
    from mmad.config.messages import did_you_mean

    if word is not None and word not in known:
        raise EvaluationError(f"unknown word {word!r}", where=where, hint=did_you_mean(word, known))
    return word


def compare(
    store: Store,
    reference: str,
    other: str,
    *,
    split: str = "test",
    checkpoint: str | None = None,
    overlap: str | None = None,
    proposals: str | None = None,
    resamples: int = 1000,
    seed: int = 0,
    by_reader: bool = False,
    data: str | Path | None = None,
) -> Comparison:
    """Compare two arms on the same images: is ``other`` better than ``reference``?

    Conditions that one ablation file varies between them (such as ``epochs``) differ by design: ``by_design``.

    Args:
        store: of ``open_store``.
        reference: ``ablation/setting/arm``, which means all its seeds, or one run (``/seed``, or the beginning of a
            key).
        other: likewise.
        split: ``test`` or ``val``.
        checkpoint: as for ``evaluate``; ``overlap``, ``proposals``, ``resamples``, ``seed`` and ``data`` likewise.
        by_reader: repeat it with the boxes of each reader alone as the reference: ``under_readers``.

    Raises:
        StoreError: no such run.
        EvaluationError: runs that are not finished, share no seed, or cannot be compared, naming what differs.
        DataError: a data set that is gone or changed.
    """
    from mmad.analysis.evaluation_target import DetectionStore
    from mmad.analysis.verdicts import compare_arms

    store_argument(store)
    argument("reference", reference, str)
    argument("other", other, str)
    options = evaluation_options(split, checkpoint, overlap, proposals, resamples, seed)
    detections = DetectionStore(None if data is None else Path(data))
    return compare_arms(store, detections, reference, other, options, by_reader=by_reader)


def write_report(
    store: Store,
    *,
    html: str | Path | None = None,
    markdown: str | Path | None = None,
    csv: str | Path | None = None,
    latex: str | Path | None = None,
    figures: str | Path | None = None,
    formats: str | Sequence[str] = ("pdf",),
    methods: str | Path | None = None,
    crate: str | Path | None = None,
    pages: bool | None = None,
    ablations: str | Sequence[str] = (),
    data: str | Path | None = None,
    pictures: int | None = None,
    log: bool | None = None,
    against: str | Path | None = None,
    every: float | None = None,
    provenance: Provenance = "brief",
    by: str | Sequence[str] = (),
    progress: OnProgress = lambda done, whole: None,
) -> Report:
    """Write the report of everything recorded, in one or several forms.

    Intervals and verdicts come from what the store caches; what is not there yet is computed from the stored
    detections and cached, unless the store is open for reading only.

    Args:
        store: of ``open_store``.
        html: the page: one file that needs no network.
        markdown: the same as Markdown, with its charts in a folder beside it.
        csv: a folder for every table as CSV, figures in full.
        latex: a folder for every table as LaTeX.
        figures: a folder for every figure as a file for a paper, 174 mm wide, those of ablations also 85 mm.
        formats: of the figures: ``"pdf"``, ``"svg"``, ``"png"``.
        methods: a Markdown file for a Methods section and the reporting checklists, from what is recorded.
        crate: a new folder for an RO-Crate: the ablation files, this report, its tables, setups, versions, checksums.
        pages: whether the HTML is an overview with linked pages beside it (``NAME_pages``); None for one file up to
            300 runs.
        ablations: only these.
        data: where the runs' data set lies now, if it was moved.
        pictures: studies shown of each pair; None shows a few where the data set's licence allows it, 0 none.
        log: whether the HTML shows the entries of experiment logs; None where an ablation mirrors one or one was
            imported.
        against: another database, or a date: the report says what changed against that one, or since.
        every: seconds after which the page reloads itself, while it is rewritten; None for a page that does not.
        provenance: ``"full"`` also says on which host, in which folders and by which command each run was trained.
        by: columns (a clinical one, ``source``, ``site``, …) whose parts of the test split are compared.
        progress: hears how many of how many runs are drawn.

    Returns:
        The files that were written, and counts of ablations, runs and runs that are not finished.

    Raises:
        ReportError: nothing to report, an unknown ablation, a number of pictures out of range, or a file that cannot
            be written; an older report is then left as it was.
    """
    from mmad.report.write_report import write_report

    def path(given: str | Path | None) -> Path | None:
        return None if given is None else Path(given)

    store_argument(store)
    if all(form is None for form in (html, markdown, csv, latex, figures, methods, crate)):
        hint = "name a file or a folder: html=, markdown=, csv=, latex=, figures=, methods= or crate="
        raise ReportError("nothing to write", hint=hint)
    return write_report(
        store,
        html=path(html),
        markdown=path(markdown),
        csv=path(csv),
        latex=path(latex),
        figures=path(figures),
        formats=cast("Sequence[FigureFormat]", _listed(formats)),
        methods=path(methods),
        crate=path(crate),
        pages=pages,
        ablations=_listed(ablations),
        database=store.where,
        data=path(data),
        pictures=pictures,
        log=log,
        against=None if against is None else str(against),
        every=every,
        provenance=provenance,
        by=_listed(by),
        progress=progress,
    )
