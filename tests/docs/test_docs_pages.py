"""The pages of docs/: their links lead somewhere, their commands and programs run, their files are valid."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from docs_field_reference import PAGE as FIELDS_PAGE
from docs_field_reference import PARTS, page, reference
from docs_pages import PAGES, README, ROOT, SHELLS, Block, anchors, blocks, commands, prose
from docs_workbench import Workbench

from mmad.config.ablation_file import AblationTable
from mmad.config.load import load_ablation
from mmad.config.setup import ModelSetup
from mmad.data.importers.described.importer import read_published_set
from mmad.data.reader import read_description

DOCS = ROOT / "docs"
FILE_PAGE = DOCS / "ablation-file.md"
#: docs/store.md has a test of its own (tests/store/test_store_docs.py), the README and docs/question.md too.
TRIED = (
    "ablation-file.md",
    "data.md",
    "detector.md",
    "evaluation.md",
    "log.md",
    "paper.md",
    "predict.md",
    "protocol.md",
    "report.md",
)


def programs(name: str) -> list[Block]:
    return blocks(DOCS / name, "python")


def expected(block: Block) -> list[str]:
    """The beginnings of lines that a program promises to print: its remarks ``# → …``."""
    return re.findall(r"^# → (.*)$", block.text, flags=re.MULTILINE)


def check_printed(promises: list[str], printed: str) -> None:
    """Every promise begins a printed line, in this order."""
    lines = iter(printed.splitlines())
    for promise in promises:
        assert any(line.startswith(promise) for line in lines), f"not printed: {promise}\n{printed}"


def test_promises_are_checked_in_their_order() -> None:
    check_printed(["a", "c"], "ab\nb\ncd\n")
    with pytest.raises(AssertionError, match="not printed: a"):
        check_printed(["b", "a"], "a\nb\n")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", prose(page)):
        if re.match(r"https?://", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors(file), f"{page.name}: {target}"


def test_the_readme_leads_to_every_page() -> None:
    linked = set(re.findall(r"\]\(docs/([\w-]+\.md)[)#]", prose(README)))
    assert linked == {page.name for page in DOCS.glob("*.md")}


@pytest.mark.parametrize("picture", sorted((DOCS / "images").iterdir()), ids=lambda picture: picture.name)
def test_pictures_are_shown_and_small(picture: Path) -> None:
    assert picture.stat().st_size < 300_000
    assert any(f"images/{picture.name})" in page.read_text("utf-8") for page in PAGES)


def test_every_ablation_file_shown_expands(tmp_path: Path) -> None:
    for number, block in enumerate(blocks(FILE_PAGE, "toml")):
        file = tmp_path / f"shown{number}.toml"
        file.write_text(block.text, "utf-8")
        assert len(load_ablation(file).members) >= 2, block.where


def test_the_descriptions_of_data_sets_shown_are_valid(tmp_path: Path) -> None:
    written, imported = blocks(DOCS / "data.md", "toml")
    (tmp_path / "dataset.toml").write_text(written.text, "utf-8")
    assert read_description(tmp_path / "dataset.toml").split_policy == "patient"
    (tmp_path / "ward.toml").write_text(imported.text, "utf-8")
    assert read_published_set(tmp_path / "ward.toml").labels == {"pneu": "Pneumonia"}


def test_the_field_reference_is_up_to_date() -> None:
    assert FIELDS_PAGE.read_text("utf-8") == page(), "run python tests/docs/docs_field_reference.py"


def test_the_field_reference_has_every_field_and_part() -> None:
    text = reference()
    for name in ModelSetup.model_fields:
        assert text.count(f"| `{name}` |") >= 1
    assert set(PARTS) <= set(ModelSetup.model_fields)
    assert all(heading in text for heading in PARTS.values())
    row = next(line for line in text.splitlines() if line.startswith("| `lr` |"))
    assert row == "| `lr` | float (0, 10] | `0.001` | Learning rate at the start. **T** |"
    branch = text.split("Clinical branch")[1].split("## ")[0]
    assert "All are idle where `use_clinical = false`." in branch
    assert branch.count("`use_clinical = false`") == 1
    fused = text.split("Documented fusion")[1].split("## ")[0]
    assert "All are idle where `fusion ≠ era` or `use_clinical = false`." in fused
    assert "**AT** Idle: `era = B`; `era = A and using_fpn = true`; `" in fused
    assert "**TE** Idle: `selection_proposals = clean` (E)." in text


def test_every_table_of_an_ablation_file_is_described() -> None:
    page = FILE_PAGE.read_text("utf-8").split("## Tables")[1].split("##")[0]
    described = {re.sub(r"\.NAME|\W", "", name) for name in re.findall(r"^\| `(.+?)` \|", page, flags=re.MULTILINE)}
    assert described - {"seeds", "folds", "fold_seed", "inferred", "documented"} == set(AblationTable.model_fields)


def test_every_variable_of_the_environment_is_described() -> None:
    code = "".join(file.read_text("utf-8") for file in (ROOT / "mmad").rglob("*.py"))
    internal = {"MMAD_COMMAND"}  # how a worker knows the command that started it
    hook = {"MMAD_FINISHED", "MMAD_FAILED", "MMAD_INTERRUPTED", "MMAD_EXIT_CODE", "MMAD_ABLATIONS"}
    assert hook <= set(re.findall(r"MMAD_\w+", (ROOT / "docs" / "queue.md").read_text("utf-8")))
    internal |= hook  # set for the command at a queue's end
    described = set(re.findall(r"^\| `(MMAD_\w+)` \|", (DOCS / "question.md").read_text("utf-8"), flags=re.MULTILINE))
    assert described == set(re.findall(r"\bMMAD_[A-Z]+\b", code)) - internal


@pytest.mark.slow
@pytest.mark.parametrize("name", TRIED)
def test_commands_of_a_page_run(call_trained: Callable[..., Any], name: str) -> None:
    lines = [command for block in blocks(DOCS / name, *SHELLS) for command in commands(block)]
    assert lines
    for line in lines:
        called = call_trained(line)
        assert called.code == 0, f"{line}: {called.err}"


@pytest.mark.slow
def test_the_detector_is_built_from_python(trained: Workbench) -> None:
    (program,) = programs("detector.md")
    check_printed(expected(program), trained.run_python(program.text))


@pytest.mark.slow
def test_an_exported_run_is_read_by_the_program_of_its_page(
    call_trained: Callable[..., Any], trained: Workbench
) -> None:
    """Forked, as a program that imports mmad is; tests/cli/test_cli_eval_trained.py runs it where there is no mmad."""
    (program,) = programs("predict.md")
    (line,) = [c for block in blocks(DOCS / "predict.md", *SHELLS) for c in commands(block) if " export " in c]
    if not (trained.folder / "model").exists():
        assert call_trained(line).code == 0
    trained.run_python(f"import mmad\n{program.text}")


@pytest.mark.slow
def test_everything_can_be_done_from_python(programmer: Workbench) -> None:
    program = programs("python.md")
    printed = programmer.run_python("\n".join(block.text for block in program))
    check_printed([line for block in program for line in expected(block)], printed)
    assert (programmer.folder / "reports" / "index.md").exists()
