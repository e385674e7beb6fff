"""A Methods section for a paper, and the reporting checklists: what is known, and what is left to the author.

Citations and items come from ``literature.json``: its items are topics in own words, never a checklist's text, and of
authors it has the family names. A sentence is written only where a record or the code that made the figures says so.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from importlib.resources import files
from typing import Any, NamedTuple

from mmad.analysis.comparison import (
    ESTIMAND,
    ESTIMAND_OF_FOLDS,
    FEW_SEEDS,
    LEAST_PERMUTATIONS,
    NOTHING_REGISTERED,
    Comparison,
    registration_words,
    trials_of,
)
from mmad.base.formatting import bounds, clip, decimal, level_words, moment, plural, short_key
from mmad.base.paths import file_stem
from mmad.config.named_parts import is_own, part_name
from mmad.config.setup import ModelSetup
from mmad.data.exclusions import in_source
from mmad.data.folds import PARTS
from mmad.evaluation.differences import DRAWS
from mmad.evaluation.intervals import LEAST_PATIENTS
from mmad.evaluation.operating_points import FROC_RATES
from mmad.evaluation.readers import ANY_READER, OTHERS, ReaderFigures
from mmad.evaluation.resampling import LEVEL, RESAMPLES, Interval
from mmad.report.cohort import Flow, cohort_key
from mmad.report.sections import AblationSection, ReportModel
from mmad.report.table_model import Column, ReportTable, Row, Shown
from mmad.report.writers.tables import as_markdown, escape

# What was published.


@functools.cache
def _literature() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((files("mmad.report") / "literature.json").read_text("utf-8"))
    return found


def reference(name: str) -> str:
    """A citation of ``literature.json`` in words: family names, title, venue, year, DOI."""
    one = _literature()["citations"][name]
    volume = f" {one['volume']}" if "volume" in one else ""
    volume += f"({one['number']})" if "number" in one else ""
    pages = f": {one['pages']}" if "pages" in one else ""
    where = f"doi:{one['doi']}" if "doi" in one else f"arXiv:{one['arxiv']}" if "arxiv" in one else ""
    parts = (", ".join(one["authors"]), one["title"], f"{one['venue']}{volume}{pages} ({one['year']})", where)
    return ". ".join(part for part in parts if part).replace("al..", "al.") + "."


# The section.


class Cited(NamedTuple):
    """A sentence with what it cites."""

    text: str
    cites: tuple[str, ...]


@dataclass(frozen=True)
class Methods:
    """One ablation's Methods: paragraphs as (heading, text with numbers of references), and the checklists."""

    title: str
    paragraphs: tuple[tuple[str, str], ...]
    references: tuple[str, ...]
    checklist: ReportTable


Sentence = str | Cited
Facts = Mapping[str, Sequence[Sentence]]
#: Paragraphs, and the facts in each; facts that stand in none of them answer the checklists alone.
_PARAGRAPHS = (
    ("Data", ("data", "acquired", "flow", "samples", "sizes", "split")),
    ("Images and clinical values", ("preprocessing", "predictors", "missing")),
    ("Detector", ("architecture", "weights")),
    ("Training", ("training", "differences", "seeds")),
    ("Evaluation", ("selection", "metrics", "matching", "testing")),
    ("Statistics", ("statistics", "robustness", "readers")),
    ("Software", ("software",)),
)
_HOMES = {name: heading for heading, names in _PARAGRAPHS for name in names}
#: A longer answer is referred to, not repeated.
_LONG = 190
_AUTHOR, _REST = "to be written", "the rest"
#: What stands above every checklist.
CHECKLIST_NOTE = (
    "Topics are in own words, after a paraphrase of the published lists: check the originals before quoting. "
    "What no record answers is the author's to write."
)


