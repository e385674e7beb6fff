"""The tables of the database: one row per run, and per run and epoch exactly one row.

Epochs and their metrics, the rows that are many, name their run and their metric by a number; the views ``epochs`` and
``metrics`` show them by the run's key and the metric's name. Numbers are in columns of numbers, never in blobs. A
number that was measured but is not a number (NaN) is stored as NULL; one that was not measured has no row. Moments are
UTC.
"""

from __future__ import annotations

from typing import Any, get_args

from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    Table,
    UniqueConstraint,
    false,
)

from mmad.base.records import SPLITS, CheckpointKind, Status
from mmad.config.protocol import Overlap, Proposals, TrainingProtocol
from mmad.config.setup import ModelSetup
from mmad.store.checked_columns import (
    FiniteFloat,
    InnerPath,
    Json,
    JsonShape,
    Key,
    Moment,
    NanSafeFloat,
    Truth,
    Whole,
    Words,
    name_columns,
)

#: The newest revision below ``migrations/versions``.
HEAD = "0006"

NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
metadata = MetaData(naming_convention=NAMES)


_STATUSES = get_args(Status)
_KINDS = get_args(CheckpointKind)
_OBJECT = JsonShape("object")


def _run_key(primary_key: bool = True) -> Column[str]:
    return Column("run_key", Key(), ForeignKey("runs.key", ondelete="CASCADE"), primary_key=primary_key, nullable=False)


ablations = Table(
    "ablations",
    metadata,
    Column("name", Words(255), primary_key=True),
    Column("title", Words(), nullable=False),
    Column("description", Words(), nullable=False),
    Column("path", Words(), nullable=False),
    Column("source", Words(), nullable=False),
    Column("compare", Json(JsonShape("pairs")), nullable=False),  # [[reference arm, other arm], …]
    Column("added", Moment(), nullable=False),
)

runs = Table(
    "runs",
    metadata,
    Column("key", Key(), primary_key=True),
    Column("position", Whole(shown_as=0), nullable=False),
    Column("status", Words(16, _STATUSES), nullable=False),
    Column("setup", Json(JsonShape("object", ModelSetup)), nullable=False),
    Column("protocol", Json(JsonShape("object", TrainingProtocol)), nullable=False),
    Column("dataset_name", Words(), nullable=False),
    Column("dataset_path", Words(), nullable=False),
    Column("dataset_fingerprint", Words(64), nullable=False),
    Column("recipe", Whole(), nullable=False),
    Column("created", Moment(), nullable=False),
    Column("started", Moment()),
    Column("finished", Moment()),
    Column("error", Words()),
    Column("owner_host", Words()),
    Column("owner_pid", Whole()),
    Column("owner_started", FiniteFloat()),
    Column("owner_boot", Words()),
    Column("priority", Whole(None, shown_as=0), nullable=False, server_default="0"),
    Column("attempts", Whole(shown_as=0), nullable=False, server_default="0"),
    Column("device", Words()),
    Column("heartbeat", Moment()),
    Column("stop_asked", Truth(), nullable=False, server_default=false()),
    Column("stand_in", Key()),  # the run that is trained in its place
    # the key that its content has now; NULL where another run, kept for it, has it too
    Column("content", Key()),
    # its number, by which its epochs and metrics name it; rows without a sound one are left out with them
    Column("id", Whole(), info={"is_row": True}),
    CheckConstraint(
        "status IN ('queued', 'claimed', 'running', 'finished', 'failed', 'interrupted', 'stopped')", name="status"
    ),
    Index(None, "status", "priority", "position"),
    Index(None, "content", unique=True),
    Index(None, "id", unique=True),
)

#: The memory a setup was seen to take of a device; ``need`` is its memory key, a hash of what decides it.
device_memory = Table(
    "device_memory",
    metadata,
    Column("need", Words(64), primary_key=True),
    Column("device", Words(255), primary_key=True),
    Column("bytes", Whole(big=True), nullable=False),
    Column("measured", Moment(), nullable=False),
)

members = Table(
    "members",
    metadata,
    Column("ablation", Words(255), ForeignKey("ablations.name", ondelete="CASCADE"), primary_key=True),
    Column("setting", Words(255), primary_key=True),
    Column("arm", Words(255), primary_key=True),
    Column("seed", Whole(None), primary_key=True, autoincrement=False),
    Column("replicate", Whole(), primary_key=True, autoincrement=False),
    Column("run_key", Key(), ForeignKey("runs.key"), nullable=False, index=True),
    Column("position", Whole(shown_as=0), nullable=False),
    Column("documented", Words(64)),
    # the evaluation protocol, one column per field of EvaluationProtocol
    Column("overlap", Words(16, get_args(Overlap)), nullable=False),
    Column("threshold", FiniteFloat(share=True), nullable=False),
    Column("max_detections", Whole(1, 1000), nullable=False),
    Column("proposals", Words(32, get_args(Proposals)), nullable=False),
    Column("inferred", Json(JsonShape("words")), nullable=False),
    Column("overrides", Json(JsonShape("words")), nullable=False),
    # fields of the setup that are idle in the run and differ from its own
    Column("own", Json(_OBJECT, "'{}'"), nullable=False, server_default="{}"),
)

run_epochs = Table(
    "run_epochs",
    metadata,
    Column(
        "run", Whole(), ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True, autoincrement=False, nullable=False
    ),
    Column("epoch", Whole(), primary_key=True, autoincrement=False),
    Column("lr", NanSafeFloat()),
    Column("seconds", NanSafeFloat()),
    Column("peak_memory", Whole(big=True, shown_as=0), nullable=False),
    Column("committed", Moment(), nullable=False),
    Column("replaced", Whole(shown_as=0), nullable=False),  # how often other values were put in its place
    sqlite_with_rowid=False,
)

