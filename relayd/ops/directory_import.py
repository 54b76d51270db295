"""The directory read in: a document that an export wrote, or that somebody wrote to move here from elsewhere."""

import json
from collections.abc import Collection, Iterable, Iterator
from typing import Any

import sqlalchemy as sa

from relayd.adapters.database import Database
from relayd.adapters.schema import (
    contacts,
    domain_rules,
    mailboxes,
    mask_mailboxes,
    masks,
    owners,
    rule_mailboxes,
    sender_rules,
)
from relayd.errors import Problem
from relayd.model.address import Address
from relayd.ops import merging
from relayd.ops.directory_records import read_directory
from relayd.ops.merging import Counts, Merge, Record, relink
from relayd.ops.refusals import RefusedError
from relayd.ops.snapshot import without_limits
from relayd.ops.typed import DEFAULT_LIMIT, foreign_problem, loop_problems

_PORTION = 300
"""Owners, or masks, that go in together."""


class _Undo(Exception):  # noqa: N818 - nothing went wrong
    """Ends the transaction of a dry run."""


def parse_document(text: str) -> tuple[list[Record], list[Problem]]:
    """The owners of a document, and what is wrong with its form."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        where = f": line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        return [], [Problem(f"the file{where}", "is not JSON", "export one to see how it looks.")]
    return read_directory(document)


def import_directory(
    database: Database,
    owners_: list[Record],
    *,
    mail_domains: Collection[str],
    problems: Iterable[Problem] = (),
    dry_run: bool = False,
) -> dict[str, Counts]:
    """Make the directory hold what the records say, and remove nothing. All of it, or nothing; RefusedError with all
    `problems`, or with all that are found.
    """
    found = list(problems)
    if not found:
        found = [one for owner in owners_ for one in _misplaced(owner, mail_domains)]
    if found:
        # What clashes with what is there can only be told of records that are right in themselves.
        raise RefusedError(found)
    try:
        with database.writing("import") as connection:
            without_limits(database, connection)
            moment = connection.execute(sa.select(database.now)).scalar_one()
            whole = _Import(connection, moment, found)
            for portion in _portions(owners_):
                whole.put(portion)
            if found:
                raise RefusedError(found)
            if dry_run:
                raise _Undo
    except _Undo:
        pass
    return whole.counts()


def _misplaced(owner: Record, mail_domains: Collection[str]) -> Iterator[Problem]:
    """Masks and rules that are not on our domains, mailboxes that are, masks without a mailbox."""
    for box in owner.get("mailboxes", ()):
        yield from _at(box["place"], loop_problems([Address.parse(box["address"])], mail_domains))
    for rule in owner.get("rules", ()):
        if not rule["mailboxes"]:
            yield Problem(rule["place"], "has no mailbox to forward to", "name one at least.")
        yield from _at(rule["place"], foreign_problem(rule["domain"], rule["pattern"], mail_domains))
    for mask in owner.get("masks", ()):
        if mask.get("removed_at") is not None:
            continue
        domain = mask["address"].rpartition("@")[2]
        if "mailboxes" in mask and not mask["mailboxes"]:
            yield Problem(mask["place"], "has no mailbox to forward to", "name one at least.")
        yield from _at(mask["place"], foreign_problem(domain, mask["address"], mail_domains))


def _at(place: str, wrong: Iterable[tuple[str, str]]) -> Iterator[Problem]:
    return (Problem(place, problem, hint) for problem, hint in wrong)


def _portions(records: list[Record]) -> Iterator[list[Record]]:
    """Together enough for a statement to be worth it."""
    portion: list[Record] = []
    size = 0
    for record in records:
        portion.append(record)
        size += 1 + len(record.get("masks", ()))
        if size >= _PORTION:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion


def _same_owner(row: Any, record: Record) -> tuple[str, str] | None:
    if row["owner_id"] != record["owner_id"]:
        return "belongs to another owner, and never changes hands", "leave it out, or choose another."
    return None


def _mask_may_change(row: Any, record: Record) -> tuple[str, str] | None:
    if row["removed_at"] is not None and record.get("removed_at") is None:
        return "was removed, and a removed mask is never given out again", "leave it out, or write its `removed_at`."
    return _same_owner(row, record)


def _token_stays(row: Any, record: Record) -> tuple[str, str] | None:
    if row["token"] != record["token"]:
        return "is there already, with another token", "leave it out: its owner answers to the token that is there."
    return None


_OWNERS = merging.Rules(
    owners,
    ("name",),
    "owner_id",
    {
        "active": True,
        "flagged": False,
        "flag_reason": None,
        "spam_handling": "quarantine",
        "dmarc_handling": "forward",
        "language": "en",
        "complained_at": None,
    },
    # What has happened since is not undone by an older file.
    keeps=frozenset({"complained_at", "created_at"}),
    renames=True,
)
_MAILBOXES = merging.Rules(
    mailboxes,
    ("address",),
    "mailbox_id",
    {"owner_id": None, "verified": True, "pause": None, "paused_until": None, "bounces": 0},
    keeps=frozenset({"pause", "paused_until", "bounces", "created_at"}),
    guard=_same_owner,
)
_RULES = merging.Rules(
    domain_rules,
    ("domain", "pattern"),
    "rule_id",
    {"owner_id": None, "most": DEFAULT_LIMIT, "enabled": True},
    keeps=frozenset({"created_at"}),
    guard=_same_owner,
)
_MASKS = merging.Rules(
    masks,
    ("address",),
    "mask_id",
    {
        "owner_id": None,
        "enabled": True,
        "removed_at": None,
        "display_name": "",
        "block_lists": False,
        "banner": False,
        "remove_trackers": False,
        "rule_id": None,
    },
    keeps=frozenset({"created_at"}),
    guard=_mask_may_change,
)
_CONTACTS = merging.Rules(
    contacts,
    ("mask_id", "address"),
    "contact_id",
    {"token": None},
    keeps=frozenset({"created_at"}),
    guard=_token_stays,
)
_SENDERS = merging.Rules(sender_rules, ("scope_id", "pattern"), None, {"kind": None}, keeps=frozenset({"created_at"}))


class _Import:
    """The tables of an import, each put in after those that it refers to."""

    def __init__(self, connection: sa.Connection, moment: float, problems: list[Problem]) -> None:
        self._connection = connection
        self._problems = problems
        (self._owners, self._mailboxes, self._rules, self._masks, self._contacts, self._senders) = (
            Merge(connection, rules, moment, problems)
            for rules in (_OWNERS, _MAILBOXES, _RULES, _MASKS, _CONTACTS, _SENDERS)
        )

    def counts(self) -> dict[str, Counts]:
        merges = (self._owners, self._mailboxes, self._rules, self._masks, self._contacts, self._senders)
        return {merge.rules.table.name: merge.counts for merge in merges}

    def put(self, portion: list[Record]) -> None:
        """These owners, with all that is theirs."""
        self._owners.put(portion)
        portion = [owner for owner in portion if "outcome" in owner]
        self._mailboxes.put(_children(portion, "mailboxes", "owner_id"))
        theirs = self._mailbox_ids([owner["owner_id"] for owner in portion])
        self._linked(self._rules, _children(portion, "rules", "owner_id"), theirs, rule_mailboxes)
        given = self._linked(self._masks, _children(portion, "masks", "owner_id"), theirs, mask_mailboxes)
        self._contacts.put(list(self._with_free_tokens(_children(given, "contacts", "mask_id"))))
        self._senders.put(
            [
                one | {"scope_id": one[key]}
                for parents, key in ((portion, "owner_id"), (given, "mask_id"))
                for one in _children(parents, "senders", key)
            ]
        )

    def _mailbox_ids(self, owner_ids: list[str]) -> dict[tuple[str, str], str]:
        """By owner and address."""
        found: dict[tuple[str, str], str] = {}
        for start in range(0, len(owner_ids), _PORTION):
            query = sa.select(mailboxes).where(mailboxes.c.owner_id.in_(owner_ids[start : start + _PORTION]))
            found |= {(row.owner_id, row.address): row.mailbox_id for row in self._connection.execute(query)}
        return found

    def _linked(
        self, merge: Merge, records: list[Record], theirs: dict[tuple[str, str], str], links: sa.Table
    ) -> list[Record]:
        """Put in what forwards, with where it forwards to; answers with those records that are there now."""
        merge.put([one for one in records if self._mailboxes_are_there(one, theirs)])
        key = str(merge.rules.id)
        there = [one for one in records if "outcome" in one]
        wanted = {
            one[key]: [theirs[one["owner_id"], address] for address in one["mailboxes"]]
            for one in there
            if "mailboxes" in one
        }
        changed = relink(self._connection, links, key, wanted)
        for one in there:
            if one[key] in changed:
                merge.also_changed(one)
            elif one["outcome"] == "added" and "mailboxes" not in one and one.get("removed_at") is None:
                self._problems.append(Problem(one["place"], "has no mailbox to forward to", "name one at least."))
        return there

    def _mailboxes_are_there(self, record: Record, theirs: dict[tuple[str, str], str]) -> bool:
        missing = [one for one in record.get("mailboxes", ()) if (record["owner_id"], one) not in theirs]
        self._problems += [
            Problem(record["place"], f"{one} is no mailbox of its owner", "add it to the owner's `mailboxes`.")
            for one in missing
        ]
        return not missing

    def _with_free_tokens(self, records: list[Record]) -> Iterator[Record]:
        """A token leads to one contact, or an owner's answer would reach somebody else."""
        holders: dict[str, tuple[str, str]] = {}
        for start in range(0, len(records), _PORTION):
            tokens = [one["token"] for one in records[start : start + _PORTION]]
            query = sa.select(contacts).where(contacts.c.token.in_(tokens))
            holders |= {row.token: (row.mask_id, row.address) for row in self._connection.execute(query)}
        for one in records:
            here = (one["mask_id"], one["address"])
            if holders.setdefault(one["token"], here) == here:
                yield one
            else:
                hint = "leave one of them out: it is made anew, with another token, by the next mail."
                self._problems.append(Problem(one["place"], "has the token of another contact", hint))


def _children(parents: list[Record], name: str, key: str) -> list[Record]:
    """The records inside these records, told whose they are."""
    return [one | {key: parent[key]} for parent in parents for one in parent.get(name, ())]
