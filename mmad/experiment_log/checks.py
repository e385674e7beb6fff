"""Checks of a log: its slips, found by rule, and an entry against a run. Nothing here knows an entry by its name."""

from __future__ import annotations

import difflib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmad.config.runs import NAMING_FIELDS
from mmad.config.setup import ModelSetup
from mmad.experiment_log.model import FIGURES, Checkpoint, FigureGroup, LogEntry, LogFigure
from mmad.experiment_log.parser import SAME, UnreadableError, read_value


@dataclass(frozen=True)
class Slip:
    """One inconsistency of a log, found by a rule.

    Attributes:
        rule: the rule's name, such as ``figure-unequal``.
        entry: the entry it is about.
        what: what does not fit, with both values.
        level: ``slip`` for a contradiction, ``note`` for what a reader of the figures should know.
        others: other entries it involves.
        line: where it stands in the file; None where that is not known.
    """

    rule: str
    entry: str
    what: str
    level: str = "slip"
    others: tuple[str, ...] = ()
    line: int | None = None

    def __str__(self) -> str:
        """The slip in one line."""
        place = f" (line {self.line})" if self.line else ""
        return f"{self.entry}{place}: {self.what} [{self.rule}]"


# Rules about words (names, headings, checkpoints, the program's lines) against the setup's fields.

#: Words an author writes for a field.
_ALIASES = {
    "lr": "lr",
    "weight_decay": "weight_decay",
    "patience": "reduceLROnPlateau_patience",
    "factor": "reduceLROnPlateau_factor",
    "gamma": "multiStepLR_gamma",
    "milestones": "multiStepLR_milestones",
    "dropout": "box_head_dropout_rate",
}
assert set(_ALIASES.values()) <= set(ModelSetup.model_fields)
_SETTING = re.compile(r"([A-Za-z_]\w{0,60})\s{0,8}=\s{0,8}(\[[^\]]{0,200}\]|[-+]?[\d.]+(?:[eE][-+]?\d+)?)")
_ANY = object()  # any value but None


@dataclass(frozen=True)
class _Claim:
    """Words, and what they say of a field; ``unless`` are words that take it back."""

    words: re.Pattern[str]
    field: str
    value: Any
    unless: re.Pattern[str] | None = None


def _claim(words: str, field: str, value: Any, unless: str | None = None) -> _Claim:
    return _Claim(re.compile(words, re.I), field, value, re.compile(unless, re.I) if unless else None)


_NO = r"\b(?:without|w/o|no|not)[ _]?"
_CLAIMS = (
    _claim(rf"(?<![a-z]){_NO[2:]}pretrain[a-z]*", "pretrained", False),
    _claim(rf"(?<![a-z]){_NO[2:]}clin[a-z]*", "use_clinical", False),
    _claim(r"(?:with[ _])?clin[a-z]*", "use_clinical", True, rf"(?<![a-z]){_NO[2:]}clin"),
    _claim(r"^\W*cxr\W*(?:\(|$)", "use_clinical", False),
    _claim(r"(?<![a-z])(?:residule|residual|res)(?![a-z])", "fusion_residule", True),
    _claim(r"(?<![a-z])add(?![a-z])", "fusion_strategy", "add"),
    _claim(r"(?<![a-z])concat[a-z]*", "fusion_strategy", "concat"),
    _claim(rf"(?<![a-z]){_NO[2:]}lr_?sched[a-z]*", "lr_scheduler", None),
    _claim(r"(?<![a-z])lr_?sched[a-z]*", "lr_scheduler", _ANY, rf"(?<![a-z]){_NO[2:]}lr_?sched"),
    _claim(r"(?<![a-z])ReduceLROnPlateau(?![_a-z])", "lr_scheduler", "ReduceLROnPlateau"),
    _claim(r"(?<![a-z])MultiStepLR(?![_a-z])", "lr_scheduler", "MultiStepLR"),
    _claim(r"resnet[_ ]?18", "backbone", "resnet18", r"resnet[_ ]?(?:34|50)|mobilenet"),
    _claim(r"resnet[_ ]?50", "backbone", "resnet50", r"resnet[_ ]?(?:18|34)|mobilenet"),
    _claim(r"mobilenet[_ ]?v2", "backbone", "mobilenet_v2", r"resnet|mobilenet[_ ]?v3"),
    _claim(r"mobilenet[_ ]?v3", "backbone", "mobilenet_v3", r"resnet|mobilenet[_ ]?v2"),
    _claim(r"roi_heads", "add_clinical_to_roi_heads", True),
    _claim(r"_spatialis[a-z]*", "spatialise_clinical", True),
)


