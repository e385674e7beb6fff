"""The RO-Crate of an ablation, read back."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import analysis_fixtures as made
import pytest
from statistics_fixtures import FEW

from mmad.base.errors import ReportError
from mmad.data.phantom.generate import make_phantom
from mmad.report.write_report import write_report
from mmad.store.store import Store

rocrate = pytest.importorskip("rocrate.rocrate", reason="needs rocrate, the extra crate")


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("crated")
    dataset = make_phantom(folder / "phantom", studies=60, image_size=64)
    return made.world(folder, dataset).database


@pytest.mark.slow
def test_a_crate_is_read_back(database: Path, tmp_path: Path) -> None:
    folder = tmp_path / "crate"
    with Store.open(database) as store:
        written = write_report(store, crate=folder, options=FEW)
        assert {path.relative_to(folder) for path in written.crate} == {
            path.relative_to(folder) for path in folder.rglob("*") if path.is_file()
        }
        found = rocrate.ROCrate(str(folder))
        assert "Made up" in found.name
        metadata = json.loads((folder / "ro-crate-metadata.json").read_text("utf-8"))
        (about,) = [one for one in metadata["@graph"] if one["@id"] == "ro-crate-metadata.json"]
        assert about["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.1"}
        files = {entity.id: entity for entity in found.data_entities}
        assert {"ablations/made.toml", "report.html", "methods.md", "runs.json", "SHA256SUMS"} < set(files)
        assert all(int(one["contentSize"]) == (folder / name).stat().st_size for name, one in files.items())
        assert files["tables/made--pairs-1.csv"]["encodingFormat"] == "text/csv"
        sums = dict(reversed(line.split("  ")) for line in (folder / "SHA256SUMS").read_text().splitlines())
        assert set(sums) == set(files) - {"SHA256SUMS"}
        assert all(hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest for name, digest in sums.items())
        runs = {run["key"]: run for run in json.loads((folder / "runs.json").read_text("utf-8"))}
        for record in store.run_records():
            run = runs[record.key]
            assert run["setup"] == record.setup
            assert run["dataset"]["sha256"] == record.dataset_fingerprint
            assert {one["sha256"] for one in run["checkpoints"]} == {c.sha256 for c in store.checkpoints(record.key)}
        assert str(database.parent) not in "".join(p.read_text("utf-8") for p in folder.rglob("*") if p.is_file())
        with pytest.raises(ReportError, match="holds something already; name a new folder"):
            write_report(store, crate=folder, options=FEW)


@pytest.mark.slow
def test_without_the_package_one_line_says_so(database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rocrate.rocrate", None)
    with (
        Store.open(database) as store,
        pytest.raises(ReportError, match=r"needs rocrate, which is not installed; install it with pip install 'mmad"),
    ):
        write_report(store, crate=tmp_path / "crate", options=FEW)
    assert not (tmp_path / "crate").exists()
