"""The whole directory as a file, and a person's rights, on SQLite and PostgreSQL alike."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from relayd.adapters.database import Database
from relayd.adapters.directory import SqlDirectory
from relayd.adapters.schema import (
    attempts,
    contacts,
    deliveries,
    mailboxes,
    masks,
    metadata,
    notices,
    owners,
    quarantine,
    sender_rules,
    usage,
)
from relayd.model.address import Address
from relayd.model.mask import TokenRecipient, UnknownRecipient
from relayd.ops.directory_records import read_directory
from tests.contract.databases import open_database
from tests.terminal import Operator

SHOP = "shop@mask.example"
SELLER = Address.parse("seller+7@shop.example")
ANN = ("owners", "show", "Ann")


@pytest.fixture
def relayd(database_url: str, tmp_path: Path) -> Iterator[Operator]:
    """An operator of a directory that has something of everything."""
    database = open_database(database_url)
    operator = Operator(tmp_path)
    operator.environ["RELAYD_DATABASE_URL"] = database_url
    operator.ok(
        "masks", "add", SHOP, "--to", "ann@example.org", "--to", "two@example.org", "--owner", "Ann", "--banner"
    )
    operator.ok("masks", "add", "b@mask.example", "--to", "bob@example.org", "--disabled")
    operator.ok("masks", "add", "gone@mask.example", "--to", "two@example.org", "--display-name", "Ann's")
    operator.ok("masks", "remove", "gone@mask.example", "--yes")
    operator.ok("owners", "set", "Ann", "--spam", "drop", "--language", "de")
    operator.ok("owners", "flag", "bob@example.org", "--reason", "why not")
    operator.ok("owners", "mailbox", "add", "Ann", "new@example.org", "--unverified")
    operator.ok("masks", "rule", "add", "mask.example", "--to", "two@example.org", "--pattern", "x-*", "--no-limit")
    operator.ok("masks", "block", SHOP, "@ads.example")
    operator.ok("owners", "allow", "Ann", "good@ads.example")
    operator.ok("masks", "contact", SHOP, SELLER.full)
    with database.writing() as connection:
        two = sa.update(mailboxes).where(mailboxes.c.address == "two@example.org")
        connection.execute(two.values(pause="soft", paused_until=4e9, bounces=3))
    database.close()
    yield operator
    operator.folder.joinpath("second.db").unlink(missing_ok=True)


def elsewhere(relayd: Operator) -> Operator:
    """Another, empty database."""
    other = Operator(relayd.folder)
    other.environ["RELAYD_DATABASE_URL"] = f"sqlite:///{relayd.folder}/second.db"
    return other


def count(database: Database, table: sa.Table) -> int:
    with database.reading() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


def test_a_directory_moves_with_everything(relayd: Operator) -> None:
    """Exported, imported into an empty database, and exported again: equal, ids, times and tokens included. An old
    reply token leads to the same contact there.
    """
    exported = relayd.ok("masks", "export", "--all")
    document = json.loads(exported)
    assert (document["format"], document["version"], len(document["owners"])) == ("relayd-directory", 1, 2)
    other = elsewhere(relayd)
    imported = other.json("masks", "import", "-", stdin=exported)
    assert imported["masks"] == {"added": 3, "changed": 0, "unchanged": 0}
    assert imported["contacts"]["added"] == 1
    assert other.ok("masks", "export", "--all") == exported
    (contact,) = relayd.json("masks", "contacts", SHOP)
    target = SqlDirectory(other.database()).lookup(Address.parse(contact["write_to"]))
    assert isinstance(target, TokenRecipient)
    assert (target.contact.contact_id, target.contact.address) == (contact["contact_id"], SELLER)
    assert other.masks("--removed") == ["gone@mask.example"]


def test_an_import_is_repeatable(relayd: Operator) -> None:
    """Into its own database nothing changes; a dry run says the same and does nothing."""
    exported = relayd.ok("masks", "export", "--all")
    for args in ((), ("--dry-run",)):
        result = relayd.json("masks", "import", "-", *args, stdin=exported)
        assert result.pop("dry_run") == bool(args)
        assert {table for table, one in result.items() if one["added"] or one["changed"]} == set()
        assert result["masks"]["unchanged"] == 3
    other = elsewhere(relayd)
    assert other.json("masks", "import", "-", "--dry-run", stdin=exported)["owners"]["added"] == 2
    assert other.json("owners", "list") == []


def test_an_import_changes_what_differs_and_removes_nothing(relayd: Operator) -> None:
    """Traits, mailboxes in order, names by id; what has happened since (pauses, bounces) stays."""
    exported = relayd.ok("masks", "export", "--all")
    relayd.ok("owners", "rename", "Ann", "Anna")
    relayd.ok("owners", "set", "Anna", "--spam", "forward")
    relayd.ok("masks", "set", SHOP, "--no-banner", "--to", "two@example.org")
    relayd.ok("masks", "allow", SHOP, "@ads.example", "@more.example")
    relayd.ok("masks", "add", "later@mask.example", "--to", "ann@example.org")
    relayd.ok("owners", "mailbox", "unpause", "Anna", "two@example.org")
    result = relayd.json("masks", "import", "-", stdin=exported)
    changed = {table: one["changed"] for table, one in result.items() if table != "dry_run"}
    assert changed == {
        "owners": 1, "mailboxes": 0, "domain_rules": 0, "masks": 1, "contacts": 0, "sender_rules": 1,
    }  # fmt: skip
    shown = relayd.json(*ANN)
    assert (shown["spam_handling"], shown["mailboxes"][-1]["bounces"]) == ("drop", 0)
    assert relayd.json("masks", "show", SHOP)["mailboxes"] == ["ann@example.org", "two@example.org"]
    assert relayd.json("masks", "show", SHOP)["banner"]
    assert {one["pattern"]: one["kind"] for one in relayd.json("masks", "senders", SHOP)} == {
        "@ads.example": "block",
        "@more.example": "allow",
    }
    assert "later@mask.example" in relayd.masks()


def test_a_mask_that_forwards_elsewhere_has_changed(relayd: Operator) -> None:
    """Even where nothing else of it differs, and only the order does."""
    ann = with_ids(relayd)
    for mask in ann["masks"]:
        mask["mailboxes"].reverse()
    result = relayd.json("masks", "import", "-", stdin=json.dumps(document(ann)))
    assert result["masks"] == {"added": 0, "changed": 1, "unchanged": 1}
    assert relayd.json("masks", "show", SHOP)["mailboxes"] == ["two@example.org", "ann@example.org"]


def test_a_hand_written_file_needs_little(relayd: Operator) -> None:
    """Ids and times are made, what is left out is as for new masks; twice is like once."""
    text = json.dumps(
        document(
            {
                "name": "Carl",
                "mailboxes": [{"address": "Carl@example.org"}],
                "rules": [{"domain": "other.example", "pattern": "*", "mailboxes": ["carl@example.org"]}],
                "masks": [
                    {
                        "address": "c@mask.example",
                        "mailboxes": ["carl@example.org"],
                        "contacts": [{"address": "X@y.example", "token": "a" * 20}],
                        "senders": [{"pattern": "@Ads.example", "kind": "block"}],
                    },
                    {"address": "dead@left.example", "removed_at": 1_700_000_000},
                ],
            }
        )
    )
    assert relayd.json("masks", "import", "-", stdin=text)["masks"]["added"] == 2
    again = relayd.json("masks", "import", "-", stdin=text)
    assert {one["added"] + one["changed"] for name, one in again.items() if name != "dry_run"} == {0}
    assert relayd.json("masks", "contacts", "c@mask.example")[0]["write_to"] == f"{'a' * 20}@mask.example"
    assert [(one["domain"], one["limit"]) for one in relayd.json("masks", "rule", "list", "--owner", "Carl")] == [
        ("other.example", 100)
    ]
    assert "dead@left.example" in relayd.masks("--removed")


def document(*owners_: dict[str, Any]) -> dict[str, Any]:
    return {"format": "relayd-directory", "version": 1, "owners": list(owners_)}


def with_ids(relayd: Operator) -> dict[str, Any]:
    """Ann as she is exported."""
    (ann,) = [one for one in json.loads(relayd.ok("masks", "export", "--all"))["owners"] if one["name"] == "Ann"]
    return dict(ann)


def test_every_clash_is_told_with_its_place_and_nothing_is_done(relayd: Operator) -> None:
    """Other ids, taken tokens, foreign mailboxes, removed masks: one run names them all."""
    ann = with_ids(relayd)
    (contact,) = next(one for one in ann["masks"] if one["address"] == SHOP)["contacts"]
    bob = {"name": "Bob", "mailboxes": [{"address": "ann@example.org"}, {"address": "b2@example.org"}]}
    box = ["b2@example.org"]
    bob["masks"] = [
        {"address": "b@mask.example", "mailboxes": box},
        {"address": "new@mask.example", "mask_id": ann["masks"][0]["mask_id"], "mailboxes": box},
        {"address": "nobox@mask.example"},
        {"address": "foreign@mask.example", "mailboxes": ["two@example.org"]},
        {
            "address": "ok@mask.example",
            "mailboxes": box,
            "contacts": [
                {"address": "x@y.example", "token": contact["token"]},
                {"address": "y@y.example", "token": "b" * 20},
                {"address": "z@y.example", "token": "b" * 20},
            ],
        },
        {"address": "ok@mask.example", "mailboxes": box},
    ]
    carl = {
        "name": "Ann",
        "owner_id": "another",
        "masks": [],
    }
    back = {
        "owner_id": ann["owner_id"],
        "name": "Anna",
        "masks": [
            {"address": "gone@mask.example", "mailboxes": ["two@example.org"]},
            {"address": SHOP, "contacts": [{"address": SELLER.full, "token": "c" * 20}]},
        ],
    }
    before = relayd.ok("masks", "export", "--all")
    result = relayd("masks", "import", "-", stdin=json.dumps(document(bob, carl, back)))
    assert result.exit_code == 1
    for place, problem in (
        ("owners[0] (Bob).mailboxes[0] (ann@example.org)", "belongs to another owner"),
        ("owners[0] (Bob).masks[0] (b@mask.example)", "belongs to another owner"),
        ("owners[0] (Bob).masks[1] (new@mask.example)", "has the id of another one"),
        ("owners[0] (Bob).masks[2] (nobox@mask.example)", "has no mailbox"),
        ("owners[0] (Bob).masks[3] (foreign@mask.example)", "two@example.org is no mailbox of its owner"),
        ("owners[0] (Bob).masks[4] (ok@mask.example).contacts[0] (x@y.example)", "token of another contact"),
        ("owners[0] (Bob).masks[4] (ok@mask.example).contacts[2] (z@y.example)", "token of another contact"),
        ("owners[0] (Bob).masks[5] (ok@mask.example)", "stands in the file already"),
        ("owners[1] (Ann)", "under another id"),
        ("owners[2] (Anna).masks[0] (gone@mask.example)", "never given out again"),
        (f"owners[2] (Anna).masks[1] ({SHOP}).contacts[0] ({SELLER.full})", "with another token"),
    ):
        assert f"relayd: {place}: " in result.stderr, (place, result.stderr)
        line = next(one for one in result.stderr.splitlines() if one.startswith(f"relayd: {place}: "))
        assert problem in line
    assert result.stderr.count("relayd: ") == 11
    assert relayd.ok("masks", "export", "--all") == before


def test_what_a_file_may_not_say_is_told_with_its_place(relayd: Operator) -> None:
    """Wrong kinds, unknown fields, foreign domains: never a traceback, nothing done."""
    wrong: list[Any] = [
        {"name": "A", "colour": "red"},
        {"active": True},
        {"name": "B", "active": "yes", "language": 5, "created_at": 1e400, "owner_id": "a b", "spam_handling": "eat"},
        {"name": "C", "masks": {"address": "x"}, "mailboxes": ["c@example.org"]},
        {"name": "D", "mailboxes": [{"address": "d@mask.example"}], "created_at": True, "flag_reason": ""},
        7,
    ]
    result = relayd("masks", "import", "-", stdin=json.dumps(document(*wrong)))
    assert result.exit_code == 1
    for said in (
        "owners[0] (A): holds 'colour'",
        "owners[1]: lacks 'name'",
        "owners[2] (B).active: is neither",
        "owners[2] (B).language: is no text",
        "owners[2] (B).created_at: is no time",
        "owners[2] (B).owner_id: is no id",
        "owners[2] (B).spam_handling: is a word",
        "owners[3] (C).masks: is no list",
        "owners[3] (C).mailboxes[0]: is no record",
        "owners[4] (D).created_at: is no time",
        "owners[4] (D).flag_reason: a reason is",
        "owners[5]: is no record",
    ):
        assert f"relayd: {said}" in result.stderr
    misplaced = document(
        {
            "name": "E",
            "mailboxes": [{"address": "e@mask.example"}],
            "masks": [{"address": "x@else.example", "mailboxes": ["e@mask.example"]}],
            "rules": [{"domain": "else.example", "pattern": "*", "mailboxes": []}],
        }
    )
    result = relayd("masks", "import", "-", stdin=json.dumps(misplaced))
    assert result.stderr.count("relayd: ") == 4
    assert "RELAYD_MAIL_DOMAINS" in result.stderr


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[" * 100_000,
        "{}",
        "[]",
        '{"format": "relayd-directory", "version": 2}',
        '{"a": ' + "9" * 5000 + "}",
        '{"format": "relayd-directory", "version": 1}',
    ],
    ids=["cut", "deep", "empty", "list", "newer", "number", "no owners"],
)  # fmt: skip
def test_a_file_of_another_form_is_refused(tmp_path: Path, text: str) -> None:
    """It says what it should be, and makes nothing."""
    relayd = Operator(tmp_path)
    result = relayd("masks", "import", "-", stdin=text)
    assert result.exit_code == 1
    assert result.stderr.startswith("relayd: ")
    assert relayd("masks", "import", "-", "--sync", stdin="{}").exit_code == 2


keys = st.sampled_from(
    ["format", "owners", "name", "masks", "mailboxes", "rules", "senders", "contacts", "address", "token", "pattern",
     "kind", "domain", "most", "created_at", "owner_id", "removed_at", "verified", "language", "flag_reason"]
)  # fmt: skip
leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.emails() | st.just("block")
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=6), max_leaves=25
)


@given(st.lists(values, max_size=3))
def test_any_json_is_read_or_refused(owners_: list[Any]) -> None:
    """A document may hold anything: each thing that is wrong is told in printable words, and nothing raises."""
    records, problems = read_directory({"format": "relayd-directory", "version": 1, "owners": owners_})
    assert problems or len(records) == len(owners_)
    for problem in problems:
        assert problem.subject.isprintable()
        assert problem.problem.isprintable()


def left_behind(relayd: Operator) -> None:
    """Rows of mails to Ann and to Bob, as the daemon leaves them."""
    ann, bob = (relayd.json("owners", "show", name)["owner_id"] for name in ("Ann", "bob@example.org"))
    shop = relayd.json("masks", "show", SHOP)["mask_id"]
    where = {"receipt": {"action": {"type": "S3", "bucketName": "received", "objectKey": "in/m2"}}}
    with relayd.database().writing() as connection:
        for number, (mail, mask_id, owner_id, mailbox) in enumerate(
            [
                ("m1", shop, ann, "ann@example.org"),
                ("m1", None, bob, "bob@example.org"),
                ("m2", shop, None, "two@example.org"),
                ("m3", None, bob, "bob@example.org"),
            ]
        ):
            row: dict[str, Any] = {"delivery_id": f"d{number}", "mail_id": mail, "recipient": SHOP, "mailbox": mailbox}
            row |= {"state": "sent", "message_id": "m", "mask_id": mask_id, "owner_id": owner_id, "token": "fence"}
            row |= dict.fromkeys(("attempt", "generation"), 1) | dict.fromkeys(("kills", "doubts", "resends"), 0)
            connection.execute(sa.insert(deliveries).values(row | {"created_at": 1e9, "updated_at": 1e9 + number}))
            tried = {"delivery_id": f"d{number}", "attempt": 1, "message_id": "m", "reason": f"{owner_id} {mask_id}"}
            connection.execute(sa.insert(attempts).values(tried | {"ended_at": 1e9 + number}))
        base = {"mask_id": shop, "owner_id": ann}
        held: dict[str, Any] = {
            "quarantine_id": "q",
            "mail_id": "m2",
            "recipient": SHOP,
            "mailbox": "",
            "reason": "spam",
        }
        held |= {"sender": "x@y.example", "subject": "Hello", "notification": json.dumps(where), "held_at": 2e9}
        connection.execute(sa.insert(quarantine).values(base | held))
        counts = dict.fromkeys(("mails", "bytes", "replies", "discards", "trackers"), 1)
        connection.execute(sa.insert(usage).values(base | counts | {"day": 20_000}))
        told: dict[str, Any] = {
            "notice_id": "n",
            "owner_id": ann,
            "kind": "mail_refused",
            "day": 1,
            "facts": '{"mask": "m"}',
        }
        connection.execute(sa.insert(notices).values(told | {"created_at": 1e9}))
    for name in ("Ann", "bob@example.org"):
        relayd.ok("pause", "--owner", name, "--reason", f"{name.partition('@')[0]} asked for it")
    relayd.ok("trace", SHOP, "b@mask.example")


def test_a_person_is_shown_everything_that_is_kept(relayd: Operator) -> None:
    """One document with all of theirs and nothing of anybody else's."""
    left_behind(relayd)
    shown = json.loads(relayd.ok("owners", "export", "ann@example.org"))
    assert shown["format"] == "relayd-owner"
    assert shown["owner"] == with_ids(relayd)
    assert [one["delivery_id"] for one in shown["deliveries"]] == ["d0", "d2"]
    assert shown["deliveries"][0]["mailbox"] == "ann@example.org"
    assert [one["delivery_id"] for one in shown["attempts"]] == ["d0", "d2"]
    assert shown["quarantine"][0]["notification"]["receipt"]["action"]["objectKey"] == "in/m2"
    assert shown["notices"][0]["facts"] == {"mask": "m"}
    assert shown["usage"][0]["day"] == 20_000
    assert [one["reason"] for one in shown["pauses"]] == ["Ann asked for it"]
    assert "bob" not in json.dumps(shown)
    assert "fence" not in json.dumps(shown)
    relayd.ok("owners", "export", "Ann", str(relayd.folder / "ann.json"))
    assert json.loads((relayd.folder / "ann.json").read_text())["owner"]["name"] == "Ann"