def methods_of(section: AblationSection, model: ReportModel) -> Methods:
    """The Methods of an ablation and the checklists' items, from what is recorded."""
    facts = _facts(section, model)
    numbers: dict[str, int] = {}

    def cited(sentence: Sentence) -> str:
        if isinstance(sentence, str) or not sentence.cites:
            return _plain(sentence)
        marks = ", ".join(str(numbers.setdefault(name, len(numbers) + 1)) for name in sentence.cites)
        return f"{sentence.text.removesuffix('.')} [{marks}]."

    paragraphs = tuple(
        (heading, " ".join(cited(sentence) for name in names for sentence in facts.get(name, ())))
        for heading, names in _PARAGRAPHS
    )
    rows: list[Row] = []
    for checklist in _literature()["checklists"]:
        number = numbers.setdefault(checklist["reference"], len(numbers) + 1)
        for item in checklist["items"]:
            known = " ".join(_plain(sentence) for name in item["facts"] for sentence in facts.get(name, ()))
            if len(known) > _LONG:
                known = f"Above: {', '.join(dict.fromkeys(_HOMES[name] for name in item['facts'] if name in _HOMES))}."
            add = _AUTHOR if not known else _REST if item["rest"] else ""
            rows.append((f"{checklist['name']} [{number}]", item["number"], item["topic"], known, add))
    columns = (
        Column("checklist", "the checklist"),
        Column("item", "number of the item"),
        Column("topic", "what it is about, in own words"),
        Column("known", "what the database knows"),
        Column("add", "what the author must add"),
    )
    shown = (
        Shown("item", "Item", "text"),
        Shown("topic", "Topic", "text"),
        Shown("known", "What the database knows", "text"),
        Shown("add", "What the author adds", "text"),
    )
    name = section.frame.record.name
    table = ReportTable.of(
        file_stem(name, "checklists"),
        "Reporting checklists",
        columns,
        rows,
        shown=shown,
        note=CHECKLIST_NOTE,
        section="checklist",
    )
    written = tuple(paragraph for paragraph in paragraphs if paragraph[1])
    return Methods(section.title, written, tuple(map(reference, numbers)), table)


def _plain(sentence: Sentence) -> str:
    return sentence if isinstance(sentence, str) else sentence.text


def render_methods(model: ReportModel) -> str:
    """The Methods of every ablation as Markdown."""
    lines = [
        "# Methods",
        "",
        f"Written by mmad {version('mmad')} on {moment(model.created)} from {escape(clip(model.database, 200))}, "
        "from what is recorded. Check every sentence, and add what the tables leave to the author.",
        "",
    ]
    for section in model.ablations:
        methods = methods_of(section, model)
        lines += [f"## {escape(clip(methods.title, 200))}", ""]
        for heading, text in methods.paragraphs:
            lines += [f"**{heading}.** {escape(text)}", ""]
        lines += ["### References", "", *(f"{n}. {escape(one)}" for n, one in enumerate(methods.references, 1)), ""]
        lines += as_markdown(methods.checklist)
    return "\n".join(lines).rstrip() + "\n"


# What is known, fact by fact.


def _facts(section: AblationSection, model: ReportModel) -> Facts:
    members = section.frame.members
    setups = [ModelSetup.model_validate(dict(member.setup)) for member in members]
    return {
        **_data(section, model),
        **_inputs(section, model, setups),
        **_detector(section, setups),
        **_training(section, setups),
        **_evaluation(section, setups),
        **_statistics(section, model),
        **_software(section),
    }


def _said(values: Iterable[object]) -> str:
    """Each value once: ``0.001``, or ``0.001 or 0.01 (varied)``."""
    found = list(dict.fromkeys(str(value) for value in values))
    words = [clip(value, 80) for value in found[:8]] + (["…"] if len(found) > 8 else [])
    return words[0] if len(found) == 1 else f"{' or '.join(words)} (varied)" if found else "none"


def _of(setups: Iterable[ModelSetup], field: str) -> str:
    return _said(getattr(setup, field) for setup in setups)


_SAMPLES = {
    "unified": "A sample is an image with the boxes of all its readings.",
    "normal": "A sample is one reading of an image, with that reading's boxes.",
    "full": "A sample is one reading of an image, without clinical values.",
}
_POLICIES = {
    "patient": "No patient is in two splits.",
    "image": "The split is by image: a patient may be in several splits.",
    "reading": "The split is by reading: an image and a patient may be in several splits.",
    "documented": "The split is the documented log's, whose splits share patients.",
    "folds": "Cross-validation by whole patients, each fold with its share of each finding: a fold's patients are its "
    f"test split, one in {PARTS} of the others its validation split, the rest its training split.",
}
_SPLIT_WORDS = {"train": "training", "val": "validation", "test": "test"}


