"""Parts of the user's own are tried before anything trains: what is wrong with them is one line each."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from training_runs import Notes, specification

from mmad.base.errors import SpecError
from mmad.base.paths import RunPaths
from mmad.base.records import DOCUMENTED_COLUMNS
from mmad.config import user_modules
from mmad.config.setup import ModelSetup
from mmad.config.user_modules import find_module, make_importable
from mmad.data.dataset import DataSet
from mmad.detector.build import build_detector, parameter_counts
from mmad.training.part_check import check
from mmad.training.trainer import train

PAGE = Path(__file__).parents[2] / "docs" / "parts.md"
HEAD = """\
import torch
from torch import nn


class Part(nn.Module):
    def __init__(self, shape, width: int = 1):
        super().__init__()
        self.a = nn.Parameter(torch.ones(width))

    def forward(self, maps, clinical):
"""


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    before = set(sys.modules)
    yield
    user_modules._FINDER.modules.clear()
    for name in set(sys.modules) - before:
        if name.split(".")[0] in ("mylab", "mine"):
            del sys.modules[name]


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """The module of the manual."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    (text,) = [block for block in blocks if "class FiLM" in block]
    assert len(text.splitlines()) <= 40
    (tmp_path / "mylab").mkdir()
    (tmp_path / "mylab" / "__init__.py").write_text("")
    (tmp_path / "mylab" / "image.py").write_text(text)
    return tmp_path


def _setup(**part: Any) -> ModelSetup:
    fields = {"backbone": "custom1", "image_size": 64, "pretrained": False, "use_clinical": True}
    return ModelSetup(**(fields | part))


@pytest.mark.slow
def test_the_manuals_film_is_the_built_in_one(example: Path) -> None:
    make_importable([find_module("mylab", example)])
    for pyramid in ({}, {"backbone": "resnet18", "using_fpn": True, "image_size": 64}):
        fields = {"backbone": "custom1", "image_size": 64, "pretrained": False, "use_clinical": True} | pyramid
        own = ModelSetup(**fields, fusion={"use": "mylab.image:FiLM"})
        word = ModelSetup(**fields, fusion="film")
        assert check("fusion", own) is None
        assert parameter_counts(own) == parameter_counts(word)
        weights = [
            build_detector(s, labels=5, columns=DOCUMENTED_COLUMNS, seed=0).state_dict().values() for s in (own, word)
        ]
        assert all(torch.equal(one, other) for one, other in zip(*weights, strict=True))
    wide = ModelSetup(**fields, fusion={"use": "mylab.image:FiLM", "width": 64})
    assert check("fusion", wide) is None
    assert parameter_counts(wide) != parameter_counts(word)


@pytest.fixture
def said(tmp_path: Path) -> Callable[..., str]:
    """What is said of ``mine:Part``, its module made of the text given, with arguments."""

    def say(text: str, field: str = "fusion", name: str = "mine:Part", **arguments: Any) -> str:
        (tmp_path / "mine.py").write_text(text)
        make_importable([find_module("mine", tmp_path)])
        problem = check(field, _setup(**{field: {"use": name} | arguments}))
        return "" if problem is None else f"{problem.argument}|{problem.what}|{problem.hint}"

    return say


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("        return {k: x * self.a for k, x in maps.items()}", ""),
        ('        return {k: x * self.a * float("nan") for k, x in maps.items()}', "values that are not finite"),
        ("        return {k: x[:, :1] * self.a for k, x in maps.items()}", "the map 0 as [2, 1, 16, 16], not [2, 16"),
        ("        return maps", "its parameter a has no gradient"),
        ("        return {k: x * self.a + torch.randn_like(x) for k, x in maps.items()}", "two passes in evaluation"),
        (
            "        clinical.mul_(2)\n        return {k: x * self.a for k, x in maps.items()}",
            "what it is given in place",
        ),
        ("        return {k: (x * self.a).double() for k, x in maps.items()}", "as torch.float64, not torch.float32"),
        ("        return {k: (x - x.mean(0)) * self.a for k, x in maps.items()}", "depends on the others of its batch"),
        ("        raise KeyError('nope')", "raises KeyError: 'nope' (mine.py:11)"),
        ("        return clinical", "returns Tensor, not a dictionary of the maps 0"),
        ("        return {'1': self.a}", "returns ['1'], not a dictionary of the maps 0"),
    ],
)
def test_a_pass_that_is_none_of_a_fusion(said: Callable[..., str], body: str, expected: str) -> None:
    answer = said(HEAD + body + "\n")
    assert expected in answer
    assert bool(expected) == bool(answer)


