"""What an operator does to hold mail back, and to trace a mask's, through the commands, on a SQLite file."""

import json
from pathlib import Path

import pytest
import sqlalchemy as sa

from relayd.adapters.orders import SqlOrders
from relayd.adapters.schema import owners, pauses, traced_masks
from relayd.model.orders import Orders
from relayd.ops.pausing import paused
from tests.terminal import Operator

SHOP = "shop@mask.example"


@pytest.fixture
def relayd(tmp_path: Path) -> Operator:
    operator = Operator(tmp_path)
    operator.ok("masks", "add", SHOP, "--to", "me@example.org", "--owner", "Ann")
    operator.ok("masks", "add", "two@mask.example", "--to", "two@example.org")
    return operator


def orders(relayd: Operator) -> Orders:
    """What a daemon would obey."""
    return SqlOrders(relayd.database()).read()


def owner_id(relayd: Operator, name: str) -> str:
    return str(relayd.json("owners", "show", name)["owner_id"])


def test_mail_is_paused_and_resumed(relayd: Operator) -> None:
    """Everything, domains and owners, each for itself, and each time the command says what is paused now."""
    text = relayd.ok("pause", "--all", "--reason", "wrong key")
    assert "all mail: paused" in text
    assert "wrong key" in text
    relayd.ok("pause", "--domain", "Mask.Example", "--domain", "other.example", "--reason", "DNS is being moved")
    relayd.ok("pause", "--owner", "me@example.org", "--owner", "Ann", "--reason", "asked for it")
    ann = owner_id(relayd, "Ann")
    assert orders(relayd) == Orders(True, frozenset({"mask.example", "other.example"}), frozenset({ann}))
    shown = [(one["scope"], one["subject"], one["reason"]) for one in relayd.json("pause")["paused"]]
    assert shown == [
        ("all", "", "wrong key"),
        ("domain", "mask.example", "DNS is being moved"),
        ("domain", "other.example", "DNS is being moved"),
        ("owner", "Ann", "asked for it"),
    ]
    assert [(one.scope, one.subject, one.reason) for one in paused(relayd.database())] == shown
    left = relayd.json("resume", "--all", "--owner", ann, "--domain", "other.example")
    assert [one["result"] for one in left["changed"]] == ["resumed"] * 3
    assert [one["subject"] for one in left["paused"]] == ["mask.example"]
    assert orders(relayd) == Orders(domains=frozenset({"mask.example"}))


def test_a_pause_keeps_its_age_and_takes_the_newest_reason(relayd: Operator) -> None:
    """Said again, it is no other pause."""
    first = relayd.json("pause", "--all", "--reason", "one")
    again = relayd.json("pause", "--all", "--reason", "one")
    other = relayd.json("pause", "--all", "--reason", "two")
    assert [each["changed"][0]["result"] for each in (first, again, other)] == ["paused", "unchanged", "reason changed"]
    assert {each["paused"][0]["since"] for each in (first, again, other)} == {first["paused"][0]["since"]}
    assert other["paused"][0]["reason"] == "two"
    assert "was paused already" in relayd.ok("pause", "--all", "--reason", "two")
    relayd.ok("resume", "--all")
    gone = relayd("resume", "--all")
    assert (gone.exit_code, "was not paused" in gone.stdout) == (0, True)
    assert "Nothing is paused." in gone.stderr


def test_without_an_option_nothing_is_done(relayd: Operator) -> None:
    """`relayd pause` shows; `relayd resume` asks what is meant, and so does a reason without a subject."""
    shown = relayd("pause")
    assert (shown.exit_code, shown.stdout, shown.stderr) == (0, "", "Nothing is paused.\n")
    assert relayd.json("pause") == {"changed": [], "paused": []}
    assert relayd("resume").exit_code == 2
    assert relayd("pause", "--reason", "why").exit_code == 2
    assert orders(relayd) == Orders()


@pytest.mark.parametrize(
    "reason",
    ["", "  ", "two\nlines", "bell\a", "x" * 201, "ask me@example.org", "me%40example.org", "me＠example.org", "@"],
)
def test_a_reason_holds_no_address_and_fits_a_line(relayd: Operator, reason: str) -> None:
    """It is shown to whoever looks at the status. Nothing is paused before it is right."""
    refused = relayd("pause", "--all", "--reason", reason)
    assert (refused.exit_code, "a reason" in refused.stderr) == (2, True)
    assert orders(relayd) == Orders()


def test_a_reason_is_needed(relayd: Operator) -> None:
    """On a terminal it is asked for; a job is told what is missing. Any language will do."""
    refused = relayd("pause", "--all")
    assert (refused.exit_code, "--reason" in refused.stderr) == (2, True)
    assert relayd.json("pause", "--all", "--reason", " Zoë fragte 🙂 ")["paused"][0]["reason"] == "Zoë fragte 🙂"
    assert "Zoë fragte 🙂" in relayd.ok("pause")


