"""What an operator does to owners and their mailboxes, through the commands, on a SQLite file."""

import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from relayd.adapters.directory import SqlDirectory
from relayd.adapters.schema import mailboxes
from relayd.model.address import Address
from relayd.model.mask import Mask, Screening
from tests.terminal import Operator

SHOP = "shop@mask.example"


@pytest.fixture
def relayd(tmp_path: Path) -> Operator:
    operator = Operator(tmp_path)
    operator.ok("masks", "add", SHOP, "--to", "me@example.org", "--to", "two@example.org", "--owner", "Ann")
    return operator


def mask(relayd: Operator) -> Mask:
    target = SqlDirectory(relayd.database()).lookup(Address.parse(SHOP))
    assert isinstance(target, Mask)
    return target


def test_an_owner_is_found_by_name_id_and_mailbox(relayd: Operator) -> None:
    """All of them show the same; a stranger's name is refused with a hint."""
    shown = relayd.json("owners", "show", "Ann")
    assert shown["masks"] == 1
    assert [box["address"] for box in shown["mailboxes"]] == ["me@example.org", "two@example.org"]
    for name in (shown["owner_id"], "TWO@example.org", " Ann "):
        assert relayd.json("owners", "show", name) == shown
    unknown = relayd("owners", "show", "Bob")
    assert (unknown.exit_code, "relayd owners list" in unknown.stderr) == (1, True)
    assert "active" in relayd.ok("owners", "show", "Ann")


def test_owners_are_made_and_set(relayd: Operator) -> None:
    """With mailboxes or without; what is not said stays; a name is given once."""
    relayd.ok(
        "owners", "add", "Bob", "--mailbox", "bob@example.org", "--language", "PT-br", "--inactive", "--unverified"
    )
    bob = relayd.json("owners", "show", "Bob")
    assert (bob["language"], bob["active"], bob["mailboxes"][0]["verified"]) == ("pt-BR", False, False)
    taken = relayd("owners", "add", "Bob")
    assert (taken.exit_code, "already" in taken.stderr) == (1, True)
    relayd.ok("owners", "set", "Ann", "--spam", "drop", "--language", "de")
    assert relayd.json("owners", "set", "Ann", "--spam", "drop")["result"] == "unchanged"
    owner = mask(relayd).owner
    assert (owner.spam_handling, owner.dmarc_handling, owner.language) == ("drop", "forward", "de")
    for wrong in (("set", "Ann"), ("set", "Ann", "--spam", "eat"), ("set", "Ann", "--language", "d"), ("add", "=1")):
        assert relayd("owners", *wrong).exit_code == 2


def test_a_failed_add_leaves_no_owner(relayd: Operator) -> None:
    """All or nothing: another owner's mailbox takes the new owner along."""
    refused = relayd("owners", "add", "Bob", "--mailbox", "bob@example.org", "--mailbox", "me@example.org")
    assert (refused.exit_code, "belongs to another owner, 'Ann'" in refused.stderr) == (1, True)
    assert [one["name"] for one in relayd.json("owners", "list")] == ["Ann"]
    assert relayd("owners", "add", "Bob", "--mailbox", "x@mask.example").exit_code == 2


def test_owners_are_switched_and_held_for_review(relayd: Operator) -> None:
    """The daemon sees both; lists can be narrowed down to either; the end of a review ends its reason."""
    relayd.ok("owners", "deactivate", "Ann")
    assert relayd.json("owners", "deactivate", "Ann")["result"] == "unchanged"
    assert not mask(relayd).owner.active
    assert [one["name"] for one in relayd.json("owners", "list", "--inactive")] == ["Ann"]
    relayd.ok("owners", "activate", "me@example.org")
    assert relayd.json("owners", "list", "--inactive") == []
    assert relayd("owners", "flag", "Ann").exit_code == 2
    relayd.ok("owners", "flag", "Ann", "--reason", "advertises")
    assert mask(relayd).owner.flagged
    assert "flagged: advertises" in relayd.ok("owners", "list", "--flagged")
    relayd.ok("owners", "unflag", "Ann")
    assert relayd.json("owners", "list", "--flagged") == []
    assert relayd.json("owners", "show", "Ann")["flag_reason"] is None
    assert not mask(relayd).owner.flagged


def test_an_owner_is_renamed(relayd: Operator) -> None:
    """Masks and mailboxes go along; another owner's name is refused."""
    relayd.ok("owners", "add", "Bob")
    assert relayd("owners", "rename", "Ann", "Bob").exit_code == 1
    relayd.ok("owners", "rename", "Ann", "Ann Example")
    assert relayd.json("owners", "rename", "me@example.org", "Ann Example")["result"] == "unchanged"
    assert relayd.masks("--owner", "Ann Example") == [SHOP]