def word_slips(entries: Sequence[LogEntry]) -> Iterator[Slip]:
    """Names, headings, checkpoints and lines of the program that contradict fields of the setup."""
    for entry in entries:
        fields = entry.fields
        if fields:
            yield from _claimed(entry, "name-contradicts", "its name", str(fields.get("name") or ""))
            yield from _claimed(entry, "heading-contradicts", "its heading", entry.heading or "")
            yield from _settings(entry)
            yield from _names(entry)
            yield from _program(entry)


def _claimed(entry: LogEntry, rule: str, whose: str, words: str) -> Iterator[Slip]:
    for claim in _CLAIMS:
        if claim.field not in entry.fields or not (match := claim.words.search(words)):
            continue
        value = entry.fields[claim.field]
        wrong = value is None if claim.value is _ANY else value != claim.value
        if wrong and not (claim.unless and claim.unless.search(words)):
            what = f"{whose} says {match[0].strip()!r} ({words.strip()[:60]}), the setup {claim.field}={value!r}"
            yield Slip(rule, entry.id, what, line=_line(entry))


def _settings(entry: LogEntry) -> Iterator[Slip]:
    """``lr = 1e-4`` in a heading over a setup with another lr; misspelt words count too."""
    names = [*_ALIASES, *entry.fields]
    for word, printed in _SETTING.findall(entry.heading or ""):
        near = difflib.get_close_matches(word, names, 1, 0.8) if len(word) > 2 else [n for n in names if n == word]
        field = _ALIASES.get(near[0], near[0]) if near else None
        try:
            value = read_value(printed)
        except UnreadableError:
            continue
        if field is not None and field in entry.fields and entry.fields[field] != value:
            what = f"its heading says {word} = {printed}, the setup {field}={entry.fields[field]!r}"
            yield Slip("heading-setting", entry.id, what + _swapped(entry, field, value), line=_line(entry))


def _swapped(entry: LogEntry, field: str, value: Any) -> str:
    """Which other number of the setup has the heading's value."""
    numbers = [n for n, v in entry.fields.items() if isinstance(v, float) and v == value and n != field]
    return f" and {numbers[0]}={value!r}" if numbers else ""


def _names(entry: LogEntry) -> Iterator[Slip]:
    """The banner's and the checkpoints' words against name and use_clinical."""
    name = entry.fields.get("name")
    if entry.title is not None and isinstance(name, str) and entry.title != name:
        what = f"the banner says {entry.title!r}, the setup name={name!r}"
        yield Slip("title-name", entry.id, what, line=_line(entry))
    for kind, result in entry.results.items():
        line = result.line or None
        if result.name is not None and isinstance(name, str) and result.name != name:
            what = f"the checkpoint of {kind} says {result.name!r}, the setup name={name!r}"
            yield Slip("checkpoint-name", entry.id, what, line=line)
        clinical = entry.fields.get("use_clinical")
        if result.clinical is not None and isinstance(clinical, bool) and (result.clinical == "With") != clinical:
            what = f"the checkpoint of {kind} says {result.clinical} clinical, the setup use_clinical={clinical}"
            yield Slip("checkpoint-clinical", entry.id, what, line=line)


def _program(entry: LogEntry) -> Iterator[Slip]:
    for line in entry.log_lines:
        text = line.text.lower()
        pretrained = entry.fields.get("pretrained")
        if "pretrained backbone" in text and isinstance(pretrained, bool) and ("not using" in text) == pretrained:
            what = f"the program wrote {line.text!r}, the setup pretrained={pretrained}"
            yield Slip("program-contradicts", entry.id, what, line=line.line)
        backbone, named = entry.fields.get("backbone"), re.search(r"pretrained backbone\. (\w+)", text)
        if named and isinstance(backbone, str) and named[1] != backbone.lower():
            what = f"the program wrote {line.text!r}, the setup backbone={backbone!r}"
            yield Slip("program-contradicts", entry.id, what, line=line.line)
        hidden, layers = re.search(r"mask hidden layers (\d+)", text), entry.fields.get("mask_hidden_layers")
        if hidden and layers is not None and int(hidden[1]) != layers:
            what = f"the program wrote {line.text!r}, the setup mask_hidden_layers={layers!r}"
            yield Slip("program-contradicts", entry.id, what, line=line.line)


def _line(entry: LogEntry) -> int | None:
    return entry.line or None