def _data(section: AblationSection, model: ReportModel) -> Facts:
    found: dict[str, list[Sentence]] = {name: [] for name in ("data", "acquired", "flow", "samples", "sizes", "split")}
    records = {cohort_key(member.run.record): member.run.record for member in section.frame.members}
    for key, record in records.items():
        cohort = model.cohorts.get(key)
        print_ = short_key(record.dataset_fingerprint) if record.dataset_fingerprint else "none: provisional"
        licence = f", licence {clip(cohort.licence, 120)}" if cohort and cohort.licence else ""
        cites: tuple[str, ...] = ()
        if record.dataset_name.startswith("REFLACX ("):
            cites = ("bigolin2022reflacx", "johnson2019mimiccxrjpg", "johnson2023mimiciv", "johnson2023mimicived")
        name = clip(record.dataset_name, 120)
        found["data"].append(Cited(f"Data set: {name} (fingerprint {print_}{licence}).", cites))
        if record.dataset_name.startswith("phantom ("):
            found["data"].append("Its images are synthetic: they show no patient.")
        if (flow := model.flows.get(key)) is not None:
            found["acquired"] += _acquired(flow, name)
            found["flow"] += _flow(flow, name)
        found["samples"].append(_SAMPLES.get(key[1], f"Samples: {key[1]}."))
        if cohort is None:
            found["sizes"].append(f"The counts of {name} are not known: its folder is gone or changed.")
            continue
        counts = "; ".join(
            f"{_SPLIT_WORDS.get(one.split, one.split)} {plural(one.samples, 'sample')} of "
            f"{plural(one.images, 'image')} and {plural(one.patients, 'patient')} "
            f"with {plural(one.boxes, 'box', 'boxes')}"
            for one in cohort.splits
        )
        findings = "; ".join(
            f"{clip(label, 60)} {' / '.join(str(one.patients_with[n]) for one in cohort.splits)}"
            for n, label in enumerate(cohort.labels)
        )
        heads = " / ".join(_SPLIT_WORDS.get(one.split, one.split) for one in cohort.splits)
        found["sizes"] += [
            f"Sizes: {counts}.",
            f"Patients with each finding ({heads}): {findings}.",
        ]
        policy = _POLICIES.get(cohort.policy or "", "How the splits were made is not recorded.")
        found["split"].append(policy)
    return {name: list(dict.fromkeys(sentences)) for name, sentences in found.items()}


def _flow(flow: Flow, name: str) -> Sequence[Sentence]:
    """What the source has, what was left out and why, and what stays."""
    kinds = (("patient", "patients"), ("image", "images"), ("reading", "readings"), ("box", "boxes"))
    reasons = []
    for one in flow.excluded:
        counts = [plural(count, *kind) for kind in kinds if (count := getattr(one, kind[1]))]
        reasons.append(f"{', '.join(counts)} ({clip(one.reason, 120)})")
    if not reasons:
        return []
    images, patients = (in_source(flow.excluded, of, getattr(flow, of)) for of in ("images", "patients"))
    source = f" of {plural(patients, 'patient')}" if patients is not None else ""
    begun = "" if images is None else f"The source of {name} has {plural(images, 'image')}{source}. "
    kept = f"{plural(flow.images, 'image')} of {plural(flow.patients, 'patient')} stay"
    return [f"{begun}Left out were {'; '.join(reasons)}; {kept}."]


def _acquired(flow: Flow, name: str) -> Sequence[Sentence]:
    """Where and when the images of all splits were taken."""
    taken = [of for _, of in flow.acquired]
    sites, scanners = (
        {word for of in taken for word, _ in getattr(of, what) if word} for what in ("sites", "scanners")
    )
    years = [year for of in taken for year in (of.first, of.last) if year is not None]
    words = [f"from {min(years)} to {max(years)}"] if years else []
    words += [f"at {plural(len(sites), 'site')}"] if sites else []
    words += [f"with {plural(len(scanners), 'kind')} of scanner"] if scanners else []
    found = [f"Images of {name} were taken {', '.join(words)}, as far as is known."] if words else []
    if shifted := sum(of.shifted for of in taken):
        found.append(f"The source shifts the dates of {plural(shifted, 'image')}; their years are not known.")
    return found


