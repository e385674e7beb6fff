"""What a run's key is made of now, beside the key it has; fields of a member's setup that are idle in its run."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("runs", sa.Column("content", sa.String(64)))
    op.create_index("ix_runs_content", "runs", ["content"], unique=True)
    op.add_column("members", sa.Column("own", sa.Text, nullable=False, server_default="{}"))


def downgrade() -> None:
    op.drop_column("members", "own")
    op.drop_index("ix_runs_content", "runs")
    op.drop_column("runs", "content")
