"""What every directory promises of contacts and their reply tokens: the fake, SQLite and PostgreSQL alike."""

import re
from functools import partial

from relayd.adapters.database import Database
from relayd.model.address import Address
from relayd.model.mask import TokenRecipient
from tests.contract.operated import Directory, Operated
from tests.contract.races import race

SHOP = Address.parse("shop@mask.example")
STRANGER = Address.parse("seller+order17@Shop.Example")


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
        target = directory.lookup(Address.parse(f"{text}@mask.example"))
        assert isinstance(target, TokenRecipient)
        assert (target.contact, target.mask) == (contact, mask)


def test_a_mask_comes_before_a_token(directory: Directory) -> None:
    """An exact mask wins, even where its name is somebody's token."""
    mask = directory.add("shop@mask.example", "a@example.org", "b@example.org")
    contact = directory.contact(mask.mask_id, STRANGER)
    twin = directory.add(f"{contact.token}@mask.example", "c@example.org")
    assert directory.lookup(Address.parse(f"{contact.token}@mask.example")) == twin


def test_a_mask_that_looks_like_a_token_is_found(directory: Directory) -> None:
    """Twenty letters are a name like any other."""
    mask = directory.add("abcdefghijklmnopqrst@mask.example", "a@example.org", "b@example.org")
    directory.contact(mask.mask_id, STRANGER)
    assert directory.lookup(Address.parse("abcdefghijklmnopqrst@mask.example")) == mask


def test_a_token_tells_all_mailboxes_of_the_owner(directory: Directory) -> None:
    """Those of other masks too, and those that are not verified; nobody else's."""
    mask = directory.add("shop@mask.example", "b@example.org", owner="Me")
    directory.add("bank@mask.example", "a@example.org", "b@example.org", owner="Me")
    directory.add("other@mask.example", "other@example.org")
    directory.set_verified("a@example.org", False)
    token = directory.contact(mask.mask_id, STRANGER).token
    target = directory.lookup(Address(token, "mask.example"))
    assert isinstance(target, TokenRecipient)
    assert target.mask.mailboxes == mask.mailboxes
    owned = {box.address.full: box.verified for box in target.owned}
    assert owned == {"a@example.org": False, "b@example.org": True}


def test_tokens_tell_their_correspondents(directory: Directory) -> None:
    """All at once, each with its address; what is no token is left out."""
    shop, bank = directory.add("shop@mask.example"), directory.add("bank@mask.example")
    contacts = [
        directory.contact(mask.mask_id, who) for mask, who in ((shop, STRANGER), (bank, STRANGER), (bank, SHOP))
    ]
    asked = [*(contact.token for contact in contacts), "shop", "a" * 20, "\udc80", contacts[0].token]
    found = directory.correspondents(shop.owner.owner_id, asked)
    assert found == {contact.token: contact for contact in contacts}
    assert directory.correspondents(shop.owner.owner_id, []) == {}
    assert directory.correspondents(shop.owner.owner_id, ["shop"]) == {}


def test_only_an_owner_s_own_live_correspondents_are_told(directory: Directory) -> None:
    """Not another owner's, not a removed mask's, and none without an address to write to."""
    mine, theirs = directory.add("shop@mask.example"), directory.add("other@mask.example", "other@example.org")
    gone = directory.add("gone@mask.example")
    tokens = [directory.contact(mask.mask_id, STRANGER).token for mask in (theirs, gone)]
    tokens.append(directory.contact(mine.mask_id, None).token)
    known = directory.contact(mine.mask_id, STRANGER)
    directory.remove("gone@mask.example")
    assert directory.correspondents(mine.owner.owner_id, [*tokens, known.token]) == {known.token: known}


def test_a_sender_that_cannot_be_stored_is_as_good_as_none(database: Database) -> None:
    """Nobody could be answered there."""
    directory = Operated(database)
    mask = directory.add("shop@mask.example")
    odd = directory.contact(mask.mask_id, Address("lone\udc80", "shop.example"))
    assert odd == directory.contact(mask.mask_id, None)


def test_a_race_for_a_contact_makes_one(database: Database) -> None:
    """Eight workers that meet the same stranger at once all get the same token."""
    directory = Operated(database)
    mask = directory.add("shop@mask.example")
    for number in range(20):
        stranger = Address.parse(f"stranger{number}@shop.example")
        answers = race([partial(directory.contact, mask.mask_id, stranger)] * 8)
        assert len(set(answers)) == 1
        assert answers[0].address == stranger


def test_real_tokens_are_random(database: Database) -> None:
    """Two hundred contacts, two hundred tokens, none of which begins like another."""
    directory = Operated(database)
    mask = directory.add("shop@mask.example")
    strangers = [Address.parse(f"stranger{number}@shop.example") for number in range(200)]
    tokens = {directory.contact(mask.mask_id, stranger).token for stranger in strangers}
    assert len({token[:8] for token in tokens}) == 200
