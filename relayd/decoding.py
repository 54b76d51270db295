"""What a message says, and whether it may: envelope, signature, topic and bucket.

The queue's policy is the first wall, the signature the second, the allow lists the third: whoever can write to the
queue must not be able to have any S3 object mailed out.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from relayd.errors import HoldError, PermanentError
from relayd.model.delivery import Replay
from relayd.model.message import Message
from relayd.model.notification import Envelope, Notification, Received, S3Content
from relayd.ports import Certificates
from relayd.stages import RelaySettings
from relayd.telemetry import spans
from relayd.wire import own, ses, sns

ANY = "*"


@dataclass(frozen=True, slots=True)
class Opened:
    """What a message says, and on whose word."""

    notification: Notification
    text: str = field(repr=False)
    """The notification as JSON."""
    released: frozenset[str] = frozenset()
    """Reasons that must not hold the mail back again. This, and what follows, only relayd itself can say."""
    replay: Replay | None = None
    first_received_at: float | None = None
    """Of what is replayed, in seconds since the epoch."""


class Decoder:
    """Reads messages. It holds nothing but its settings."""

    def __init__(self, settings: RelaySettings, certificates: Certificates) -> None:
        self._settings = settings
        self._certificates = certificates

    def decode(self, message: Message, fetched: Callable[[], None]) -> Opened:
        """The notification in a message. `fetched` is called when a certificate could be had.

        Raises PermanentError for what is not a notification or not from whom it must be, HoldError when that cannot
        be told now.
        """
        if own.is_own(message.body):
            sealed = own.open_own(message.body, self._settings.secrets)
            spans.link(message.attributes.get("traceparent") or message.trace_header)
            return self._admitted(_opened(sealed))
        envelope = sns.open_envelope(message.body, message.attributes)
        spans.link(envelope.traceparent or message.trace_header)
        # Before the signature: a stranger's message is not worth a look at the certificate that it names.
        if envelope.topic_arn is not None and not admits(self._settings.topic_arns, envelope.topic_arn):
            raise PermanentError("foreign_topic")
        if self._settings.verify_signatures:
            self._verify(envelope, fetched)
        return self._admitted(Opened(ses.read(envelope), envelope.text))

    def _admitted(self, opened: Opened) -> Opened:
        received = opened.notification
        content = received.content if isinstance(received, Received) else None
        if isinstance(content, S3Content) and not admits(self._settings.buckets, content.bucket):
            raise PermanentError("foreign_bucket")
        return opened

    def _verify(self, envelope: Envelope, fetched: Callable[[], None]) -> None:
        if envelope.signed is None:
            raise PermanentError("unsigned", "raw delivery needs RELAYD_SIGNATURES=trust-queue-policy")
        url = envelope.signed.certificate_url
        if not sns.certificate_host_allowed(url, envelope.topic_arn or ""):
            raise PermanentError("foreign_certificate")
        try:
            certificate = self._certificates.fetch(url)
        except HoldError as error:
            # Where any topic is let in, the host was chosen by whoever wrote the message.
            error.wide = error.wide and ANY not in self._settings.topic_arns
            raise
        fetched()
        sns.verify(envelope.signed, certificate)


def _opened(sealed: own.Own) -> Opened:
    replay = None if sealed.replay is None else Replay(sealed.replay, sealed.again)
    told = ses.read_notification(sealed.text)
    return Opened(told, sealed.text, sealed.released, replay, sealed.first_received_at)


def admits(allowed: frozenset[str], name: str) -> bool:
    """Whether an allow list has the name, or is open to all."""
    return name in allowed or ANY in allowed
