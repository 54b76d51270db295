"""What an operator says of masks beyond where they forward to: traits, senders, contacts, domain rules."""

import time
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from relayd.adapters.directory import SqlDirectory
from relayd.adapters.schema import mailboxes, masks
from relayd.model.address import Address
from relayd.model.mask import Mask, Screening, TokenRecipient
from relayd.ops.masks import add_mask
from relayd.ops.refusals import WrongEntryError
from relayd.ops.typed import display_name, language, rule_pattern, sender_pattern
from relayd.rules.senders import patterns as patterns_naming
from tests.terminal import Operator

SHOP = "shop@mask.example"
BANK = "bank@mask.example"


@pytest.fixture
def relayd(tmp_path: Path) -> Operator:
    operator = Operator(tmp_path)
    operator.ok("masks", "add", SHOP, "--to", "me@example.org")
    return operator


def found(relayd: Operator, address: str = SHOP) -> Mask:
    target = SqlDirectory(relayd.database()).lookup(Address.parse(address))
    assert isinstance(target, Mask)
    return target


def test_traits_are_given_and_changed_one_by_one(relayd: Operator) -> None:
    """What is not said stays as it is; the daemon sees what was said."""
    relayd.ok("masks", "add", BANK, "--to", "me@example.org", "--display-name", "Ann's bank", "--remove-trackers")
    bank = found(relayd, BANK)
    assert (bank.display_name, bank.remove_trackers, bank.banner, bank.block_lists) == (
        "Ann's bank",
        True,
        False,
        False,
    )
    assert relayd.json("masks", "set", BANK, "--banner", "--block-lists")["result"] == "changed"
    bank = found(relayd, BANK)
    assert (bank.display_name, bank.remove_trackers, bank.banner, bank.block_lists) == ("Ann's bank", True, True, True)
    assert relayd.json("masks", "set", BANK, "--banner")["result"] == "unchanged"
    relayd.ok("masks", "set", BANK, "--display-name", "", "--no-remove-trackers", "--to", "two@example.org")
    bank = found(relayd, BANK)
    assert (bank.display_name, bank.remove_trackers, bank.banner) == ("", False, True)
    assert [box.address.full for box in bank.mailboxes] == ["two@example.org"]
    assert "blocks lists, puts a banner" in relayd.ok("masks", "show", BANK)
    assert found(relayd).banner is False


def test_set_needs_a_mask_and_something_to_change(relayd: Operator) -> None:
    """It adds nothing, and says what it could do; mailboxes on mask domains are refused like everywhere."""
    assert relayd("masks", "set", SHOP).exit_code == 2
    unknown = relayd("masks", "set", BANK, "--to", "me@example.org", "--banner")
    assert (unknown.exit_code, "is no mask" in unknown.stderr) == (1, True)
    assert "come back to relayd" in relayd("masks", "set", SHOP, "--to", "x@other.example").stderr
    assert relayd.masks() == [SHOP]


def test_sandbox_and_tests_add_masks_with_traits(relayd: Operator) -> None:
    """`add_mask` takes them as keywords."""
    mask = add_mask(
        relayd.database(),
        Address.parse(BANK),
        [Address.parse("new@example.org")],
        display_name="Bank",
        block_lists=True,
        banner=True,
        remove_trackers=True,
        verified=False,
        language="de",
    )
    assert (mask.display_name, mask.block_lists, mask.banner, mask.remove_trackers) == ("Bank", True, True, True)
    assert (mask.owner.language, mask.mailboxes[0].verified) == ("de", False)


def test_unverified_mailboxes_show(relayd: Operator) -> None:
    """Only new mailboxes become unverified by --unverified; lists and programs see which are."""
    relayd.ok("masks", "add", BANK, "--to", "me@example.org", "--to", "new@example.org", "--unverified")
    assert [box.verified for box in found(relayd, BANK).mailboxes] == [True, False]
    assert "new@example.org (unverified)" in relayd.ok("masks", "list")
    assert relayd.json("masks", "show", BANK)["unverified"] == ["new@example.org"]


