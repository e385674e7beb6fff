"""A cached section is never shown once anything that it is made of has changed, and is used while nothing has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import analysis_fixtures as made
import pytest
from PIL import Image
from report_fixtures import WHEN
from sqlalchemy import text

from mmad.analysis.evaluation_target import EvaluationOptions
from mmad.base.records import EnvironmentRecord, EpochRecord, Metric, ParameterCount
from mmad.config.runs import Ablation
from mmad.data.phantom.generate import make_phantom
from mmad.evaluation.detections_file import version_of
from mmad.report import figure_renderer, section_cache
from mmad.report.sections import AblationSection
from mmad.report.write_report import write_report
from mmad.store.measurements import write_epoch
from mmad.store.notes import add_note
from mmad.store.store import Store

FEW = EvaluationOptions(resamples=20)


class Reports:
    """Reports of a database with the ablations ``made`` and ``later``, two runs each.

    ``key`` is a run of the first, ``rendered`` names the ablations of the last report that were not cached.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.patch, self.rendered = folder, monkeypatch, list[str]()
        self.options: dict[str, object] = {"options": FEW, "data": folder / "phantom"}
        dataset = make_phantom(folder / "phantom", studies=30, image_size=64)
        self.image = dataset.root / dataset.studies[dataset.split("test")[0]].image
        members = [made.member(dataset, arm, 0) for arm in made.ARMS]
        later = [replace(made.member(dataset, arm, 0, lr=0.5), ablation="later") for arm in made.ARMS]
        self.members, self.key = members, members[0].run.key
        with self.store() as store:
            made.record(store, members)
            store.add_ablation(Ablation("later", "l.toml", "Later", "", "", made.ARMS, (made.ARMS,), tuple(later)))
            for number, one in enumerate((*members, *later)):
                made.finish(store, one, dataset, 0.3 + 0.1 * number)
                with store.database.writing() as connection:
                    for epoch in (1, 2, 3):
                        write_epoch(connection, one.run.key, _epoch(epoch))
        render = section_cache.render_section

        def counted(model: object, section: AblationSection, *more: object, **named: object) -> object:
            self.rendered.append(section.frame.record.name)
            return render(model, section, *more, **named)  # type: ignore[arg-type]

        monkeypatch.setattr(section_cache, "render_section", counted)
        monkeypatch.setattr(figure_renderer, "_draw", lambda task: (f"<svg><desc>{task!r}</desc></svg>",) * 12)
        self.page()

    def store(self) -> Store:
        return Store.open(self.folder / "db" / "mmad.sqlite")

    def page(self) -> str:
        """The report, written now."""
        self.rendered.clear()
        with self.store() as store:
            write_report(store, html=self.folder / "r.html", created=WHEN, **self.options)  # type: ignore[arg-type]
        return (self.folder / "r.html").read_text("utf-8")

    def sql(self, statement: str) -> None:
        with self.store() as store, store.database.writing() as connection:
            assert connection.execute(text(statement), {"key": self.key} if ":key" in statement else {}).rowcount


def _epoch(number: int, loss: float = 0.5) -> EpochRecord:
    metrics = tuple(Metric(split, "loss", loss / number) for split in ("train", "val"))  # type: ignore[arg-type]
    return EpochRecord(number, 1e-3, 2.0, 1000, metrics)


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reports]:
    with pytest.MonkeyPatch.context() as patch:
        yield Reports(tmp_path_factory.mktemp("made"), patch)


def _of_run(change: str) -> Callable[[Reports], None]:
    return lambda reports: reports.sql(f'{change} (select id from runs where "key" = :key)')


def _stored(change: Callable[[Store, str], object]) -> Callable[[Reports], None]:
    def apply(reports: Reports) -> None:
        with reports.store() as store:
            change(store, reports.key)

    return apply


def _another_epoch(store: Store, key: str) -> None:
    with store.database.writing() as connection:
        write_epoch(connection, key, _epoch(4))


def _shared(reports: Reports) -> None:
    """A third ablation asks for a run of the first."""
    member = replace(reports.members[0], ablation="third")
    with reports.store() as store:
        store.add_ablation(Ablation("third", "t.toml", "Third", "", "", made.ARMS[:1], (), (member,)))


def _control(store: Store, key: str) -> None:
    checkpoint = next(one for one in store.checkpoints(key) if one.kind == "best_ap")
    member = next(m for a in store.ablations() for m in a.members if m.key == key)
    subject = {
        "runs": [key], "epochs": [checkpoint.epoch], "weights": [checkpoint.sha256], "checkpoint": "best_ap",
        "split": "test", **member.evaluation, "alteration": ["image", ""], "version": version_of("control"),
    }  # fmt: skip
    ap = {"value": 0.1, "low": 0.0, "high": 0.2}
    figures = {"ap": ap, "ar": ap, "per_class": [], "before": 0.3, "after": 0.2, "repeats": 1}
    store.put_analysis("control", subject, figures)


