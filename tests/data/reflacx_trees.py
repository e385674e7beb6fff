"""Made-up distributions of REFLACX, MIMIC-CXR-JPG, MIMIC-IV and MIMIC-IV-ED: the real headers, types and oddities.

Every value is invented. Dates are shifted into a far future as MIMIC's are.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from mmad.data.importers.reflacx.build import Sources

Cells = list[str]


def _split(header: str) -> Cells:
    return header.split(",")


FIRST = _split("id,split,eye_tracking_data_discarded,image,dicom_id,subject_id,image_size_x,image_size_y")
LABELS_1 = _split(
    "Airway wall thickening,Atelectasis,Consolidation,Emphysema,Enlarged cardiac silhouette,Fibrosis,Fracture,"
    "Groundglass opacity,Mass,Nodule,Other,Pleural effusion,Pleural thickening,Pneumothorax,Pulmonary edema,"
    "Quality issue,Support devices,Wide mediastinum"
)
LABELS_2_3 = _split(
    "Abnormal mediastinal contour,Acute fracture,Atelectasis,Consolidation,Enlarged cardiac silhouette,Enlarged hilum,"
    "Groundglass opacity,Hiatal hernia,High lung volume / emphysema,Interstitial lung disease,Lung nodule or mass,"
    "Other,Pleural abnormality,Pneumothorax,Pulmonary edema,Support devices"
)
CXR = _split(
    "dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns,StudyDate,StudyTime,"
    "ProcedureCodeSequence_CodeMeaning,ViewCodeSequence_CodeMeaning,PatientOrientationCodeSequence_CodeMeaning"
)
PATIENTS = _split("subject_id,gender,anchor_age,anchor_year,anchor_year_group,dod")
EDSTAYS_1 = _split("subject_id,hadm_id,stay_id,intime,outtime")
EDSTAYS_2 = [*EDSTAYS_1, "gender", "race", "arrival_transport", "disposition"]
TRIAGE = _split("subject_id,stay_id,temperature,heartrate,resprate,o2sat,sbp,dbp,pain,acuity,chiefcomplaint")
#: What stands in the cells that must never be shown.
SECRET = "unspeakable"
VITALS = ("98.6", "88.0", "18.0", "97.0", "121.0", "70.0", "7", "3.0")


def labels_of(phase: int) -> list[str]:
    return LABELS_1 if phase == 1 else LABELS_2_3


@dataclass
class Ellipse:
    """One row of an ellipse file: sides, certainty, and the labels that are True."""

    sides: tuple[object, object, object, object]
    labels: Sequence[str]
    certainty: object = 4

    def cells(self, phase: int) -> Cells:
        return [*map(str, self.sides), str(self.certainty), *(str(name in self.labels) for name in labels_of(phase))]


@dataclass
class Tree:
    """The four distributions below ``root``; :meth:`write` puts them on the disk.

    ``ending`` and ``newline`` are those of every table; ``ed`` is the version of MIMIC-IV-ED, ``core`` puts patients
    where MIMIC-IV 1.x has them.
    """

    root: Path
    ending: str = ".csv"
    newline: str = "\n"
    bom: bool = False
    ed: str = "2.2"
    core: bool = False
    metadata: dict[int, list[Cells]] = field(default_factory=lambda: {1: [], 2: [], 3: []})
    ellipses: dict[str, list[Cells] | str] = field(default_factory=dict)
    images: list[Cells] = field(default_factory=list)
    jpegs: dict[Path, tuple[int, int]] = field(default_factory=dict)
    patients: list[Cells] = field(default_factory=list)
    stays: list[Cells] = field(default_factory=list)
    triages: list[Cells] = field(default_factory=list)

    @property
    def sources(self) -> Sources:
        return Sources(*(self.root / name for name in ("reflacx", "cxr", "iv", "ed")))

    def reading(
        self,
        name: str,
        dicom: str,
        ellipses: Sequence[Ellipse] = (),
        *,
        patient: str = "10000001",
        study: str = "50000001",
        split: str = "train",
        discarded: str = "False",
        size: tuple[object, object] = (40, 30),
        file: str | None = None,
    ) -> None:
        """A reading of the phase its name tells; ``file`` is the text of its ellipse file instead of ``ellipses``."""
        phase = int(name[1])
        image = f"physionet.org/files/mimic-cxr/2.0.0/files/p{patient[:2]}/p{patient}/s{study}/{dicom}.dcm"
        cells = [name, split, discarded, image, dicom, patient, str(size[0]), str(size[1])]
        for label in labels_of(phase):
            if label == "Other":
                cells.append("scar|old wire" if phase == 1 else "")
            elif label in ("Quality issue", "Support devices"):
                cells.append("False")
            else:
                cells.append(str(max((int(str(e.certainty)) for e in ellipses if label in e.labels), default=0)))
        self.metadata[phase].append(cells)
        self.ellipses[name] = [e.cells(phase) for e in ellipses] if file is None else file

    def image(
        self,
        dicom: str,
        *,
        patient: str = "10000001",
        study: str = "50000001",
        view: str = "AP",
        day: str = "21800506",
        time: str = "93045.515",
        stored: tuple[int, int] | None = (40, 30),
    ) -> None:
        """An image; without ``stored`` its JPEG is missing."""
        self.images.append(
            [dicom, patient, study, "CHEST (PA AND LAT)", view, "30", "40", day, time, "CHEST", "antero-posterior", ""]
        )
        if stored is not None:
            folder = self.root / "cxr" / "files" / f"p{patient[:2]}" / f"p{patient}" / f"s{study}"
            self.jpegs[folder / f"{dicom}.jpg"] = stored

    def patient(self, name: str = "10000001", gender: str = "F", age: str = "60", year: str = "2178") -> None:
        self.patients.append([name, gender, age, year, "2011 - 2013", ""])

    def stay(
        self,
        stay: str = "30000001",
        intime: str = "2180-05-06 08:00:00",
        outtime: str = "2180-05-06 14:30:00",
        *,
        patient: str = "10000001",
        vitals: Sequence[str] | None = VITALS,
    ) -> None:
        """A stay with its triage, or without one."""
        more = [] if self.ed == "1.0" else ["F", SECRET, "WALK IN", "ADMITTED"]
        self.stays.append([patient, "", stay, intime, outtime, *more])
        if vitals is not None:
            self.triages.append([patient, stay, *vitals, f'{SECRET}, "quoted"\nline'])

    def write(self) -> Sources:
        main = self.root / "reflacx" / "main_data"
        for phase, rows in self.metadata.items():
            self.table(main / f"metadata_phase_{phase}", [*FIRST, *labels_of(phase)], rows)
            for row in rows:
                self._ellipse_file(main / row[0], phase, self.ellipses[row[0]])
        self.table(self.root / "cxr" / "mimic-cxr-2.0.0-metadata", CXR, self.images)
        self.table(self.root / "iv" / ("core" if self.core else "hosp") / "patients", PATIENTS, self.patients)
        self.table(self.root / "ed" / "ed" / "edstays", EDSTAYS_1 if self.ed == "1.0" else EDSTAYS_2, self.stays)
        self.table(self.root / "ed" / "ed" / "triage", TRIAGE, self.triages)
        for number, (path, size) in enumerate(self.jpegs.items()):
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", size, 10 * number % 256).save(path)
        return self.sources

    def _ellipse_file(self, folder: Path, phase: int, content: list[Cells] | str) -> None:
        header = ["xmin", "ymin", "xmax", "ymax", "certainty", *labels_of(phase)]
        if content == "missing":
            folder.mkdir(parents=True, exist_ok=True)
        elif isinstance(content, str):
            self.put(folder / "anomaly_location_ellipses", content)
        else:
            self.table(folder / "anomaly_location_ellipses", header, content)

    def table(self, path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        buffer = io.StringIO(newline="")
        writer = csv.writer(buffer, lineterminator=self.newline)
        writer.writerows([header, *rows])
        self.put(path, buffer.getvalue())

    def put(self, path: Path, text: str) -> Path:
        """Write ``text`` to ``path`` with the tree's ending, marked and compressed as the tree's tables are."""
        file = path.with_name(path.name + self.ending)
        data = text.encode("utf-8-sig" if self.bom else "utf-8")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(gzip.compress(data, mtime=0) if self.ending.endswith(".gz") else data)
        return file


def plain_tree(root: Path, **form: object) -> Tree:
    """One patient with one image, one stay and one reading of phase 3 with one box."""
    tree = Tree(root, **form)  # type: ignore[arg-type]
    tree.patient()
    tree.stay()
    tree.image("d1")
    tree.reading("P300R000001", "d1", [Ellipse((5, 6, 25, 20), ["Consolidation"])])
    return tree
