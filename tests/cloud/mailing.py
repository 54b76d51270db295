"""Sending through the embedded SES, the truth about what was sent, and the events that come of it."""

import itertools
import json
import time
import uuid
from collections.abc import Sequence
from typing import Any

from relayd.wire import sns
from tests.cloud.server import EmbeddedServer

SENDER = "token@mask.example"
MAIL = b"From: Shop <token@mask.example>\r\nTo: somebody@else.example\r\nSubject: hello\r\n\r\n.\r\nbody\r\n"


def verify(server: EmbeddedServer, name: str = "mask.example") -> None:
    """Let addresses of the domain send; again and again, if need be."""
    known = [one["IdentityName"] for one in server.ses.list_email_identities()["EmailIdentities"]]
    if name not in known:
        server.ses.create_email_identity(EmailIdentity=name)


def send(server: EmbeddedServer, to: str = "owner@home.example", data: bytes = MAIL, **parameters: Any) -> str:
    number: str = server.ses.send_email(
        **{
            "FromEmailAddress": SENDER,
            "Destination": {"ToAddresses": [to]},
            "Content": {"Raw": {"Data": data}},
            **parameters,
        }
    )["MessageId"]
    return number


def sent(server: EmbeddedServer, message_id: str) -> dict[str, Any]:
    """The truth about one send, with everything that the emulator tells."""
    for since in itertools.count(0, 100):
        page = server.aws._ask("GET", f"sent?since={since}")["sent"]
        assert page, "not sent"
        for one in page:
            if one["message_id"] == message_id:
                return dict(one)
    raise AssertionError


class Listening:
    """A queue that a topic reaches, for events or notifications."""

    def __init__(self, server: EmbeddedServer, *, raw: bool = False) -> None:
        self.server = server
        self.name = f"set-{uuid.uuid4().hex[:12]}"
        self.topic_arn: str = server.sns.create_topic(Name=self.name)["TopicArn"]
        self.url, _ = server.new_queue()
        queue_arn = server.attributes(self.url)["QueueArn"]
        attributes = {"RawMessageDelivery": "true"} if raw else {}
        server.sns.subscribe(TopicArn=self.topic_arn, Protocol="sqs", Endpoint=queue_arn, Attributes=attributes)
        self.raw = raw

    def texts(self, number: int, seconds: float = 5.0) -> list[str]:
        """So many more texts, in order, or fewer when no more have come in time; out of their envelopes."""
        found: list[str] = []
        end = time.monotonic() + seconds
        while len(found) < number and time.monotonic() < end:
            # One by one: an answer of several may hold them in any order.
            answer = self.server.sqs.receive_message(QueueUrl=self.url, WaitTimeSeconds=1 if seconds >= 1 else 0)
            found += [one["Body"] for one in answer.get("Messages", [])]
        return found if self.raw else [sns.open_envelope(body, {}).text for body in found]

    def events(self, number: int) -> list[dict[str, Any]]:
        """So many more, as JSON."""
        found = self.texts(number)
        assert len(found) == number, found
        return [json.loads(text) for text in found]

    def quiet(self, seconds: float = 0.2) -> bool:
        """Whether nothing comes for so long."""
        return self.texts(1, seconds) == []


class Events(Listening):
    """A configuration set whose events of these types come to a queue."""

    def __init__(
        self, server: EmbeddedServer, *types: str, suppression: Sequence[str] | None = None, raw: bool = False
    ) -> None:
        super().__init__(server, raw=raw)
        options = {} if suppression is None else {"SuppressionOptions": {"SuppressedReasons": suppression}}
        server.ses.create_configuration_set(ConfigurationSetName=self.name, **options)
        server.ses.create_configuration_set_event_destination(
            ConfigurationSetName=self.name,
            EventDestinationName="events",
            EventDestination={
                "Enabled": True,
                "MatchingEventTypes": list(types),
                "SnsDestination": {"TopicArn": self.topic_arn},
            },
        )
        assert self.texts(1) == [sns.TOPIC_VALIDATED]

    def of(self, to: str, number: int, **parameters: Any) -> list[dict[str, Any]]:
        """Send a mail, and wait for so many events of it."""
        send(self.server, to, ConfigurationSetName=self.name, **parameters)
        return self.events(number)
