"""Block and allow lists on the route: who counts as a sender, and what a cut header changes. Fakes, virtual time."""

import pytest

from relayd.model.address import Address
from relayd.model.mask import Mask, Screening
from tests.engine.mailing import OWNER, letter, received, run_out, sent_to, states
from tests.engine.world import World

BLOCKED = [("discarded", "sender_blocked")]


@pytest.mark.parametrize(
    "pattern", ["news@stranger.example", "@stranger.example", "@.example", "bounce@stranger.example"]
)
@pytest.mark.parametrize("scope", ["mask", "owner"])
def test_a_blocked_sender(scope: str, pattern: str) -> None:
    """By From or by the envelope, on the mask's list or its owner's; the mail is not even fetched."""
    world = World()
    place = "shop@mask.example" if scope == "mask" else world.mask.owner.owner_id
    world.directory.list_senders(place, "block", pattern)
    received(world, letter(), mail_id="mail")
    run_out(world)
    assert states(world) == BLOCKED
    assert not world.store.fetches


def test_an_allow_list() -> None:
    """Who stands on it is let in, nobody else."""
    world = World()
    world.directory.list_senders("shop@mask.example", "allow", "@friends.example")
    received(world, letter("Ann <ann@friends.example>"), mail_id="friend")
    received(world, letter(), mail_id="stranger")
    run_out(world)
    assert sent_to(world) == [OWNER]
    assert sorted(states(world)) == [*BLOCKED, ("sent", None)]


@pytest.mark.parametrize(("sender", "sent"), [("ann@friends.example", True), ("news@stranger.example", False)])
def test_a_sender_who_was_cut_off_is_found_in_the_mail(sender: str, sent: bool) -> None:
    """The notification's header ended before From: the lists are asked again after the fetch."""
    world = World()
    world.directory.list_senders("shop@mask.example", "allow", "@friends.example")
    received(world, letter(sender), mail_id="mail", cut=True)
    run_out(world)
    assert bool(world.mailer.sent) is sent
    assert states(world) == ([("sent", None)] if sent else BLOCKED)


def test_a_sender_hidden_in_an_encoded_word_is_found() -> None:
    """Some programs write the whole address so."""
    world = World()
    world.directory.list_senders("shop@mask.example", "block", "news@stranger.example")
    received(world, letter("=?utf-8?q?News_=3Cnews=40stranger.example=3E?="), mail_id="mail", source="x@y.example")
    run_out(world)
    assert states(world) == BLOCKED


def test_a_mail_of_thousands_of_authors_asks_for_few() -> None:
    """Each address, and each domain above it, is a parameter of a query, and a database takes so many of them."""
    world = World()
    world.directory.list_senders("shop@mask.example", "block", "nobody@nowhere.example")
    asked: list[int] = []
    screen = world.directory.screen

    def counting(mask: Mask, senders: list[Address]) -> Screening:
        asked.append(len(senders))
        return screen(mask, senders)

    world.directory.screen = counting  # type: ignore[method-assign, assignment]
    authors = "".join("From: " + ", ".join(f"x{i}y{j}@a.example" for i in range(400)) + "\r\n" for j in range(10))
    received(world, letter(fields=authors), mail_id="mail")
    run_out(world)
    assert len(world.mailer.sent) == 1
    assert asked
    assert max(asked) < 100
