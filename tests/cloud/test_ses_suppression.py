"""The suppression list of the embedded SES: what gets an address onto it, and what that does to mail."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cloud.mailing import Events, send, sent, verify
from tests.cloud.server import EmbeddedServer

TYPES = ("SEND", "DELIVERY", "BOUNCE", "COMPLAINT")


@pytest.fixture(autouse=True)
def identity(server: EmbeddedServer) -> Iterator[None]:
    verify(server)
    yield
    server.ses.put_account_suppression_attributes(SuppressedReasons=["BOUNCE", "COMPLAINT"])


@pytest.fixture
def address() -> str:
    return f"{uuid.uuid4().hex[:8]}@home.example"


def kinds(found: list[dict[str, Any]]) -> list[str]:
    return [one["eventType"] for one in found]


def listed(server: EmbeddedServer) -> dict[str, str]:
    found = server.ses.list_suppressed_destinations()["SuppressedDestinationSummaries"]
    return {one["EmailAddress"]: one["Reason"] for one in found}


def test_suppressed_addresses_are_accepted_and_dropped(server: EmbeddedServer, address: str) -> None:
    """The account's list drops silently but for an event; a configuration set without reasons overrides it."""
    server.ses.put_suppressed_destination(EmailAddress=address.upper(), Reason="BOUNCE")
    told = server.ses.get_suppressed_destination(EmailAddress=address)["SuppressedDestination"]
    assert told["Reason"] == "BOUNCE"
    assert sent(server, send(server, address))["fates"] == {address: "suppressed"}
    [_, bounce] = Events(server, *TYPES).of(address, 2)
    assert (bounce["bounce"]["bounceType"], bounce["bounce"]["bounceSubType"]) == (
        "Permanent",
        "OnAccountSuppressionList",
    )
    overriding = Events(server, *TYPES, suppression=[])
    assert kinds(overriding.of(address, 2)) == ["Send", "Delivery"]
    server.ses.delete_suppressed_destination(EmailAddress=address)
    assert sent(server, send(server, address))["fates"] == {}
    for call in (server.ses.get_suppressed_destination, server.ses.delete_suppressed_destination):
        with pytest.raises(server.ses.exceptions.NotFoundException):
            call(EmailAddress=address)


def test_only_reasons_that_count_suppress(server: EmbeddedServer, address: str) -> None:
    """An address that complained is let through where only bounces count, by the account or the configuration set."""
    server.ses.put_suppressed_destination(EmailAddress=address, Reason="COMPLAINT")
    assert listed(server)[address] == "COMPLAINT"
    assert kinds(Events(server, *TYPES, suppression=["BOUNCE"]).of(address, 2)) == ["Send", "Delivery"]
    assert kinds(Events(server, *TYPES, suppression=["COMPLAINT"]).of(address, 2)) == ["Send", "Bounce"]
    server.ses.put_account_suppression_attributes(SuppressedReasons=["BOUNCE"])
    assert sent(server, send(server, address))["fates"] == {}
    with pytest.raises(server.ses.exceptions.BadRequestException):
        server.ses.put_account_suppression_attributes(SuppressedReasons=["SPAM"])


@pytest.mark.parametrize(
    ("fate", "reason"),
    [
        ("bounce", "BOUNCE"),
        ("no_email", "BOUNCE"),
        ("complaint", "COMPLAINT"),
        ("mailbox_full", None),
        ("not_spam", None),
        ("suppressed", None),
    ],
)
def test_hard_bounces_and_complaints_get_listed(
    server: EmbeddedServer, address: str, fate: str, reason: str | None
) -> None:
    """The next mail to such an address is dropped: what happens to a service that does not override the list."""
    server.aws.settings(fates={address: fate})
    send(server, address)
    assert listed(server).get(address) == reason
    server.aws.settings(fates={})
    assert sent(server, send(server, address))["fates"] == ({address: "suppressed"} if reason else {})


def test_an_override_and_the_simulator_list_nobody(server: EmbeddedServer, address: str) -> None:
    """A bounce is no reason where the configuration set has none, and never for the simulator's addresses."""
    server.aws.settings(fates={address: "bounce"})
    Events(server, *TYPES, suppression=[]).of(address, 2)
    send(server, "bounce@simulator.amazonses.com")
    assert {address, "bounce@simulator.amazonses.com"}.isdisjoint(listed(server))
