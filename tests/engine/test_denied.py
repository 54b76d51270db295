"""Rights that relayd's role lacks: the log says of them enough that nobody has to guess. Fakes, virtual time."""

from typing import Any

import structlog

from relayd.errors import HoldError
from tests.engine.faults import before, failing
from tests.engine.world import World

DENIED = HoldError("queue", "access_denied", "AccessDenied, HTTP 403")


def said(logs: list[Any], event: str) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in line.items() if name != "log_level"} for line in logs if line["event"] == event
    ]


def test_a_delete_that_is_denied_is_told_once_a_message() -> None:
    """Not with each of the tries, which go on for as long as the lease runs; the mail is not sent again."""
    world = World(wait=2)
    world.queue.fail_calls("delete", DENIED, times=8)
    world.mail("one")
    with structlog.testing.capture_logs() as logs:
        daemon = world.daemon()
        daemon.start()
        assert world.until(lambda: not world.queue.left)
        assert daemon.stop()
    told = {"queue": "mail", "operation": "delete", "reason": "access_denied", "detail": "AccessDenied, HTTP 403"}
    assert said(logs, "settle_refused")[0] == {"event": "settle_refused"} | told
    settled = said(logs, "message_settled")
    assert len(said(logs, "settle_refused")) <= len(settled) < 8
    assert len(world.mailer.sent) == 1


def test_a_lease_that_may_not_be_extended_is_told() -> None:
    """The mail waits for S3 meanwhile, and goes out if that is soon enough."""
    world = World(wait=2)
    world.store.latency = 35.0
    world.queue.fail_calls("change_visibility", DENIED, times=3)
    world.mail("one")
    with structlog.testing.capture_logs() as logs:
        daemon = world.daemon()
        daemon.start()
        assert world.until(lambda: not world.queue.left)
        assert daemon.stop()
    told = {"queue": "mail", "reason": "access_denied", "detail": "AccessDenied, HTTP 403"}
    assert said(logs, "extend_refused") == [{"event": "extend_refused"} | told]


def test_a_receive_that_is_denied_names_the_queue() -> None:
    """There are two of them, and both may be denied."""
    world = World(wait=2)
    world.queue.fail_calls("receive", DENIED, times=2)
    world.mail("one")
    with structlog.testing.capture_logs() as logs:
        daemon = world.daemon()
        daemon.start()
        assert world.until(lambda: not world.queue.left)
        assert daemon.stop()
    assert {line["queue"] for line in said(logs, "poll_held")} == {"mail"}


def test_a_mail_says_who_denied_it() -> None:
    """`access_denied` alone could be the bucket, or SES."""
    world = World(wait=2)
    denied = HoldError("s3", "access_denied", "AccessDenied, HTTP 403", wide=False)
    before(world.store, "fetch", failing(denied))
    world.mail("one")
    with structlog.testing.capture_logs() as logs:
        daemon = world.daemon()
        daemon.start()
        world.clock.sleep(5)
        assert daemon.stop()
    line = said(logs, "message_settled")[0]
    assert line["reason"] == "access_denied"
    assert line["met"] == [{"dependency": "s3", "reason": "access_denied", "detail": "AccessDenied, HTTP 403"}]
