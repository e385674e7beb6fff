"""mmad: ablations of multimodal abnormality detectors on chest X-rays.

Everything a program needs; all other modules are private. Each name is imported when it is first used, so that
``import mmad`` is cheap.

    ablation = mmad.load_ablation("ablations/quickstart.toml")
    mmad.train(ablation)
    with mmad.open_store() as store:
        mmad.compare(store, "quickstart/default/CXR", "quickstart/default/CXR+Clinical")
        mmad.write_report(store, html="reports/index.html")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmad.analysis.comparison import Comparison as Comparison
    from mmad.api.loading import load_ablation as load_ablation
    from mmad.api.planning import plan as plan
    from mmad.api.prediction import Predictions as Predictions
    from mmad.api.prediction import export as export
    from mmad.api.prediction import predict as predict
    from mmad.api.results import Evaluation as Evaluation
    from mmad.api.results import compare as compare
    from mmad.api.results import evaluate as evaluate
    from mmad.api.results import open_store as open_store
    from mmad.api.results import write_report as write_report
    from mmad.api.training import train as train
    from mmad.base.errors import MmadError as MmadError
    from mmad.config.runs import Ablation as Ablation
    from mmad.config.setup import ModelSetup as ModelSetup
    from mmad.data.dataset import DataSet as DataSet
    from mmad.data.importers.coco import ClinicalTable as ClinicalTable
    from mmad.data.importers.coco import import_coco as import_coco
    from mmad.data.importers.csv import CsvLayout as CsvLayout
    from mmad.data.importers.csv import import_csv as import_csv
    from mmad.data.phantom.generate import make_phantom as make_phantom
    from mmad.data.reader import load_dataset as load_dataset
    from mmad.detector.build import build_detector as build_detector
    from mmad.report.write_report import Report as Report
    from mmad.scheduler.jobs import Summary as Summary
    from mmad.store.store import Store as Store

__version__ = "0.1.0"

#: Name → the module that it is imported from when it is first used.
_HOMES = {
    "load_ablation": "mmad.api.loading",
    "plan": "mmad.api.planning",
    "train": "mmad.api.training",
    "open_store": "mmad.api.results",
    "evaluate": "mmad.api.results",
    "compare": "mmad.api.results",
    "write_report": "mmad.api.results",
    "predict": "mmad.api.prediction",
    "export": "mmad.api.prediction",
    "load_dataset": "mmad.data.reader",
    "make_phantom": "mmad.data.phantom.generate",
    "import_csv": "mmad.data.importers.csv",
    "import_coco": "mmad.data.importers.coco",
    "build_detector": "mmad.detector.build",
    "Ablation": "mmad.config.runs",
    "ClinicalTable": "mmad.data.importers.coco",
    "Comparison": "mmad.analysis.comparison",
    "CsvLayout": "mmad.data.importers.csv",
    "DataSet": "mmad.data.dataset",
    "Evaluation": "mmad.api.results",
    "MmadError": "mmad.base.errors",
    "ModelSetup": "mmad.config.setup",
    "Predictions": "mmad.api.prediction",
    "Report": "mmad.report.write_report",
    "Store": "mmad.store.store",
    "Summary": "mmad.scheduler.jobs",
}
__all__ = list(_HOMES)

if not TYPE_CHECKING:  # a type checker knows the names above, and no other

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module 'mmad' has no attribute {name!r}")
        import importlib

        value = globals()[name] = getattr(importlib.import_module(_HOMES[name]), name)
        return value

    def __dir__() -> list[str]:
        return sorted([*__all__, "__version__"])
