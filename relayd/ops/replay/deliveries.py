"""Offers made from the ledger: it knows what failed and for whom, and the mail itself lies in the bucket."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import sqlalchemy as sa

from relayd.adapters.database import Database
from relayd.adapters.schema import deliveries as d
from relayd.adapters.schema import quarantine as q
from relayd.errors import HoldError, PermanentError, TransientError
from relayd.model.address import Address
from relayd.ops.replay.offers import Offer, Standing
from relayd.ops.replay.raw_mails import BucketView, RawMails, mail_in
from relayd.wire.rebuilt import NOT_FROM_SES

State = Literal["failed", "discarded", "sent"]
NOWHERE = "mail_not_found"
"""None of the places that were looked at has the mail: another bucket or prefix, or the lifecycle has taken it."""
UNKNOWN = "unknown"
"""The reason of a delivery that has none."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where raw mails may lie."""

    bucket: BucketView
    prefix: str
    """What stands before SES's id in a key."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which deliveries are meant: those that fit everything that is said here."""

    states: Sequence[State]
    reasons: frozenset[str] = frozenset()
    since: float | None = None
    until: float | None = None
    """Seconds since the epoch, of the last change: from the one on, and before the other."""
    mask: Address | None = field(repr=False, default=None)
    name: str | None = None
    """SES's id of the mail, or SQS's of the message that it failed for."""


@dataclass(slots=True)
class _Mail:
    """What is meant of one mail."""

    mail_id: str
    reason: str
    at: float
    names: set[str]
    recipients: dict[str, None] = field(repr=False, default_factory=dict)


class DeliverySource(Standing):
    """The ledger's deliveries, one offer a mail."""

    def __init__(self, database: Database, wanted: Wanted, places: Sequence[Place], mails: RawMails) -> None:
        self._database = database
        self._wanted = wanted
        self._places = places
        self._mails = mails
        self._found: list[_Mail] | None = None

    def offers(self) -> Iterator[list[Offer]]:
        """See `Source`. Oldest first."""
        yield []
        yield from self._mails.in_parallel(self._chosen(), self._offer)

    def total(self) -> int | None:
        """See `Source`."""
        return len(self._chosen())

    def _chosen(self) -> list[_Mail]:
        if self._found is None:
            self._found = list(_mails(self._database, self._wanted))
        return self._found

    def _offer(self, mail: _Mail) -> Offer:
        offer = Offer(mail.reason, mail.at, frozenset(mail.names))
        try:
            text = self._kept(mail) or self._made(mail)
        except (PermanentError, TransientError, HoldError) as error:
            return replace(offer, problem=self._mails.problem_of(error))
        return replace(offer, text=text, received=mail_in(text))

    def _kept(self, mail: _Mail) -> str | None:
        """SES's own notification, in its short form, where the mail was held back: it knows the verdicts and the place
        better than anybody who looks for them. It is for one recipient.
        """
        if len(mail.recipients) != 1:
            return None
        query = sa.select(q.c.notification).where(q.c.mail_id == mail.mail_id, q.c.recipient.in_(mail.recipients))
        with self._database.reading("replay") as connection:
            return connection.execute(query.limit(1)).scalar_one_or_none()

    def _made(self, mail: _Mail) -> str:
        refusal: PermanentError | HoldError = PermanentError(NOWHERE)
        for place in self._places:
            try:
                return self._mails.notification(place.bucket, place.prefix + mail.mail_id, tuple(mail.recipients))
            except PermanentError as error:
                if error.reason == NOT_FROM_SES:
                    refusal = error
            except HoldError as error:
                # Whether that object exists is not told to everybody; another place may have it.
                refusal = error
        raise refusal


def _mails(database: Database, wanted: Wanted) -> Iterator[_Mail]:
    """The mails of the deliveries that are meant. Raises RelaydError."""
    query = (
        sa.select(d.c.mail_id, d.c.recipient, d.c.reason, d.c.state, d.c.message_id, d.c.updated_at)
        .where(d.c.state.in_(wanted.states), d.c.kind != "notice", d.c.recipient != "")
        .order_by(d.c.updated_at, d.c.delivery_id)
    )
    if wanted.since is not None:
        query = query.where(d.c.updated_at >= wanted.since)
    if wanted.until is not None:
        query = query.where(d.c.updated_at < wanted.until)
    if wanted.name is not None:
        query = query.where(sa.or_(d.c.mail_id == wanted.name, d.c.message_id == wanted.name))
    found: dict[str, _Mail] = {}
    with database.reading("replay") as connection:
        for row in connection.execute(query):
            reason = row.reason or (row.state if row.state == "sent" else UNKNOWN)
            if wanted.reasons and reason not in wanted.reasons:
                continue
            if wanted.mask is not None and not _is_for(wanted.mask, row.recipient):
                continue
            mail = found.setdefault(row.mail_id, _Mail(row.mail_id, reason, row.updated_at, {row.mail_id}))
            mail.names.add(row.message_id)
            mail.recipients[row.recipient] = None
    yield from found.values()


def _is_for(mask: Address, recipient: str) -> bool:
    try:
        return Address.parse(recipient).bare == mask.bare
    except ValueError:
        return False