_RECORDS = {
    "permuted": "each image was read beside the clinical record of another patient of its split, everywhere.",
    "constant": "each image was read beside one constant clinical record.",
    "missing": "of each clinical record only which of its values are missing was read.",
}


def _of_arm(section: AblationSection, setups: Sequence[ModelSetup], arm: str) -> list[ModelSetup]:
    return [s for s, m in zip(setups, section.frame.members, strict=True) if m.record.arm == arm]


def _inputs(section: AblationSection, model: ReportModel, setups: Sequence[ModelSetup]) -> Facts:
    size = _of(setups, "image_size")
    found = {
        "preprocessing": [
            f"Images were resized bilinearly to a square of {size} pixels, without keeping their proportions.",
            "Grey values were repeated over three channels and normalised by ImageNet's mean and deviation.",
        ]
    }
    found["preprocessing"] += [
        f"{clip(arm, 60)}: the mean image of the training split stood for every image."
        for arm in section.frame.arms
        if any(s.image_input == "training_mean" for s in _of_arm(section, setups, arm))
    ]
    clinical = [setup for setup in setups if setup.use_clinical]
    if not clinical:
        none = ["No clinical values were read."]
        return {**found, "predictors": none}
    keys = dict.fromkeys(cohort_key(member.run.record) for member in section.frame.members)
    cohorts = [model.cohorts[key] for key in keys if key in model.cohorts]
    numeric = {c.clinical_numeric if c.clinical_numeric is not None else None for c in clinical}
    categories = {c.clinical_categorical for c in clinical}
    words = []
    for chosen, kind, all_of in (
        (numeric, "numeric", [cohort.numeric for cohort in cohorts]),
        (categories, "categorical", [cohort.categorical for cohort in cohorts]),
    ):
        names = [names for names in chosen if names is not None] + (all_of if None in chosen else [])
        listed = ", ".join(dict.fromkeys(clip(name, 60) for group in names for name in group))
        words.append(f"{kind} columns {listed or ('all of the data set' if None in chosen else 'none')}")
    values = {setup.clinical_values for setup in clinical}
    scale = {
        frozenset({"standardised"}): "standardised by mean and deviation of the training split",
        frozenset({"raw"}): "taken as they are",
    }.get(frozenset(values), "standardised by the training split or taken as they are (varied)")
    unknown = {setup.clinical_unknown_slot for setup in clinical}
    category = "a zero vector" if unknown == {False} else "a learned vector" if unknown == {True} else "varied"
    flags = any(setup.clinical_missing_indicators for setup in clinical)
    also = "; an indicator says that it was missing" if flags else ""
    records = [
        f"{clip(arm, 60)}: {_RECORDS[word]}"
        for arm in section.frame.arms
        for word in dict.fromkeys(s.clinical_records for s in _of_arm(section, setups, arm) if s.use_clinical)
        if word != "true"
    ]
    found["predictors"] = [
        *records,
        f"Clinical values: {'; '.join(words)}.",
        f"Numbers were {scale}; a category was embedded.",
    ]
    encoders = {setup.clinical_encoder_name for setup in clinical}
    found["missing"] = []
    if encoders != {"tokens"}:
        found["missing"].append(
            f"A missing number took the mean of the training split{also}; a missing category was {category}."
        )
    if "tokens" in encoders:
        found["missing"].append("Where columns were tokens, a missing value had a learned token of its own.")
    return found


_BACKBONES = {
    "mobilenet_v3": ("MobileNetV3-small", ("howard2019mobilenetv3",)),
    "resnet50": ("ResNet50", ("he2016resnet",)),
    "resnet18": ("ResNet18", ("he2016resnet",)),
    "custom1": ("ResNet18 through layer 1", ("he2016resnet",)),
    "custom": ("ResNet18 through layer 1", ("he2016resnet",)),
    "custom2": ("ResNet18 through layer 2", ("he2016resnet",)),
    "custom3": ("ResNet18 through layer 3", ("he2016resnet",)),
    "swin_t": ("Swin-T", ("liu2021swin",)),
}