def test_a_constant_that_stays_on_its_device_and_maps_in_another_order(
    said: Callable[..., str], tmp_path: Path
) -> None:
    body = "        return {k: x * self.a * self.b for k, x in reversed(maps.items())}\n"
    constant = "\n        self.b = torch.ones(1)\n\n    def forward"
    assert "its pass after a move to another device raises" in said(HEAD.replace("\n    def forward", constant) + body)
    (tmp_path / "mine.py").write_text(HEAD + body.replace(" * self.b", ""))
    make_importable([find_module("mine", tmp_path)])
    pyramid = _setup(backbone="resnet18", using_fpn=True, fusion={"use": "mine:Part"})
    problem = check("fusion", pyramid)
    assert problem is not None
    assert "returns ['pool', '3', '2', '1', '0'], not a dictionary of the maps 0, 1, 2, 3, pool" in problem.what


def test_an_import_that_does_more_than_define(said: Callable[..., str]) -> None:
    for text, expected in (
        ('raise RuntimeError("no\\nlicence")', "importing mine raises RuntimeError: no licence (mine.py:1)"),
        ('print("hello")', "importing mine prints 'hello'"),
        ("raise SystemExit(3)", "importing mine raises SystemExit: 3"),
        ("import not_there_at_all", "No module named 'not_there_at_all'"),
        ("def x(:", "importing mine raises SyntaxError"),
    ):
        answer = said(text)
        assert expected in answer
        assert "\n" not in answer


def test_a_name_that_is_no_class_of_that_kind(said: Callable[..., str]) -> None:
    text = (
        HEAD + "        return maps\n\n\nclass Other:\n    def __init__(self, shape): ...\n\n\ndef part(shape): ...\n"
    )
    assert "mine has no class Prat|did you mean Part?" in said(text, name="mine:Prat")
    assert "mine:part is no class" in said(text, name="mine:part")
    assert "is no torch.nn.Module" in said(text, name="mine:Other")
    assert "there is no module mine.other" in said(text, name="mine.other:Part")


def test_arguments_are_those_of_the_class(said: Callable[..., str]) -> None:
    text = HEAD.replace("width: int = 1", "width: int") + "        return {k: x * self.a for k, x in maps.items()}\n"
    assert said(text, width=1) == ""
    assert said(text, widht=1) == "widht|Part takes no argument widht|did you mean width?"
    assert said(text, width="a").startswith('width|width = "a": Part expects int')
    assert "Part needs the argument width" in said(text)
    assert "takes 0 arguments by place, not (shape)" in said("class Part:\n    pass\n")


def test_a_clinical_encoder_is_tried_too(said: Callable[..., str]) -> None:
    text = """\
import torch
from torch import nn


class Part(nn.Module):
    def __init__(self, columns, length, *, indicators, unknown_slot):
        super().__init__()
        self.linear = nn.Linear(len(columns.numeric), LENGTH)

    def forward(self, numeric, categorical):
        return self.linear(numeric)
"""
    assert said(text.replace("LENGTH", "length"), "clinical_encoder") == ""
    assert "returns [2, 3], not [2, 32]" in said(text.replace("LENGTH", "3"), "clinical_encoder")
    assert "takes no argument unknown_slot" in said(text.replace(", unknown_slot", ""), "clinical_encoder")


@pytest.mark.slow
def test_a_run_trains_with_a_module_and_refuses_it_once_it_changed(
    example: Path, dataset: DataSet, tmp_path: Path
) -> None:
    spec = specification(dataset, 1, fusion={"use": "mylab.image:FiLM", "width": 4})
    protocol = spec.protocol.model_copy(update={"modules": (find_module("mylab", example),)})
    spec = type(spec)(spec.setup, protocol, spec.data)
    notes = Notes()
    assert train(spec, dataset_path=dataset.root, run=RunPaths(tmp_path / "run"), recorder=notes) == "finished"
    assert {count.module: count.count for count in notes.counts}["model.clinical_fusion"] == 12 * 4 + 5 * 8
    with (example / "mylab" / "image.py").open("a") as file:
        file.write("# changed\n")
    with pytest.raises(SpecError, match="has other content"):
        train(spec, dataset_path=dataset.root, run=RunPaths(tmp_path / "again"), recorder=Notes())


