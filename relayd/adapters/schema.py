"""The tables, as SQLAlchemy Core sees them. `migrations` makes them; a test holds the two against each other."""

from sqlalchemy import (
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

HEAD = "0001"
"""The newest migration: here too, so that a start on a current database need not import Alembic."""

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    }
)

owners = Table(
    "owners",
    metadata,
    Column("owner_id", String(32), primary_key=True),
    # What people call the owner; the first mailbox's address until somebody says better.
    Column("name", Text, nullable=False, unique=True),
    Column("active", Boolean, nullable=False),
    Column("flagged", Boolean, nullable=False),
    Column("spam_handling", String(16), nullable=False),
    Column("dmarc_handling", String(16), nullable=False),
    Column("created_at", Double, nullable=False),
)

mailboxes = Table(
    "mailboxes",
    metadata,
    Column("mailbox_id", String(32), primary_key=True),
    Column("owner_id", ForeignKey("owners.owner_id"), nullable=False, index=True),
    # Unique over all owners: a bounce pauses a mailbox, and a reply is allowed, without asking whose it is.
    Column("address", Text, nullable=False, unique=True),
    Column("created_at", Double, nullable=False),
)

masks = Table(
    "masks",
    metadata,
    Column("mask_id", String(32), primary_key=True),
    Column("address", Text, nullable=False, unique=True),
    Column("owner_id", ForeignKey("owners.owner_id"), nullable=False, index=True),
    Column("enabled", Boolean, nullable=False),
    Column("created_at", Double, nullable=False),
    # Set: a tombstone. Mail for it is unknown, and its address is never given out again, because strangers and
    # shops still know it as somebody else's.
    Column("removed_at", Double),
)

mask_mailboxes = Table(
    "mask_mailboxes",
    metadata,
    Column("mask_id", ForeignKey("masks.mask_id"), primary_key=True),
    Column("mailbox_id", ForeignKey("mailboxes.mailbox_id"), primary_key=True, index=True),
    Column("position", Integer, nullable=False),
)

contacts = Table(
    "contacts",
    metadata,
    Column("contact_id", String(32), primary_key=True),
    Column("mask_id", ForeignKey("masks.mask_id"), nullable=False),
    # Empty for all mail without a readable sender; NULL would not be unique.
    Column("address", Text, nullable=False),
    Column("token", String(32), nullable=False, unique=True),
    Column("created_at", Double, nullable=False),
    UniqueConstraint("mask_id", "address"),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("delivery_id", String(32), primary_key=True),
    Column("mail_id", Text, nullable=False),
    Column("recipient", Text, nullable=False),
    Column("mailbox", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", Text),
    # Whose claim it is, or was; NULL after it was given back.
    Column("token", String(32)),
    Column("expires_at", Double),
    Column("attempt", Integer, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("kills", Integer, nullable=False),
    Column("doubts", Integer, nullable=False),
    Column("resends", Integer, nullable=False),
    Column("message_id", Text, nullable=False),
    Column("mask_id", String(32)),
    Column("trace", Text),
    Column("previous_trace", Text),
    Column("ses_id", Text),
    Column("original_message_id", Text),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    UniqueConstraint("mail_id", "recipient", "mailbox"),
    # Threads are looked up by the first column alone, too: the counters of a mask.
    Index(None, "mask_id", "original_message_id"),
    # Pruning goes by updated_at, which is never before created_at; this one does not move with each update.
    Index(None, "created_at"),
)

_ended = text("state IN ('discarded', 'failed')")
Index(
    "ix_deliveries_ended",
    deliveries.c.state,
    deliveries.c.reason,
    deliveries.c.updated_at,
    sqlite_where=_ended,
    postgresql_where=_ended,
)

retries = Table(
    "retries",
    metadata,
    Column("message_id", Text, primary_key=True),
    Column("first_at", Double, nullable=False, index=True),
    Column("failures", Integer, nullable=False),
    Column("bugs", Integer, nullable=False),
)

meta = Table(
    "meta",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)
