"""Whole traces, as a viewer draws them: real engines and adapters on the embedded AWS, and every span that they end."""

from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from relayd.adapters.certificates import HttpCertificates
from relayd.sandbox.cloud.client import EmbeddedAws
from relayd.sandbox.receiving import Accepted
from relayd.telemetry import names
from tests.contract.certificate_server import CertificateServer, plain
from tests.process.cloud import MAIL, Cloud, eventually
from tests.process.conftest import cloud, embedded_aws  # noqa: F401 -- pytest finds fixtures here
from tests.telemetry.whole import Node, Redirected, trees, working

pytestmark = pytest.mark.process

MASK, MAILBOX = "shop@mask.example", "me@owner.example"
SOURCE = "bounce@stranger.example"
SHORT_LEASE = ["SQS.ChangeMessageVisibilityBatch client"]
"""The tests' leases are shorter than a send may take: each is extended before the fetch."""


class Traces:
    """What has been exported since the test began."""

    def __init__(self, exported: InMemorySpanExporter, cloud: Cloud) -> None:  # noqa: F811
        self._exported = exported
        self._cloud = cloud
        self._queue = cloud.world.queue_url.rpartition("/")[2]

    def named(self, name: str) -> list[Node]:
        """The roots of this name."""
        return [root for root in trees(self._exported.get_finished_spans()) if root.span.name == name]

    def mail(self, *recipients: str, number: int = 0) -> Accepted:
        """Let one arrive. What brings it is no daemon's, and leaves no spans."""
        with suppress_instrumentation():
            return self._cloud.receiving.accept(
                SOURCE, recipients or (MASK,), MAIL.replace(b"{}", b"mail-%d" % number), "127.0.0.1"
            )

    def tries(self, of: str = "") -> list[Node]:
        """One for each try of a message of the mail queue, or of the one with this behind its name."""
        return self.named(f"process {self._queue}{of}")

    def settled(self, count: int, of: str = "") -> bool:
        """Whether so many tries have been settled, in a batch that has ended, too."""
        names = [span.name for span in self._exported.get_finished_spans()]
        batches = names.count("SQS.DeleteMessageBatch") + names.count("SQS.ChangeMessageVisibilityBatch")
        done = [root for root in self._roots(of) if "settle" in {node.span.name for node in root.all()}]
        return len(done) >= count and batches >= 1

    def _roots(self, of: str) -> list[Node]:
        try:
            return self.tries(of)
        except KeyError:
            # A parent that has not ended yet.
            return []

    def receives(self, of: str = "") -> set[tuple[int, int]]:
        return {root.id for root in self.named(f"receive {self._queue}{of}")}

    def text(self) -> str:
        return "".join(span.to_json() for span in self._exported.get_finished_spans())


@pytest.fixture
def traces(exported: InMemorySpanExporter, cloud: Cloud) -> Iterator[Traces]:  # noqa: F811
    """Whatever a test is about: afterwards, each span of ours is one that docs/operations.md explains."""
    cloud.add_mask(MASK)
    exported.clear()
    yield Traces(exported, cloud)
    for span in exported.get_finished_spans():
        if span.instrumentation_scope is not None and span.instrumentation_scope.name == names.SCOPE:
            assert span.name.partition(" ")[0] in names.SPANS
            assert set(span.attributes or {}) <= set(names.ATTRIBUTES), span.name


