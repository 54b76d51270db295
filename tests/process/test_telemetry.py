"""What the real daemon tells: each call has its span, each wait its reason, and /metrics has what is documented."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from relayd.adapters.database import connect
from relayd.adapters.directory import SqlDirectory
from relayd.adapters.notices import SqlNotices
from relayd.model.address import Address
from relayd.model.mask import Mask
from relayd.model.notice import OwnerNotice
from relayd.sandbox.cloud.client import EmbeddedAws
from relayd.telemetry.catalogue import INSTRUMENTS, prometheus_label, prometheus_name
from tests.process.cloud import MAIL, Cloud, DaemonProcess, eventually
from tests.process.collector import Collector

pytestmark = pytest.mark.process

MASK = "shop@mask.example"
STANDARD = ("process_", "target_info")
CALLS = {
    "s3:GetObject": "S3.GetObject",
    "ses:SendEmail": "SESv2.SendEmail",
    "sqs:DeleteMessageBatch": "SQS.DeleteMessageBatch",
    "sqs:ChangeMessageVisibilityBatch": "SQS.ChangeMessageVisibilityBatch",
    "sqs:SendMessage": "SQS.SendMessage",
}
"""What the emulator counts, and what the daemon's spans are called."""
CHORES = {"orders", "beat", "census", "waiting_notices", "ping", "any_mask", "read", "write"}
"""Of the database: what is asked at the start and beside the mail, and is in nobody's trace."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


def exporting(collector: Collector) -> dict[str, str]:
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }


def served(daemon: DaemonProcess) -> dict[str, Metric]:
    """By the name that /metrics has them under."""
    found = text_string_to_metric_families(daemon.get("/metrics")[1])
    return {f"{one.name}_total" if one.type == "counter" else one.name: one for one in found}


def counted(cloud: Cloud) -> Counter[str]:
    assert isinstance(cloud.aws, EmbeddedAws)
    return Counter(cloud.aws.counts()["calls"])


def told(span: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes}


def leaves(spans: list[Any]) -> list[Any]:
    parents = {span.parent_span_id for span in spans}
    return [span for span in spans if span.span_id not in parents]


def unexplained(root: Any, spans: list[Any]) -> float:
    """Seconds of a message's span in which nothing below it was going on that says what."""
    end, open_until = root.end_time_unix_nano, root.start_time_unix_nano
    gaps = 0
    for span in sorted(leaves(spans), key=lambda one: one.start_time_unix_nano):
        gaps += max(0, min(span.start_time_unix_nano, end) - open_until)
        open_until = max(open_until, span.end_time_unix_nano)
    return float((gaps + max(0, end - open_until)) / 1e9)


def test_each_call_has_its_span_and_each_wait_its_reason(cloud: Cloud, collector: Collector) -> None:
    """Counted by the emulator and by the histograms: none is missing. With a slow S3 and SES, several mailboxes and a
    message that is rejected, a mail's time is all told for.
    """
    cloud.add_mask(MASK, "me@owner.example", "you@owner.example")
    cloud.fault("s3:GetObject", "latency", seconds=0.4, at="body")
    cloud.fault("ses:SendEmail", "latency", seconds=0.3)
    before = counted(cloud)
    daemon = cloud.daemon(**exporting(collector))
    for number in range(3):
        cloud.mail(number)
    cloud.clients.sqs.send_message(QueueUrl=cloud.world.queue_url, MessageBody="no notification")
    assert eventually(lambda: len(daemon.events("message_settled")) == 4, 20), daemon.output()
    asked = {
        sample.labels["operation"]: sample.value
        for sample in served(daemon)["relayd_dependency_duration_seconds"].samples
        if sample.name.endswith("_count") and sample.labels["dependency"] == "database"
    }
    assert daemon.stop() == 0
    spans = collector.spans()
    made = Counter(span.name for span in spans)
    calls = counted(cloud) - before
    # The message that nobody understands was put there by the test itself.
    calls["sqs:SendMessage"] -= 1
    assert {CALLS[call]: calls[call] for call in CALLS} == {name: made[name] for name in CALLS.values()}
    assert made["SESv2.SendEmail"] == 6
    operations = {name: count for name, count in asked.items() if name not in CHORES}
    assert {"lookup", "claim", "contact", "begin_send", "sent"} <= set(operations)
    assert operations == {name: made[f"db {name}"] for name in operations}
    roots = [span for span in spans if span.name.startswith("process ")]
    assert len(roots) == 4
    for root in roots:
        below = [span for span in spans if span.trace_id == root.trace_id and span is not root]
        assert all(span.parent_span_id for span in below)
        assert unexplained(root, below) < 0.1, [(span.name, span.start_time_unix_nano) for span in below]
    forwarded = [root for root in roots if told(root)["relayd.outcome"] == "accepted"]
    assert all(root.end_time_unix_nano - root.start_time_unix_nano > 0.9e9 for root in forwarded)
    assert b"owner.example" not in collector.received
    assert b"hello" not in collector.received