_FUSIONS = {
    "film": ("by feature-wise linear modulation (FiLM)", ("perez2018film",)),
    "daft": ("by a dynamic affine feature map transform (DAFT)", ("wolf2022daft",)),
    "gated_sum": ("by a gated multimodal unit at every cell", ("arevalo2017gmu",)),
    "mmtm": ("by a multimodal transfer module towards the image (MMTM)", ("vaezijoze2020mmtm",)),
    "cross_attention": (
        "by attention of every cell to a token per column, a missing value having its own",
        ("gorishniy2021fttransformer", "du2024tip"),
    ),
    "late": ("late, by adding a clinical head's logits to those of every box", ("hayat2022medfuse",)),
}


def _fused(setup: ModelSetup) -> tuple[str, tuple[str, ...]]:
    """How clinical values are fused, in words, with what that cites."""
    if setup.fusion_name == "era":
        return f"in form {setup.resolved_era} of the documented experiment log", ("hsieh2023mdfnet",)
    return _FUSIONS.get(setup.fusion_name, (f"by {clip(setup.fusion_name, 80)}", ()))


def _modules(section: AblationSection) -> Iterator[str]:
    """The modules of the users' own, with what tells their content apart."""
    for member in section.frame.members:
        for module in member.run.record.protocol.get("modules", ()):
            versions = ", ".join(f"{name} {version}" for name, version in module["versions"].items())
            imports = f", importing {clip(versions, 200)}" if versions else ""
            yield f"Module {clip(module['name'], 60)}: SHA-256 {module['sha256']}{imports}."


def _detector(section: AblationSection, setups: Sequence[ModelSetup]) -> Facts:
    arms: list[Sentence] = []
    for arm in section.frame.arms:
        ours = _of_arm(section, setups, arm)
        models = [
            model
            for has, model in ((True, "Mask R-CNN"), (False, "Faster R-CNN"))
            if has in {s.has_masks for s in ours}
        ]
        cites = [{"Mask R-CNN": "he2017maskrcnn", "Faster R-CNN": "ren2015fasterrcnn"}[model] for model in models]
        named = [_BACKBONES.get(s.image_backbone, (s.image_backbone, ())) for s in ours]
        cites += [cite for _, more in named for cite in more]
        pyramid = ""
        if any(s.has_pyramid for s in ours):
            pyramid = (
                " with a feature pyramid" if all(s.has_pyramid for s in ours) else " with or without a feature pyramid"
            )
            cites.append("lin2017fpn")
        text = f"{clip(arm, 60)}: {' or '.join(models)} on {_said(name for name, _ in named)}{pyramid}"
        clinical = [s for s in ours if s.use_clinical]
        if clinical:
            fused = [_fused(s) for s in clinical]
            some = "" if len(clinical) == len(ours) else " in some settings"
            text += f", with clinical values fused {_said(words for words, _ in fused)}{some}"
            cites += [cite for _, more in fused for cite in more]
        arms.append(Cited(f"{text}.", tuple(dict.fromkeys(cites))))
    counts = {
        arm: {
            total for m in section.frame.members if m.record.arm == arm and (total := m.run.count("model")) is not None
        }
        for arm in section.frame.arms
    }
    sizes = [
        f"{clip(arm, 60)} {min(of):,}" + (f" to {max(of):,}" if len(of) > 1 else "") for arm, of in counts.items() if of
    ]
    if sizes:
        arms.append(f"Parameters: {'; '.join(sizes)}.")
    arms.append(Cited("Parts of the detectors are torchvision's.", ("torchvision2016",)))
    starts = dict.fromkeys(
        "random weights" if not s.pretrained or weights == "none" else f"pretrained weights ({clip(weights, 80)})"
        for s, m in zip(setups, section.frame.members, strict=True)
        for weights in [str(m.run.record.protocol.get("weights", "imagenet"))]
    )
    arms += dict.fromkeys(_modules(section))
    return {"architecture": arms, "weights": [f"The image network started from {' or '.join(starts)}."]}


