"""What every directory promises: the fake, SQLite and PostgreSQL alike."""

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import pytest

from relayd import ports
from relayd.adapters.database import Database
from relayd.adapters.directory import SqlDirectory
from relayd.errors import HoldError
from relayd.model.address import Address
from relayd.model.mask import DmarcHandling, Mask, SpamHandling, TokenRecipient, UnknownRecipient
from relayd.ops.mask_entries import Line, RefusedError, entry
from relayd.ops.masks import add_mask, import_masks, list_masks, remove_masks, set_enabled
from tests.contract.databases import open_database, sqlite_url
from tests.contract.races import race
from tests.fakes.clock import VirtualClock
from tests.fakes.directory import FakeDirectory

SHOP = Address.parse("shop@mask.example")
STRANGER = Address.parse("seller+order17@Shop.Example")


class Directory(ports.Directory, Protocol):
    """The port, and what an operator does to a directory."""

    def add(
        self,
        address: str,
        *mailboxes: str,
        owner: str | None = None,
        enabled: bool = True,
        owner_active: bool = True,
        spam_handling: SpamHandling = "quarantine",
        dmarc_handling: DmarcHandling = "forward",
    ) -> Mask: ...

    def set_enabled(self, address: str, enabled: bool) -> None: ...

    def remove(self, address: str) -> None: ...


