"""Directory, ledger and meta."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    _directory()
    _ledger()
    op.create_table(
        "meta",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_meta"),
    )


def _directory() -> None:
    op.create_table(
        "owners",
        sa.Column("owner_id", sa.String(32), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("flagged", sa.Boolean(), nullable=False),
        sa.Column("spam_handling", sa.String(16), nullable=False),
        sa.Column("dmarc_handling", sa.String(16), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("owner_id", name="pk_owners"),
        sa.UniqueConstraint("name", name="uq_owners_name"),
    )
    op.create_table(
        "mailboxes",
        sa.Column("mailbox_id", sa.String(32), nullable=False),
        sa.Column("owner_id", sa.String(32), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("mailbox_id", name="pk_mailboxes"),
        sa.UniqueConstraint("address", name="uq_mailboxes_address"),
        sa.ForeignKeyConstraint(["owner_id"], ["owners.owner_id"], name="fk_mailboxes_owner_id"),
    )
    op.create_index("ix_mailboxes_owner_id", "mailboxes", ["owner_id"])
    op.create_table(
        "masks",
        sa.Column("mask_id", sa.String(32), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("owner_id", sa.String(32), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("removed_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("mask_id", name="pk_masks"),
        sa.UniqueConstraint("address", name="uq_masks_address"),
        sa.ForeignKeyConstraint(["owner_id"], ["owners.owner_id"], name="fk_masks_owner_id"),
    )
    op.create_index("ix_masks_owner_id", "masks", ["owner_id"])
    op.create_table(
        "mask_mailboxes",
        sa.Column("mask_id", sa.String(32), nullable=False),
        sa.Column("mailbox_id", sa.String(32), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("mask_id", "mailbox_id", name="pk_mask_mailboxes"),
        sa.ForeignKeyConstraint(["mask_id"], ["masks.mask_id"], name="fk_mask_mailboxes_mask_id"),
        sa.ForeignKeyConstraint(["mailbox_id"], ["mailboxes.mailbox_id"], name="fk_mask_mailboxes_mailbox_id"),
    )
    op.create_index("ix_mask_mailboxes_mailbox_id", "mask_mailboxes", ["mailbox_id"])
    op.create_table(
        "contacts",
        sa.Column("contact_id", sa.String(32), nullable=False),
        sa.Column("mask_id", sa.String(32), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("token", sa.String(32), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("contact_id", name="pk_contacts"),
        sa.UniqueConstraint("token", name="uq_contacts_token"),
        sa.UniqueConstraint("mask_id", "address", name="uq_contacts_mask_id_address"),
        sa.ForeignKeyConstraint(["mask_id"], ["masks.mask_id"], name="fk_contacts_mask_id"),
    )


def _ledger() -> None:
    op.create_table(
        "deliveries",
        sa.Column("delivery_id", sa.String(32), nullable=False),
        sa.Column("mail_id", sa.Text(), nullable=False),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("mailbox", sa.Text(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("token", sa.String(32), nullable=True),
        sa.Column("expires_at", sa.Double(), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("kills", sa.Integer(), nullable=False),
        sa.Column("doubts", sa.Integer(), nullable=False),
        sa.Column("resends", sa.Integer(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("mask_id", sa.String(32), nullable=True),
        sa.Column("trace", sa.Text(), nullable=True),
        sa.Column("previous_trace", sa.Text(), nullable=True),
        sa.Column("ses_id", sa.Text(), nullable=True),
        sa.Column("original_message_id", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("delivery_id", name="pk_deliveries"),
        sa.UniqueConstraint("mail_id", "recipient", "mailbox", name="uq_deliveries_mail_id_recipient_mailbox"),
    )
    op.create_index("ix_deliveries_mask_id_original_message_id", "deliveries", ["mask_id", "original_message_id"])
    op.create_index("ix_deliveries_created_at", "deliveries", ["created_at"])
    ended = sa.text("state IN ('discarded', 'failed')")
    op.create_index(
        "ix_deliveries_ended",
        "deliveries",
        ["state", "reason", "updated_at"],
        sqlite_where=ended,
        postgresql_where=ended,
    )
    op.create_table(
        "retries",
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("first_at", sa.Double(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("bugs", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("message_id", name="pk_retries"),
    )
    op.create_index("ix_retries_first_at", "retries", ["first_at"])
