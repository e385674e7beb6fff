"""The first schema: ablations, runs, members, what was measured, and two views for the shell."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)

# AP and AR under exactly the protocol that the member asked for
CHECKPOINT_RESULTS = """
CREATE VIEW checkpoint_results AS
SELECT m.ablation, m.setting, m.arm, m.seed, m.replicate, m.documented, m.run_key AS key, m.overlap,
       c.kind AS checkpoint, c.epoch, v.ap AS val_ap, v.ar AS val_ar, t.ap AS test_ap, t.ar AS test_ar
FROM members AS m
JOIN checkpoints AS c ON c.run_key = m.run_key AND c.kind IN ('best_ap', 'best_ar', 'final')
LEFT JOIN evaluations AS v ON v.run_key = c.run_key AND v.kind = c.kind AND v.epoch = c.epoch AND v.split = 'val'
    AND v.overlap = m.overlap AND v.threshold = m.threshold AND v.max_detections = m.max_detections
    AND v.proposals = m.proposals
LEFT JOIN evaluations AS t ON t.run_key = c.run_key AND t.kind = c.kind AND t.epoch = c.epoch AND t.split = 'test'
    AND t.overlap = m.overlap AND t.threshold = m.threshold AND t.max_detections = m.max_detections
    AND t.proposals = m.proposals
"""

RUN_RESULTS = """
CREATE VIEW run_results AS
SELECT m.ablation, m.setting, m.arm, m.seed, m.replicate, m.documented, m.run_key AS key, r.status,
       (SELECT max(e.epoch) FROM epochs AS e WHERE e.run_key = m.run_key) AS epoch, m.overlap,
       a.epoch AS best_ap_epoch, a.val_ap AS best_ap_val_ap, a.val_ar AS best_ap_val_ar,
       a.test_ap AS best_ap_test_ap, a.test_ar AS best_ap_test_ar,
       b.epoch AS best_ar_epoch, b.val_ap AS best_ar_val_ap, b.val_ar AS best_ar_val_ar,
       b.test_ap AS best_ar_test_ap, b.test_ar AS best_ar_test_ar,
       f.epoch AS final_epoch, f.val_ap AS final_val_ap, f.val_ar AS final_val_ar,
       f.test_ap AS final_test_ap, f.test_ar AS final_test_ar,
       r.error
FROM members AS m JOIN runs AS r ON r.key = m.run_key
LEFT JOIN checkpoint_results AS a ON a.ablation = m.ablation AND a.setting = m.setting AND a.arm = m.arm
    AND a.seed = m.seed AND a.replicate = m.replicate AND a.checkpoint = 'best_ap'
LEFT JOIN checkpoint_results AS b ON b.ablation = m.ablation AND b.setting = m.setting AND b.arm = m.arm
    AND b.seed = m.seed AND b.replicate = m.replicate AND b.checkpoint = 'best_ar'
LEFT JOIN checkpoint_results AS f ON f.ablation = m.ablation AND f.setting = m.setting AND f.arm = m.arm
    AND f.seed = m.seed AND f.replicate = m.replicate AND f.checkpoint = 'final'
