"""Modules of the user's own: where they are found, what their hash covers, and how a process imports them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmad.base.errors import SpecError
from mmad.config import user_modules
from mmad.config.load import load_ablation
from mmad.config.runs import Ablation
from mmad.config.user_modules import difference, find_module, make_importable, with_modules

FILE = """\
[setup]
pretrained = false
[arms.CXR]
use_clinical = false
[arms.both]
use_clinical = true
fusion = { use = "mylab_x.image:FiLM", width = 8 }
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    package = tmp_path / "mylab_x"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "image.py").write_text("import numpy\nimport json\nfrom helper_x import scale\nVALUE = scale\n")
    (tmp_path / "helper_x.py").write_text("scale = 1\n")
    (tmp_path / "own.toml").write_text(FILE)
    (tmp_path / "unrelated.py").write_text("nothing = 0\n")
    return tmp_path


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    before = set(sys.modules)
    yield
    user_modules._FINDER.modules.clear()
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_the_hash_covers_the_package_and_what_it_imports_beside_it(folder: Path) -> None:
    found = find_module("mylab_x", folder)
    assert (found.name, found.folder) == ("mylab_x", str(folder))
    assert set(found.versions) == {"numpy"}
    (folder / "unrelated.py").write_text("nothing = 1\n")
    (folder / "mylab_x" / "__pycache__").mkdir()
    (folder / "mylab_x" / "__pycache__" / "image.pyc").write_bytes(b"1")
    assert find_module("mylab_x", folder) == found
    changes = {"mylab_x/table.csv": "a", "helper_x.py": "scale = 2\n", "mylab_x/__init__.py": "#", "mylab_x/c.pyc": "1"}
    for file, text in changes.items():
        before = find_module("mylab_x", folder)
        (folder / file).write_text(text)
        assert find_module("mylab_x", folder).sha256 != before.sha256


def test_a_module_elsewhere_has_the_same_hash(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    for file in ("mylab_x/__init__.py", "mylab_x/image.py", "helper_x.py"):
        (other / file).parent.mkdir(exist_ok=True)
        (other / file).write_bytes((folder / file).read_bytes())
    assert find_module("mylab_x", other).sha256 == find_module("mylab_x", folder).sha256


def test_what_is_no_module_of_ones_own_is_refused(folder: Path) -> None:
    for name, said in (
        ("mylib_x", "there is no module mylib_x"),
        ("os", "os is a module of Python itself"),
        ("torch", "too much for its hash"),
    ):
        with pytest.raises(SpecError, match=said):
            find_module(name, folder)


def _keys(ablation: Ablation) -> dict[str, str]:
    return {member.arm: member.run.key for member in ablation.members}


def test_the_key_follows_the_content_and_not_the_folder(folder: Path, tmp_path: Path) -> None:
    plain = load_ablation(folder / "own.toml")
    before = _keys(with_modules(plain))
    assert before["CXR"] == _keys(plain)["CXR"]  # its arm reads no clinical data
    assert before["both"] != _keys(plain)["both"]
    (folder / "helper_x.py").write_text("scale = 3\n")
    after = _keys(with_modules(plain))
    assert after["CXR"] == before["CXR"]
    assert after["both"] != before["both"]
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("mylab_x", "helper_x.py", "own.toml"):
        (folder / name).rename(moved / name)
    assert _keys(with_modules(load_ablation(moved / "own.toml"))) == after


def test_a_missing_module_is_named_with_its_line(folder: Path) -> None:
    (folder / "own.toml").write_text(FILE.replace("mylab_x", "mylap_x"))
    with pytest.raises(SpecError) as caught:
        with_modules(load_ablation(folder / "own.toml"))
    assert str(caught.value).startswith(f"{folder / 'own.toml'}:7: fusion: there is no module mylap_x")
    assert "did you mean mylab_x?" in str(caught.value)


def test_a_process_imports_what_it_was_given_and_nothing_beside_it(folder: Path) -> None:
    found = find_module("mylab_x", folder)
    make_importable([found])
    assert importlib.import_module("mylab_x.image").VALUE == 1
    with pytest.raises(ImportError):
        importlib.import_module("unrelated")
    (folder / "helper_x.py").write_text("scale = 20\n")
    with pytest.raises(SpecError, match="the module mylab_x has other content"):
        make_importable([found])
    make_importable([find_module("mylab_x", folder)])
    assert importlib.import_module("mylab_x.image").VALUE == 20


def test_a_module_imports_what_lies_beside_it_and_not_its_namesake_in_another_folder(tmp_path: Path) -> None:
    found = []
    for number, name in enumerate(("first_x", "second_x")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "shared_x.py").write_text(f"VALUE = {number}\n")
        (tmp_path / name / f"{name}.py").write_text("from shared_x import VALUE\n")
        found.append(find_module(name, tmp_path / name))
    for number in (0, 1, 0):
        make_importable([found[number]])
        assert number == importlib.import_module(found[number].name).VALUE


def test_the_name_of_an_imported_module_is_refused(folder: Path) -> None:
    (folder / "yaml.py").write_text("scale = 1\n")
    (folder / "helper_x.py").write_text("from yaml import scale\n")
    importlib.import_module("yaml")
    with pytest.raises(SpecError, match=r"yaml\.py: the module yaml has the name of another, .*; rename it"):
        make_importable([find_module("mylab_x", folder)])


def test_other_versions_are_a_difference(folder: Path) -> None:
    found = find_module("mylab_x", folder)
    older = found.model_copy(update={"versions": {"numpy": "1.0"}})
    assert difference(found, found) is None
    assert difference(older, found) == f"the module mylab_x imports numpy {found.versions['numpy']}, not 1.0"