class Operated(SqlDirectory):
    """The real directory, with `relayd.ops.masks` for its operator."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.database = database

    def add(self, address: str, *mailboxes: str, **traits: Any) -> Mask:
        boxes = [Address.parse(text) for text in mailboxes or ("me@example.org",)]
        return add_mask(self.database, Address.parse(address), boxes, **traits)

    def set_enabled(self, address: str, enabled: bool) -> None:
        set_enabled(self.database, [Address.parse(address)], enabled)

    def remove(self, address: str) -> None:
        remove_masks(self.database, [Address.parse(address)])


@pytest.fixture(params=["fake", "sqlite", "postgres"])
def directory(request: pytest.FixtureRequest, clock: VirtualClock, tmp_path: Path) -> Iterator[Directory]:
    if request.param == "fake":
        yield FakeDirectory()
        return
    url = sqlite_url(tmp_path) if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    database = open_database(url, clock)
    yield Operated(database)
    database.close()


def found(directory: ports.Directory, text: str) -> Mask:
    target = directory.lookup(Address.parse(text))
    assert isinstance(target, Mask)
    return target


def test_a_mask_is_found_with_all_that_belongs_to_it(directory: Directory) -> None:
    """One lookup gives the mask, its mailboxes in order, and its owner as it was made."""
    directory.add(
        "shop@mask.example",
        "second@example.org",
        "First+masks@example.org",
        owner_active=False,
        spam_handling="drop",
        dmarc_handling="discard",
    )
    mask = found(directory, "shop@mask.example")
    assert (mask.address, mask.enabled) == (SHOP, True)
    assert [box.address.full for box in mask.mailboxes] == ["second@example.org", "first+masks@example.org"]
    assert len({box.mailbox_id for box in mask.mailboxes}) == 2
    owner = mask.owner
    assert (owner.active, owner.flagged, owner.spam_handling, owner.dmarc_handling) == (False, False, "drop", "discard")


@pytest.mark.parametrize("text", ["SHOP@Mask.Example", "shop+newsletter@mask.example", "shop@mask.example."])
def test_how_a_mask_is_written_does_not_matter(directory: Directory, text: str) -> None:
    """Case, a tag and a root dot reach the same mask."""
    mask = directory.add("Shop@mask.example")
    assert found(directory, text) == mask


def test_an_international_domain_is_one_domain(directory: Directory) -> None:
    """A mask added in Unicode is found by its punycode, and the other way round."""
    directory.add("shop@m\u00fcsk.example")
    directory.add("other@xn--msk-hoa.example")
    assert found(directory, "shop@xn--msk-hoa.example").address.domain == "xn--msk-hoa.example"
    assert found(directory, "other@M\u00dcSK.example").address.local == "other"


@pytest.mark.parametrize("text", ["nobody@mask.example", "shop@other.example", "a" * 20 + "@mask.example"])
def test_anything_else_is_unknown(directory: Directory, text: str) -> None:
    """No other local part, no other domain, and no made-up token finds anything."""
    directory.add("shop@mask.example")
    assert directory.lookup(Address.parse(text)) == UnknownRecipient()


@pytest.mark.parametrize("local", ["\udc80", "%", "_hop", "' OR 1=1", "\u00fc" * 200])
def test_odd_recipients_are_unknown(directory: Directory, local: str) -> None:
    """Whatever stands in an envelope is looked up without an error, and without meaning anything to SQL."""
    directory.add("shop@mask.example")
    assert directory.lookup(Address(local, "mask.example")) == UnknownRecipient()


def test_a_disabled_mask_is_found_as_such(directory: Directory) -> None:
    """Whether it counts is for the rules to say."""
    directory.add("shop@mask.example")
    directory.set_enabled("shop@mask.example", False)
    assert not found(directory, "shop@mask.example").enabled
    directory.set_enabled("shop@mask.example", True)
    assert found(directory, "shop@mask.example").enabled


def test_a_removed_mask_is_unknown(directory: Directory) -> None:
    """So are its reply tokens; and a directory in which all masks were removed is not an empty one."""
    mask = directory.add("shop@mask.example")
    contact = directory.contact(mask.mask_id, STRANGER)
    directory.remove("shop@mask.example")
    assert directory.lookup(SHOP) == UnknownRecipient()
    assert directory.lookup(Address(contact.token, "mask.example")) == UnknownRecipient()


def test_masks_of_one_mailbox_have_one_owner(directory: Directory) -> None:
    """The owner is whoever has the mailbox, unless another one is named."""
    first = directory.add("shop@mask.example", "me@example.org")
    second = directory.add("bank@mask.example", "me@example.org")
    third = directory.add("team@mask.example", "team@example.org", owner="Team")
    assert first.owner.owner_id == second.owner.owner_id != third.owner.owner_id
    assert first.mailboxes == second.mailboxes


def test_an_empty_directory_is_no_answer(directory: Directory) -> None:
    """A wrong or restored database must not turn all mail into `unknown_mask`."""
    with pytest.raises(HoldError) as caught:
        directory.lookup(SHOP)
    assert (caught.value.dependency, caught.value.reason) == ("database", "directory_empty")


def test_a_contact_is_made_once(directory: Directory) -> None:
    """The same stranger keeps the same token for a mask, and has another one at another mask."""
    shop, bank = directory.add("shop@mask.example"), directory.add("bank@mask.example")
    contact = directory.contact(shop.mask_id, STRANGER)
    assert directory.contact(shop.mask_id, Address.parse("SELLER+order17@shop.example")) == contact
    assert (contact.mask_id, contact.address) == (shop.mask_id, STRANGER)
    others = [directory.contact(bank.mask_id, STRANGER), directory.contact(shop.mask_id, SHOP)]
    assert len({contact.token, *(other.token for other in others)}) == 3


def test_mail_without_a_sender_shares_a_contact(directory: Directory) -> None:
    """It has a token too, which leads to nobody's address."""
    mask = directory.add("shop@mask.example")
    contact = directory.contact(mask.mask_id, None)
    assert contact.address is None
    assert directory.contact(mask.mask_id, None) == contact != directory.contact(mask.mask_id, STRANGER)


def test_tokens_fit_into_an_address(directory: Directory) -> None:
    """100 bits in base32: letters that survive any mail system's lower and upper case."""
    mask = directory.add("shop@mask.example")
    assert re.fullmatch(r"[a-z2-7]{20}", directory.contact(mask.mask_id, STRANGER).token)


def test_a_token_leads_to_its_contact(directory: Directory) -> None:
    """In any case and with any tag, it names the contact and the mask."""
    mask = directory.add("shop@mask.example", "a@example.org", "b@example.org")
    directory.contact(mask.mask_id, SHOP)
    contact = directory.contact(mask.mask_id, STRANGER)
    for text in (contact.token, contact.token.upper(), contact.token + "+tag"):
        assert directory.lookup(Address.parse(f"{text}@mask.example")) == TokenRecipient(contact, mask)


