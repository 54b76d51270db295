"""Attempts one by one, replays, replicas, pauses, and masks whose mail is traced.

Only new tables, and new columns that may be NULL: the version before goes on working beside this one. From here on the
database says so (docs/adr/0013); what only adds leaves that word alone, what takes something away raises it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("deliveries", sa.Column("replay_id", sa.String(32), nullable=True))
    op.add_column("deliveries", sa.Column("claimed_at", sa.Double(), nullable=True))
    op.create_table(
        "attempts",
        sa.Column("delivery_id", sa.String(32), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("trace", sa.Text(), nullable=True),
        sa.Column("began_at", sa.Double(), nullable=True),
        sa.Column("ended_at", sa.Double(), nullable=False),
        sa.Column("replay_id", sa.String(32), nullable=True),
        sa.Column("ses_id", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("delivery_id", "attempt", name="pk_attempts"),
    )
    op.create_index("ix_attempts_ended_at", "attempts", ["ended_at"])
    known = sa.text("ses_id IS NOT NULL")
    op.create_index("ix_attempts_ses_id", "attempts", ["ses_id"], sqlite_where=known, postgresql_where=known)
    op.create_table(
        "replicas",
        sa.Column("replica_id", sa.String(64), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("seen_at", sa.Double(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("replica_id", name="pk_replicas"),
    )
    op.create_index("ix_replicas_seen_at", "replicas", ["seen_at"])
    op.create_table(
        "pauses",
        sa.Column("scope", sa.String(8), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("scope", "subject", name="pk_pauses"),
    )
    op.create_table(
        "traced_masks",
        sa.Column("mask_id", sa.String(32), nullable=False),
        sa.Column("until", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("mask_id", name="pk_traced_masks"),
    )
    meta = sa.table("meta", sa.column("name"), sa.column("value"))
    op.execute(sa.insert(meta).values(name="oldest_version", value="0002"))
