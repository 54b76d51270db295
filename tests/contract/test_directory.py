"""What every directory promises of masks, their owners and mailboxes: the fake, SQLite and PostgreSQL alike."""

from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from relayd import ports
from relayd.adapters.database import Database
from relayd.errors import HoldError
from relayd.model.address import Address
from relayd.model.mask import Mask, Pause, UnknownRecipient
from relayd.ops.mask_entries import Line, RefusedError, entry
from relayd.ops.masks import import_masks, list_masks, remove_masks, set_enabled
from tests.contract.operated import Directory, Operated

SHOP = Address.parse("shop@mask.example")
STRANGER = Address.parse("seller+order17@Shop.Example")


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
    directory.set_mask("shop@mask.example", enabled=False)
    assert not found(directory, "shop@mask.example").enabled
    directory.set_mask("shop@mask.example", enabled=True)
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


def test_what_a_mask_does_is_found_with_it(directory: Directory) -> None:
    """Each of its options, and its owner's language."""
    plain = directory.add("plain@mask.example")
    assert (plain.display_name, plain.block_lists, plain.banner, plain.remove_trackers) == ("", False, False, False)
    assert (plain.owner.language, plain.screens, plain.rule_id) == ("en", False, None)
    for option in ("block_lists", "banner", "remove_trackers"):
        traits: dict[str, Any] = {option: True}
        mask = directory.add(f"{option}@mask.example", **traits)
        assert [getattr(mask, name) for name in ("block_lists", "banner", "remove_trackers")].count(True) == 1
        assert getattr(found(directory, f"{option}@mask.example"), option)
    named = directory.add("named@mask.example", "du@example.org", display_name="J\u00fcrgen", language="de")
    assert (named.display_name, named.owner.language) == ("J\u00fcrgen", "de")


def test_an_owner_is_found_as_they_are_now(directory: Directory) -> None:
    """Whatever was changed since the mask was made."""
    owner_id = directory.add("shop@mask.example").owner.owner_id
    directory.set_owner(owner_id, flagged=True, active=False, spam_handling="forward", dmarc_handling="discard")
    owner = found(directory, "shop@mask.example").owner
    assert (owner.flagged, owner.active) == (True, False)
    assert (owner.spam_handling, owner.dmarc_handling) == ("forward", "discard")


def test_a_pause_is_told_as_it_was_set(directory: Directory) -> None:
    """Whether it is over is for the rules to say."""
    directory.add("team@mask.example", "a@example.org", "b@example.org", "c@example.org")
    directory.pause("b@example.org", "hard", 2e9)
    directory.pause("c@example.org", "soft", 1.0)
    boxes = found(directory, "team@mask.example").mailboxes
    assert [box.pause for box in boxes] == [None, Pause("hard", 2e9), Pause("soft", 1.0)]


def test_an_unverified_mailbox_is_told_as_such(directory: Directory) -> None:
    """On every mask that has it."""
    directory.add("shop@mask.example", "a@example.org", "b@example.org")
    directory.add("bank@mask.example", "b@example.org")
    directory.set_verified("b@example.org", False)
    assert [box.verified for box in found(directory, "shop@mask.example").mailboxes] == [True, False]
    assert [box.verified for box in found(directory, "bank@mask.example").mailboxes] == [False]
    directory.set_verified("b@example.org", True)
    assert found(directory, "bank@mask.example").mailboxes[0].verified


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