def test_a_forwarded_mail(cloud: Cloud, traces: Traces) -> None:  # noqa: F811
    """Each call to S3, SES, SQS and the database in its place, and enough said to find the mail everywhere else."""
    with working(cloud):
        accepted = traces.mail()
        assert eventually(lambda: traces.settled(1), 10)
    (mail,) = traces.tries()
    assert mail.drawn() == [
        f"{mail.span.name} consumer",
        "  decode",
        "  decide",
        "    db lookup client",
        "  claim",
        "    db claim client",
        *(f"  {line}" for line in SHORT_LEASE),
        "  s3.fetch",
        "    S3.GetObject client",
        "    s3.body",
        "  rewrite",
        "    db contact client",
        "    db new_contact client",
        "  db begin_send client",
        "  SESv2.SendEmail client",
        "  record",
        "    db sent client",
        "  settle",
    ]
    (row,), (sent,) = cloud.deliveries(), cloud.sent()
    said = mail.told
    assert (said["relayd.outcome"], said["relayd.reason"], said["relayd.receive_count"]) == ("accepted", "forwarded", 1)
    assert 0 <= float(str(said["relayd.queue.seconds"])) < 10
    assert (said["relayd.limit"], said["relayd.in_flight"]) == (4, 1)
    fetch, get, send = (mail.find(name).told for name in ("s3.fetch", "S3.GetObject", "SESv2.SendEmail"))
    for told in (fetch, get):
        assert (told["aws.s3.bucket"], told["aws.s3.key"]) == (cloud.world.bucket, accepted.mail_id)
    assert fetch["relayd.bytes"] == get["http.response.body.size"]
    assert int(str(fetch["relayd.bytes"])) > accepted.size
    assert (send["aws.ses.message_id"], send["http.request.body.size"]) == (row.ses_id, len(sent.data))
    assert (send["relayd.delivery"], send["relayd.attempt"]) == (row.delivery_id, 1)
    # Whose traces belong to it: who produced it, what brought it, and what deleted it.
    producer = (int(accepted.trace_id, 16), int(accepted.span.span_id, 16))
    (received,) = mail.link_ids & traces.receives()
    assert mail.link_ids == {producer, received}
    (deleted,) = [batch for batch in traces.named("SQS.DeleteMessageBatch") if mail.find("settle").id in batch.link_ids]
    assert mail.find("settle").link_ids == {deleted.id}
    for private in (MASK, MAILBOX, SOURCE, "hello", "stranger"):
        assert private not in traces.text()


def test_a_retry(cloud: Cloud, traces: Traces) -> None:  # noqa: F811
    """Two traces: the failed one says what failed, and the second one leads back to it."""
    cloud.fault("s3:GetObject", "truncate", times=1)
    with working(cloud):
        traces.mail()
        assert eventually(lambda: traces.settled(2), 15)
    first, second = traces.tries()
    assert first.drawn()[5:] == [
        "    db claim client",
        *(f"  {line}" for line in SHORT_LEASE),
        "  s3.fetch !",
        "    S3.GetObject client",
        "    s3.body !",
        "  db charge client",
        "  db give_back client",
        "  settle",
    ]
    assert first.span.status.status_code is StatusCode.ERROR
    assert first.told["relayd.outcome"] == "deferred"
    assert {first.told["error.type"], first.find("s3.body").told["error.type"]} == {"s3_truncated"}
    (handed_back,) = first.find("settle").link_ids
    assert handed_back in {batch.id for batch in traces.named("SQS.ChangeMessageVisibilityBatch")}
    # The claim, whose trace the ledger keeps; and both to the one who produced the mail.
    assert first.find("claim").id in second.link_ids
    (producer,) = first.link_ids & second.link_ids
    assert producer not in traces.receives()
    assert (second.told["relayd.outcome"], second.told["relayd.receive_count"]) == ("accepted", 2)
    assert second.find("SESv2.SendEmail").told["relayd.attempt"] == 2
    assert second.span.context
    assert first.span.context
    assert second.span.context.trace_id != first.span.context.trace_id


@pytest.mark.parametrize(
    ("recipient", "reason", "surprise"),
    [("nobody@mask.example", "unknown_mask", None), ("who@elsewhere.example", "no_recipient", "no_recipient")],
)
def test_a_discard(cloud: Cloud, traces: Traces, recipient: str, reason: str, surprise: str | None) -> None:  # noqa: F811
    """Nothing is fetched and nothing sent; one that nobody meant is marked for whoever keeps traces."""
    with working(cloud):
        traces.mail(recipient)
        assert eventually(lambda: traces.settled(1), 10)
    (mail,) = traces.tries()
    # Before it is believed that there is no such mask: whether there is any.
    looked_up = ["    db lookup client", "    db any_mask client"] if surprise is None else []
    assert mail.drawn()[1:] == [
        "  decode",
        "  decide",
        *looked_up,
        "  claim",
        "    db discarded client",
        "  settle",
    ]
    assert mail.span.status.status_code is StatusCode.UNSET
    assert (mail.told["relayd.outcome"], mail.told["relayd.reason"]) == ("accepted", reason)
    assert mail.told.get("relayd.surprise") == surprise


