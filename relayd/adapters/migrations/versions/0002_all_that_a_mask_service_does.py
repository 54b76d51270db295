"""Mailbox pauses, mask options, domain rules, sender lists, usage, quarantine, notices and feedback.

Only new tables, and new columns with defaults: the version before goes on working beside this one.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _columns()
    _rules()
    _books()


def _columns() -> None:
    op.add_column("owners", sa.Column("language", sa.String(35), nullable=False, server_default="en"))
    op.add_column("owners", sa.Column("flag_reason", sa.Text(), nullable=True))
    op.add_column("owners", sa.Column("complained_at", sa.Double(), nullable=True))
    op.add_column("mailboxes", sa.Column("verified", sa.Boolean(), nullable=False, server_default=sa.true()))
    op.add_column("mailboxes", sa.Column("pause", sa.String(8), nullable=True))
    op.add_column("mailboxes", sa.Column("paused_until", sa.Double(), nullable=True))
    op.add_column("mailboxes", sa.Column("bounces", sa.Integer(), nullable=False, server_default=sa.text("0")))
    op.add_column("masks", sa.Column("display_name", sa.Text(), nullable=False, server_default=""))
    for name in ("block_lists", "banner", "remove_trackers"):
        op.add_column("masks", sa.Column(name, sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("masks", sa.Column("rule_id", sa.String(32), nullable=True))
    op.create_index("ix_masks_rule_id", "masks", ["rule_id"])
    op.add_column("deliveries", sa.Column("kind", sa.String(8), nullable=False, server_default="forward"))
    op.add_column("deliveries", sa.Column("owner_id", sa.String(32), nullable=True))
    op.add_column("deliveries", sa.Column("size", sa.Integer(), nullable=True))
    op.add_column("deliveries", sa.Column("trackers", sa.Integer(), nullable=True))
    op.create_index("ix_deliveries_owner_id", "deliveries", ["owner_id"])
    known = sa.text("ses_id IS NOT NULL")
    op.create_index("ix_deliveries_ses_id", "deliveries", ["ses_id"], sqlite_where=known, postgresql_where=known)


def _rules() -> None:
    op.create_table(
        "domain_rules",
        sa.Column("rule_id", sa.String(32), nullable=False),
        sa.Column("owner_id", sa.String(32), nullable=False),
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("pattern", sa.Text(), nullable=False),
        sa.Column("most", sa.Integer(), nullable=True),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("rule_id", name="pk_domain_rules"),
        sa.UniqueConstraint("domain", "pattern", name="uq_domain_rules_domain_pattern"),
        sa.ForeignKeyConstraint(["owner_id"], ["owners.owner_id"], name="fk_domain_rules_owner_id"),
    )
    op.create_index("ix_domain_rules_owner_id", "domain_rules", ["owner_id"])
    op.create_table(
        "rule_mailboxes",
        sa.Column("rule_id", sa.String(32), nullable=False),
        sa.Column("mailbox_id", sa.String(32), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("rule_id", "mailbox_id", name="pk_rule_mailboxes"),
        sa.ForeignKeyConstraint(["rule_id"], ["domain_rules.rule_id"], name="fk_rule_mailboxes_rule_id"),
        sa.ForeignKeyConstraint(["mailbox_id"], ["mailboxes.mailbox_id"], name="fk_rule_mailboxes_mailbox_id"),
    )
    op.create_index("ix_rule_mailboxes_mailbox_id", "rule_mailboxes", ["mailbox_id"])
    op.create_table(
        "sender_rules",
        sa.Column("scope_id", sa.String(32), nullable=False),
        sa.Column("pattern", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("scope_id", "pattern", name="pk_sender_rules"),
    )


def _books() -> None:
    op.create_table(
        "usage",
        sa.Column("mask_id", sa.String(32), nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("owner_id", sa.String(32), nullable=False),
        sa.Column("mails", sa.Integer(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("replies", sa.Integer(), nullable=False),
        sa.Column("discards", sa.Integer(), nullable=False),
        sa.Column("trackers", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("mask_id", "day", name="pk_usage"),
    )
    op.create_index("ix_usage_owner_id_day", "usage", ["owner_id", "day"])
    op.create_table(
        "quarantine",
        sa.Column("quarantine_id", sa.String(32), nullable=False),
        sa.Column("mail_id", sa.Text(), nullable=False),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("mailbox", sa.Text(), nullable=False),
        sa.Column("mask_id", sa.String(32), nullable=False),
        sa.Column("owner_id", sa.String(32), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("notification", sa.Text(), nullable=False),
        sa.Column("held_at", sa.Double(), nullable=False),
        sa.Column("released_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("quarantine_id", name="pk_quarantine"),
        sa.UniqueConstraint("mail_id", "recipient", "mailbox", name="uq_quarantine_mail_id_recipient_mailbox"),
    )
    for name in ("mask_id", "owner_id", "held_at"):
        op.create_index(f"ix_quarantine_{name}", "quarantine", [name])
    op.create_table(
        "notices",
        sa.Column("notice_id", sa.String(32), nullable=False),
        sa.Column("owner_id", sa.String(32), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("ended_at", sa.Double(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("notice_id", name="pk_notices"),
        sa.UniqueConstraint("owner_id", "kind", "day", name="uq_notices_owner_id_kind_day"),
    )
    op.create_index("ix_notices_created_at", "notices", ["created_at"])
    waiting = sa.text("ended_at IS NULL")
    op.create_index(
        "ix_notices_waiting", "notices", ["created_at"], sqlite_where=waiting, postgresql_where=waiting
    )
    op.create_table(
        "feedback",
        sa.Column("feedback_id", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("feedback_id", name="pk_feedback"),
    )
    op.create_index("ix_feedback_at", "feedback", ["at"])