#: What is measured of an epoch: its split, its name, and its place among the metrics of a record.
metric_names = Table(
    "metric_names",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("split", Words(16, SPLITS), nullable=False),
    Column("name", Words(64), nullable=False),
    Column("position", Whole(shown_as=0), nullable=False),
    UniqueConstraint("split", "name", "position", name="uq_metric_names"),
)

run_metrics = Table(
    "run_metrics",
    metadata,
    Column("run", Whole(), primary_key=True, autoincrement=False),
    Column("epoch", Whole(), primary_key=True, autoincrement=False),
    Column("metric", Whole(), ForeignKey("metric_names.id"), primary_key=True, autoincrement=False),
    Column("value", NanSafeFloat(), info={"is_row": True}),  # NULL says that NaN was measured
    ForeignKeyConstraint(["run", "epoch"], ["run_epochs.run", "run_epochs.epoch"], ondelete="CASCADE"),
    sqlite_with_rowid=False,
)

parameter_counts = Table(
    "parameter_counts",
    metadata,
    _run_key(),
    Column("module", Words(255), primary_key=True),
    Column("count", Whole(big=True), nullable=False),
    Column("position", Whole(shown_as=0), nullable=False),
)

checkpoints = Table(
    "checkpoints",
    metadata,
    _run_key(),
    Column("kind", Words(16, _KINDS), primary_key=True),
    Column("epoch", Whole(), nullable=False),
    Column("path", InnerPath(), nullable=False),
    Column("sha256", Key(), nullable=False),
    Column("size", Whole(big=True, shown_as=0), nullable=False),
    Column("created", Moment(), nullable=False),
)

evaluations = Table(
    "evaluations",
    metadata,
    Column("id", Integer, primary_key=True),
    _run_key(primary_key=False),
    Column("kind", Words(16, _KINDS), nullable=False),
    Column("epoch", Whole(), nullable=False),
    Column("split", Words(16, SPLITS), nullable=False),
    Column("overlap", Words(16), nullable=False),
    Column("threshold", FiniteFloat(share=True), nullable=False),
    Column("max_detections", Whole(1, 1000), nullable=False),
    Column("proposals", Words(32), nullable=False),
    Column("ap", NanSafeFloat()),
    Column("ar", NanSafeFloat()),
    Column("detections", InnerPath()),
    UniqueConstraint(
        "run_key", "kind", "split", "overlap", "threshold", "max_detections", "proposals", name="uq_evaluations"
    ),
)

evaluation_classes = Table(
    "evaluation_classes",
    metadata,
    Column("evaluation_id", Whole(), ForeignKey("evaluations.id", ondelete="CASCADE"), primary_key=True),
    Column("position", Whole(), primary_key=True, autoincrement=False),
    Column("label", Words(), nullable=False),
    Column("ap", FiniteFloat()),
    Column("ar", FiniteFloat()),
)

environments = Table(
    "environments",
    metadata,
    Column("id", Integer, primary_key=True),
    _run_key(primary_key=False),
    Column("started", Moment(), nullable=False),
    Column("host", Words(), nullable=False),
    Column("platform", Words(), nullable=False),
    Column("python", Words(), nullable=False),
    Column("versions", Json(JsonShape("texts")), nullable=False),
    Column("device", Words(), nullable=False),
    Column("threads", Whole(shown_as=0), nullable=False),
    Column("git_commit", Words()),
    Column("git_dirty", Truth()),
    Column("command", Words(), nullable=False),
    Column("from_epoch", Whole(shown_as=0), nullable=False),
    Index(None, "run_key"),
)

warnings = Table(
    "warnings",
    metadata,
    Column("id", Integer, primary_key=True),
    _run_key(primary_key=False),
    Column("text", Words(), nullable=False),
    Column("created", Moment(), nullable=False),
    Index(None, "run_key"),
)

analyses = Table(
    "analyses",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("kind", Words(32), nullable=False, index=True),
    Column("key", Key(), nullable=False, unique=True),
    Column("subject", Json(_OBJECT), nullable=False),  # all that decides the value
    Column("value", Json(_OBJECT), nullable=False),
    Column("created", Moment(), nullable=False),
)

documented_logs = Table(
    "documented_logs",
    metadata,
    Column("name", Words(255), primary_key=True),
    Column("path", Words(), nullable=False),
    Column("sha256", Key(), nullable=False),
    Column("content", Json(_OBJECT), nullable=False),  # all but the entries
    Column("imported", Moment(), nullable=False),
)

documented_entries = Table(
    "documented_entries",
    metadata,
    Column("log", Words(255), ForeignKey("documented_logs.name", ondelete="CASCADE"), primary_key=True),
    Column("id", Words(64), primary_key=True),
    Column("position", Whole(shown_as=0), nullable=False),
    Column("content", Json(_OBJECT), nullable=False),
)

name_columns(column for table in metadata.sorted_tables for column in table.c)


#: The views that show the tables with numbers for keys as people and their programs read them.
views = MetaData()


def _view(view: str, **shown: Column[Any]) -> Table:
    """Columns with the types of the tables' own; those that tell rows apart are the key."""
    key = {"run_key", "epoch", "split", "name"}
    columns = (Column(name, of.type, primary_key=name in key, nullable=of.nullable) for name, of in shown.items())
    return Table(view, views, *columns)


epochs = _view("epochs", run_key=runs.c.key, **{column.name: column for column in run_epochs.c if column.name != "run"})
metrics = _view(
    "metrics",
    run_key=runs.c.key,
    epoch=run_metrics.c.epoch,
    split=metric_names.c.split,
    name=metric_names.c.name,
    value=run_metrics.c.value,
    position=metric_names.c.position,
)
