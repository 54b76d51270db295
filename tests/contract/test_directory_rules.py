"""What every directory promises of domain rules: masks that the first mail to them makes."""

from dataclasses import replace
from functools import partial

import pytest

from relayd.adapters.database import Database
from relayd.errors import HoldError
from relayd.model.address import Address
from relayd.model.mask import Mask, UnknownRecipient
from relayd.ops.domain_rules import remove_rule
from relayd.ops.mailboxes import remove_mailbox
from tests.contract.operated import Directory, Operated
from tests.contract.races import race

DOMAIN = "mask.example"


def offered(directory: Directory, text: str) -> Mask:
    """The mask that a rule would make."""
    target = directory.lookup(Address.parse(text))
    assert isinstance(target, Mask)
    assert target.rule_id is not None
    return target


def test_a_rule_offers_a_mask(directory: Directory) -> None:
    """With the rule's mailboxes in order and their owner; it is not there before somebody makes it."""
    directory.add_rule(DOMAIN, "*", "b@example.org", "a@example.org", owner="Me")
    mask = offered(directory, "News+tag@Mask.Example")
    assert (mask.address, mask.enabled) == (Address("news", DOMAIN), True)
    assert [box.address.full for box in mask.mailboxes] == ["b@example.org", "a@example.org"]
    assert mask.owner.spam_handling == "quarantine"
    assert offered(directory, "news@mask.example") == mask, "the same id, whoever asks"
    assert offered(directory, "other@mask.example").mask_id != mask.mask_id


def test_a_mask_that_was_made_is_a_mask(directory: Directory) -> None:
    """The one that was offered, and no longer only offered; making it again is no harm."""
    directory.add_rule(DOMAIN, "*", "b@example.org", "a@example.org")
    mask = offered(directory, "news@mask.example")
    assert directory.create(mask)
    assert directory.lookup(mask.address) == replace(mask, rule_id=None)
    assert directory.create(mask)


def test_the_most_specific_pattern_wins(directory: Directory) -> None:
    """Whatever the order in which rules were made; a mask and a token win over all of them."""
    for pattern in ("*", "shop-*", "*-news", "shop-*-news", "exactly"):
        directory.add_rule(DOMAIN, pattern, f"{pattern.replace('*', 'x')}@example.org")
    mask = directory.add("shop-mine@mask.example", "mine@example.org")
    token = directory.contact(mask.mask_id, Address.parse("seller@shop.example")).token
    answers = {
        local: offered(directory, f"{local}@{DOMAIN}").mailboxes[0].address.local
        for local in ("anything", "shop-a", "a-news", "shop-a-news", "exactly", "exactly-not")
    }
    assert answers == {
        "anything": "x",
        "shop-a": "shop-x",
        "a-news": "x-news",
        "shop-a-news": "shop-x-news",
        "exactly": "exactly",
        "exactly-not": "x",
    }
    assert directory.lookup(mask.address) == mask
    assert not isinstance(directory.lookup(Address(token, DOMAIN)), Mask)


def test_a_rule_covers_its_domain_alone(directory: Directory) -> None:
    """Neither another one nor one below it."""
    directory.add_rule(DOMAIN, "*")
    for domain in ("other.example", f"sub.{DOMAIN}", "example"):
        assert directory.lookup(Address("shop", domain)) == UnknownRecipient()


@pytest.mark.parametrize("local", ["%", "_", "a*b", "'or'1'='1", "a" * 64])
def test_an_odd_name_is_a_name(directory: Directory, local: str) -> None:
    """Under a catch-all anything may be asked for, and nothing of it means something to SQL."""
    directory.add_rule(DOMAIN, "*")
    mask = offered(directory, f"{local}@{DOMAIN}")
    assert directory.create(mask)
    assert directory.lookup(mask.address) == replace(mask, rule_id=None)


@pytest.mark.parametrize("local", ["\udc80", "nul\0", "' OR 1=1", "\u00fc" * 200, "a..b", "a" * 65])
def test_what_could_not_answer_is_no_name(directory: Directory, local: str) -> None:
    """A catch-all makes no mask that SES would send nothing from."""
    directory.add_rule(DOMAIN, "*")
    assert directory.lookup(Address(local, DOMAIN)) == UnknownRecipient()


def test_a_rule_that_is_off_makes_nothing(directory: Directory) -> None:
    """Neither a new mask, nor one that was offered before; masks that it made stay. It keeps the directory from being
    empty.
    """
    directory.add_rule(DOMAIN, "*")
    before, made = offered(directory, "before@mask.example"), offered(directory, "made@mask.example")
    assert directory.create(made)
    directory.switch_rule(DOMAIN, "*", False)
    assert directory.lookup(before.address) == UnknownRecipient()
    assert not directory.create(before)
    assert directory.lookup(made.address) == replace(made, rule_id=None)


def test_a_directory_with_rules_alone_is_not_empty(directory: Directory) -> None:
    """Not even where the rule is off, or is for another domain."""
    with pytest.raises(HoldError):
        directory.lookup(Address("shop", DOMAIN))
    directory.add_rule("other.example", "*")
    directory.switch_rule("other.example", "*", False)
    assert directory.lookup(Address("shop", DOMAIN)) == UnknownRecipient()


