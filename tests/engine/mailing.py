"""Mails and events for the engine's tests: what owners and strangers write, and what SES tells about it."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import Message
from typing import Any

from relayd.model.address import Address
from relayd.runtime.supervisor import Supervisor
from tests.engine.world import TOPIC, World, notification
from tests.fakes.ledger_rows import Row

OWNER = "me@owner.example"
STRANGER = "news@stranger.example"
SES_DOMAIN = "eu-west-1.amazonses.com"


@contextmanager
def running(world: World, *, listens: bool = False, tells: bool = False) -> Iterator[Supervisor]:
    """A daemon at work: with `listens`, the events' engine beside it; with `tells`, what sends notices."""
    daemon = world.daemon(chores=[world.notices_chore()] if tells else ())
    listener = world.listener() if listens else None
    if listener is not None:
        listener.start()
    daemon.start()
    yield daemon
    if listener is not None:
        assert listener.stop()
    assert daemon.stop()


def run_out(world: World, within: float = 3600.0, **engine: bool) -> None:
    """Let a daemon work until both queues are empty."""
    with running(world, **engine):
        assert world.until(lambda: not world.queue.left and not world.events.left, within)


def later(world: World, happened: Callable[[], bool], within: float, step: float = 15.0) -> bool:
    """As `World.until`, in longer steps: for hours."""
    for _ in range(int(within / step)):
        if happened():
            return True
        world.clock.sleep(step)
    return happened()


def letter(
    sender: str = STRANGER,
    *,
    to: str = "shop@mask.example",
    mail_id: str = "one@stranger.example",
    text: str = "hello",
    fields: str = "",
) -> bytes:
    head = f"From: {sender}\r\nTo: {to}\r\nSubject: hello\r\nMessage-ID: <{mail_id}>\r\n{fields}"
    return f"{head}MIME-Version: 1.0\r\n\r\n{text}\r\n".encode()


def received(
    world: World,
    data: bytes,
    *recipients: str,
    mail_id: str,
    source: str | None = None,
    cut: bool = False,
    policy: str | None = None,
    **verdicts: str,
) -> str:
    """Let a mail arrive that came just now, with its own header in the notification; `cut`: with none of it. `policy`
    is what its domain asks for where DMARC fails.
    """
    fields = [(name, str(value)) for name, value in message_from_bytes(data).items()]
    body = notification(
        mail_id,
        recipients or ("shop@mask.example",),
        source=f"bounce@{fields[0][1].rpartition('@')[2].strip('>')}" if source is None else source,
        headers=[("X-First", "x")] if cut else fields,
        truncated=cut,
        **verdicts,
    )
    return world.mail(mail_id, data, _told(world, body, policy))


def _told(world: World, body: str, policy: str | None) -> str:
    envelope = json.loads(body)
    text = json.loads(envelope["Message"])
    now = datetime.fromtimestamp(world.clock.time(), UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    text["mail"]["timestamp"] = text["receipt"]["timestamp"] = now
    text["receipt"].update({"dmarcPolicy": policy} if policy else {})
    return json.dumps({**envelope, "Message": json.dumps(text)})


def token_of(world: World, address: str = STRANGER, mask: str = "shop@mask.example") -> str:
    """The reply address of a stranger to a mask."""
    found = world.directory.masks[mask]
    return f"{world.directory.contact(found.mask_id, Address.parse(address)).token}@mask.example"


def answer(world: World, to: str, *recipients: str, mail_id: str = "answer", **more: Any) -> str:
    """Let the owner write to tokens."""
    fields, sender, text = more.pop("fields", ""), more.pop("sender", OWNER), more.pop("text", "hello")
    data = letter(sender, to=to, mail_id=f"{mail_id}@owner.example", fields=fields, text=text)
    return received(world, data, *(recipients or (to,)), mail_id=mail_id, **more)


def rows(world: World, kind: str | None = None) -> list[Row]:
    return [row for row in world.ledger.rows.values() if kind in (None, row.concern.kind)]


def only_row(world: World, kind: str | None = None) -> Row:
    (row,) = rows(world, kind)
    return row


def states(world: World) -> list[tuple[str, str | None]]:
    return sorted((row.state, row.reason) for row in rows(world))


def sent_to(world: World) -> list[str]:
    return [send.mail.recipient for send in world.mailer.sent]


def sent_mail(world: World, number: int = -1) -> Message:
    return message_from_bytes(world.mailer.sent[number].mail.data)


def told(world: World) -> list[str]:
    """The kinds of all notices that were put down."""
    return [one.notice.kind for one in world.notices.told]


def event(row: Row, kind: str, part: dict[str, Any] | None = None, *, at: float = 0.0, tagged: bool = True) -> str:
    """An event of SES about a delivery, in its SNS envelope."""
    place = kind[:1].lower() + kind[1:]
    stamp = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z") if at else "2023-11-14T22:13:20.000Z"
    tags = {"tags": {"relayd-delivery": [f"{row.delivery_id}-{row.attempt}"]}} if tagged else {}
    text = {
        "eventType": kind,
        "mail": {"timestamp": stamp, "messageId": row.ses_id or "ses-1", "destination": [row.key.mailbox], **tags},
        place: {"timestamp": stamp, **(part or {})},
    }
    return sns(json.dumps(text))


def sns(text: str) -> str:
    return json.dumps(
        {
            "Type": "Notification",
            "MessageId": "sns-event",
            "TopicArn": TOPIC,
            "Message": text,
            "Timestamp": "2026-01-02T03:04:05.000Z",
        }
    )


def bounced(
    row: Row, subtype: str = "NoEmail", kind: str = "Permanent", *, number: int = 1, status: str = "5.1.1"
) -> str:
    recipient = {"emailAddress": row.key.mailbox, **({"status": status} if status else {})}
    return event(
        row,
        "Bounce",
        {
            "bounceType": kind,
            "bounceSubType": subtype,
            "bouncedRecipients": [recipient],
            "feedbackId": f"feedback-bounce-{number}",
        },
    )


def complained(row: Row, *, number: int = 1, at: float = 0.0) -> str:
    recipients = [{"emailAddress": row.key.mailbox}]
    said = {"complainedRecipients": recipients, "complaintFeedbackType": "abuse"}
    return event(row, "Complaint", {**said, "feedbackId": f"feedback-complaint-{number}"}, at=at)