def test_paused_mailboxes_show_while_the_pause_lasts(relayd: Operator) -> None:
    """A pause that is over is none."""
    for until, said in ((time.time() + 600, True), (time.time() - 1, False)):
        with relayd.database().writing() as connection:
            connection.execute(sa.update(mailboxes).values(pause="hard", paused_until=until, bounces=1))
        assert ("(paused)" in relayd.ok("masks", "list")) == said
        assert relayd.json("masks", "show", SHOP)["paused"] == (["me@example.org"] if said else [])


def test_a_csv_holds_the_traits(relayd: Operator, tmp_path: Path) -> None:
    """Export, import elsewhere, export again: equal. An empty cell takes a display name away, no column leaves it."""
    relayd.ok("masks", "set", SHOP, "--display-name", 'Ann, "the shop"', "--banner")
    exported = relayd.ok("masks", "export")
    assert '"Ann, ""the shop""",false,true,false' in exported
    relayd.environ["RELAYD_DATABASE_URL"] = f"sqlite:///{tmp_path}/second.db"
    relayd.ok("masks", "import", "-", stdin=exported)
    assert relayd.ok("masks", "export") == exported
    relayd.ok("masks", "import", "-", stdin=f"mask,mailboxes\n{SHOP},me@example.org\n")
    assert relayd.ok("masks", "export") == exported
    relayd.ok("masks", "import", "-", stdin=f"mask,mailboxes,display_name,banner\n{SHOP},me@example.org,,\n")
    assert (found(relayd).display_name, found(relayd).banner) == ("", True)


def test_a_mask_that_a_spreadsheet_would_run_is_written_as_text(relayd: Operator) -> None:
    """A domain rule makes masks of what strangers write to. Its export can be imported again, and nothing else can
    begin so.
    """
    odd = "=1|a!b@mask.example"
    add_mask(relayd.database(), Address.parse(odd), [Address.parse("me@example.org")])
    exported = relayd.ok("masks", "export")
    assert f"\n'{odd},me@example.org," in exported
    assert relayd.json("masks", "import", "-", "--sync", stdin=exported)["unchanged"] == 2
    assert "begins with a letter" in relayd("masks", "add", odd, "--to", "me@example.org").stderr
    refused = relayd("masks", "import", "-", stdin=f"mask,mailboxes\n{odd},me@example.org\n")
    assert "line 2" in refused.stderr


@pytest.mark.parametrize("name", ["a@b.example", "Ann <ann@b.example>", "two\nlines", "x" * 71, "\u202edrow", "=1+1"])
def test_display_names_that_are_refused(relayd: Operator, name: str) -> None:
    """One printable line without an address, short, and nothing that a spreadsheet runs."""
    assert relayd("masks", "set", SHOP, "--display-name", name).exit_code == 2
    with pytest.raises(WrongEntryError) as caught:
        display_name(name)
    assert caught.value.hint


def test_senders_are_blocked_allowed_and_taken_off(relayd: Operator) -> None:
    """In normal form, once each, on one of the two lists; the daemon goes by them."""
    assert relayd.ok("masks", "block", SHOP, "Ads+7@Shop.Example", "@B\u00fccher.example", "@.TOP") == (
        "ads+7@shop.example: blocked\n@xn--bcher-kva.example: blocked\n@.top: blocked\n"
    )
    assert "already" in relayd.ok("masks", "block", SHOP, "@.top")
    assert relayd.json("masks", "allow", SHOP, "@.top")["result"] == "moved"
    listed = [(one["pattern"], one["kind"]) for one in relayd.json("masks", "senders", SHOP)]
    assert listed == [("@.top", "allow"), ("@xn--bcher-kva.example", "block"), ("ads+7@shop.example", "block")]
    directory, mask = SqlDirectory(relayd.database()), found(relayd)
    assert directory.screen(mask, [Address.parse("x@b\u00fccher.example")]) == Screening(blocked=True)
    assert directory.screen(mask, [Address.parse("x@deep.down.top")]) == Screening()
    assert directory.screen(mask, [Address.parse("x@else.example")]) == Screening(unlisted=True)
    refused = relayd("masks", "unlist", SHOP, "@.top", "nobody@else.example")
    assert (refused.exit_code, "neither list" in refused.stderr) == (1, True)
    relayd.ok("masks", "unlist", SHOP, "@.top", "ads+7@shop.example")
    assert [one["pattern"] for one in relayd.json("masks", "senders", SHOP)] == ["@xn--bcher-kva.example"]
    assert relayd("masks", "block", BANK, "@ads.example").exit_code == 1


