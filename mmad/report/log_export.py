"""One's own experiment log: every run in the form that ``mmad log import`` reads.

Names, setup and protocols stand in the setup's line, exactly; figures have the four digits of the log's form. A note is
a line ``# note {…}`` of JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from mmad.analysis.report_frame import AblationFrame, MemberFrame, ReportFrame
from mmad.base.formatting import clip
from mmad.report.run_blocks import checkpoint_name, count_lines, saved_line, weight_lines
from mmad.store.notes import Note, Notes

NOTE = "# note "
#: What the reader would take for something else within a line of JSON, and the same as JSON escapes it.
_READ_OTHERWISE = {"[": "\\u005b", "==": "\\u003d\\u003d", "--": "\\u002d\\u002d", "val_ar": "val\\u005far"} | {
    "Setup(": "Setup\\u0028",
    "<img": "\\u003cimg",
    "*=": "*\\u003d",
    "detach": "detac\\u0068",
}


#: Words by which the reader takes a heading without a run for an experiment that failed.
_FAILED = re.compile(r"\b(?:fail|crash|error|nan|diverge|out of memory)", re.IGNORECASE)


def _hidden(word: re.Match[str]) -> str:
    """The same for JSON, and no such word."""
    return f"\\u{ord(word[0][0]):04x}{word[0][1:]}"


def export_log(frame: ReportFrame, notes: Notes) -> str:
    """The log of every ablation of ``frame`` as Markdown, a heading and a fenced block for each member."""
    lines: list[str] = []
    for ablation in frame.ablations:
        lines += [f"# {_heading(ablation.record.title or ablation.record.name)}", ""]
        if about := notes.of_ablation(ablation.record.name):
            lines += ["```", *(_FAILED.sub(_hidden, note_line(note)) for note in about), "```", ""]
        for member in ablation.members:
            lines += _entry(member, ablation, notes)
    return "\n".join(lines).rstrip() + "\n"


def _entry(member: MemberFrame, ablation: AblationFrame, notes: Notes) -> list[str]:
    record = member.record
    outcomes = (("v", member.final, "val_ap"), ("t", member.final, "test_ap"), ("best_v", member.best_ap, "val_ap"),
                ("best_t", member.best_ap, "test_ap"))  # fmt: skip
    known = [(name, getattr(found, figure)) for name, found, figure in outcomes if found is not None]
    figures = ", ".join(f"{name}={value:.4f}" for name, value in known if value is not None)
    head = " ".join([record.setting, record.arm, f"seed {record.seed}"])
    head += f" replicate {record.replicate}" if record.replicate > 1 else ""
    block = [_setup(member), *_checkpoints(member)]
    for line, count in zip(count_lines(member), member.run.counts, strict=True):
        plain = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.]{0,200}", count.module)
        block.append(line if plain else _json_line({"module": count.module, "count": count.count}))
    block += weight_lines(member.setup.get("loss_weights") or {})
    if member.run.record.error:
        block.append(_json_line({"error": member.run.record.error}))
    block += map(note_line, notes.of_run(member.run.key))
    return [f"## {_heading(head)}{f' ({figures})' if figures else ''}", "", "```", *block, "```", ""]


def _setup(member: MemberFrame) -> str:
    """``ModelSetup(…)`` on one line: whose run it is, every field of the setup and of both protocols."""
    record, run = member.record, member.run.record
    whose = {"name": record.arm, "ablation": record.ablation, "setting": record.setting, "key": run.key}
    fields: Mapping[str, Any] = {
        **member.setup, **run.protocol, **record.evaluation, **whose,
        "seed": record.seed, "replicate": record.replicate, "data": run.dataset_name,
        "fingerprint": run.dataset_fingerprint, "status": run.status, "epochs_done": run.epochs_done,
    }  # fmt: skip
    return f"ModelSetup({', '.join(f'{name}={value!a}' for name, value in fields.items())})"


def _checkpoints(member: MemberFrame) -> list[str]:
    """The lines of the kept checkpoints; one without all four figures as JSON."""
    lines = []
    for title, outcome in member.outcomes:
        checkpoint = outcome and member.run.checkpoint(outcome.kind)
        if not outcome or not checkpoint:
            continue
        figures = {name: getattr(outcome, name) for name in ("val_ap", "val_ar", "test_ap", "test_ar")}
        if None in figures.values():
            lines.append(_json_line({"kind": outcome.kind, "epoch": outcome.epoch, **figures}))
            continue
        clinical = bool(member.setup.get("use_clinical", False))
        safe = re.sub(r"[^\w.+-]", "_", member.record.arm, flags=re.ASCII)[:60]
        lines.append(saved_line(title, checkpoint_name(outcome, checkpoint, clinical=clinical, name=safe)))
    return lines


def note_line(note: Note) -> str:
    """A note as one line of JSON behind ``NOTE``."""
    return _json_line({"text": note.text, "tags": " ".join(note.tags), "moment": note.moment.isoformat()})


def _json_line(value: Mapping[str, Any]) -> str:
    text = json.dumps(value)
    for read, escaped in _READ_OTHERWISE.items():
        text = text.replace(read, escaped)
    return f"{NOTE}{text}"


def _heading(text: str) -> str:
    """Names on one line, in letters that mean nothing to the reader of a log; the setup has them exactly."""
    return " ".join(re.sub(r"[^\w .,:+/-]", " ", clip(text, 200)).split()) or "unnamed"
