"""The tables of the database: one row per run, and per run and epoch exactly one row.

Numbers are in columns of numbers, never in blobs. A number that was measured but is not a number
(NaN) is stored as NULL; one that was not measured has no row. Moments are UTC.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
)

#: The newest revision below ``migrations/versions``.
HEAD = "0004"

NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
metadata = MetaData(naming_convention=NAMES)


class Moment(TypeDecorator[datetime]):
    """A moment in UTC; SQLite stores it as text without an offset."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone; take moments from mmad.base.clock")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class NanSafeFloat(TypeDecorator[float]):
    """A double that was measured: NaN is written as NULL and read back as NaN."""

    impl = Double()
    cache_ok = True

    def process_bind_param(self, value: float | None, dialect: Dialect) -> float | None:
        return None if value is None or math.isnan(value) else float(value)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> float:
        return math.nan if value is None else float(value)


def _run_key(primary_key: bool = True) -> Column[str]:
    return Column(
        "run_key", String(64), ForeignKey("runs.key", ondelete="CASCADE"), primary_key=primary_key, nullable=False
    )


ablations = Table(
    "ablations",
    metadata,
    Column("name", String(255), primary_key=True),
    Column("title", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("compare", Text, nullable=False),  # JSON: [[reference arm, other arm], …]
    Column("added", Moment, nullable=False),
)

runs = Table(
    "runs",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("position", Integer, nullable=False),
    Column("status", String(16), nullable=False),
    Column("setup", Text, nullable=False),  # JSON
    Column("protocol", Text, nullable=False),  # JSON
    Column("dataset_name", Text, nullable=False),
    Column("dataset_path", Text, nullable=False),
    Column("dataset_fingerprint", String(64), nullable=False),
    Column("recipe", Integer, nullable=False),
    Column("created", Moment, nullable=False),
    Column("started", Moment),
    Column("finished", Moment),
    Column("error", Text),
    Column("owner_host", Text),
    Column("owner_pid", Integer),
    Column("owner_started", Double),
    Column("owner_boot", Text),
    Column("priority", Integer, nullable=False, server_default="0"),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("device", Text),
    Column("heartbeat", Moment),
    Column("stop_asked", Boolean, nullable=False, server_default=false()),
    Column("stand_in", String(64)),  # the run that is trained in its place
    CheckConstraint(
        "status IN ('queued', 'claimed', 'running', 'finished', 'failed', 'interrupted', 'stopped')", name="status"
    ),
    Index(None, "status", "priority", "position"),
)

#: The memory a setup was seen to take of a device; ``need`` is its memory key, a hash of what decides it.
device_memory = Table(
    "device_memory",
    metadata,
    Column("need", String(64), primary_key=True),
    Column("device", String(255), primary_key=True),
    Column("bytes", BigInteger, nullable=False),
    Column("measured", Moment, nullable=False),
)

members = Table(
    "members",
    metadata,
    Column("ablation", String(255), ForeignKey("ablations.name", ondelete="CASCADE"), primary_key=True),
    Column("setting", String(255), primary_key=True),
    Column("arm", String(255), primary_key=True),
    Column("seed", Integer, primary_key=True, autoincrement=False),
    Column("replicate", Integer, primary_key=True, autoincrement=False),
    Column("run_key", String(64), ForeignKey("runs.key"), nullable=False, index=True),
    Column("position", Integer, nullable=False),
    Column("documented", String(64)),
    # the evaluation protocol, one column per field of EvaluationProtocol
    Column("overlap", String(16), nullable=False),
    Column("threshold", Double, nullable=False),
    Column("max_detections", Integer, nullable=False),
    Column("proposals", String(32), nullable=False),
    Column("inferred", Text, nullable=False),  # JSON
    Column("overrides", Text, nullable=False),  # JSON
)

epochs = Table(
    "epochs",
    metadata,
    _run_key(),
    Column("epoch", Integer, primary_key=True, autoincrement=False),
    Column("lr", NanSafeFloat),
    Column("seconds", NanSafeFloat),
    Column("peak_memory", BigInteger, nullable=False),
    Column("committed", Moment, nullable=False),
    Column("replaced", Integer, nullable=False),  # how often other values were put in its place
)

metrics = Table(
    "metrics",
    metadata,
    Column("run_key", String(64), primary_key=True),
    Column("epoch", Integer, primary_key=True, autoincrement=False),
    Column("split", String(16), primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("value", NanSafeFloat),
    Column("position", Integer, nullable=False),
    ForeignKeyConstraint(["run_key", "epoch"], ["epochs.run_key", "epochs.epoch"], ondelete="CASCADE"),
)

parameter_counts = Table(
    "parameter_counts",
    metadata,
    _run_key(),
    Column("module", String(255), primary_key=True),
    Column("count", BigInteger, nullable=False),
    Column("position", Integer, nullable=False),
)

checkpoints = Table(
    "checkpoints",
    metadata,
    _run_key(),
    Column("kind", String(16), primary_key=True),
    Column("epoch", Integer, nullable=False),
    Column("path", Text, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("created", Moment, nullable=False),
)

evaluations = Table(
    "evaluations",
    metadata,
    Column("id", Integer, primary_key=True),
    _run_key(primary_key=False),
    Column("kind", String(16), nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("split", String(16), nullable=False),
    Column("overlap", String(16), nullable=False),
    Column("threshold", Double, nullable=False),
    Column("max_detections", Integer, nullable=False),
    Column("proposals", String(32), nullable=False),
    Column("ap", NanSafeFloat),
    Column("ar", NanSafeFloat),
    Column("detections", Text),
    UniqueConstraint(
        "run_key", "kind", "split", "overlap", "threshold", "max_detections", "proposals", name="uq_evaluations"
    ),
)

evaluation_classes = Table(
    "evaluation_classes",
    metadata,
    Column("evaluation_id", Integer, ForeignKey("evaluations.id", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("label", Text, nullable=False),
    Column("ap", Double),
    Column("ar", Double),
)

environments = Table(
    "environments",
    metadata,
    Column("id", Integer, primary_key=True),
    _run_key(primary_key=False),
    Column("started", Moment, nullable=False),
    Column("host", Text, nullable=False),
    Column("platform", Text, nullable=False),
    Column("python", Text, nullable=False),
    Column("versions", Text, nullable=False),  # JSON
    Column("device", Text, nullable=False),
    Column("threads", Integer, nullable=False),
    Column("git_commit", Text),
    Column("git_dirty", Boolean),
    Column("command", Text, nullable=False),
    Column("from_epoch", Integer, nullable=False),
    Index(None, "run_key"),
)

warnings = Table(
    "warnings",
    metadata,
    Column("id", Integer, primary_key=True),
    _run_key(primary_key=False),
    Column("text", Text, nullable=False),
    Column("created", Moment, nullable=False),
    Index(None, "run_key"),
)

analyses = Table(
    "analyses",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("kind", String(32), nullable=False, index=True),
    Column("key", String(64), nullable=False, unique=True),
    Column("subject", Text, nullable=False),  # JSON: all that decides the value
    Column("value", Text, nullable=False),  # JSON
    Column("created", Moment, nullable=False),
)

documented_logs = Table(
    "documented_logs",
    metadata,
    Column("name", String(255), primary_key=True),
    Column("path", Text, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("content", Text, nullable=False),  # JSON: all but the entries
    Column("imported", Moment, nullable=False),
)

documented_entries = Table(
    "documented_entries",
    metadata,
    Column("log", String(255), ForeignKey("documented_logs.name", ondelete="CASCADE"), primary_key=True),
    Column("id", String(64), primary_key=True),
    Column("position", Integer, nullable=False),
    Column("content", Text, nullable=False),  # JSON
)
