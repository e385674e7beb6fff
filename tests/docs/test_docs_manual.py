"""The manual as a site: built strictly, complete, and without anything from another site."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from docs_pages import ROOT

pytest.importorskip("mkdocs", reason="the manual's tools are not installed (make setup does it)")
#: What a browser loads by itself.
LOADED = re.compile(r"""<(?:script|img|iframe)\b[^>]*\bsrc=["']?([^"' >]+)|<link\b[^>]*\bhref=["']?([^"' >]+)""")


def build(source: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """Build the manual of the repository at ``source`` into ``site``, strictly."""
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)],
        cwd=source,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def small(folder: Path, **pages: str) -> Path:
    """A manual of the same form with these pages, all of which but ``forgotten`` have a place."""
    for name in ("docs/assets", "tools"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "mmad").symlink_to(ROOT / "mmad", target_is_directory=True)
    for name in ("README", "CONTRIBUTING", "CHANGELOG"):
        (folder / f"{name}.md").write_text(f"# {name}\n", "utf-8")
    for name, text in pages.items():
        (folder / "docs" / f"{name}.md").write_text(f"# {name}\n\n{text}\n", "utf-8")
    placed = ["index", "contributing", "changelog", *(name for name in pages if name != "forgotten")]
    nav = "".join(f"  - {name}.md\n" for name in placed)
    form = re.sub(r"(?<=^nav:\n)(  .*\n)+", nav, (ROOT / "mkdocs.yml").read_text("utf-8"), flags=re.MULTILINE)
    (folder / "mkdocs.yml").write_text(form, "utf-8")
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = build(ROOT, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.slow
def test_every_page_is_there_and_the_reference_is_filled(site: Path) -> None:
    wanted = {page.stem for page in (ROOT / "docs").glob("*.md")} | {"index", "contributing", "changelog"}
    assert {page.stem for page in site.glob("*.html")} == wanted | {"404"}
    reference = (site / "api.html").read_text("utf-8")
    for name in ("load_ablation", "train", "Store", "DataSet.columns", "Evaluation.ap", "MmadError"):
        assert f'id="mmad.{name}"' in reference
    assert not re.search(r":(?:func|class|meth|mod|data):", reference)


@pytest.mark.slow
def test_nothing_is_loaded_from_another_site(site: Path) -> None:
    for page in site.glob("*.html"):
        loaded = ["".join(match) for match in LOADED.findall(page.read_text("utf-8"))]
        assert len(loaded) > 3
        assert not [url for url in loaded if re.match(r"(?:https?:)?//", url)], page.name


@pytest.mark.slow
def test_links_out_of_the_manual_are_words_or_lead_to_its_own_pages(site: Path) -> None:
    assert "<code>benchmarks/RESULTS.md</code> in the repository" in (site / "data.html").read_text("utf-8")
    assert "../" not in "".join(re.findall(r'href="([^"#]*)', (site / "changelog.html").read_text("utf-8")))


@pytest.mark.slow
def test_what_leads_nowhere_and_pages_without_a_place_fail(tmp_path: Path) -> None:
    links = "[away](nowhere.md) [astray](store.md#nothing-like-it) [there](store.md#store)"
    done = build(small(tmp_path / "source", log=links, store="", forgotten=""), tmp_path / "site")
    assert done.returncode != 0
    warnings = [line for line in done.stderr.splitlines() if line.startswith("WARNING")]
    for complaint in ("nowhere.md", "#nothing-like-it", "forgotten.md"):
        assert complaint in done.stdout + done.stderr
    assert len(warnings) == 3, warnings


@pytest.mark.slow
def test_a_function_that_is_not_there_fails(tmp_path: Path) -> None:
    done = build(small(tmp_path / "source", api="::: mmad.config.load.nothing"), tmp_path / "site")
    assert done.returncode != 0
    assert "mmad.config.load.nothing" in done.stdout + done.stderr