def _training(section: AblationSection, setups: Sequence[ModelSetup]) -> Facts:
    members = section.frame.members
    epochs = _said(member.run.epochs_asked for member in members)
    optimisers = [
        f"SGD with momentum {s.momentum}"
        if s.optimiser == "sgd"
        else "AdamW"
        if s.optimiser == "adamw"
        else clip(str(part_name(s.optimiser)), 80)
        for s in setups
    ]
    training = [
        (
            f"Each run was trained for up to {epochs} epochs by {_said(optimisers)}, learning rate "
            f"{_of(setups, 'lr')}, "
            f"weight decay {_of(setups, 'weight_decay')}, {_of(setups, 'batch_size')} images a batch."
        ),
        f"Learning-rate schedule: {_said(map(_schedule, setups))}.",
        f"Training images were flipped left to right with a chance of {_of(setups, 'horizontal_flip')}.",
    ]
    if trials := trials_of(section.frame.record):
        training.append(
            f"In each setting the setup of each arm was the one with the highest validation AP of {trials} trials, "
            "over the same space for all arms; it was then trained with other seeds than they had."
        )
    steps = [member.run.record.protocol.get("steps_per_epoch") for member in members]
    if any(steps):
        training.append(f"A trial: no pass took more batches than {_said(s or 'all' for s in steps)}.")
    if any(s.gpus_per_run > 1 for s in setups):
        norm = "of the whole batch" if all(s.sync_batch_norm for s in setups) else "of each GPU's share"
        if len({s.sync_batch_norm for s in setups}) > 1:
            norm = "of each GPU's share or, with sync_batch_norm, of the whole batch"
        training.append(f"GPUs over which a batch is spread: {_of(setups, 'gpus_per_run')}; BatchNorm {norm}.")
    said = (
        ("gradient_accumulation", 1, "Batches a step: {}."),
        ("gradient_clip_norm", 0, "Gradients were clipped to a norm of {}."),
        ("learned_loss_weights", 0, "Weights of the loss components were learned: {}."),
        ("loss_weights", {}, "Loss components were weighted: {}."),
        ("mixed_precision", 0, "Half precision where it is safe: {}."),
        ("bf16", 0, "bfloat16 where it is safe: {}."),
        ("ema_decay", 0, "Evaluated were moving averages of the weights, decay {}."),
        *(
            (f"augment_{name}", 0, f"Augmentation by {name}: up to {{}}.")
            for name in ("scale", "shift", "rotation", "contrast")
        ),
        ("clinical_dropout", 0, "Clinical values were left out with a chance of {}."),
    )
    training += [
        words.format(_of(setups, field))
        for field, idle, words in said
        if any(getattr(s, field) not in (None, idle) for s in setups)
    ]
    tills = {s.gt_in_train_till for s in setups}
    differences = [
        (
            "Annotated boxes joined the proposals in training"
            + ("." if tills == {999} else f" up to epoch {_said(sorted(tills))} (0 never, 999 always).")
        ),
        "Images were flipped in training alone, and dropout and augmentation were off in evaluation.",
    ]
    seeds = sorted({member.record.seed for member in members})
    listed = ", ".join(map(str, seeds[:20])) + (", …" if len(seeds) > 20 else "")
    done = sum(member.run.finished for member in members)
    ended = "" if done == len(members) else f" {done} of {plural(len(members), 'run')} are finished."
    return {
        "training": training,
        "differences": differences,
        "seeds": [f"Arms were trained with {plural(len(seeds), 'seed')} ({listed}).{ended}"],
        "ensembling": ["No ensemble: every network is evaluated alone."],
        "imbalance": ["Neither sampling nor loss weighs findings by their frequency."],
    }


def _schedule(setup: ModelSetup) -> str:
    if is_own(setup.lr_scheduler):
        return clip(str(part_name(setup.lr_scheduler)), 80)
    if setup.lr_scheduler is None:
        return "constant"
    if setup.lr_scheduler == "MultiStepLR":
        return f"times {setup.multiStepLR_gamma:g} after epochs {', '.join(map(str, setup.milestones))}"
    if setup.lr_scheduler == "CosineAnnealingLR":
        ramp = f"rising for {plural(setup.cosine_ramp_epochs, 'epoch')}, then " if setup.cosine_ramp_epochs else ""
        return f"{ramp}falling along a cosine to {setup.cosine_last_factor:g} of it"
    watched = setup.plateau_metric.replace("_", " ")
    waits = f"{plural(setup.reduceLROnPlateau_patience, 'epoch')} without a better {watched}"
    if setup.reduceLROnPlateau_full_stop:
        return f"constant, and the run stopped after {waits}"
    return f"times {setup.reduceLROnPlateau_factor:g} after {waits}"