"""


def upgrade() -> None:
    _create_queue()
    _create_epochs()
    _create_evaluations()
    _create_surroundings()
    op.execute(CHECKPOINT_RESULTS)
    op.execute(RUN_RESULTS)


def downgrade() -> None:
    op.execute("DROP VIEW run_results")
    op.execute("DROP VIEW checkpoint_results")
    for table in (
        "warnings",
        "environments",
        "evaluation_classes",
        "evaluations",
        "checkpoints",
        "parameter_counts",
        "metrics",
        "epochs",
        "members",
        "runs",
        "ablations",
    ):
        op.drop_table(table)


def _run_key(table: str) -> tuple[sa.Column[str], sa.ForeignKeyConstraint]:
    return (
        sa.Column("run_key", sa.String(64), nullable=False),
        sa.ForeignKeyConstraint(["run_key"], ["runs.key"], name=f"fk_{table}_run_key_runs", ondelete="CASCADE"),
    )


def _create_queue() -> None:
    op.create_table(
        "ablations",
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("compare", sa.Text, nullable=False),
        sa.Column("added", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_ablations"),
    )
    op.create_table(
        "runs",
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("setup", sa.Text, nullable=False),
        sa.Column("protocol", sa.Text, nullable=False),
        sa.Column("dataset_name", sa.Text, nullable=False),
        sa.Column("dataset_path", sa.Text, nullable=False),
        sa.Column("dataset_fingerprint", sa.String(64), nullable=False),
        sa.Column("recipe", sa.Integer, nullable=False),
        sa.Column("created", MOMENT, nullable=False),
        sa.Column("started", MOMENT),
        sa.Column("finished", MOMENT),
        sa.Column("error", sa.Text),
        sa.Column("owner_host", sa.Text),
        sa.Column("owner_pid", sa.Integer),
        sa.Column("owner_started", sa.Double),
        sa.Column("owner_boot", sa.Text),
        sa.PrimaryKeyConstraint("key", name="pk_runs"),
        sa.CheckConstraint(
            "status IN ('queued', 'running', 'finished', 'failed', 'interrupted')", name=op.f("ck_runs_status")
        ),
    )
    op.create_index("ix_runs_status_position", "runs", ["status", "position"])
    op.create_table(
        "members",
        sa.Column("ablation", sa.String(255), nullable=False),
        sa.Column("setting", sa.String(255), nullable=False),
        sa.Column("arm", sa.String(255), nullable=False),
        sa.Column("seed", sa.Integer, nullable=False),
        sa.Column("replicate", sa.Integer, nullable=False),
        sa.Column("run_key", sa.String(64), nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("documented", sa.String(64)),
        sa.Column("overlap", sa.String(16), nullable=False),
        sa.Column("threshold", sa.Double, nullable=False),
        sa.Column("max_detections", sa.Integer, nullable=False),
        sa.Column("proposals", sa.String(32), nullable=False),
        sa.Column("inferred", sa.Text, nullable=False),
        sa.Column("overrides", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("ablation", "setting", "arm", "seed", "replicate", name="pk_members"),
        sa.ForeignKeyConstraint(
            ["ablation"], ["ablations.name"], name="fk_members_ablation_ablations", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["run_key"], ["runs.key"], name="fk_members_run_key_runs"),
    )
    op.create_index("ix_members_run_key", "members", ["run_key"])


def _create_epochs() -> None:
    op.create_table(
        "epochs",
        *_run_key("epochs"),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("lr", sa.Double),
        sa.Column("seconds", sa.Double),
        sa.Column("peak_memory", sa.BigInteger, nullable=False),
        sa.Column("committed", MOMENT, nullable=False),
        sa.Column("replaced", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("run_key", "epoch", name="pk_epochs"),
    )
    op.create_table(
        "metrics",
        sa.Column("run_key", sa.String(64), nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("split", sa.String(16), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("value", sa.Double),
        sa.Column("position", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("run_key", "epoch", "split", "name", name="pk_metrics"),
        sa.ForeignKeyConstraint(
            ["run_key", "epoch"],
            ["epochs.run_key", "epochs.epoch"],
            name="fk_metrics_run_key_epochs",
            ondelete="CASCADE",
        ),
    )
    op.create_table(
        "parameter_counts",
        *_run_key("parameter_counts"),
        sa.Column("module", sa.String(255), nullable=False),
        sa.Column("count", sa.BigInteger, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("run_key", "module", name="pk_parameter_counts"),
    )
    op.create_table(
        "checkpoints",
        *_run_key("checkpoints"),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("created", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("run_key", "kind", name="pk_checkpoints"),
    )


def _create_evaluations() -> None:
    op.create_table(
        "evaluations",
        sa.Column("id", sa.Integer, nullable=False),
        *_run_key("evaluations"),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("split", sa.String(16), nullable=False),
        sa.Column("overlap", sa.String(16), nullable=False),
        sa.Column("threshold", sa.Double, nullable=False),
        sa.Column("max_detections", sa.Integer, nullable=False),
        sa.Column("proposals", sa.String(32), nullable=False),
        sa.Column("ap", sa.Double),
        sa.Column("ar", sa.Double),
        sa.Column("detections", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_evaluations"),
        sa.UniqueConstraint(
            "run_key", "kind", "split", "overlap", "threshold", "max_detections", "proposals", name="uq_evaluations"
        ),
    )
    op.create_table(
        "evaluation_classes",
        sa.Column("evaluation_id", sa.Integer, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("ap", sa.Double),
        sa.Column("ar", sa.Double),
        sa.PrimaryKeyConstraint("evaluation_id", "position", name="pk_evaluation_classes"),
        sa.ForeignKeyConstraint(
            ["evaluation_id"],
            ["evaluations.id"],
            name="fk_evaluation_classes_evaluation_id_evaluations",
            ondelete="CASCADE",
        ),
    )


def _create_surroundings() -> None:
    op.create_table(
        "environments",
        sa.Column("id", sa.Integer, nullable=False),
        *_run_key("environments"),
        sa.Column("started", MOMENT, nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("platform", sa.Text, nullable=False),
        sa.Column("python", sa.Text, nullable=False),
        sa.Column("versions", sa.Text, nullable=False),
        sa.Column("device", sa.Text, nullable=False),
        sa.Column("threads", sa.Integer, nullable=False),
        sa.Column("git_commit", sa.Text),
        sa.Column("git_dirty", sa.Boolean),
        sa.Column("command", sa.Text, nullable=False),
        sa.Column("from_epoch", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_environments"),
    )
    op.create_index("ix_environments_run_key", "environments", ["run_key"])
    op.create_table(
        "warnings",
        sa.Column("id", sa.Integer, nullable=False),
        *_run_key("warnings"),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("created", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_warnings"),
    )
    op.create_index("ix_warnings_run_key", "warnings", ["run_key"])