def test_a_person_is_forgotten(relayd: Operator) -> None:
    """A dry run tells the same numbers and does nothing; then only the masks' addresses are left, as nobody's."""
    left_behind(relayd)
    told = relayd.json("owners", "erase", "Ann", "--dry-run")
    assert told["forgotten"] == {
        "attempts": 2, "deliveries": 2, "quarantine": 1, "notices": 1, "usage": 1, "sender_rules": 2, "contacts": 1,
        "traced_masks": 1, "pauses": 1,
        "mask_mailboxes": 3, "rule_mailboxes": 1, "domain_rules": 1, "mailboxes": 3, "masks": 2,
    }  # fmt: skip
    assert [(one["mail_id"], one["key"], one["shared"]) for one in told["manifest"]] == [
        ("m1", None, True),
        ("m2", "in/m2", False),
    ]
    database, shop = relayd.database(), relayd.json("masks", "show", SHOP)
    assert relayd.json(*ANN)["masks"] == 1
    assert relayd("owners", "erase", "Ann", stdin="n\n").exit_code == 1
    assert relayd.json(*ANN)["masks"] == 1
    manifest = relayd.folder / "archived.jsonl"
    done = relayd.json("owners", "erase", "Ann", "--yes", "--manifest", str(manifest))
    assert done["forgotten"] == told["forgotten"]
    assert [json.loads(line) for line in manifest.read_text().splitlines()] == told["manifest"]
    for table, left in ((deliveries, 2), (quarantine, 0), (notices, 0), (usage, 0), (sender_rules, 0), (contacts, 0)):
        assert count(database, table) == left, table.name
    assert count(database, attempts) == 2
    everything = json.dumps([str(row) for table in metadata.sorted_tables for row in rows(database, table)])
    for trace in ("Ann", "ann@", "two@", "new@", "seller", shop["mask_id"]):
        assert trace not in everything, trace
    assert SqlDirectory(database).lookup(Address.parse(SHOP)) == UnknownRecipient()
    assert relayd.masks("--removed") == ["gone@mask.example", SHOP]
    assert relayd("masks", "add", SHOP, "--to", "bob@example.org").exit_code == 1
    assert relayd("owners", "show", "Ann").exit_code == 1
    assert relayd.json("owners", "show", "bob@example.org")["masks"] == 1