_OVERLAPS = {"iou": "intersection over union", "iobb": "intersection over the predicted box"}
_PROPOSALS = {
    "clean": "Evaluation saw no annotated box.",
    "sampled": "Evaluation sampled its proposals with the annotated boxes known, as the documented log did.",
    "with_ground_truth": "Annotated boxes were among the proposals in evaluation, as in the documented log.",
}
_KINDS = {"best_ap": "highest validation AP", "best_ar": "highest validation AR", "final": "last epoch"}


def _evaluation(section: AblationSection, setups: Sequence[ModelSetup]) -> Facts:
    members = section.frame.members
    kinds = [table.kind for table in section.comparisons] or ["best_ap"]
    chosen = _said(_KINDS.get(kind, kind) for kind in kinds)
    overlap = _said(_OVERLAPS[str(m.run.record.protocol.get("selection_overlap", "iou"))] for m in members)
    protocols = [member.protocol for member in members]
    hits = _said(f"an {_OVERLAPS[p.overlap]} of at least {p.threshold:g}" for p in protocols)
    most = _said(p.max_detections for p in protocols)
    return {
        "selection": [
            f"Of each run the checkpoint of the {chosen} was compared (validation by {overlap}).",
            *(_PROPOSALS[name] for name in dict.fromkeys(p.proposals for p in protocols)),
        ],
        "metrics": [
            Cited(
                f"Figures are AP and AR, means over the findings, by boxes; a hit has {hits}, and the {most} best "
                f"detections of an image and finding with a score of at least {_of(setups, 'box_score_thresh')} count.",
                ("lin2014coco",),
            )
        ],
        "matching": [
            "Detections take boxes in the order of their scores, each the free box that it overlaps most; "
            "a second hit on one box is a false alarm, and AP reads the precision at 101 recalls."
        ],
        "testing": ["Testing was internal: the test split is of the same data set."],
        "working": [
            "Sensitivity is given at "
            f"{', '.join(f'{rate:g}' for rate in FROC_RATES)} false positives an image (FROC), and by score."
        ],
        "failures": [
            "The report has, of each run, a confusion matrix and counts by score, and pictures of the studies on "
            "which the arms differ most where the licence allows it."
        ],
        "outputs": ["The detections of the compared checkpoints are kept with each run as files."],
        "protocol": [
            f"The ablation file {clip(section.frame.record.name, 80)} is in the database in full, and with each of "
            f"{plural(len({m.run.key for m in members}), 'run')} every field of its setup."
        ],
    }


def _statistics(section: AblationSection, model: ReportModel) -> Facts:
    rows = [row for table in section.comparisons for row in table.rows if row.pairs]
    if not rows:
        return {}
    folded = [row for row in rows if row.folds]
    several = [row for row in rows if len(row.pairs) > 1 and not row.folds]
    single = [row for row in rows if len(row.pairs) == 1 and not row.folds]
    registration = rows[0].registration
    registered = NOTHING_REGISTERED if registration is None else registration_words(registration)
    found: list[Sentence] = [ESTIMAND_OF_FOLDS if folded else ESTIMAND, registered]
    intervals = f"Intervals ({level_words(LEVEL)}) and p hold for"
    if folded:
        found.append(
            Cited(
                "Seeds are averaged within each fold. The variance of the mean over K folds is (1/K + n_test/n_train) "
                "times that between the folds, with K − 1 degrees of freedom; no estimate of it is unbiased, for folds "
                f"share training patients. {intervals} {plural(len(folded), 'pair')} together (Bonferroni).",
                ("nadeau2003",),
            )
        )
    if several:
        found += [
            Cited(
                "The standard error of a difference takes seeds for readers: the mean square of arm by seed (the "
                "larger of the pair's own and the one pooled over the ablation), and covariances over patients by the "
                "delete-one-patient jackknife; degrees of freedom are Hillis's at that mean square times 1 + 8/df.",
                ("obuchowski1995", "hillis2007"),
            )
        ]
        if len(several) > 1:
            found.append(
                f"{intervals} {plural(len(several), 'pair')} of several seeds together, by the largest |t| of "
                f"{DRAWS:,} draws from their joint distribution."
            )
    if {("none", "true"), ("permuted", "true")} <= {row.records for row in (*several, *folded)}:
        within = "folds" if folded else "seeds"
        found += [
            (
                "Clinical data are said to help where an arm is ahead of the arms without them and of the mean over "
                f"at least {LEAST_PERMUTATIONS} permutations of the records, each at 5 % (intersection-union); these "
                f"are averaged within {within}, and what they differ by among themselves is part of the variance."
            ),
            (
                "Beside that stands cheap late fusion: scores of the image-only arm, corrected by a logistic "
                "regression of the clinical values, fitted on the training and the validation split"
                f"{' of each fold' if folded else ''} (scikit-learn)."
            ),
        ]
    if single:
        found.append(
            f"For {plural(len(single), 'pair')} of one seed, intervals and p are a bootstrap-t over the patients "
            f"({RESAMPLES:,} resamples, the largest |t| of all such pairs): they speak of these networks, not of "
            "the arms."
        )
    few = f"; two seeds of one pair alone settle nothing, and up to {FEW_SEEDS} seeds are called few"
    decided = "A difference is called higher or lower where its interval leaves 0 out, else not settled"
    found.append(f"{decided}{few if several or single else ''}.")
    if folded:
        found.append(f"Pairs of arms that were compared: {len(rows)}.")
    else:
        found += _of_one_split(len(rows))
    return {
        "statistics": found,
        "robustness": [
            "Each difference is also given by the best-AP, best-AR and final checkpoints, and a sign that depends "
            f"on the choice is named. Settings: {len(section.frame.settings)}."
        ],
        "results": list(section.headlines),
        "readers": _readers(section, model, rows),
    }


