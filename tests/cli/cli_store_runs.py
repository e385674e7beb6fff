"""Calls the command line in this process, on a store that holds a pair."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from mmad.cli.app import main
from mmad.store.store import Store


def _samples() -> ModuleType:
    """The records that the store's own tests use."""
    name = "store_samples"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[1] / "store" / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


samples = _samples()


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str


def filled(folder: Path) -> tuple[str, str, str]:
    """A database with a finished and a failed run: its path and their keys."""
    database = folder / "db" / "mmad.sqlite"
    with Store.open(database) as store:
        good, bad = samples.fill(store)
    return str(database), good, bad


def mmad(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str) -> Answer:
    """What ``mmad WORDS`` answers."""
    monkeypatch.setattr(sys, "argv", ["mmad", *words])
    code = 0
    try:
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    out, err = capsys.readouterr()
    return Answer(code, out, err)
