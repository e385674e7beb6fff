"""May two arms be compared? The end of ablate, compare, the report in every form, its paper table and Python agree."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import analysis_fixtures as made
import pytest
from undrawn import Undrawn

import mmad
from mmad.base.errors import ReportError
from mmad.cli.ablate import conclude
from mmad.config.load import load_ablation
from mmad.config.protocol import EvaluationProtocol
from mmad.config.runs import Ablation, DataSource, Member
from mmad.data.phantom.generate import make_phantom
from mmad.data.reader import load_dataset
from mmad.data.samples import samples
from mmad.report import write_report as report_module
from mmad.report.paper import paper_table
from mmad.report.writers.html import table_page
from mmad.report.writers.latex import as_latex
from mmad.report.writers.tables import as_csv
from mmad.scheduler.jobs import Summary
from mmad.store.store import Store

Call = Callable[..., Any]
ARMS = """
[setup]
pretrained = false
[arms.CXR]
use_clinical = false
[arms.Other]
use_clinical = true
"""
FILES = {
    "plain": ARMS,
    "one": ARMS + "[protocol]\nepochs = 1\n",
    "five": ARMS + "[protocol]\nepochs = 5\n",
    "odd": ARMS + "[protocol]\nepochs = 1\n",
    "settings": ARMS + '[[settings]]\nname = "short"\nepochs = 1\n[[settings]]\nname = "long"\nepochs = 5\n',
    "modes": ARMS + 'dataset_mode = "normal"\n',
    "final": ARMS + "use_early_stop_model = false\n",
    "overlaps": ARMS,
    "same": ARMS.replace("true", "false"),
}
#: What the second arm of a file came to have without the file naming it.
CHANGED: dict[str, Callable[[Member], Member]] = {
    "odd": lambda m: replace(m, run=replace(m.run, protocol=m.run.protocol.model_copy(update={"epochs": 5}))),
    "overlaps": lambda m: replace(m, evaluation=EvaluationProtocol(overlap="iobb")),
}
DESIGN = {"modes": "dataset mode unified / normal"}
REFUSED = {"odd": "epochs 1 / 5", "overlaps": "overlap iou / iobb", "same": "both are one run"}
ASKED = [name for name in FILES if name != "settings"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every file of FILES, its runs finished; of one image in the data set there are two readings."""
    folder = tmp_path_factory.mktemp("answers")
    make_phantom(folder / "phantom", studies=30, image_size=64)
    _second_readings(folder / "phantom" / "boxes.csv")
    dataset = load_dataset(folder / "phantom")
    source = DataSource(str(dataset.root), dataset.name, dataset.fingerprint())
    with Store.open(folder / "mmad.sqlite") as store:
        for name, text in FILES.items():
            (folder / f"{name}.toml").write_text(text)
            store.add_ablation(ablation := ablation_of(folder, name, source))
            for member in ablation.members:
                setup = member.run.setup
                kinds = ("best_ap", "final") if setup.use_early_stop_model else ("final",)
                seen = samples(dataset, setup.dataset_mode)
                made.finish(store, member, seen, 0.9 if member.arm == "Other" else 0.5, kinds)  # type: ignore[arg-type]
    return folder


def ablation_of(folder: Path, name: str, source: DataSource) -> Ablation:
    ablation = load_ablation(folder / f"{name}.toml").on(source)
    change = CHANGED.get(name, lambda member: member)
    return replace(ablation, members=tuple(change(m) if m.arm == "Other" else m for m in ablation.members))


def _second_readings(boxes: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(boxes.read_text())))
    with boxes.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(row | {"reading": f"r{n % 2}"} for n, row in enumerate(rows))