def _new_pixels(reports: Reports) -> None:
    with Image.open(reports.image) as image:
        turned = image.transpose(Image.Transpose.ROTATE_180)
    turned.save(reports.image)


def _licence(reports: Reports) -> None:
    path = reports.folder / "phantom" / "dataset.toml"
    path.write_text(path.read_text("utf-8").replace('licence = "', 'licence = "not '), "utf-8")


def _detections_gone(reports: Reports) -> None:
    with reports.store() as store:
        for path in store.run_paths(reports.key).detections_folder.iterdir():
            path.unlink()


#: What changes of the first ablation alone.
OWN: dict[str, Callable[[Reports], None]] = {
    "a metric": _of_run("update run_metrics set value = value + 1e-6 where epoch = 2 and metric = 1 and run ="),
    "two metrics that change places": _of_run(
        "update run_metrics set value = (select sum(value) from run_metrics m where m.run = run_metrics.run and "
        "m.metric = run_metrics.metric and m.epoch < 3) - value where epoch < 3 and metric = 1 and run ="
    ),
    "a metric that is NaN": _of_run("update run_metrics set value = null where epoch = 2 and metric = 1 and run ="),
    "a learning rate": _of_run("update run_epochs set lr = lr / 2 where epoch = 2 and run ="),
    "an epoch": _stored(_another_epoch),
    "an evaluation": lambda r: r.sql("update evaluations set ap = ap / 2 where run_key = :key"),
    "the AP of a finding": lambda r: r.sql(
        "insert into evaluation_classes (evaluation_id, position, label, ap, ar) "
        "select id, 0, 'odd', 0.1, 0.1 from evaluations where run_key = :key"
    ),
    "a checkpoint": lambda r: r.sql("update checkpoints set path = 'checkpoints/y.pt' where run_key = :key"),
    "parameters": _stored(lambda store, key: store.put_parameter_counts(key, [ParameterCount("model", 7)])),
    "an environment": _stored(
        lambda store, key: store.add_environment(
            key, EnvironmentRecord(WHEN, "", "Linux", "3.99", {"torch": "9"}, "cpu", 1, None, None, "", 0)
        )
    ),
    "a warning": _stored(lambda store, key: store.add_warning(key, "odd")),
    "a run": lambda r: r.sql("update runs set error = 'odd' where \"key\" = :key"),
    "a member": lambda r: r.sql("update members set documented = 'e069' where run_key = :key"),
    "the ablation": lambda r: r.sql("update ablations set title = 'Another' where name = 'made'"),
    "a note on a run": _stored(lambda store, key: add_note(store, key, "it is odd")),
    "a note on the ablation": _stored(lambda store, key: add_note(store, "made", "it is odd", ["later"])),
    "an input control": _stored(_control),
    "another ablation that asks for a run": _shared,
    "detections": _detections_gone,
}
#: What changes of every ablation.
ALL: dict[str, Callable[[Reports], None]] = {
    "resamples": lambda r: r.options.update(options=EvaluationOptions(resamples=30)),
    "pictures": lambda r: r.options.update(pictures=1),
    "provenance": lambda r: r.options.update(provenance="full"),
    "the form": lambda r: r.options.update(pages=True),
    "one file again": lambda r: r.options.update(pages=False),
    "code": lambda r: r.patch.setattr(section_cache, "code_digest", lambda: "other"),
    "pixels": _new_pixels,
    "the licence": _licence,
}
#: What makes a section anew and changes no word of so small a one.
UNSEEN = {"code", "resamples", "pictures", "an input control"}


@pytest.mark.slow
def test_unchanged_sections_are_not_rendered(reports: Reports) -> None:
    page = reports.page()
    assert reports.page() == page
    assert reports.rendered == []


@pytest.mark.slow
@pytest.mark.parametrize("what", [*OWN, *ALL])
def test_whatever_a_section_is_made_of_makes_it_anew(reports: Reports, what: str) -> None:
    before = reports.page()
    (OWN | ALL)[what](reports)
    page = reports.page()
    assert page != before or what in UNSEEN
    assert "made" in reports.rendered
    assert ("later" in reports.rendered) == (what in ALL)
    reports.sql("delete from analyses where kind = 'section'")
    assert reports.page() == page
