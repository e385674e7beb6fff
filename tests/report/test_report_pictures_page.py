"""Pictures in the page and in Markdown: every image once, boxes that need no colour, foreign names as words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import picture_fixtures as made
import pytest
from test_report_html import Page
from undrawn import undrawn_html, undrawn_markdown

from mmad.base.formatting import straight
from mmad.data.contact_sheet import COLOURS
from mmad.data.dataset import DataSet
from mmad.data.phantom.generate import make_phantom
from mmad.report.picture_drawing import differs, isolated
from mmad.report.pictures import AblationPictures
from mmad.report.sections import ReportModel
from mmad.report.write_report import write_report
from mmad.report.writers.html import _template
from mmad.store.store import Store

HARD = "PhysioNet Credentialed Health Data License 1.5.0"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    return make_phantom(tmp_path_factory.mktemp("data") / "phantom", studies=150, image_size=64)


@pytest.fixture(scope="module")
def store(dataset: DataSet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store.open(made.two_arms(tmp_path_factory.mktemp("made"), dataset, settings=3)) as opened:
        yield opened


@pytest.fixture(scope="module")
def model(store: Store) -> ReportModel:
    return made.model_of(store, made.gathered(store))


@pytest.fixture(scope="module")
def text(model: ReportModel) -> str:
    return undrawn_html(model)


@pytest.fixture(scope="module")
def hostile(dataset: DataSet, tmp_path_factory: pytest.TempPathFactory) -> tuple[AblationPictures, str, str]:
    folder = tmp_path_factory.mktemp("hostile")
    attacked = made.attacked(folder / "data", dataset)
    database = made.two_arms(folder, attacked, other=made.ATTACKS[0])
    with Store.open(database) as store:
        model = made.model_of(store, made.gathered(store, 12))
        return made.alone(model.pictures), undrawn_html(model), undrawn_markdown(model).text


@pytest.mark.slow
def test_every_image_is_in_the_page_once_and_is_shown_three_times_a_study(text: str, model: ReportModel) -> None:
    found = made.alone(model.pictures)
    shown = [p.image for pair in found.pairs for p in pair.studies]
    assert len(shown) == 12
    assert text.count("data:image/jpeg;base64,") == len(found.images) == len(set(shown)) < 12
    for image in found.images.values():
        assert text.count(image.address) == 1
    ids = set(re.findall(r'<image id="([^"]+)"', text))
    used = re.findall(r'<use href="#([^"]+)"', text)
    assert len(used) == 3 * len(shown)
    assert set(used) == ids
    assert all(address == "" or address.startswith(("#", "data:")) for address in re.findall(r'href="([^"]*)"', text))
    assert "img-src data:;" in text


def test_boxes_differ_by_number_dashes_and_words(text: str, model: ReportModel) -> None:
    drawn = [b for pair in made.alone(model.pictures).pairs for p in pair.studies
             for side in (p.panels.truth, p.panels.reference, p.panels.other) for b in side]  # fmt: skip
    for outcome in ("false", "missed"):
        of_outcome = sum(b.outcome == outcome for b in drawn)
        assert of_outcome > 0
        assert len(re.findall(rf'<rect class="line {outcome}" x="', text)) == of_outcome + 1  # and the key's
        assert len(re.findall(rf"<text [^>]*>\d+(?: \d\.\d\d)? {outcome}</text>", text)) == of_outcome
    css = _template("pictures.css")
    dashes = {
        outcome: re.search(rf"rect\.{outcome} {{ stroke-dasharray: ([\d. ]+);", css) for outcome in ("false", "missed")
    }
    assert len({match[1] for match in dashes.values() if match}) == 2
    assert tuple(re.findall(r"--finding: (#[0-9a-f]{6})", css)) == COLOURS


def test_every_picture_has_a_title_and_a_description_in_words(text: str) -> None:
    page = Page(text)
    ids = {a["id"] for tag, a in page.tags if tag in ("title", "desc") and a.get("id")}
    panels = [a for a in page.all("svg") if a.get("role") == "img" and a.get("aria-labelledby")]
    assert len(panels) == 36
    assert all(set((a["aria-labelledby"] or "").split()) <= ids for a in panels)
    labels = [a["id"] for a in page.all("strong", "h3", "h4", "title", "desc", "svg", "image", "figure") if a.get("id")]
    assert len(labels) == len(set(labels))
    said = re.findall(r"<desc [^>]*>([^<]+)</desc>", text)
    assert any(re.search(r"\d right, \d false alarms?, \d missed\. Right: ", words) for words in said)


def test_the_caption_gives_the_difference_and_the_ap_contribution(text: str, model: ReportModel) -> None:
    words = Page(text).text
    for pair in made.alone(model.pictures).pairs:
        assert f"{pair.other} against {pair.reference} : {pair.setting}" in words
        for picture in pair.studies:
            assert differs(picture, pair) in words
    assert re.search(r"Study s\d+ [+−]\d for CXR\+Clinical", words)
    assert re.search(r"Without this study the difference in test AP would be [+−]\d\.\d{3} instead of [+−]\d", words)
    assert re.search(r"AP counts them all: CXR\+Clinical differs by [+−]\d\.\d{3} test AP over all boxes, by", words)


def test_a_finding_is_hidden_by_rules_alone(text: str, dataset: DataSet) -> None:
    for n in range(1, len(dataset.labels) + 1):
        assert f".findings:has(.tick-{n}:not(:checked)) ~ .pair .box-{n} {{ display: none; }}" in text
        assert f'<input type="checkbox" class="tick-{n}" checked>' in text
    assert f"tick-{len(dataset.labels) + 1}" not in text


def test_foreign_names_are_words(hostile: tuple[AblationPictures, str, str]) -> None:
    found, page, markdown = hostile
    names = {p.study for pair in found.pairs for p in pair.studies}
    assert {name[:6] for name in names} >= {attack[:6] for attack in made.ATTACKS}
    assert page.count("<script>") == 1
    assert page.count("\u202e") > 20
    parsed = Page(page)
    assert made.SCRIPT in parsed.text
    assert parsed.all("img") == []
    assert "x" * 201 not in page
    for before in re.findall(r"<(\w+)[^<>]*>[^<>]*\u202e", page):
        assert before in ("bdi", "pre")
    outside = re.sub(r"(?ms)^(`{3,})text$.*?^\1$", "", markdown)
    assert "&lt;script&gt;" in outside
    assert "<script" not in outside
    assert "<img" not in outside


@pytest.mark.parametrize("name", ["\u202eturned", "\u2066open", "\u05d0\u05d1", "a\u200bb\u202bc"])
def test_a_right_to_left_name_is_isolated(name: str) -> None:
    assert isolated(name) == f"\u2068{name}\u2069"
    assert straight(isolated("\u202eturned")) == "turned"
    assert isolated("CXR+Clinical, Überblick 胸片") == "CXR+Clinical, Überblick 胸片"


def test_the_contents_lead_to_the_pictures(text: str) -> None:
    assert '<a href="#ablation-made-pictures">Pictures</a>' in text
    assert '<h3 id="ablation-made-pictures">' in text


def test_files_are_named_by_number_alone(hostile: tuple[AblationPictures, str, str]) -> None:
    files = re.findall(r"!\[Study .*\]\((.*)\)", hostile[2])
    assert files == [f"charts/ablation-made-pair-1-{n}.jpg" for n in range(1, 13)]


@pytest.mark.slow
def test_a_withheld_data_set_is_one_line_and_no_image(dataset: DataSet, tmp_path: Path) -> None:
    hard = made.licensed(tmp_path / "hard", dataset, HARD)
    with Store.open(made.two_arms(tmp_path, hard, settings=2)) as store:
        withheld = made.model_of(store, made.gathered(store))
        asked = made.model_of(store, made.gathered(store, 1))
    for form in (Page(undrawn_html(withheld)).text, undrawn_markdown(withheld).text.replace("`", "")):
        assert form.count("Pictures are withheld") == 1
        assert "mmad report --pictures 4" in form
    assert "data:image/jpeg" not in undrawn_html(withheld)
    assert undrawn_markdown(withheld).pictures == ()
    assert "Keep this report where the data set may be." in undrawn_html(asked)
    assert len(undrawn_markdown(asked).pictures) == 2


def test_nothing_is_said_where_no_picture_was_requested(store: Store, text: str) -> None:
    none = undrawn_html(made.model_of(store, made.gathered(store, 0)))
    assert "Pictures" not in Page(none).text
    assert 'class="pictures"' not in none
    assert "#ablation-made-pictures" not in none


@pytest.mark.slow
def test_markdown_stores_pictures_beside_the_charts_and_removes_old_ones(store: Store, tmp_path: Path) -> None:
    out = tmp_path / "r.md"
    write_report(store, markdown=out, options=made.FEW, pictures=2)
    shown = re.findall(r"\]\((r_charts/[^)]+\.jpg)\)", out.read_text("utf-8"))
    assert len(shown) == 6
    assert all((tmp_path / name).read_bytes().startswith(b"\xff\xd8") for name in shown)
    write_report(store, markdown=out, options=made.FEW, pictures=1)
    assert len(list((tmp_path / "r_charts").glob("*.jpg"))) == 3


@pytest.mark.slow
@pytest.mark.usefixtures("_undrawn")
def test_with_linked_pages_the_ablations_page_holds_its_pictures(store: Store, tmp_path: Path) -> None:
    write_report(store, html=tmp_path / "r.html", options=made.FEW, pages=True)
    page = (tmp_path / "r_pages" / "ablation-made.html").read_text("utf-8")
    assert "data:image/jpeg" not in (tmp_path / "r.html").read_text("utf-8")
    ids = set(re.findall(r'<image id="([^"]+)"', page))
    assert ids == set(re.findall(r'<use href="#([^"]+)"', page))
    assert ids


def test_equal_stores_give_equal_pages(store: Store, text: str) -> None:
    assert undrawn_html(made.model_of(store, made.gathered(store))) == text
