"""The queue's life: claimed and stopped runs, heartbeats, priorities, and what setups need of a device's memory."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
BEFORE = "status IN ('queued', 'running', 'finished', 'failed', 'interrupted')"
AFTER = "status IN ('queued', 'claimed', 'running', 'finished', 'failed', 'interrupted', 'stopped')"
COLUMNS = (
    sa.Column("priority", sa.Integer, nullable=False, server_default="0"),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("device", sa.Text),
    sa.Column("heartbeat", MOMENT),
    sa.Column("stop_asked", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("stand_in", sa.String(64)),
)


def upgrade() -> None:
    _statuses(AFTER)
    for column in COLUMNS:
        op.add_column("runs", column)
    op.drop_index("ix_runs_status_position", "runs")
    op.create_index("ix_runs_status_priority_position", "runs", ["status", "priority", "position"])
    op.create_table(
        "device_memory",
        sa.Column("need", sa.String(64), nullable=False),
        sa.Column("device", sa.String(255), nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("measured", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("need", "device", name="pk_device_memory"),
    )


def downgrade() -> None:
    op.drop_table("device_memory")
    op.drop_index("ix_runs_status_priority_position", "runs")
    op.execute("UPDATE runs SET status = 'queued' WHERE status = 'claimed'")
    op.execute("UPDATE runs SET status = 'interrupted' WHERE status = 'stopped'")
    for column in COLUMNS:
        op.drop_column("runs", column.name)
    _statuses(BEFORE)
    op.create_index("ix_runs_status_position", "runs", ["status", "position"])


def _statuses(condition: str) -> None:
    """Allows other statuses; SQLite keeps a check only by making the table anew."""
    if op.get_bind().dialect.name != "sqlite":
        op.drop_constraint(op.f("ck_runs_status"), "runs", type_="check")
        op.create_check_constraint(op.f("ck_runs_status"), "runs", condition)
        return
    op.execute("PRAGMA legacy_alter_table = ON")  # the views that name the table are no business of its renaming
    with op.batch_alter_table("runs", recreate="always") as runs:  # which leaves the old check behind
        runs.create_check_constraint(op.f("ck_runs_status"), condition)
