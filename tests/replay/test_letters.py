"""Dead letters as offers: opened as the daemon opens them, sealed only where that is so, with what links them kept."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from relayd.adapters.dead_letters import FIRST_RECEIVED
from relayd.adapters.injecting import Parcel
from relayd.decoding import Decoder
from relayd.errors import HoldError
from relayd.model.message import Message
from relayd.ops.archive import Archive
from relayd.ops.dead_letters import DeadLetters
from relayd.ops.letter_facts import DeadLetter
from relayd.ops.replay.letters import DAMAGED, ArchiveSource, LetterSource, Opener
from relayd.ops.replay.offers import Offer
from relayd.ops.replay.reading import look
from relayd.rules.evidence import Limits
from relayd.stages import RelaySettings
from relayd.wire import own
from tests.fakes.clock import VirtualClock
from tests.fakes.letter_queue import FakeLetterQueue
from tests.fakes.shelf import FakeShelf
from tests.letters import FIRST_RECEIVED as FIRST
from tests.letters import TRACEPARENT, letter, record
from tests.replay.parts import SECRET, Bench, FakePost
from tests.wire.samples import CERTIFICATE_URL, MAIL_ID, TOPIC_ARN, certificate, envelope, key, received_text

CLOCK = VirtualClock()


class Certificates:
    """The right one, or none to be had."""

    def __init__(self, *, reachable: bool = True) -> None:
        self._reachable = reachable

    def fetch(self, url: str) -> bytes:
        assert url == CERTIFICATE_URL
        if not self._reachable:
            raise HoldError("certificates", "certificate_unavailable")
        return certificate(key())


def opener(*, verify: bool = True, reachable: bool = True, secrets: tuple[bytes, ...] = (SECRET,)) -> Opener:
    settings = RelaySettings(
        mail_domains=frozenset({"mask.example"}),
        topic_arns=frozenset({TOPIC_ARN}),
        buckets=frozenset({"incoming-mail"}),
        secrets=secrets,
        verify_signatures=verify,
        retry_seconds=3600,
        claim_seconds=60,
        send_seconds=38,
        ses_domain="eu-west-1.amazonses.com",
        limits=Limits(),
        resend_doubts=True,
        notice_from="relayd@mask.example",
    )
    return Opener(Decoder(settings, Certificates(reachable=reachable)), CLOCK)


def offered(found: DeadLetter, **options: Any) -> Offer:
    return opener(**options).offer(found)


def enveloped(**changes: Any) -> str:
    return json.dumps(envelope(received_text(), **changes))


def test_a_true_one_may_be_sealed() -> None:
    """Text, mail, reason, time, and every id that it can be asked for by."""
    found = offered(letter(enveloped(), reason="ses_rejected", message_id="m1", sqs_id="d1"))
    assert (found.problem, found.original, found.doubt) == ("", None, "")
    assert found.text == received_text()
    assert found.received is not None
    assert found.received.mail_id == MAIL_ID
    assert (found.reason, found.at) == ("ses_rejected", 1_700_000_600.0)
    assert found.names == {"m1", "d1", MAIL_ID}


FOREIGN_BUCKET = {"receipt": {"action": {"type": "S3", "bucketName": "somebody-elses", "objectKey": "k"}}}
FORGERIES: list[tuple[str, str]] = [
    (json.dumps(envelope(received_text()) | {"Message": received_text(mail={"messageId": "x"})}), "forged_signature"),
    (enveloped(TopicArn="arn:aws:sns:eu-west-1:999999999999:mail"), "foreign_topic"),
    (json.dumps(envelope(received_text(**FOREIGN_BUCKET))), "foreign_bucket"),
    (json.dumps({k: v for k, v in envelope(received_text()).items() if k != "Signature"}), "unsigned"),
    (enveloped(SigningCertURL="https://sns.evil.example/x.pem"), "foreign_certificate"),
    (received_text(), "unsigned"),
    ("not json", "not_json"),
    ("{}", "unknown_shape"),
    (own.seal(received_text(), secrets=[b"somebody else's"], now=1.0), "forged_signature"),
    (own.seal(received_text(**FOREIGN_BUCKET), secrets=[SECRET], now=1.0), "foreign_bucket"),
]


@pytest.mark.parametrize(("body", "reason"), FORGERIES)
def test_what_the_daemon_would_not_open_is_not_sealed(body: str, reason: str) -> None:
    """Our own word would launder it: it has a reason, and neither text nor body to send."""
    found = offered(letter(body, reason="bug"))
    assert (found.problem, found.text, found.original) == (reason, None, None)
    assert found.reason == "bug"


def test_raw_delivery_where_the_queue_is_trusted() -> None:
    """There is no signature then, and the daemon asks for none."""
    assert offered(letter(received_text()), verify=False).text == received_text()


def test_without_a_certificate_it_goes_as_it_came() -> None:
    """Nobody can tell here; what it says of its mail serves to choose by, and is not sealed."""
    found = offered(letter(enveloped()), reachable=False)
    assert (found.problem, found.text, found.doubt) == ("", None, "certificate_unavailable")
    assert found.original == enveloped()
    assert found.received is not None
    assert MAIL_ID in found.names


def test_links_and_the_first_receive_survive() -> None:
    """The trace context of SNS's envelope or of the message, X-Ray's header, and when it all began."""
    told = json.loads(enveloped()) | {"MessageAttributes": {"traceparent": {"Type": "String", "Value": TRACEPARENT}}}
    found = offered(letter(json.dumps(told), own={"traceparent": "00-other", "shop": "x"}, trace_header="Root=1-2"))
    assert found.attributes == {"traceparent": TRACEPARENT, FIRST_RECEIVED: "2023-11-14T22:13:20+00:00"}
    assert (found.first_received_at, found.trace_header) == (FIRST, "Root=1-2")
    raw = offered(letter(received_text(), own={"traceparent": TRACEPARENT}), verify=False)
    assert raw.attributes["traceparent"] == TRACEPARENT


def test_what_was_sealed_once_is_sealed_anew() -> None:
    """A release's reasons go along, and the first receive that we vouched for beats the one written on the letter."""
    body = own.seal(
        received_text(), released=["spam"], secrets=[SECRET], now=2.0, replay="replay-0", first_received_at=5.0
    )
    found = offered(letter(body, own={"traceparent": TRACEPARENT}))
    assert (found.released, found.replay_id, found.first_received_at) == (frozenset({"spam"}), "replay-0", 5.0)
    assert found.attributes == {"traceparent": TRACEPARENT, FIRST_RECEIVED: "1970-01-01T00:00:05+00:00"}


