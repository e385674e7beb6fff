"""The page: self-contained, inert whatever the names are, and readable."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
from collections import Counter

import pytest
from page_parser import Page
from report_fixtures import WHEN, Sample
from undrawn import undrawn_html, undrawn_markdown

from mmad.analysis.report_frame import load_frame
from mmad.config.protocol import EvaluationProtocol
from mmad.report.sections import ReportModel, build_model
from mmad.report.writers.html import _environment, isolated, render_html


@pytest.fixture(scope="module")
def parsed(page: str) -> Page:
    return Page(page)


@pytest.fixture(scope="module")
def hostile(hostile_page: str) -> Page:
    return Page(hostile_page)


@pytest.fixture(scope="module")
def drawn(drawn_page: str) -> Page:
    return Page(drawn_page)


@pytest.fixture(scope="module")
def drawn_hostile(drawn_hostile_page: str) -> Page:
    return Page(drawn_hostile_page)


HOSTILE_PAGES = ["hostile_page", pytest.param("drawn_hostile_page", marks=pytest.mark.slow)]
PAGES = ["parsed", "hostile", *(pytest.param(name, marks=pytest.mark.slow) for name in ("drawn", "drawn_hostile"))]


@pytest.mark.parametrize("which", PAGES)
def test_every_identifier_is_unique_and_every_link_leads_somewhere(which: str, request: pytest.FixtureRequest) -> None:
    found: Page = request.getfixturevalue(which)
    names = Counter(a["id"] for _, a in found.tags if "id" in a)
    assert [n for n, count in names.items() if count > 1] == []
    for attributes in (a for _, a in found.tags):
        for value in (attributes.get("href"), attributes.get("xlink:href")):
            assert value is None or value == "data:," or (value[0] == "#" and value[1:] in names)
        for name in re.findall(r"url\(#([^)]+)\)", " ".join(filter(None, attributes.values()))):
            assert name in names
        if "aria-labelledby" in attributes:
            assert attributes["aria-labelledby"] in names


@pytest.mark.parametrize("which", PAGES)
def test_nothing_is_fetched_and_one_script_runs(which: str, request: pytest.FixtureRequest) -> None:
    found: Page = request.getfixturevalue(which)
    assert len(found.all("script")) == 1
    assert found.all("img", "iframe", "object", "embed", "form", "base", "video", "audio") == []
    assert [a["href"] for a in found.all("link")] == ["data:,"]
    for _, attributes in found.tags:
        assert not [name for name in attributes if name.startswith("on") or name in ("src", "srcset", "action")]
        assert "url(http" not in (attributes.get("style") or "")


def test_the_policy_allows_nothing_but_this_script_and_styles(page: str, parsed: Page) -> None:
    policy = next(a["content"] for a in parsed.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    script = page.split("<script>")[1].split("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy is not None
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none';")
    assert "unsafe-eval" not in policy
    assert "script-src 'unsafe-inline'" not in policy


@pytest.mark.parametrize("which", HOSTILE_PAGES)
def test_hostile_names_are_words(which: str, request: pytest.FixtureRequest) -> None:
    text = Page(request.getfixturevalue(which)).text
    assert "<script>window.hacked = 1</script>" in text
    assert "onerror='window.hacked = 2'" in text
    assert "{{ 7 * 7 }}" in text
    assert "49" not in text.split("raw %}")[0][-20:]


@pytest.mark.parametrize("which", HOSTILE_PAGES)
def test_long_names_are_clipped_in_headings_and_no_control_character_is_left(
    which: str, request: pytest.FixtureRequest
) -> None:
    page: str = request.getfixturevalue(which)
    assert "x" * 4_001 not in page
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]", page)
    page.encode("utf-8")


@pytest.mark.parametrize("which", HOSTILE_PAGES)
def test_names_cannot_change_the_direction_of_the_text(which: str, request: pytest.FixtureRequest) -> None:
    """Every name with a direction override is in an element that isolates it."""
    page: str = request.getfixturevalue(which)
    for before in re.findall(r"<(\w+)[^<>]*>[^<>]*\u202e", page):
        assert before in ("bdi", "pre", "template")


def test_headings_descend_step_by_step(parsed: Page) -> None:
    levels = [int(tag[1]) for tag, _ in parsed.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(b <= a + 1 for a, b in itertools.pairwise(levels))


def test_tables_are_captioned_and_their_heads_scoped(parsed: Page) -> None:
    assert len(parsed.all("table")) == len(parsed.all("caption")) > 20
    assert all(a.get("scope") in ("col", "row", "colgroup", "rowgroup") for a in parsed.all("th"))


def test_the_page_has_a_language_and_a_skip_link(parsed: Page) -> None:
    assert parsed.all("html")[0]["lang"] == "en"
    assert parsed.all("a")[0]["href"] == "#main"


@pytest.mark.slow
def test_the_page_s_charts_are_described(drawn: Page) -> None:
    charts = [a for a in drawn.all("svg") if a.get("role") == "img"]
    assert len(charts) > 100
    assert all(a.get("aria-label") for a in charts)


def test_contents_lead_to_every_run(parsed: Page, model: ReportModel) -> None:
    linked = {a.get("href") for a in parsed.all("a")}
    assert {f"#{run.anchor}" for run in model.runs} <= linked
    assert len(model.runs) == 17


def test_the_overview_gives_pairs_with_signed_differences(parsed: Page, model: ReportModel) -> None:
    row = model.ablations[0].comparisons[0].rows[1]
    assert row.test_ap.difference is not None
    difference = row.test_ap.difference.mean
    assert difference > 0
    assert f"+{difference:.3f}" in parsed.text
    down = model.ablations[1].comparisons[1].rows[0].test_ap.difference
    assert down is not None
    assert down.mean < 0
    assert f"−{abs(down.mean):.3f} ± " in parsed.text


def test_unfinished_and_failed_runs_are_listed_with_their_epochs_and_error(parsed: Page) -> None:
    assert "epoch 10, step 31: the loss is nan; lower lr (0.001)" in parsed.text
    assert "9 of 50 epochs" in parsed.text
    assert "17 of 50 epochs" in parsed.text


def test_every_run_has_the_log_block(page: str, model: ReportModel) -> None:
    assert page.count("For Training [CXR") == 17
    assert "WithoutClincal_05-16-2022" in page
    assert "[model.backbone]: 1,009,968" in page
    assert "(v=" in page


def test_protocol_badges_and_what_they_mean() -> None:
    sample = Sample()
    sample.ablation("a", "A", "", compare=(("CXR", "CXR+Clinical"),))
    for arm in ("CXR", "CXR+Clinical"):
        sample.member(
            "s", arm,
            evaluation=EvaluationProtocol(overlap="iobb", proposals="with_ground_truth"),
            protocol={"epochs": 3, "weights": "none", "selection_overlap": "iou", "steps_per_epoch": 1},
            setup={"use_clinical": arm != "CXR", "fuse_stride": 2, "clinical_values": "raw"},
            dataset_fingerprint="", dataset_name="phantom (seed 0, clinical effect 1)",
        )  # fmt: skip
    model = build_model(load_frame(sample.source), created=WHEN, database="x")
    text = Page(undrawn_html(model)).text
    for badge in (
        "IoBB ≥ 0.5", "ground truth among the proposals", "chosen by IoU, clean", "weights: none", "provisional",
        "fuse stride 2", "raw clinical values", "trial: steps 1", "synthetic data",
    ):  # fmt: skip
        assert text.count(badge) >= 2, badge  # beside the figures, and in the legend
    assert "far higher than the detector earns by itself" in text
    assert "Synthetic data." in text.split("Results")[1]  # the first screen, after the contents


def test_a_badge_that_does_not_occur_is_not_explained(parsed: Page) -> None:
    assert "IoBB ≥" not in parsed.text
    assert "provisional" not in parsed.text


def test_equal_reports_are_equal_to_the_byte(page: str, model: ReportModel) -> None:
    assert undrawn_html(model) == page


@pytest.mark.slow
def test_equal_reports_with_figures_are_equal_to_the_byte(drawn_page: str, model: ReportModel) -> None:
    assert render_html(model) == drawn_page


def test_a_run_that_is_only_queued_makes_a_page() -> None:
    sample = Sample()
    sample.ablation("a", "", "")
    sample.member("", "CXR", status="queued", done=0)
    model = build_model(load_frame(sample.source), created=WHEN, database="x")
    text = Page(undrawn_html(model)).text
    assert "1 run: 1 queued" in text
    assert "This ablation compares no arms" in text
    assert "none yet" in text


def test_a_misspelt_name_in_a_template_is_an_error() -> None:
    from jinja2 import UndefinedError

    with pytest.raises(UndefinedError):
        _environment().from_string("{{ model.titel }}").render(model=object())


def test_final_checkpoints_are_named_wherever_they_replace_best_ones(parsed: Page) -> None:
    sample = Sample()
    sample.ablation("a", "A", "", compare=(("CXR", "CXR+Clinical"),))
    for arm in ("CXR", "CXR+Clinical"):
        setup = {"use_early_stop_model": arm == "CXR", "use_clinical": arm != "CXR"}
        sample.member("s", arm, protocol={"epochs": 3}, setup=setup)
    report = build_model(load_frame(sample.source), created=WHEN, database="x")
    text = Page(undrawn_html(report)).text
    final = report.runs[1].member.final
    assert final is not None
    assert final.val_ap is not None
    assert "both arms are compared by their final checkpoints" in text
    assert "on phantom-240, final checkpoints; 1,223,303 against" in text
    assert f"3 / 3 3 final {final.val_ap:.3f}" in text
    assert "Best AP none stored" in text
    assert "By finding Final checkpoint." in text
    assert "By finding Best-AP checkpoint." in text
    markdown = undrawn_markdown(report).text
    assert "both arms are compared by their final checkpoints" in markdown
    assert "clean proposals · final checkpoints" in markdown
    assert not re.search(r"(?<!best-AR and )final checkpoint", parsed.text)  # the checklist names all three


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("patience 10", "patience 10"),
        ("<b>\u2212", "&lt;b&gt;\u2212"),
        ("\u05d0b", "<bdi>\u05d0b</bdi>"),
        ("\u202e<", "<bdi>\u202e&lt;</bdi>"),
    ],
)
def test_only_text_that_turns_direction_is_isolated_in_a_cell(text: str, written: str) -> None:
    assert isolated(text) == written
