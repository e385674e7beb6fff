"""Documented logs: experiment logs that were imported, entry by entry."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "documented_logs",
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("imported", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_documented_logs"),
    )
    op.create_table(
        "documented_entries",
        sa.Column("log", sa.String(255), nullable=False),
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("log", "id", name="pk_documented_entries"),
        sa.ForeignKeyConstraint(
            ["log"], ["documented_logs.name"], name="fk_documented_entries_log_documented_logs", ondelete="CASCADE"
        ),
    )


def downgrade() -> None:
    op.drop_table("documented_entries")
    op.drop_table("documented_logs")
