"""The tables, as SQLAlchemy Core sees them. `migrations` makes them; a test holds the two against each other."""

from sqlalchemy import (
    BigInteger,
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
    false,
    text,
    true,
)

HEAD = "0003"
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
    Column("language", String(35), nullable=False, server_default="en"),
    # Why the owner is held for review: `complaint`, or what an operator wrote.
    Column("flag_reason", Text),
    Column("complained_at", Double),
)

mailboxes = Table(
    "mailboxes",
    metadata,
    Column("mailbox_id", String(32), primary_key=True),
    Column("owner_id", ForeignKey("owners.owner_id"), nullable=False, index=True),
    # Unique over all owners: a bounce pauses a mailbox, and a reply is allowed, without asking whose it is.
    Column("address", Text, nullable=False, unique=True),
    Column("created_at", Double, nullable=False),
    Column("verified", Boolean, nullable=False, server_default=true()),
    # `hard` or `soft`, in force until `paused_until`; both NULL when mail may be sent.
    Column("pause", String(8)),
    Column("paused_until", Double),
    # Hard bounces since the last delivery.
    Column("bounces", Integer, nullable=False, server_default=text("0")),
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
    Column("display_name", Text, nullable=False, server_default=""),
    Column("block_lists", Boolean, nullable=False, server_default=false()),
    Column("banner", Boolean, nullable=False, server_default=false()),
    Column("remove_trackers", Boolean, nullable=False, server_default=false()),
    # The domain rule that made it. The rule may be gone by now.
    Column("rule_id", String(32), index=True),
)

mask_mailboxes = Table(
    "mask_mailboxes",
    metadata,
    Column("mask_id", ForeignKey("masks.mask_id"), primary_key=True),
    Column("mailbox_id", ForeignKey("mailboxes.mailbox_id"), primary_key=True, index=True),
    Column("position", Integer, nullable=False),
)

domain_rules = Table(
    "domain_rules",
    metadata,
    Column("rule_id", String(32), primary_key=True),
    Column("owner_id", ForeignKey("owners.owner_id"), nullable=False, index=True),
    Column("domain", Text, nullable=False),
    # Of the local part: `*` stands for any run of characters, and alone for everything (a catch-all).
    Column("pattern", Text, nullable=False),
    # How many masks it may make, removed ones left out; NULL for any number.
    Column("most", Integer),
    Column("enabled", Boolean, nullable=False),
    Column("created_at", Double, nullable=False),
    UniqueConstraint("domain", "pattern"),
)

rule_mailboxes = Table(
    "rule_mailboxes",
    metadata,
    Column("rule_id", ForeignKey("domain_rules.rule_id"), primary_key=True),
    Column("mailbox_id", ForeignKey("mailboxes.mailbox_id"), primary_key=True, index=True),
    Column("position", Integer, nullable=False),
)