def test_a_pause_of_nobody_is_refused(relayd: Operator) -> None:
    """A typing error would hold nothing back, and nobody would know. All of a command, or none of it."""
    other = relayd("pause", "--domain", "mask.exmple", "--reason", "x")
    assert (other.exit_code, "RELAYD_MAIL_DOMAINS" in other.stderr) == (2, True)
    nobody = relayd("pause", "--all", "--owner", "nobody", "--reason", "x")
    assert (nobody.exit_code, "relayd owners list" in nobody.stderr) == (1, True)
    assert relayd("pause", "--domain", "-", "--reason", "x").exit_code == 2
    assert orders(relayd) == Orders()
    assert relayd("resume", "--all", "--owner", "nobody").exit_code == 1


def test_what_is_no_longer_there_can_be_resumed(relayd: Operator) -> None:
    """A domain that left the settings, and an owner of whom the pause's row is all that is left."""
    relayd.ok("pause", "--domain", "other.example", "--owner", "Ann", "--reason", "x")
    relayd.environ["RELAYD_MAIL_DOMAINS"] = "mask.example"
    ann = owner_id(relayd, "Ann")
    with relayd.database().writing() as connection:
        connection.execute(sa.update(pauses).where(pauses.c.subject == ann).values(subject="gone"))
    assert [one["subject"] for one in relayd.json("pause")["paused"]] == ["other.example", "gone"]
    relayd.ok("resume", "--domain", "other.example", "--owner", "gone")
    assert orders(relayd) == Orders()


def test_what_people_are_called_moves_no_cursor(relayd: Operator) -> None:
    """An owner is shown by the name that they have now, on a terminal as plain text."""
    relayd.ok("pause", "--owner", "two@example.org", "--reason", "x")
    with relayd.database().writing() as connection:
        connection.execute(sa.update(owners).where(owners.c.name == "two@example.org").values(name="\x1b[2J"))
    assert "\\x1b[2J" in relayd.ok("pause")
    assert relayd.json("pause")["paused"][0]["subject"] == "\x1b[2J"
    assert orders(relayd).owners == {owner_id(relayd, "two@example.org")}


def test_masks_are_traced_for_a_while(relayd: Operator) -> None:
    """For an hour unless told otherwise; listed by what ends next; ended by hand, or by themselves."""
    text = relayd.ok("trace", SHOP)
    assert SHOP in text
    relayd.ok("trace", "TWO+tag@mask.example", SHOP, "--for", "2d")
    listed = relayd.json("trace")["traced"]
    assert sorted(one["mask"] for one in listed) == [SHOP, "two@mask.example"]
    relayd.ok("trace", SHOP, "--for", "30m")
    first, second = relayd.json("trace")["traced"]
    assert first["mask"] == SHOP
    assert second["until"] - first["until"] == pytest.approx(2 * 86_400 - 1800, abs=60)
    shop = relayd.json("masks", "show", SHOP)["mask_id"]
    assert shop in orders(relayd).traced
    assert relayd.json("trace", SHOP, "--off")["ended"] == [SHOP]
    assert "was not traced" in relayd.ok("trace", SHOP, "--off")
    assert len(orders(relayd).traced) == 1


def test_a_trace_that_is_over_is_gone(relayd: Operator) -> None:
    """Nobody is shown it, no daemon obeys it, and the next command removes its row."""
    relayd.ok("trace", SHOP)
    with relayd.database().writing() as connection:
        connection.execute(sa.update(traced_masks).values(until=1.0))
    assert relayd("trace").stderr == "No mask is traced.\n"
    assert orders(relayd) == Orders()
    relayd.ok("trace", "two@mask.example")
    with relayd.database().reading() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(traced_masks)).scalar_one() == 1


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("nobody@mask.example",), 1),
        (("nobody@mask.example", "--off"), 1),
        (("gone@mask.example",), 1),
        ((SHOP, "nobody@mask.example"), 1),
        (("--off",), 2),
        (("--for", "1h"), 2),
        ((SHOP, "--off", "--for", "1h"), 2),
        ((SHOP, "--for", "8d"), 2),
        ((SHOP, "--for", "0h"), 2),
        ((SHOP, "--for", "long"), 2),
        (("no address",), 2),
    ],
)
def test_what_cannot_be_traced_is_refused(relayd: Operator, arguments: tuple[str, ...], code: int) -> None:
    """All of it: no mask is traced afterwards."""
    relayd.ok("masks", "add", "gone@mask.example", "--to", "me@example.org")
    relayd.ok("masks", "remove", "gone@mask.example", "--yes")
    assert relayd("trace", *arguments).exit_code == code
    assert orders(relayd) == Orders()


@pytest.mark.parametrize("name", ["pause", "resume", "trace"])
def test_every_command_explains_itself(relayd: Operator, name: str) -> None:
    """--help needs no settings, shows how it is used, and its JSON is one document."""
    assert isinstance(json.loads(relayd.ok(name, "--json", *(["--all"] if name == "resume" else []))), dict)
    relayd.environ = {"RELAYD_DATABASE_URL": None, "RELAYD_MAIL_DOMAINS": None}
    text = relayd.ok(name, "--help")
    assert "--json" in text
    assert f"relayd {name} " in text