def rows(database: Database, table: sa.Table) -> list[Any]:
    with database.reading() as connection:
        return list(connection.execute(sa.select(table)))


def test_all_that_is_left_of_the_erased_belongs_to_the_same_nobody(relayd: Operator) -> None:
    """Whose masks belonged together cannot be told, and nobody cannot be erased."""
    relayd.ok("owners", "erase", "Ann", "--yes")
    relayd.ok("owners", "erase", "bob@example.org", "--yes")
    database = relayd.database()
    (nobody,) = rows(database, owners)
    assert {row.owner_id for row in rows(database, masks)} == {nobody.owner_id}
    assert "nobody" in relayd("owners", "erase", nobody.owner_id, "--yes").stderr
    exported = relayd.ok("masks", "export", "--all")
    other = elsewhere(relayd)
    other.ok("masks", "import", "-", stdin=exported)
    assert other.ok("masks", "export", "--all") == exported


def test_nobody_is_erased_while_a_mail_is_on_its_way(relayd: Operator) -> None:
    """The row would come back. A claim that is over stands in nobody's way; an impossible manifest keeps all."""
    left_behind(relayd)
    with relayd.database().writing() as connection:
        one = sa.update(deliveries).where(deliveries.c.delivery_id == "d2")
        connection.execute(one.values(state="sending", expires_at=time.time() + 60))
    refused = relayd("owners", "erase", "Ann", "--yes")
    assert (refused.exit_code, "deactivate" in refused.stderr) == (1, True)
    with relayd.database().writing() as connection:
        connection.execute(sa.update(deliveries).values(expires_at=time.time() - 1))
    assert relayd("owners", "erase", "Ann", "--yes", "--manifest", str(relayd.folder / "no" / "file")).exit_code == 1
    assert relayd.json(*ANN)["masks"] == 1
    text = relayd.ok("owners", "erase", "Ann", "--yes")
    assert "2 of them are known here" in text
    assert '"mail_id": "m2"' in text