#: A class of each kind that is as it has to be.
KINDS = """\
from collections import OrderedDict

import torch
from torch import nn
from torch.nn import functional as F


class Body(nn.Module):
    def __init__(self, *, pyramid, image_size, width: int = 4):
        super().__init__()
        self.pyramid = pyramid
        count = 4 if pyramid else 1
        self.widths = (width,) * count
        self.strides = (4, 8, 16, 32)[:count] if pyramid else (8,)
        self.first = nn.Conv2d(3, width, 3, stride=self.strides[0], padding=1)
        self.more = nn.ModuleList(nn.Conv2d(width, width, 3, stride=2, padding=1) for _ in range(count - 1))

    def forward(self, images):
        maps = [self.first(images)]
        for conv in self.more:
            maps.append(conv(maps[-1]))
        return OrderedDict((str(n), x) for n, x in enumerate(maps)) if self.pyramid else maps[0]


class Loss(nn.Module):
    def forward(self, deltas, targets):
        return F.l1_loss(deltas, targets, reduction="sum")


class Darker:
    def __init__(self, most: float = 0.5):
        self.most = most

    def __call__(self, image, boxes, labels, random):
        return (image * (1 - self.most * random.random())).astype("uint8"), boxes, labels


class Adagrad(torch.optim.Adagrad):
    def __init__(self, parameters, *, lr, weight_decay):
        super().__init__(parameters, lr=lr, weight_decay=weight_decay)


class Halving(torch.optim.lr_scheduler.ExponentialLR):
    def __init__(self, optimiser, gamma: float = 0.5):
        super().__init__(optimiser, gamma)
"""
GOOD: dict[str, dict[str, Any]] = {
    "backbone": {"use": "mine:Body", "width": 8},
    "box_loss": {"use": "mine:Loss"},
    "augmentation": {"use": "mine:Darker", "most": 0.9},
    "optimiser": {"use": "mine:Adagrad"},
    "lr_scheduler": {"use": "mine:Halving", "gamma": 0.1},
}


@pytest.mark.parametrize("field", GOOD)
def test_a_class_of_each_kind_is_taken(said: Callable[..., str], field: str) -> None:
    assert said(KINDS, field, GOOD[field]["use"], **{n: v for n, v in GOOD[field].items() if n != "use"}) == ""


@pytest.mark.parametrize(
    ("field", "old", "new", "expected"),
    [
        ("backbone", "return OrderedDict((str(n), x) for n, x in enumerate(maps)) if self.pyramid else maps[0]",
         "return maps", "returns the map as list, not"),
        ("backbone", "self.widths = (width,) * count", "pass", "has widths = None|give it a tuple of 1 whole number"),
        ("backbone", "stride=self.strides[0]", "stride=4", "returns the map as [2, 8, 16, 16], not [2, 8, 8, 8]"),
        ("box_loss", 'reduction="sum"', 'reduction="none"', "returns the loss as [0, 4], not []"),
        ("box_loss", 'reduction="sum"', 'reduction="mean"', "values that are not finite"),
        ("box_loss", "deltas, targets, r", "deltas.detach(), targets, r", "its loss has no gradient"),
        ("augmentation", '.astype("uint8")', "", "returns an image float64"),
        ("augmentation", "boxes, labels\n", "boxes, labels - 1\n", "returns the labels [0, 1]"),
        ("augmentation", "boxes, labels\n", "boxes - 20, labels\n", "boxes outside the image"),
        ("augmentation", "random.random()", "torch.rand(1).item()", "otherwise the second time"),
        ("augmentation", "return (image * ", "return (1 / 0 * image * ", "raises ZeroDivisionError"),
        ("optimiser", "lr=lr,", "lr=0.0,", "its step changes no weight"),
        ("optimiser", "class Adagrad(torch.optim.Adagrad)", "class Adagrad(dict)", ""),
        ("lr_scheduler", "super().__init__(optimiser, gamma)", "self.o = optimiser", "its step raises"),
        ("lr_scheduler", "        super().__init__(optimiser, gamma)",
         "        super().__init__(optimiser, gamma)\n"
         "\n    def step(self):\n        self.n = getattr(self, 'n', 0) + 1"
         "\n        self.optimizer.param_groups[0]['lr'] = 1 / self.n\n"
         "\n    def state_dict(self):\n        return {}\n\n    def load_state_dict(self, state):\n        pass",
         "other learning rates"),
    ],
)  # fmt: skip
def test_what_is_none_of_its_kind(said: Callable[..., str], field: str, old: str, new: str, expected: str) -> None:
    assert old in KINDS
    part = GOOD[field]
    answer = said(KINDS.replace(old, new), field, part["use"], **{n: v for n, v in part.items() if n != "use"})
    assert answer
    assert expected in answer


@pytest.mark.slow
def test_a_run_trains_with_a_part_of_each_kind_and_resumes_bit_by_bit(dataset: DataSet, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(KINDS)
    spec = specification(dataset, 3, **GOOD)
    protocol = spec.protocol.model_copy(update={"modules": (find_module("mine", tmp_path),), "steps_per_epoch": 2})
    spec = type(spec)(spec.setup, protocol, spec.data)
    whole, parts = Notes(), Notes()
    assert train(spec, dataset_path=dataset.root, run=RunPaths(tmp_path / "whole"), recorder=whole) == "finished"
    run = RunPaths(tmp_path / "parts")
    stopped = train(spec, dataset_path=dataset.root, run=run, recorder=parts, stop=lambda: parts.steps >= 3)
    assert stopped == "interrupted"
    assert train(spec, dataset_path=dataset.root, run=run, recorder=parts) == "finished"
    assert whole.numbers() == parts.numbers()
    assert [round(whole.epochs[epoch].lr / spec.setup.lr, 9) for epoch in (1, 2, 3)] == [1, 0.1, 0.01]