# Rules about setups: printed twice, of odd types, equal with other results.


def setup_slips(entries: Sequence[LogEntry]) -> Iterator[Slip]:
    """Setups printed twice with other values, fields of a type they have nowhere else, true repeats."""
    for entry in entries:
        yield from _twice(entry)
    yield from _types(entries)
    yield from _repeats(entries)
    yield from _same_checkpoint(entries)


def _twice(entry: LogEntry) -> Iterator[Slip]:
    for other in entry.other_setups:
        first, second = entry.fields, other.fields
        differ = [f"{n} {second[n]!r} and {first[n]!r}" for n in second if n in first and second[n] != first[n]]
        alone = [n for n in second if n not in first]
        missing = [n for n in first if n not in second and first[n] is not None]
        parts = differ + ([f"{', '.join(alone)} in one alone"] if alone else [])
        parts += [f"{', '.join(missing)} in the other alone"] if missing else []
        if parts:
            what = f"prints two setups ({other.form}, {entry.setup.form if entry.setup else ''}): {'; '.join(parts)}"
            yield Slip("setup-twice", entry.id, what, line=other.line or None)


def _types(entries: Sequence[LogEntry]) -> Iterator[Slip]:
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    for entry in entries:
        for name, value in entry.fields.items():
            kinds[name][_kind(value)] += value is not None
    for entry in entries:
        for name, value in entry.fields.items():
            usual, count = kinds[name].most_common(1)[0]
            if value is not None and kinds[name][_kind(value)] < count:
                what = f"{name}={value!r} is a {_kind(value)}, elsewhere it is a {usual}"
                yield Slip("field-type", entry.id, what, line=entry.setup.line or None if entry.setup else None)


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "truth value"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str | list | dict):
        return "word" if isinstance(value, str) else "list" if isinstance(value, list) else "mapping"
    return "nothing"


def same_setup_key(entry: LogEntry) -> str:
    """What two entries have in common that print the same training: all fields but name and paths, and the losses."""
    fields = {n: _with_floats(v) for n, v in entry.fields.items() if n not in NAMING_FIELDS}
    return json.dumps([fields, _with_floats(dict(entry.losses.weights)) if entry.losses else None], sort_keys=True)