def test_a_send_that_ses_refuses(cloud: Cloud, traces: Traces) -> None:  # noqa: F811
    """By AWS's code at the call and by our word on the message, and nowhere in SES's words: those name people."""
    text = f"Email address is on a list: {MAILBOX}"
    cloud.fault("ses:SendEmail", "error", status=400, code="MessageRejected", message=text)
    with working(cloud):
        traces.mail()
        assert eventually(lambda: traces.settled(1), 10)
    (mail,) = traces.tries()
    assert mail.drawn()[-6:] == [
        "  db begin_send client",
        "  SESv2.SendEmail client !",
        "  db tell client",
        "  db failed client",
        "  SQS.SendMessage client",
        "  settle",
    ]
    assert mail.find("SESv2.SendEmail").told["error.type"] == "MessageRejected"
    assert (mail.told["relayd.outcome"], mail.told["error.type"]) == ("rejected", "ses_rejected")
    assert mail.span.status.status_code is StatusCode.ERROR
    for node in mail.all():
        assert node.span.status.description is None
        assert [set(event.attributes or {}) for event in node.span.events if event.name == "exception"] in (
            [],
            [{"exception.type"}],
        )
    for private in (MAILBOX, "on a list", MASK):
        assert private not in traces.text()


@pytest.fixture
def certificates(tmp_path: Path) -> Iterator[CertificateServer]:
    server = CertificateServer(tmp_path)
    yield server
    server.close()


def test_a_certificate_is_fetched_for_the_mail_that_waits(
    cloud: Cloud,  # noqa: F811
    traces: Traces,
    embedded_aws: EmbeddedAws,  # noqa: F811
    certificates: CertificateServer,
) -> None:
    """Once, below the mail that could not go on without it, and not below the next one."""
    answer = plain(embedded_aws.certificate())

    def slow(handler: BaseHTTPRequestHandler) -> None:
        certificates.stopping.wait(0.2)
        answer(handler)

    certificates.answers["/sns.pem"] = slow
    with working(cloud, HttpCertificates(http=Redirected(certificates, "/sns.pem"))):
        for number in (1, 2):
            traces.mail(number=number)
            assert eventually(partial(traces.settled, number), 10)
    first, second = traces.tries()
    assert first.drawn()[1:4] == ["  decode", "    certificates.fetch client", "  decide"]
    assert second.drawn()[1:3] == ["  decode", "  decide"]
    fetch = first.find("certificates.fetch").span
    assert fetch.start_time
    assert fetch.end_time
    assert fetch.end_time - fetch.start_time > 0.2e9


def test_an_event_of_ses(cloud: Cloud, traces: Traces) -> None:  # noqa: F811
    """A trace of its own, which has the id that the send has: that is how one is found from the other."""
    with working(cloud):
        traces.mail()
        # The topic's own greeting, the send and the delivery.
        assert eventually(lambda: traces.settled(3, "-events"), 10)
    (mail,) = traces.tries()
    told = {event.told["relayd.reason"]: event for event in traces.tries("-events")}
    for kind in ("send", "delivery"):
        event = told[f"event_{kind}"]
        assert event.drawn()[1:] == [
            "  decode",
            "  decide",
            "    db match_feedback client",
            "  record",
            "    db apply_feedback client",
            "  settle",
        ]
        assert event.told["relayd.delivery"] == mail.find("SESv2.SendEmail").told["relayd.delivery"]
        assert event.told["relayd.outcome"] == "accepted"
        assert event.link_ids <= traces.receives("-events")
