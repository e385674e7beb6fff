"""Records as plain JSON, in the stable form that scripts rely on. NaN and the infinities become null."""

from __future__ import annotations

from typing import Any

from mmad.base.json_values import picked, to_json_value
from mmad.base.records import MemberRecord, RunRecord
from mmad.store.lookup import MemberResults, MemberSummary, RunDetail, epoch_row, epochs_asked
from mmad.store.notes import Notes
from mmad.store.run_status import STATUSES, FailedRun, RunningRun, StoreStatus, WaitingRun

JsonValue = dict[str, Any]


def summary_json(summary: MemberSummary, notes: Notes) -> JsonValue:
    """One member of ``mmad runs``, with the notes of its run and its ablation."""
    return _row_json(summary.run, summary.member, summary.results, notes)


def unasked_json(run: RunRecord, notes: Notes) -> JsonValue:
    """One run of ``mmad runs`` that no member asks for."""
    return _row_json(run, None, MemberResults(None, None, None), notes)


def _row_json(run: RunRecord, member: MemberRecord | None, results: MemberResults, notes: Notes) -> JsonValue:
    return {
        "key": run.key,
        **_member(member),
        "status": run.status,
        "epoch": run.epochs_done,
        "epochs": epochs_asked(run),
        "error": run.error,
        **to_json_value(results),
        "notes": [note.plain for note in notes.about(run.key, [] if member is None else [member])],
    }


def _member(member: MemberRecord | None) -> JsonValue:
    return picked(member, "ablation", "setting", "arm", "seed", "replicate", "documented")


def detail_json(detail: RunDetail, notes: Notes) -> JsonValue:
    """The run of ``mmad show``: its member of ``mmad runs``, and everything recorded about it."""
    run = detail.run
    return {
        "key": run.key,
        **_member(detail.members[0] if detail.members else None),
        "status": run.status,
        "epoch": run.epochs_done,
        "epochs_asked": epochs_asked(run),
        "error": run.error,
        **to_json_value(detail.results),
        "members": [member.path for member in detail.members],
        "evaluation": dict(detail.evaluation),
        "setup": dict(detail.setup),
        "protocol": dict(run.protocol),
        "params": {count.module: count.count for count in detail.counts},
        "epochs": [to_json_value(epoch_row(record, detail.evaluation["overlap"])) for record in detail.epochs],
        "checkpoints": to_json_value(detail.checkpoints),
        "environments": to_json_value(detail.environments),
        "warnings": list(detail.warnings),
        "notes": [note.plain for note in notes.about(run.key, detail.members)],
        "dataset": {"name": run.dataset_name, "path": run.dataset_path, "fingerprint": run.dataset_fingerprint},
        **picked(run, "recipe", "created", "started", "finished"),
        "log": detail.log.as_posix(),
    }


def status_json(status: StoreStatus) -> JsonValue:
    """``mmad status``: ``ablations``, ``running`` and ``failed``, each a list."""
    return {
        "ablations": [
            {**picked(one, "ablation", "title", "members"), **dict(zip(STATUSES, one.counts, strict=True))}
            for one in status.ablations
        ],
        "running": [running_json(run) for run in status.running],
        "failed": [failed_json(run) for run in status.failed],
    }


def running_json(run: RunningRun) -> JsonValue:
    """A run that somebody trains."""
    return {
        "key": run.key,
        **_member(run.member),
        **picked(run, "status", "epoch", "epochs", "seconds_per_epoch", "seconds_left", "val_ap", "best_val_ap"),
        **picked(run.owner, "host", "pid"),
        **picked(run, "device", "started", "alive"),
    }


def failed_json(run: FailedRun) -> JsonValue:
    """A run that failed, and why."""
    return {"key": run.key, **_member(run.member), "error": run.cause}


def waiting_json(run: WaitingRun) -> JsonValue:
    """A run that waits for its turn."""
    return {"key": run.key, **_member(run.member), **picked(run, "epoch", "epochs")}