def _readers(section: AblationSection, model: ReportModel, rows: Sequence[Comparison]) -> Sequence[Sentence]:
    """What was asked of the readers of the test split: each pair under each, and readers against each other."""
    known = (replace(row, statistics=model.statistics.pair(row)) for row in rows)
    found = [
        f"{clip(row.names[1], 160)} against {clip(row.names[0], 160)}, with one reader's boxes as the reference: "
        f"{row.readers_line}"
        for row in known
        if row.under_readers
    ]
    stats = (model.statistics.run(member) for member in section.frame.members)
    ceilings = (one for run in stats if run is not None and run.readers is not None for one in run.readers.figures)
    found += [_ceiling(one) for one in ceilings if (one.who, one.reference) == (OTHERS, ANY_READER)]
    return list(dict.fromkeys(found))


def _ceiling(found: ReaderFigures) -> str:
    def words(figure: Interval, limits: bool = True) -> str:
        return f"{decimal(figure.value)} {bounds(figure.low, figure.high, limits=limits)}".rstrip()

    few = "; too few patients for intervals" if math.isnan(found.sensitivity.low) else ""
    return (
        f"On {plural(found.images, 'test image')} of several readings, readers found {words(found.sensitivity)} of "
        f"each other's boxes, with {words(found.false_positives, limits=False)} false positives per image "
        f"(F1 {words(found.f1)}{few})."
    )


def _of_one_split(pairs: int) -> Sequence[Sentence]:
    """What stands beside the differences of one test split."""
    return [
        (
            "Intervals of one arm come from leaving out each patient (jackknife), on the logit scale between 0.1 and "
            f"0.9 and as exact binomial ones beyond; fewer than {LEAST_PATIENTS} patients give none."
        ),
        (
            "Beside them stands a permutation test that swaps the arms' detections within patients "
            f"({RESAMPLES:,} permutations)."
        ),
        f"Pairs of arms that were compared: {pairs}.",
    ]


def _software(section: AblationSection) -> Facts:
    places = [place for member in section.frame.members for place in member.run.environments]
    if not places:
        return {}
    names = dict.fromkeys(name for place in places for name in place.versions)
    versions = [f"{name} {_said(p.versions[name] for p in places if name in p.versions)}" for name in names]
    software = f"Python {_said(place.python for place in places)}, {', '.join(versions)}"
    commits = dict.fromkeys(
        f"{place.git_commit[:12]}{' with uncommitted changes' if place.git_dirty else ''}"
        for place in places
        if place.git_commit
    )
    code = [f"Code: commit {' and '.join(commits)}."] if commits else []
    device = _said(place.device for place in places)
    return {"software": [f"{software}, on {device}.", *code], "code": code}