def test_a_rule_makes_as_many_as_it_may(directory: Directory) -> None:
    """Its masks are counted, an operator's are not, and removing one of its own makes room."""
    directory.add_rule(DOMAIN, "*", limit=2)
    directory.add("mine@mask.example")
    third = offered(directory, "three@mask.example")
    for local in ("one", "two"):
        assert directory.create(offered(directory, f"{local}@mask.example"))
    assert directory.lookup(third.address) == UnknownRecipient(rule_exhausted=True)
    assert not directory.create(third)
    directory.remove("one@mask.example")
    assert directory.create(offered(directory, "three@mask.example"))
    assert directory.lookup(Address("four", DOMAIN)) == UnknownRecipient(rule_exhausted=True)


def test_a_rule_of_none_makes_none(directory: Directory) -> None:
    """A limit of zero is one."""
    directory.add_rule(DOMAIN, "*", limit=0)
    assert directory.lookup(Address("shop", DOMAIN)) == UnknownRecipient(rule_exhausted=True)


def test_a_tombstone_is_never_given_out_again(directory: Directory) -> None:
    """Strangers know the address as somebody else's, be it one that the rule had made or an operator."""
    directory.add_rule(DOMAIN, "*")
    directory.add("old@mask.example", "old@example.org")
    made = offered(directory, "made@mask.example")
    assert directory.create(made)
    for address in ("old@mask.example", "made@mask.example"):
        directory.remove(address)
        assert directory.lookup(Address.parse(address)) == UnknownRecipient()
    assert not directory.create(made)


def test_a_removed_mask_s_token_is_no_name_for_a_mask(directory: Directory) -> None:
    """What an owner still writes to it does not come back to them through a catch-all."""
    directory.add_rule(DOMAIN, "*")
    mask = directory.add("old@mask.example")
    token = directory.contact(mask.mask_id, Address.parse("seller@shop.example")).token
    directory.remove("old@mask.example")
    assert directory.lookup(Address(token, DOMAIN)) == UnknownRecipient()
    assert isinstance(directory.lookup(Address("a" * 20, DOMAIN)), Mask), "that looks like one, and is none"


def test_an_operator_s_mask_is_not_made_over(directory: Directory) -> None:
    """Somebody added it meanwhile, for another owner: it is theirs."""
    directory.add_rule(DOMAIN, "*")
    mask = offered(directory, "shop@mask.example")
    theirs = directory.add("shop@mask.example", "them@example.org")
    assert not directory.create(mask)
    assert directory.lookup(mask.address) == theirs


def test_what_a_rule_offers_is_screened_by_its_owner_s_lists(directory: Directory) -> None:
    """A mask that is not there has no lists of its own."""
    directory.add_rule(DOMAIN, "*")
    mask = offered(directory, "shop@mask.example")
    assert not mask.screens
    directory.list_senders(mask.owner.owner_id, "block", "@spam.example")
    mask = offered(directory, "shop@mask.example")
    assert mask.screens
    assert directory.screen(mask, [Address.parse("a@spam.example")]).blocked


def test_two_workers_make_one_mask(database: Database) -> None:
    """Eight that meet the first mail at once all find it made."""
    directory = Operated(database)
    directory.add_rule(DOMAIN, "*", "a@example.org", "b@example.org")
    for number in range(20):
        mask = offered(directory, f"shop{number}@mask.example")
        assert race([partial(directory.create, mask)] * 8) == [True] * 8
        assert directory.lookup(mask.address) == replace(mask, rule_id=None)


def test_no_race_makes_more_than_the_limit(database: Database) -> None:
    """Eight first mails at once for a rule that may make three."""
    directory = Operated(database)
    for number in range(10):
        domain = f"mask{number}.example"
        directory.add_rule(domain, "*", limit=3)
        masks = [offered(directory, f"shop{one}@{domain}") for one in range(8)]
        assert sorted(race([partial(directory.create, mask) for mask in masks])) == [False] * 5 + [True] * 3


def test_a_mailbox_that_left_a_rule_is_no_error(database: Database) -> None:
    """It goes between the look-up and the mask's making: the mask has those that are left."""
    directory = Operated(database)
    directory.add_rule(DOMAIN, "*", "a@example.org", "b@example.org", owner="Me")
    mask = offered(directory, "shop@mask.example")
    remove_mailbox(database, "Me", Address.parse("a@example.org"))
    assert directory.create(mask)
    found = directory.lookup(mask.address)
    assert isinstance(found, Mask)
    assert [box.address.full for box in found.mailboxes] == ["b@example.org"]


def test_a_removed_rule_makes_nothing_and_leaves_its_masks(database: Database) -> None:
    """What it made is there by itself."""
    directory = Operated(database)
    directory.add_rule(DOMAIN, "*")
    made, offer = offered(directory, "made@mask.example"), offered(directory, "offer@mask.example")
    assert directory.create(made)
    remove_rule(database, DOMAIN, "*")
    assert not directory.create(offer)
    assert directory.lookup(made.address) == replace(made, rule_id=None)
    assert directory.lookup(offer.address) == UnknownRecipient()
