"""Runs and metrics get numbers, by which the many rows of epochs name them; views show these as they were."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from mmad.base.errors import StoreError

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)

EPOCHS = """
CREATE VIEW epochs AS
SELECT r.key AS run_key, e.epoch, e.lr, e.seconds, e.peak_memory, e.committed, e.replaced
FROM run_epochs AS e JOIN runs AS r ON r.id = e.run
"""
METRICS = """
CREATE VIEW metrics AS
SELECT r.key AS run_key, v.epoch, n.split, n.name, v.value, n.position
FROM run_metrics AS v JOIN runs AS r ON r.id = v.run JOIN metric_names AS n ON n.id = v.metric
"""
RUN_RESULTS = """
CREATE VIEW run_results AS
SELECT m.ablation, m.setting, m.arm, m.seed, m.replicate, m.documented, m.run_key AS key, r.status,
       (SELECT max(e.epoch) FROM {}) AS epoch, m.overlap,
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


#: Where ``run_results`` finds the epochs of a run, in the earlier schema and in this one.
EARLIER, NUMBERED = "epochs AS e WHERE e.run_key = m.run_key", "run_epochs AS e WHERE e.run = r.id"

TO_RUN_EPOCHS = """
INSERT INTO run_epochs (run, epoch, lr, seconds, peak_memory, committed, replaced)
SELECT r.id, e.epoch, e.lr, e.seconds, e.peak_memory, e.committed, e.replaced
FROM epochs AS e LEFT JOIN runs AS r ON r.key = e.run_key ORDER BY r.id, e.epoch
"""
TO_METRIC_NAMES = """
INSERT INTO metric_names (split, name, position)
SELECT DISTINCT split, name, position FROM metrics ORDER BY position, split, name
"""
TO_RUN_METRICS = """
INSERT INTO run_metrics (run, epoch, metric, value)
SELECT r.id, m.epoch, n.id, m.value
FROM metrics AS m LEFT JOIN runs AS r ON r.key = m.run_key
LEFT JOIN metric_names AS n ON n.split = m.split AND n.name = m.name AND n.position = m.position
ORDER BY r.id, m.epoch, n.id
"""
TO_EPOCHS = """
INSERT INTO epochs (run_key, epoch, lr, seconds, peak_memory, committed, replaced)
SELECT r.key, e.epoch, e.lr, e.seconds, e.peak_memory, e.committed, e.replaced
FROM run_epochs AS e JOIN runs AS r ON r.id = e.run
"""
TO_METRICS = """
INSERT INTO metrics (run_key, epoch, split, name, value, position)
SELECT r.key, v.epoch, n.split, n.name, v.value, n.position
FROM run_metrics AS v JOIN runs AS r ON r.id = v.run JOIN metric_names AS n ON n.id = v.metric
"""


def upgrade() -> None:
    connection = op.get_bind()
    op.add_column("runs", sa.Column("id", sa.Integer))
    keys = connection.execute(sa.text("SELECT key FROM runs ORDER BY position, key")).scalars().all()
    if keys:
        numbered = [{"number": number, "key": key} for number, key in enumerate(keys, start=1)]
        connection.execute(sa.text("UPDATE runs SET id = :number WHERE key = :key"), numbered)
    op.create_index("ix_runs_id", "runs", ["id"], unique=True)
    _create_numbered()
    try:
        for statement in (TO_RUN_EPOCHS, TO_METRIC_NAMES, TO_RUN_METRICS):
            op.execute(statement)
    except sa.exc.IntegrityError as error:
        raise StoreError("holds epochs or metrics of no run", where="runs", hint="go back to a backup") from error
    op.execute("DROP VIEW run_results")
    op.drop_table("metrics")
    op.drop_table("epochs")
    for view in (EPOCHS, METRICS, RUN_RESULTS.format(NUMBERED)):
        op.execute(view)


def downgrade() -> None:
    for view in ("run_results", "metrics", "epochs"):
        op.execute(f"DROP VIEW {view}")
    _create_earlier()
    op.execute(TO_EPOCHS)
    op.execute(TO_METRICS)
    for table in ("run_metrics", "metric_names", "run_epochs"):
        op.drop_table(table)
    op.drop_index("ix_runs_id", "runs")
    op.drop_column("runs", "id")
    op.execute(RUN_RESULTS.format(EARLIER))


def _epoch_columns() -> tuple[sa.Column[object], ...]:
    return (
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("lr", sa.Double),
        sa.Column("seconds", sa.Double),
        sa.Column("peak_memory", sa.BigInteger, nullable=False),
        sa.Column("committed", MOMENT, nullable=False),
        sa.Column("replaced", sa.Integer, nullable=False),
    )


def _create_numbered() -> None:
    op.create_table(
        "run_epochs",
        sa.Column("run", sa.Integer, nullable=False),
        *_epoch_columns(),
        sa.PrimaryKeyConstraint("run", "epoch", name="pk_run_epochs"),
        sa.ForeignKeyConstraint(["run"], ["runs.id"], name="fk_run_epochs_run_runs", ondelete="CASCADE"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "metric_names",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("split", sa.String(16), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_metric_names"),
        sa.UniqueConstraint("split", "name", "position", name="uq_metric_names"),
    )
    op.create_table(
        "run_metrics",
        sa.Column("run", sa.Integer, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("metric", sa.Integer, nullable=False),
        sa.Column("value", sa.Double),
        sa.PrimaryKeyConstraint("run", "epoch", "metric", name="pk_run_metrics"),
        sa.ForeignKeyConstraint(
            ["run", "epoch"],
            ["run_epochs.run", "run_epochs.epoch"],
            name="fk_run_metrics_run_run_epochs",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["metric"], ["metric_names.id"], name="fk_run_metrics_metric_metric_names"),
        sqlite_with_rowid=False,
    )


def _create_earlier() -> None:
    op.create_table(
        "epochs",
        sa.Column("run_key", sa.String(64), nullable=False),
        *_epoch_columns(),
        sa.PrimaryKeyConstraint("run_key", "epoch", name="pk_epochs"),
        sa.ForeignKeyConstraint(["run_key"], ["runs.key"], name="fk_epochs_run_key_runs", ondelete="CASCADE"),
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