sender_rules = Table(
    "sender_rules",
    metadata,
    # A mask's id or an owner's: both are random, so that one column is enough.
    Column("scope_id", String(32), primary_key=True),
    # An address, `@domain`, or `@.domain` for the domain and all below it.
    Column("pattern", Text, primary_key=True),
    # `block` or `allow`.
    Column("kind", String(8), nullable=False),
    Column("created_at", Double, nullable=False),
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
    # `forward`, `reply` or `notice`.
    Column("kind", String(8), nullable=False, server_default="forward"),
    Column("owner_id", String(32), index=True),
    # Of the mail as it was sent: bytes, and trackers taken out.
    Column("size", Integer),
    Column("trackers", Integer),
    # The replay that the last attempt is of.
    Column("replay_id", String(32)),
    # When the last attempt began; NULL where the version before this column made it.
    Column("claimed_at", Double),
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

_known = text("ses_id IS NOT NULL")
Index("ix_deliveries_ses_id", deliveries.c.ses_id, sqlite_where=_known, postgresql_where=_known)

attempts = Table(
    "attempts",
    metadata,
    # Attempts that did not end in a send, and sends that a replay has followed. What became of the last one stands with
    # the delivery, so that a mail that goes through at once costs nothing here. Number 0 is a discard without a claim.
    Column("delivery_id", String(32), primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("message_id", Text),
    Column("reason", Text, nullable=False),
    Column("trace", Text),
    Column("began_at", Double),
    Column("ended_at", Double, nullable=False, index=True),
    # The replay that the attempt was of.
    Column("replay_id", String(32)),
    # SES's id where the mail was sent in it.
    Column("ses_id", Text),
)
Index("ix_attempts_ses_id", attempts.c.ses_id, sqlite_where=_known, postgresql_where=_known)

usage = Table(
    "usage",
    metadata,
    Column("mask_id", String(32), primary_key=True),
    # Days since 1970, UTC. Day 0 holds what is older than the daily rows are kept.
    Column("day", Integer, primary_key=True),
    Column("owner_id", String(32), nullable=False),
    Column("mails", Integer, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("replies", Integer, nullable=False),
    Column("discards", Integer, nullable=False),
    Column("trackers", Integer, nullable=False),
    Index(None, "owner_id", "day"),
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("quarantine_id", String(32), primary_key=True),
    Column("mail_id", Text, nullable=False),
    Column("recipient", Text, nullable=False),
    # Empty where it is held back from all of the mask's mailboxes.
    Column("mailbox", Text, nullable=False),
    Column("mask_id", String(32), nullable=False, index=True),
    Column("owner_id", String(32), nullable=False, index=True),
    Column("reason", Text, nullable=False),
    # For a person who has to choose.
    Column("sender", Text, nullable=False),
    Column("subject", Text, nullable=False),
    # SES's notification in a short form for this recipient: what a release puts into the queue again.
    Column("notification", Text, nullable=False),
    Column("held_at", Double, nullable=False, index=True),
    Column("released_at", Double),
    UniqueConstraint("mail_id", "recipient", "mailbox"),
)

notices = Table(
    "notices",
    metadata,
    Column("notice_id", String(32), primary_key=True),
    Column("owner_id", String(32), nullable=False),
    Column("kind", String(32), nullable=False),
    # Days since 1970, UTC: one of a kind a day.
    Column("day", Integer, nullable=False),
    Column("facts", Text, nullable=False),
    Column("created_at", Double, nullable=False, index=True),
    Column("ended_at", Double),
    # `sent`, or why not.
    Column("outcome", Text),
    UniqueConstraint("owner_id", "kind", "day"),
)
_waiting = text("ended_at IS NULL")
Index("ix_notices_waiting", notices.c.created_at, sqlite_where=_waiting, postgresql_where=_waiting)

feedback = Table(
    "feedback",
    metadata,
    # Events whose effects must not happen twice, for SNS may deliver one twice.
    Column("feedback_id", Text, primary_key=True),
    Column("at", Double, nullable=False, index=True),
)

retries = Table(
    "retries",
    metadata,
    Column("message_id", Text, primary_key=True),
    Column("first_at", Double, nullable=False, index=True),
    Column("failures", Integer, nullable=False),
    Column("bugs", Integer, nullable=False),
)

replicas = Table(
    "replicas",
    metadata,
    # One row for each daemon that runs, or ran lately.
    Column("replica_id", String(64), primary_key=True),
    Column("started_at", Double, nullable=False),
    Column("seen_at", Double, nullable=False, index=True),
    # What its /status says, as JSON.
    Column("status", Text, nullable=False),
)

pauses = Table(
    "pauses",
    metadata,
    # `all`, `domain` or `owner`.
    Column("scope", String(8), primary_key=True),
    # Empty, the domain, or the owner's id.
    Column("subject", Text, primary_key=True),
    # What the operator wrote.
    Column("reason", Text, nullable=False),
    Column("created_at", Double, nullable=False),
)

traced_masks = Table(
    "traced_masks",
    metadata,
    # Masks all of whose mail is sampled.
    Column("mask_id", String(32), primary_key=True),
    Column("until", Double, nullable=False),
)

meta = Table(
    "meta",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)