@pytest.mark.parametrize("pattern", ["*@b.example", "b.example", "@", "@.", "@a b", "@a..b", "", "a@", "a@b c", "@*.b"])
def test_wrong_sender_patterns_are_explained(relayd: Operator, pattern: str) -> None:
    """Other services write them in other ways; each is told ours, and nothing is put on a list."""
    result = relayd("masks", "block", SHOP, "good@b.example", pattern)
    assert result.exit_code == 2
    assert "hint: " in result.stderr
    assert relayd.json("masks", "senders", SHOP) == []


@given(st.text(), st.sampled_from(["{}", "@{}", "@.{}", "a@{}", "{}@b.example"]))
def test_any_text_is_a_pattern_or_refused(text: str, form: str) -> None:
    """Never an exception of another kind; what is accepted is in its normal form, and names somebody."""
    for read in (sender_pattern, rule_pattern, display_name, language):
        try:
            result = read(form.format(text))
        except WrongEntryError:
            continue
        assert read(result) == result
        if read is sender_pattern:
            sender = Address.parse(f"x{result}" if result.startswith("@") else result) if "@." not in result else None
            assert sender is None or result in patterns_naming(sender)


def test_a_contact_is_made_before_anybody_has_written(relayd: Operator) -> None:
    """It tells where to write to, the same every time; the daemon knows the token."""
    token = relayd.ok("masks", "contact", SHOP, "Seller@Shop.Example").strip()
    assert relayd.json("masks", "contact", SHOP, "seller@shop.example") == {
        "mask": SHOP,
        "contact": "seller@shop.example",
        "write_to": token,
        "result": "known",
    }
    target = SqlDirectory(relayd.database()).lookup(Address.parse(token))
    assert isinstance(target, TokenRecipient)
    assert target.contact.address == Address.parse("seller@shop.example")
    assert relayd.json("masks", "contacts", SHOP)[0]["write_to"] == token
    assert token in relayd.ok("masks", "contacts", SHOP)
    assert relayd("masks", "contact", BANK, "seller@shop.example").exit_code == 1
    assert relayd("masks", "contact", SHOP, BANK).exit_code == 2
    assert relayd("masks", "contact", SHOP, "a..b@shop.example").exit_code == 2


def test_what_strangers_are_called_moves_no_cursor(relayd: Operator) -> None:
    """A control character in a stored address is printed as an escape."""
    SqlDirectory(relayd.database()).contact(found(relayd).mask_id, Address.parse("a\x9b2J@shop.example"))
    assert "a\\x9b2j@shop.example" in relayd.ok("masks", "contacts", SHOP)


def test_a_rule_makes_masks_up_to_its_limit(relayd: Operator) -> None:
    """The list tells how many it has made; disabled or removed it makes no more, and its masks stay."""
    assert "added" in relayd.ok("masks", "rule", "add", "Mask.Example", "--to", "me@example.org", "--limit", "2")
    assert "already" in relayd.ok("masks", "rule", "add", "mask.example", "--to", "me@example.org", "--limit", "2")
    differs = relayd("masks", "rule", "add", "mask.example", "--to", "me@example.org")
    assert (differs.exit_code, "something else" in differs.stderr) == (1, True)
    directory = SqlDirectory(relayd.database())
    new = directory.lookup(Address.parse("new@mask.example"))
    assert isinstance(new, Mask)
    assert directory.create(new)
    (rule,) = relayd.json("masks", "rule", "list")
    assert (rule["pattern"], rule["made"], rule["limit"], rule["mailboxes"]) == ("*", 1, 2, ["me@example.org"])
    assert directory.create(found(relayd, "gone@mask.example"))
    assert relayd.json("masks", "rule", "list")[0]["made"] == 2
    relayd.ok("masks", "remove", "gone@mask.example", "--yes")
    assert "1 of 2" in relayd.ok("masks", "rule", "list", "--domain", "mask.example", "--owner", "me@example.org")
    relayd.ok("masks", "rule", "disable", "mask.example")
    assert not isinstance(directory.lookup(Address.parse("other@mask.example")), Mask)
    assert relayd.json("masks", "rule", "enable", "mask.example")["result"] == "enabled"
    relayd.ok("masks", "rule", "remove", "mask.example")
    assert relayd.json("masks", "rule", "list") == []
    assert relayd.masks() == ["new@mask.example", SHOP]
    assert "made by a domain rule" in relayd.ok("masks", "show", "new@mask.example")
    for name in ("remove", "enable", "disable"):
        assert relayd("masks", "rule", name, "mask.example").exit_code == 1