def test_mailboxes_are_added_and_verified(relayd: Operator) -> None:
    """The same one twice changes nothing; another owner's, and one on a mask domain, is refused."""
    relayd.ok("owners", "mailbox", "add", "Ann", "Three@example.org", "--unverified")
    assert relayd.json("owners", "mailbox", "add", "Ann", "three@example.org")["result"] == "unchanged"
    assert "three@example.org (unverified)" in relayd.ok("owners", "show", "Ann")
    assert relayd.json("owners", "mailbox", "verify", "Ann", "three@example.org")["result"] == "verified"
    relayd.ok("owners", "mailbox", "unverify", "Ann", "me@example.org")
    assert [box.verified for box in mask(relayd).mailboxes] == [False, True]
    relayd.ok("owners", "add", "Bob")
    for args in (
        ("add", "Bob", "me@example.org"),
        ("verify", "Bob", "me@example.org"),
        ("verify", "Ann", "x@y.example"),
    ):
        assert relayd("owners", "mailbox", *args).exit_code == 1
    assert relayd("owners", "mailbox", "add", "Bob", "x@mask.example").exit_code == 2


def test_a_pause_is_shown_and_lifted(relayd: Operator) -> None:
    """With its end and its bounces; lifted, the mailbox is as if it had never bounced."""
    with relayd.database().writing() as connection:
        two = sa.update(mailboxes).where(mailboxes.c.address == "two@example.org")
        connection.execute(two.values(pause="hard", paused_until=time.time() + 86_400, bounces=2))
    assert "two@example.org (hard pause until 20" in relayd.ok("owners", "list", "--paused")
    assert "2 bounces" in relayd.ok("owners", "show", "Ann")
    assert relayd.json("owners", "mailbox", "unpause", "Ann", "two@example.org")["result"] == "unpaused"
    assert relayd.json("owners", "mailbox", "unpause", "Ann", "two@example.org")["result"] == "unchanged"
    assert relayd.json("owners", "list", "--paused") == []
    assert relayd.json("owners", "show", "Ann")["mailboxes"][1]["bounces"] == 0
    with relayd.database().writing() as connection:
        connection.execute(two.values(pause="hard", paused_until=time.time() - 1, bounces=2))
    assert relayd.json("owners", "list", "--paused") == []
    assert relayd.json("owners", "show", "Ann")["mailboxes"][1]["pause"] is None
    relayd.ok("owners", "mailbox", "unpause", "Ann", "two@example.org")
    assert mask(relayd).mailboxes[1].pause is None


def test_a_mailbox_is_removed_where_another_one_is_left(relayd: Operator) -> None:
    """Masks and rules that would be left without are named, all of them; removed masks mind nothing."""
    relayd.ok("masks", "add", "only@mask.example", "--to", "two@example.org")
    relayd.ok("masks", "add", "gone@mask.example", "--to", "two@example.org")
    relayd.ok("masks", "remove", "gone@mask.example", "--yes")
    relayd.ok("masks", "rule", "add", "mask.example", "--to", "two@example.org", "--pattern", "x-*")
    refused = relayd("owners", "mailbox", "remove", "Ann", "two@example.org", "--yes")
    assert refused.exit_code == 1
    assert "only@mask.example would be left" in refused.stderr
    assert "x-*@mask.example would be left" in refused.stderr
    assert SHOP not in refused.stderr
    assert "gone@" not in refused.stderr
    relayd.ok("masks", "remove", "only@mask.example", "--yes")
    relayd.ok("masks", "rule", "remove", "mask.example", "--pattern", "x-*")
    assert relayd("owners", "mailbox", "remove", "Ann", "two@example.org", stdin="n\n").exit_code == 1
    assert len(mask(relayd).mailboxes) == 2
    relayd.ok("owners", "mailbox", "remove", "Ann", "two@example.org", stdin="y\n")
    assert [box.address.full for box in mask(relayd).mailboxes] == ["me@example.org"]


def test_an_owners_lists_are_for_all_masks(relayd: Operator) -> None:
    """They are kept apart from a mask's, whose word goes before."""
    relayd.ok("owners", "block", "Ann", "@ads.example", "@.evil.example")
    directory = SqlDirectory(relayd.database())
    assert directory.screen(mask(relayd), [Address.parse("x@very.evil.example")]) == Screening(blocked=True)
    relayd.ok("masks", "allow", SHOP, "good@ads.example")
    assert directory.screen(mask(relayd), [Address.parse("good@ads.example")]) == Screening()
    assert [one["pattern"] for one in relayd.json("owners", "senders", "me@example.org")] == [
        "@.evil.example",
        "@ads.example",
    ]
    relayd.ok("owners", "unlist", "Ann", "@ads.example")
    assert relayd("owners", "unlist", "Ann", "good@ads.example").exit_code == 1
    relayd.ok("owners", "allow", "Ann", "@.evil.example")
    assert "@.evil.example  allow" in relayd.ok("owners", "senders", "Ann")
    assert relayd("owners", "block", "Bob", "@ads.example").exit_code == 1


@pytest.mark.parametrize(
    "name",
    [
        "list", "show", "add", "set", "rename", "activate", "deactivate", "flag", "unflag", "block", "allow", "unlist",
        "senders", "export", "erase",
        *(f"mailbox {n}" for n in ("add", "verify", "unverify", "remove", "unpause")),
    ],
)  # fmt: skip
def test_every_command_explains_itself(relayd: Operator, name: str) -> None:
    """--help needs no settings, and shows how it is used."""
    relayd.environ = {"RELAYD_DATABASE_URL": None, "RELAYD_MAIL_DOMAINS": None}
    text = relayd.ok("owners", *name.split(), "--help")
    assert "--json" in text
    assert f"relayd owners {name}" in text