@pytest.mark.parametrize("told", ["9999-12-31T23:59:59-23:59", "1960-01-01T00:00:00Z", "never", ""])
def test_an_impossible_first_receive(told: str) -> None:
    """It is written on the letter, by anybody: what cannot be is not passed on."""
    base = letter(enveloped())
    message = Message("d1", "h", enveloped())
    seconds = {"9999-12-31T23:59:59-23:59": 253_402_387_139.0, "1960-01-01T00:00:00Z": -315_619_200.0}.get(told, 0.0)
    found = offered(DeadLetter(message, base.reason, "", "m1", seconds, 0.0))
    assert found.first_received_at is None
    assert FIRST_RECEIVED not in found.attributes


def raw(number: int) -> str:
    return received_text(mail={"messageId": f"mail-{number}"})


def letters(bodies: list[str]) -> tuple[Bench, FakeLetterQueue]:
    """A dead-letter queue of these bodies, and a replay that reads it."""
    bench = Bench()
    queue = FakeLetterQueue(bench.clock)
    for number, body in enumerate(bodies):
        queue.publish(body, message_id=f"m{number}", reason="ses_rejected")
    read_by(bench, queue)
    return bench, queue


def read_by(bench: Bench, queue: FakeLetterQueue) -> None:
    bench.source = LetterSource(DeadLetters(queue, bench.clock), opener(verify=False))  # type: ignore[assignment]