def _with_floats(value: Any) -> Any:
    """``value`` with every integer as a float, so that 1 and 1.0 are one setting."""
    if isinstance(value, dict):
        return {name: _with_floats(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_with_floats(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1e300 else value


def _repeats(entries: Sequence[LogEntry]) -> Iterator[Slip]:
    groups: dict[str, list[LogEntry]] = defaultdict(list)
    for entry in entries:
        if entry.fields:
            groups[same_setup_key(entry)].append(entry)
    for group in groups.values():
        measured = [entry for entry in group if "best_ap" in entry.results]
        if len(measured) > 1:
            yield _repeat(measured)
        if len(group) > 1 and len(measured) < 2:
            others = tuple(entry.id for entry in group[1:])
            what = f"prints the setup of {', '.join(others)} too, without results of both"
            yield Slip("setup-repeated", group[0].id, what, "note", others, group[0].line or None)


def _repeat(group: list[LogEntry]) -> Slip:
    test = ", ".join(f"{e.results['best_ap'].test_ap:.4f}" for e in group)
    val = ", ".join(f"{e.results['best_ap'].val_ap:.4f}" for e in group)
    others = tuple(entry.id for entry in group[1:])
    what = f"the same setup as {', '.join(others)}, other results: best-AP test {test} (validation {val})"
    return Slip("same-setup", group[0].id, what, "note", others, group[0].line or None)


def _same_checkpoint(entries: Sequence[LogEntry]) -> Iterator[Slip]:
    first: dict[str, str] = {}
    for entry in entries:
        for kind, result in entry.results.items():
            owner = first.setdefault(result.checkpoint or f"{entry.id}", entry.id)
            if owner != entry.id:
                what = f"the checkpoint of {kind} is also printed by {owner}: one run continues the other"
                yield Slip("same-checkpoint", entry.id, what, "note", (owner,), result.line or None)


# Rules about the figures of headings against the printed results.

#: What a key promises, where it promises one result.
_PROMISED = {"v": "final.val_ap", "t": "final.test_ap", "best_v": "best_ap.val_ap", "best_t": "best_ap.test_ap"}
#: Results this near are what a figure with a wrong digit may mean.
_NEAR = 0.0101


def figure_slips(entries: Sequence[LogEntry]) -> Iterator[Slip]:
    """Figures that no result equals, that are another entry's, or that are not what they seem to be."""
    owners = _owners(entries)
    for entry in entries:
        if not entry.results:
            continue
        for group in entry.figures:
            yield from _unequal(entry, group, owners)
            yield from _other_result(entry, group)
            yield from _mixed(entry, group)


def _owners(entries: Sequence[LogEntry]) -> dict[str, list[str]]:
    """The entries that print a result, by its four digits."""
    owners: dict[str, list[str]] = {}
    for entry in entries:
        for digits in {f"{getattr(result, m):.4f}" for result in entry.results.values() for m in FIGURES}:
            owners.setdefault(digits, []).append(entry.id)
    return owners


def _unequal(entry: LogEntry, group: FigureGroup, owners: Mapping[str, list[str]]) -> Iterator[Slip]:
    wrong = [figure for figure in group.figures if not figure.equals]
    source = _source(wrong, owners)
    if source is not None:
        copied = ", ".join(figure.printed for figure in wrong)
        what = f"heading figures {copied} equal no result of its own: they are those of {source}"
        yield Slip("figure-copied", entry.id, what, others=(source,), line=group.line or None)
    for figure in wrong:
        hint = "" if source else _nearest(figure, entry.results)
        what = f"heading figure {_name(figure)} equals no result{hint}"
        yield Slip("figure-unequal", entry.id, what, line=group.line or None)


def _source(wrong: Sequence[LogFigure], owners: Mapping[str, list[str]]) -> str | None:
    """The first entry whose results hold all figures of ``wrong``; one figure alone may be chance."""
    if len(wrong) < 2:
        return None
    first, *others = ([*owners.get(f"{figure.value:.4f}", ())] for figure in wrong)
    rest = [set(ids) for ids in others]
    return next((id for id in first if all(id in ids for ids in rest)), None)


def _nearest(figure: LogFigure, results: Mapping[str, Checkpoint]) -> str:
    values = [(f"{kind}.{m}", getattr(result, m)) for kind, result in results.items() for m in FIGURES]
    alike = [(_digits(value, figure.value), abs(value - figure.value), name, value) for name, value in values]
    differing, gap, name, value = min(alike)
    if gap > _NEAR and differing > 1:
        return ""
    return f"; {name} is {value:.4f}"


def _digits(one: float, other: float) -> int:
    """In how many of four digits two figures differ; a pair of exchanged ones counts once."""
    a, b = f"{one:.4f}", f"{other:.4f}"
    return 1 if sorted(a) == sorted(b) else sum(x != y for x, y in zip(a, b, strict=False))


def _other_result(entry: LogEntry, group: FigureGroup) -> Iterator[Slip]:
    for figure in group.figures:
        promised = _PROMISED.get(figure.key or "")
        if promised and figure.equals and promised not in figure.equals:
            what = f"heading figure {_name(figure)} is {figure.equals[0]}, not {promised}"
            yield Slip("figure-key", entry.id, what, line=group.line or None)
    bare = [figure for figure in group.figures if figure.key is None and figure.equals]
    kinds = [{name.partition(".")[0] for name in figure.equals} for figure in bare]
    if bare and all("best_ap" not in found for found in kinds):
        what = f"heading figures {group.raw} are not of the best AP: {', '.join(f.equals[0] for f in bare)}"
        yield Slip("figure-source", entry.id, what, "note", line=group.line or None)


def _mixed(entry: LogEntry, group: FigureGroup) -> Iterator[Slip]:
    """A validation and a test figure of different checkpoints."""
    bare = [figure for figure in group.figures if figure.key is None and figure.equals]
    kinds = [{name.partition(".")[0] for name in figure.equals} for figure in bare]
    splits = [{name.partition(".")[2].partition("_")[0] for name in figure.equals} for figure in bare]
    if len(bare) == 2 and not kinds[0] & kinds[1] and splits[0].isdisjoint(splits[1]):
        what = f"heading figures {group.raw} are of two checkpoints: {bare[0].equals[0]} and {bare[1].equals[0]}"
        yield Slip("figure-mixed", entry.id, what, line=group.line or None)


def _name(figure: LogFigure) -> str:
    return f"{figure.key}={figure.printed}" if figure.key else figure.printed


# Rules about parameter blocks: lines that are missing, parts that do not add up, output that stops.

_HEADS = "model.roi_heads"
#: Modules and the parts that make them up; a part that need not be there last.
_SUMS = (
    ("model.roi_heads.box_head", ("model.roi_heads.box_head.fc6", "model.roi_heads.box_head.fc7"), ()),
    (_HEADS, ("model.roi_heads.box_head", "model.roi_heads.box_predictor"), ("model.roi_heads.mask_head",)),
)


def count_slips(entries: Sequence[LogEntry]) -> Iterator[Slip]:
    """Blocks of counts that miss lines or do not add up, and entries that print less than they ran."""
    for entry in entries:
        if entry.params:
            yield from _sums(entry)
            yield from _clinical(entry)
        elif any("load custom model" in line.text.lower() for line in entry.log_lines):
            what = f"its output stops after {entry.log_lines[-1].text!r}: no parameter counts"
            yield Slip("params-missing", entry.id, what, line=entry.log_lines[-1].line)
        yield from _little(entry)


def _sums(entry: LogEntry) -> Iterator[Slip]:
    params = entry.params
    for module, parts, others in _SUMS:
        if module not in params:
            continue
        missing = [part for part in parts if part not in params]
        rest = params[module] - sum(params.get(part, 0) for part in (*parts, *others))
        unnamed = module == _HEADS and f"{_HEADS}.mask_head" in params  # the mask predictor is never printed
        if missing and rest > 0:
            yield _missing(entry, missing, f": {rest:,} of [{module}] are not printed")
        elif rest and not (unnamed and rest > 0):
            what = f"[{module}] is {params[module]:,}, its parts are {params[module] - rest:,}"
            yield Slip("params-sum", entry.id, what, line=entry.params_line)


def _clinical(entry: LogEntry) -> Iterator[Slip]:
    """Clinical modules that the setup builds and the block does not print."""
    fields = entry.fields
    if not fields.get("use_clinical"):
        return
    wanted = ["model.clinical_convs"]
    depth = fields.get("fuse_depth")
    if isinstance(depth, int) and depth > 0:
        wanted.append("model.fuse_convs")
    missing = [module for module in wanted if module not in entry.params]
    if missing:
        yield _missing(entry, missing, f" (use_clinical=True, fuse_depth={depth})")


def _missing(entry: LogEntry, modules: list[str], why: str) -> Slip:
    names = ", ".join(f"[{module}]" for module in modules)
    return Slip("params-missing", entry.id, f"prints no line {names}{why}", line=entry.params_line)


def _little(entry: LogEntry) -> Iterator[Slip]:
    line = entry.line or None
    if entry.params and not entry.fields:
        yield Slip("no-setup", entry.id, "prints parameter counts and no setup", "note", line=line)
    if not (entry.fields or entry.params or entry.results or entry.images) and entry.notes:
        what = f"prints nothing but words: {entry.notes[0].text[:60]!r}"
        yield Slip("nothing-printed", entry.id, what, "note", line=line)
    named = re.findall(r"\bloss_\w+", entry.heading or "")
    if named and not entry.losses and entry.fields:
        what = f"its heading names {', '.join(named)}, no snippet that weights losses is printed"
        yield Slip("loss-not-printed", entry.id, what, "note", line=line)


# Rules about checkpoints: their order, what "best" means, and when a run may stop.

#: Runs that end in a multiple of this many epochs may have ended as planned.
_ROUND = 50


def schedule_slips(entries: Sequence[LogEntry]) -> Iterator[Slip]:
    """Checkpoints that contradict each other or the schedule."""
    for entry in entries:
        yield from _order(entry)
        yield from _best(entry)
        yield from _stop(entry)


def _order(entry: LogEntry) -> Iterator[Slip]:
    final = entry.results.get("final")
    for kind, result in entry.results.items():
        if final is not None and result.epoch > final.epoch:
            what = f"{kind} is of epoch {result.epoch}, after the final epoch {final.epoch}"
            yield Slip("epoch-order", entry.id, what, line=result.line or None)
        elif final is not None and result.epoch < final.epoch and result.stamp > final.stamp:
            what = f"{kind} (epoch {result.epoch}) was saved after the final epoch {final.epoch}"
            yield Slip("epoch-order", entry.id, what, line=result.line or None)


def _best(entry: LogEntry) -> Iterator[Slip]:
    """A best checkpoint that another of the entry surpasses; with a full stop the last epoch is not compared."""
    stops = bool(entry.fields.get("reduceLROnPlateau_full_stop"))
    for kind, figure in (("best_ap", "val_ap"), ("best_ar", "val_ar")):
        best = entry.results.get(kind)
        if best is None:
            continue
        for other, result in entry.results.items():
            more = getattr(result, figure) - getattr(best, figure)
            if more > SAME and not (other == "final" and stops):
                what = f"{kind}.{figure} is {getattr(best, figure):.4f}, {other} has {getattr(result, figure):.4f}"
                yield Slip("not-best", entry.id, what, line=best.line or None)


def _stop(entry: LogEntry) -> Iterator[Slip]:
    """Early stops: never before patience + 2; after a plateau of val AP, patience + 1 or + 2 behind its best epoch."""
    patience, final = entry.fields.get("reduceLROnPlateau_patience"), entry.results.get("final")
    stops = entry.fields.get("reduceLROnPlateau_full_stop") and entry.fields.get("lr_scheduler") == "ReduceLROnPlateau"
    if not stops or not isinstance(patience, int) or final is None or final.epoch % _ROUND == 0:
        return
    if final.epoch < patience + 2:
        what = f"final epoch {final.epoch} cannot be an early stop with patience {patience}"
        yield Slip("stop-impossible", entry.id, what, line=final.line or None)
        return
    best = entry.results.get("best_ap")
    if best is not None and final.epoch - best.epoch not in (patience + 1, patience + 2):
        what = (
            f"final epoch {final.epoch} is impossible for a plateau of val AP (best in epoch {best.epoch}, patience "
            f"{patience}); of val loss its best epoch is {final.epoch - patience - 1}"
        )
        yield Slip("stop-not-by-ap", entry.id, what, "note", line=final.line or None)


_RULES = (figure_slips, word_slips, setup_slips, count_slips, schedule_slips)


def check_entries(entries: Sequence[LogEntry]) -> tuple[Slip, ...]:
    """Every slip of ``entries``, in their order, contradictions before notes."""
    place = {entry.id: index for index, entry in enumerate(entries)}
    found = [slip for rule in _RULES for slip in rule(entries)]
    return tuple(sorted(found, key=lambda slip: (place[slip.entry], slip.level == "note")))


# An entry against a run: what it prints, and what was trained and measured.


@dataclass(frozen=True)
class ComparedField:
    """A field of the setup: what the entry prints and what the run has; ``known`` is False where the run has none."""

    field: str
    documented: Any
    run: Any
    known: bool
    equal: bool


@dataclass(frozen=True)
class ComparedFigure:
    """A figure of a result (``epoch``, ``val_ap``, …); ``measured`` is None where the run has no such result yet."""

    result: str
    figure: str
    documented: float
    measured: float | None

    @property
    def difference(self) -> float | None:
        """Measured minus documented."""
        return None if self.measured is None else self.measured - self.documented


@dataclass(frozen=True)
class ComparedCount:
    """A module's parameters: printed, and counted (None where the run has no such module)."""

    module: str
    documented: int
    counted: int | None

    @property
    def equal(self) -> bool:
        return self.documented == self.counted


@dataclass(frozen=True)
class EntryComparison:
    """Everything an entry prints, compared with a run."""

    setup: tuple[ComparedField, ...]
    results: tuple[ComparedFigure, ...]
    params: tuple[ComparedCount, ...]


def compare_entry(
    entry: LogEntry,
    setup: Mapping[str, Any],
    results: Mapping[str, Mapping[str, float | None]],
    counts: Mapping[str, int],
) -> EntryComparison:
    """What ``entry`` prints against a run's ``setup``, ``results`` (by kind: ``best_ap``, …) and parameter ``counts``.

    Fields that the entry does not print are not compared; what was inferred of an entry is.
    """
    return EntryComparison(
        setup=tuple(_fields(entry, setup)),
        results=tuple(_results(entry, results)),
        params=tuple(ComparedCount(module, count, counts.get(module)) for module, count in entry.params.items()),
    )


def _fields(entry: LogEntry, setup: Mapping[str, Any]) -> Iterator[ComparedField]:
    printed = {**entry.fields, **entry.inferred}
    if entry.losses is not None:
        printed["loss_weights"] = dict(entry.losses.weights)
    for name, value in printed.items():
        if name not in NAMING_FIELDS:
            found = setup.get(name)
            equal = found == value and isinstance(found, bool) == isinstance(value, bool)
            yield ComparedField(name, value, found, name in setup, equal)


def _results(entry: LogEntry, results: Mapping[str, Mapping[str, float | None]]) -> Iterator[ComparedFigure]:
    for kind, result in entry.results.items():
        for figure in ("epoch", *FIGURES):
            yield ComparedFigure(kind, figure, getattr(result, figure), results.get(kind, {}).get(figure))
