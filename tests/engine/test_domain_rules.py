"""Masks that domain rules make on their first mail, and for no mail that is discarded. Fakes, virtual time."""

from typing import Any

import pytest

from relayd.errors import TransientError
from tests.engine.faults import before
from tests.engine.mailing import STRANGER, answer, letter, received, run_out, sent_to, states, token_of
from tests.engine.world import World

NEW = "new@mask.example"


def ruled(pattern: str = "*", *, limit: int | None = None) -> World:
    world = World()
    world.directory.add_rule("mask.example", pattern, "me@owner.example", owner="me@owner.example", limit=limit)
    return world


def test_the_first_mail_makes_the_mask() -> None:
    """The second finds it there; a stranger's address has a token in it, as in any."""
    world = ruled()
    for number in range(2):
        received(world, letter(), NEW, mail_id=f"mail-{number}")
        run_out(world)
    assert sent_to(world) == ["me@owner.example"] * 2
    assert NEW in world.directory.masks
    token = token_of(world, mask=NEW)
    assert {send.mail.sender for send in world.mailer.sent} == {token}
    answer(world, token)
    run_out(world)
    assert sent_to(world)[-1] == STRANGER


def test_a_tag_makes_no_mask_of_its_own() -> None:
    """`new+a@` and `new+b@` are one mask."""
    world = ruled()
    for tag in "ab":
        received(world, letter(), f"new+{tag}@mask.example", mail_id=f"mail-{tag}")
    run_out(world)
    assert set(world.directory.masks) == {"shop@mask.example", NEW}
    assert len(world.mailer.sent) == 2


def test_a_pattern_that_does_not_cover_makes_nothing() -> None:
    """The address is as unknown as any."""
    world = ruled("shop-*")
    received(world, letter(), NEW, mail_id="mail")
    run_out(world)
    assert states(world) == [("discarded", "unknown_mask")]


@pytest.mark.parametrize(("verdict", "reason"), [("spam", "spam"), ("virus", "virus"), ("dmarc", "dmarc_reject")])
def test_no_mask_is_made_for_a_mail_that_is_discarded(verdict: str, reason: str) -> None:
    """Spammers try thousands of names."""
    world = ruled()
    verdicts: Any = {verdict: "FAIL"}
    received(world, letter(), NEW, mail_id="mail", policy="REJECT", **verdicts)
    run_out(world)
    assert states(world) == [("discarded", reason)]
    assert NEW not in world.directory.masks
    assert not world.directory.contacts


def test_no_mask_is_made_for_a_loop_that_only_the_mail_shows() -> None:
    """The notification's header was cut: it is found after the fetch, and before the mask is made."""
    world = ruled()
    received(world, letter(fields="Received: by x\r\n" * 26), NEW, mail_id="mail", cut=True)
    run_out(world)
    assert world.store.fetches
    assert states(world) == [("discarded", "loop")]
    assert NEW not in world.directory.masks


def test_no_mask_is_made_for_a_mail_that_cannot_be_fetched() -> None:
    """It may turn out to be anything."""
    world = ruled()
    world.store.fail_with(TransientError("s3_slow_down"))
    received(world, letter(), NEW, mail_id="mail")
    seen: list[bool] = []
    before(world.store, "fetch", lambda: seen.append(NEW in world.directory.masks))
    run_out(world)
    assert seen == [False, False]
    assert len(world.mailer.sent) == 1


def test_a_rule_makes_no_more_masks_than_it_may() -> None:
    """Those that are there go on; the next address is refused, and says why."""
    world = ruled(limit=2)
    for number in range(4):
        received(world, letter(), f"new-{number}@mask.example", mail_id=f"mail-{number}")
        run_out(world)
    received(world, letter(), "new-0@mask.example", mail_id="again")
    run_out(world)
    assert len(world.mailer.sent) == 3
    assert [row.reason for row in world.ledger.rows.values()] == [None, None, "rule_limit", "rule_limit", None]


def test_two_mails_at_once_make_one_mask() -> None:
    """Neither is refused for it, and the limit counts one."""
    world = ruled(limit=1)
    for number in range(8):
        received(world, letter(), NEW, mail_id=f"mail-{number}")
    run_out(world)
    assert len(world.mailer.sent) == 8
    assert len({send.mail.sender for send in world.mailer.sent}) == 1
    assert set(world.directory.masks) == {"shop@mask.example", NEW}


def test_two_addresses_at_once_do_not_go_over_the_limit() -> None:
    """Both looked it up while there was room for one; one of them is refused then, by the limit."""
    world = ruled(limit=1)
    received(world, letter(), NEW, mail_id="one")
    received(world, letter(), "other@mask.example", mail_id="two")
    run_out(world)
    assert len(world.mailer.sent) == 1
    assert ("discarded", "rule_limit") in states(world)
    assert not world.queue.dead_letters


def test_a_removed_mask_s_address_is_never_made_again() -> None:
    """Strangers and shops know it as somebody's."""
    world = ruled()
    received(world, letter(), NEW, mail_id="first")
    run_out(world)
    world.directory.remove(NEW)
    received(world, letter(), NEW, mail_id="second")
    run_out(world)
    assert len(world.mailer.sent) == 1
    assert ("discarded", "unknown_mask") in states(world)


def test_a_mask_that_somebody_makes_meanwhile_gets_the_mail() -> None:
    """Between the decision and the send an operator adds the address by hand: the mail is not lost over it."""
    world = ruled()
    made: list[bool] = []

    def by_hand() -> None:
        if not made:
            made.append(True)
            world.directory.add(NEW, "work@owner.example", owner="me@owner.example")

    before(world.store, "fetch", by_hand)
    received(world, letter(), NEW, mail_id="mail")
    run_out(world)
    assert sent_to(world) == ["work@owner.example"]
    assert ("sent", None) in states(world)


def test_a_stranger_with_our_domain_in_the_envelope_is_no_loop() -> None:
    """A catch-all covers every address of the domain, but only masks that are there write mail: a web site's contact
    form may send as anybody of the domain.
    """
    world = ruled()
    received(world, letter("form@mask.example"), mail_id="mail", source="form@mask.example")
    run_out(world)
    assert sent_to(world) == ["me@owner.example"]
    received(world, letter("shop@mask.example"), NEW, mail_id="loop", source="shop@mask.example")
    run_out(world)
    assert ("discarded", "loop") in states(world)


def test_a_directory_of_rules_alone_is_not_empty() -> None:
    """Who has only a catch-all has no mask before the first mail."""
    world = ruled()
    world.directory.masks.clear()
    received(world, letter(), NEW, mail_id="mail")
    run_out(world)
    assert sent_to(world) == ["me@owner.example"]