def test_the_queue_keeps_what_was_not_sent() -> None:
    """Sent ones are deleted; illegible ones, and those not asked for, can be received again at once."""
    bench, queue = letters([*(raw(n) for n in range(23)), "not json"])
    assert bench.send(limit=20) == "limit"
    assert len(bench.post.parcels) == 20
    assert len(queue.queue.left) == queue.queue.visible == 4


def test_a_look_leaves_the_queue_as_it_was() -> None:
    """Everything is counted, and can be received again at once."""
    bench, queue = letters([*(raw(n) for n in range(23)), "not json"])
    assert look(bench.reading(acts=False)) == "finished"
    assert (bench.outcomes.count("would_send"), bench.outcomes.count("skipped")) == (23, 1)
    assert queue.queue.visible == 24


def test_a_crash_between_sending_and_deleting() -> None:
    """The letters come back when their leases end; the next replay sends them once more, and then none is left."""
    bench, queue = letters([raw(n) for n in range(10)])
    portion = next(bench.reading().chosen())
    bench.post.post([bench.act().parcel(one, 0.0) for one in portion])
    # Killed here: nothing is deleted, nothing is put back. The next one waits for what seems to be in other hands.
    read_by(bench, queue)
    assert bench.send() == "finished"
    assert sorted(bench.post.mail_ids) == sorted(2 * [f"mail-{n}" for n in range(10)])
    assert queue.queue.left == set()
    assert bench.clock.monotonic() < 120


def test_letters_in_other_hands_are_told_of() -> None:
    """They are waited for as long as a killed reader's, and not for ever."""
    bench, queue = letters([raw(n) for n in range(3)])
    queue.receive(1, 0, 40_000)
    assert bench.send() == "finished"
    assert (bench.outcomes.count("sent"), bench.outcomes.remark) == (2, "about 1 in somebody else's hands")


def test_what_fails_again_meanwhile_is_left_there() -> None:
    """A daemon is quick: the letter is in the dead-letter queue again before the reading has ended."""
    bench, queue = letters([raw(n) for n in range(15)])

    class Failing(FakePost):
        def post(self, parcels: Sequence[Parcel]) -> list[str | None]:
            for parcel in parcels:
                queue.publish(parcel.body, message_id="again", reason="ses_rejected")
            return super().post(parcels)

    bench.post = Failing(bench.clock)
    assert bench.send() == "finished"
    assert len(bench.post.parcels) == 15
    assert (bench.outcomes.count("sent"), bench.outcomes.came_back) == (15, 15)
    assert queue.queue.visible == 15


def test_an_archive_stays_as_it_is() -> None:
    """Its records are offered like letters, and what is no record is told of."""
    shelf = FakeShelf(CLOCK)
    archive = Archive(shelf, CLOCK)
    for number in range(7):
        archive.add(record(raw(number), message_id=f"m{number}"))
    shelf.put("m9.broken.json", b"{", "")
    bench = Bench()
    bench.source = ArchiveSource(archive, opener(verify=False))  # type: ignore[assignment]
    assert bench.send() == "finished"
    assert sorted(bench.post.mail_ids) == [f"mail-{n}" for n in range(7)]
    assert bench.outcomes.by_why("skipped") == {DAMAGED: 1}
    assert not bench.outcomes.complete
    assert len(list(shelf.names())) == 8


def test_events_of_ses_go_through_too() -> None:
    """They may share the dead-letter queue; they are about no mail to be received."""
    text = json.dumps({"eventType": "Delivery", "mail": {"messageId": "x", "tags": {}}, "delivery": {"recipients": []}})
    found = offered(letter(json.dumps(envelope(text)), reason="bug"))
    assert (found.received, found.problem) == (None, "")
    assert found.text == text