@pytest.fixture
def ask(folder: Path, call_mmad: Call, monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.setattr(report_module, "FigureRenderer", Undrawn)
    return lambda *words: call_mmad(*words, "--db", folder / "mmad.sqlite")


def page_words(text: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", re.sub(r"(?s)<(style|script).*?</\1>", " ", text))).split())


def answers(ask: Call, folder: Path, name: str, out: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """What every output says of the pair of ``name``, as plain words."""
    found: dict[str, str] = {}
    dataset = load_dataset(folder / "phantom")
    ablation = ablation_of(folder, name, DataSource(str(dataset.root), dataset.name, dataset.fingerprint()))
    for form in ("ablate", "ablate --json"):
        capsys.readouterr()
        assert conclude([ablation], str(folder / "mmad.sqlite"), Summary((), (), ()), "json" in form) == 0
        found[form] = capsys.readouterr().out
    for form in ((), ("--json",)):
        called = ask("compare", "--ablation", name, "--resamples", "20", *form)
        found[" ".join(("compare", *form))] = called.out or called.err
        called = ask("compare", f"{name}/default/CXR", f"{name}/default/Other", "--resamples", "20", *form)
        found[" ".join(("compare two", *form))] = called.out or called.err
    assert ask("report", "--html", "--md", "--out", out / "r", "--ablation", name, "--pictures", "0").code == 0
    assert ask("report", "--csv", out / "csv", "--latex", out / "tex", "--ablation", name).code == 0
    page = re.sub(r"(?s)<details class=\"facts methods\">.*?</details>", "", (out / "r.html").read_text())
    found["html"] = page_words(page)
    found["markdown"] = (out / "r.md").read_text().replace("\\", "")
    for form in ("csv", "tex"):
        files = [*(out / form).glob(f"{name}--pairs-*"), *(out / form).glob(f"{name}--not-compared*")]
        found[form] = "\n".join(file.read_text() for file in files)
    with Store.open(folder / "mmad.sqlite") as store:
        try:
            table = paper_table(store, ablation=name)
            found |= {
                "paper html": page_words(table_page(table)),
                "paper tex": as_latex(table),
                "paper csv": as_csv(table),
            }
        except ReportError as error:
            found["paper"] = str(error)
        try:
            found["python"] = mmad.compare(store, f"{name}/default/CXR", f"{name}/default/Other", resamples=20).design
        except mmad.MmadError as error:
            found["python"] = str(error)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", ASKED)
def test_every_output_gives_one_answer(
    ask: Call, folder: Path, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = answers(ask, folder, name, tmp_path, capsys)
    design, refused = DESIGN.get(name, ""), REFUSED.get(name, "")
    paper = {"paper"} if refused else {"paper html", "paper tex", "paper csv"}
    forms = {"ablate", "ablate --json", "compare", "compare --json", "compare two", "compare two --json"}
    assert set(found) == forms | paper | {"html", "markdown", "csv", "tex", "python"}
    if refused:
        assert found.pop("tex") == ""  # what is refused has no table for a paper
    for output, text in found.items():
        assert bool(design and design in text) == bool(design), (output, text)
        if "json" not in output and output != "csv":  # whose keys and columns are always there
            assert ("by design: " in text) == bool(design), (output, text)
        assert bool(refused and refused in text) == bool(refused), (output, text)
        if output not in ("ablate --json", "csv"):
            assert ("cannot be compared" in text) == bool(refused), (output, text)
    pairs = json.loads(found["ablate --json"])
    assert [len(pairs["pairs"]), len(pairs["refused"])] == ([0, 1] if refused else [1, 0])
    assert not refused or pairs["refused"][0]["reason"].startswith(refused)
    if not refused:
        kind = "final" if name == "final" else "best_ap"
        (row,) = csv.DictReader(io.StringIO(found["csv"]))
        assert (row["checkpoint"], row["differs_by_design"]) == (kind, design)
        for form in ("compare --json", "compare two --json"):
            (pair,) = json.loads(found[form])["pairs"]
            assert (pair["checkpoint"], pair["differs_by_design"]) == (kind, [design] if design else [])
        assert pairs["pairs"][0].get("checkpoint", "best_ap") == kind
        assert pairs["pairs"][0]["differs_by_design"] == pair["differs_by_design"]
        for output in ("ablate", "html", "markdown", "tex"):
            assert ("final checkpoints" in found[output]) == (kind == "final")


def test_settings_that_name_their_epochs_differ_by_design(ask: Call) -> None:
    called = ask("compare", "settings/short/CXR", "settings/long/CXR", "--resamples", "20")
    assert called.code == 0, called.err
    (line,) = [line for line in called.out.splitlines() if " minus " in line]
    assert line.endswith(" differs by design: epochs 1 / 5 (settings/short/CXR / settings/long/CXR).")


def test_runs_of_two_files_that_differ_in_epochs_are_refused(ask: Call, folder: Path) -> None:
    called = ask("compare", "one/default/CXR", "five/default/CXR", "--json")
    assert (called.code, called.out) == (2, "")
    assert called.err == (
        "mmad: comparison: one/default/CXR and five/default/CXR cannot be compared: epochs 1 / 5; "
        "compare settings of one ablation file that name epochs, or train both alike\n"
    )
    with (
        Store.open(folder / "mmad.sqlite") as store,
        pytest.raises(mmad.MmadError, match="cannot be compared: epochs 1 / 5"),
    ):
        mmad.compare(store, "one/default/CXR", "five/default/CXR", resamples=20)


def test_two_keys_are_compared_as_arms_of_the_file_that_has_both(ask: Call, folder: Path) -> None:
    with Store.open(folder / "mmad.sqlite") as store:
        (modes,) = (a for a in store.ablations() if a.name == "modes")
        answered = {m.ablation for a in store.ablations() for m in a.members if m.key == modes.members[0].key}
    assert len(answered) > 1  # its reference is a run of other files, too
    called = ask("compare", *(member.key for member in modes.members), "--resamples", "20")
    assert called.code == 0, called.err
    assert "differs by design: dataset mode unified / normal" in called.out


def test_arms_on_other_true_boxes_have_figures_and_no_interval(ask: Call) -> None:
    called = ask("compare", "--ablation", "modes", "--json")
    (pair,) = json.loads(called.out)["pairs"]
    assert pair["differs_by_design"] == ["dataset mode unified / normal"]
    assert (pair["ap"], pair["p"], pair["verdict"], pair["agreement"]) == (None, None, "no verdict", None)
    assert re.match(
        r"No interval for the difference of [+−]?0\.\d{3} test AP: comparison: the runs were evaluated ", pair["words"]
    )
    ap = pair["reference"]["ap"]
    assert ap["patients"] < 10
    assert (ap["low"], ap["high"]) == (None, None)
    assert ap["value"] is not None
    words = ask("compare", "--ablation", "modes").out
    assert "modes/default/Other minus modes/default/CXR: No interval for the difference of " in words