def test_every_documented_metric_is_served_and_no_other(cloud: Cloud) -> None:
    """By a daemon that has met a bit of everything, under its name and with the labels that docs/operations.md has."""
    cloud.setting(fates={"gone@owner.example": "no_email"})
    cloud.add_mask(MASK)
    cloud.add_mask("other@mask.example", "gone@owner.example")
    tell_owner(cloud)
    daemon = cloud.daemon(**cloud.with_events)
    cloud.mail(0, data=MAIL.replace(b"Subject:", b"X-Sandbox-Verdict: gray\r\nSubject:"))
    cloud.mail(1, ("other@mask.example",))
    cloud.clients.sqs.send_message(QueueUrl=cloud.world.queue_url, MessageBody="no notification")
    assert eventually(lambda: bool(daemon.events("mailbox_paused")), 10), daemon.output()
    assert eventually(lambda: bool(daemon.events("notice_ended")), 10), daemon.output()
    cloud.fault("sqs:ReceiveMessage", "deny")
    assert eventually(lambda: 'relayd_unready{condition="queue"}' in daemon.get("/metrics")[1], 10), daemon.output()
    found = {name: one for name, one in served(daemon).items() if not name.startswith(STANDARD)}
    assert set(found) == {prometheus_name(name) for name in INSTRUMENTS}
    for name, made in INSTRUMENTS.items():
        labels = {label for one in found[prometheus_name(name)].samples for label in one.labels if label != "le"}
        assert labels <= {prometheus_label(label) for label in made.labels}, name
        for label, values in made.labels.items():
            listed = set(values.split("`")[1::2])
            if values == ", ".join(f"`{one}`" for one in values.split("`")[1::2]):
                shown = {one.labels.get(prometheus_label(label), "") for one in found[prometheus_name(name)].samples}
                assert shown <= listed | {""}, (name, label)
    depths = {(one.labels["queue"], one.labels["state"]): one.value for one in found["relayd_queue_depth"].samples}
    assert {queue for queue, _ in depths} == {"mail", "events", "dead_letters", "events_dead_letters"}
    assert value(found, "relayd_masks", state="enabled") == 2
    assert value(found, "relayd_feedback_total", kind="bounce", type="permanent") == 1
    assert value(found, "relayd_verdicts_total", verdict="spam", status="gray") == 1
    assert value(found, "relayd_mail_duration_seconds", "_count", kind="forward") == 2
    assert value(found, "relayd_unready", condition="queue") == 1
    assert value(found, "db_client_connection_max") > 8


def value(found: dict[str, Metric], name: str, suffix: str = "", **labels: str) -> float:
    for sample in found[name].samples:
        if sample.name == name + suffix and labels.items() <= sample.labels.items():
            return float(sample.value)
    raise AssertionError(f"no {name} with {labels}")


def tell_owner(cloud: Cloud) -> None:
    """A notice, for the daemon to send."""
    database = connect(cloud.database_url, pool_size=1)
    try:
        mask = SqlDirectory(database).lookup(Address.parse(MASK))
        assert isinstance(mask, Mask)
        SqlNotices(database).tell(OwnerNotice(mask.owner.owner_id, "mask_disabled", {"mask": MASK}))
    finally:
        database.close()