def test_a_mask_comes_before_a_token(directory: Directory) -> None:
    """An exact mask wins, even where its name is somebody's token."""
    mask = directory.add("shop@mask.example", "a@example.org", "b@example.org")
    contact = directory.contact(mask.mask_id, STRANGER)
    twin = directory.add(f"{contact.token}@mask.example", "c@example.org")
    assert found(directory, f"{contact.token}@mask.example") == twin


def test_a_mask_that_looks_like_a_token_is_found(directory: Directory) -> None:
    """Twenty letters are a name like any other."""
    mask = directory.add("abcdefghijklmnopqrst@mask.example", "a@example.org", "b@example.org")
    directory.contact(mask.mask_id, STRANGER)
    assert found(directory, "abcdefghijklmnopqrst@mask.example") == mask


def test_a_race_for_a_contact_makes_one(database: Database) -> None:
    """Eight workers that meet the same stranger at once all get the same token."""
    directory = Operated(database)
    mask = directory.add("shop@mask.example")
    for number in range(20):
        stranger = Address.parse(f"stranger{number}@shop.example")
        answers = race([partial(directory.contact, mask.mask_id, stranger)] * 8)
        assert len(set(answers)) == 1
        assert answers[0].address == stranger


def test_emptiness_can_be_asked_for(database: Database) -> None:
    """Before the first mask, and never after it, be it removed."""
    directory = Operated(database)
    assert directory.is_empty()
    directory.add("shop@mask.example")
    directory.remove("shop@mask.example")
    assert not directory.is_empty()


def test_an_import_is_all_or_nothing(database: Database) -> None:
    """Masks are added, changed and removed together; a line that cannot be done keeps all of it from happening."""
    texts = [("a@mask.example", "me@example.org"), ("b@mask.example", "me@example.org")]
    lines = [Line(number, entry(mask, [box], None, True)) for number, (mask, box) in enumerate(texts, 2)]
    bring = partial(import_masks, database, mail_domains=["mask.example"], sync=True)
    assert bring(lines).added == 2
    changed = [replace(lines[0], entry=entry("a@mask.example", ["you@example.org", "me@example.org"], None, False))]
    with pytest.raises(RefusedError):
        bring([*changed, Line(3, entry("c@elsewhere.example", ["me@example.org"]))])
    assert [view.enabled for view in list_masks(database)] == [True, True]
    result = bring(changed)
    assert (result.changed, result.removed) == (1, ["b@mask.example"])
    assert [(view.mailboxes, view.enabled) for view in list_masks(database)] == [
        (("you@example.org", "me@example.org"), False)
    ]


def test_several_masks_are_changed_together(database: Database) -> None:
    """One that is no mask keeps all of them as they were; the same one twice is one change."""
    directory = Operated(database)
    for name in ("a", "b"):
        directory.add(f"{name}@mask.example")
    one, two, none = (Address.parse(f"{name}@mask.example") for name in ("a", "b", "none"))
    for change in (partial(set_enabled, enabled=False), remove_masks):
        with pytest.raises(RefusedError):
            change(database, [one, two, none])
    assert [view.enabled for view in list_masks(database)] == [True, True]
    assert set_enabled(database, [one], False) == {"a@mask.example"}
    assert set_enabled(database, [one, two, two], False) == {"b@mask.example"}
    remove_masks(database, [one, one])
    assert [view.address for view in list_masks(database)] == ["b@mask.example"]


def test_real_tokens_are_random(database: Database) -> None:
    """Two hundred contacts, two hundred tokens, none of which begins like another."""
    directory = Operated(database)
    mask = directory.add("shop@mask.example")
    strangers = [Address.parse(f"stranger{number}@shop.example") for number in range(200)]
    tokens = {directory.contact(mask.mask_id, stranger).token for stranger in strangers}
    assert len({token[:8] for token in tokens}) == 200