def test_limits_of_rules(relayd: Operator) -> None:
    """A hundred where nothing is said, none where that is said."""
    relayd.ok("masks", "rule", "add", "mask.example", "--to", "me@example.org", "--pattern", "A**-*")
    relayd.ok("masks", "rule", "add", "other.example", "--to", "you@example.org", "--no-limit", "--owner", "You")
    assert [(one["pattern"], one["limit"], one["owner"]) for one in relayd.json("masks", "rule", "list")] == [
        ("a*-*", 100, "me@example.org"),
        ("*", None, "You"),
    ]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("elsewhere.example", "--to", "me@example.org"), "RELAYD_MAIL_DOMAINS"),
        (("mask.example", "--to", "me@mask.example"), "come back to relayd"),
        (("mask.example", "--to", "me@example.org", "--pattern", "a+b"), "+tag"),
        (("mask.example", "--to", "me@example.org", "--pattern", ""), "no pattern"),
        (("mask.example", "--to", "me@example.org", "--limit", "0"), "--limit"),
        (("mask.example", "--to", "me@example.org", "--limit", "5", "--no-limit"), "not both"),
        (("mask.example",), "--to"),
    ],
)
def test_wrong_rules_are_explained(relayd: Operator, args: tuple[str, ...], said: str) -> None:
    """Each ends with code 2 and makes nothing."""
    result = relayd("masks", "rule", "add", *args)
    assert (result.exit_code, said in result.stderr) == (2, True)
    assert relayd.json("masks", "rule", "list") == []


def test_a_rule_belongs_to_the_owner_of_its_mailboxes(relayd: Operator) -> None:
    """Another owner's mailbox is refused, and no owner is left behind."""
    refused = relayd("masks", "rule", "add", "mask.example", "--to", "me@example.org", "--owner", "Another")
    assert "belongs to another owner, 'me@example.org'" in refused.stderr
    assert [one["name"] for one in relayd.json("owners", "list")] == ["me@example.org"]


def test_many_masks_are_listed_by_the_pages_reader(relayd: Operator) -> None:
    """A removed mask shows without mailboxes when these are gone: an outer join."""
    relayd.ok("masks", "remove", SHOP, "--yes")
    relayd.ok("owners", "mailbox", "remove", "me@example.org", "me@example.org", "--yes")
    (removed,) = relayd.json("masks", "list", "--removed")
    assert (removed["mask"], removed["mailboxes"]) == (SHOP, [])
    with relayd.database().reading() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(masks)).scalar_one() == 1


@pytest.mark.parametrize(
    "name",
    [
        "set",
        "block",
        "allow",
        "unlist",
        "senders",
        "contact",
        "contacts",
        *(f"rule {n}" for n in ("add", "list", "remove", "enable", "disable")),
    ],
)
def test_every_command_explains_itself(relayd: Operator, name: str) -> None:
    """--help needs no settings, and shows how it is used."""
    relayd.environ = {"RELAYD_DATABASE_URL": None, "RELAYD_MAIL_DOMAINS": None}
    text = relayd.ok("masks", *name.split(), "--help")
    assert "--json" in text
    assert f"relayd masks {name}" in text
