"""What operators ask of a daemon that runs: mail held back and let go, and a mask whose mail is traced whole."""

import json
import time
from collections import defaultdict
from typing import Any

import pytest

from relayd.telemetry import names
from tests.process.cloud import Cloud, DaemonProcess, eventually
from tests.process.collector import Collector

pytestmark = pytest.mark.process

TRACED, OTHER = "canarymask@mask.example", "shop@mask.example"
MAIL = (
    b"From: Shop <canarysender@stranger.example>\r\nTo: canarymask@mask.example\r\nSubject: canarysubject\r\n"
    b"Message-ID: <canary-{}@stranger.example>\r\nMIME-Version: 1.0\r\n\r\ncanarybody\r\n"
)
OBEYED = 6.0
"""Seconds: the five that are promised, and one for a busy machine."""
WHOLE = {
    "decode",
    "decide",
    "claim",
    "s3.fetch",
    "S3.GetObject",
    "rewrite",
    "SESv2.SendEmail",
    "record",
    "settle",
}


def orders(daemon: DaemonProcess) -> dict[str, Any]:
    """What the daemon says that it obeys."""
    found: dict[str, Any] = json.loads(daemon.get("/status")[1])["orders"]
    return found


def told(cloud: Cloud, *arguments: str) -> None:
    """An operator's command, which succeeds."""
    done = cloud.relayd(*arguments)
    assert done.returncode == 0, done.stderr


def settled(daemon: DaemonProcess, count: int) -> list[dict[str, Any]]:
    """So many messages ended; the lines that say so."""
    assert eventually(lambda: len(daemon.events("message_settled")) >= count, 20), daemon.output()
    return daemon.events("message_settled")


def traces(collector: Collector) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = defaultdict(list)
    for span in collector.spans():
        found[span.trace_id.hex()].append(span)
    return found


def attributes(span: Any) -> dict[str, str]:
    return {one.key: one.value.string_value for one in span.attributes}


def test_a_traced_mask_s_mail_is_exported_whole_whatever_the_sampler_says(cloud: Cloud) -> None:
    """At a ratio of 0 nothing leaves, until a mask is traced: then its mail does, from its receive to its settlement,
    a failure included, without anybody's address in it. Another mask's mail does not.
    """
    collector = Collector()
    for mask in (TRACED, OTHER):
        cloud.add_mask(mask, "canarymailbox@canaryowner.example")
    daemon = cloud.daemon(
        OTEL_TRACES_SAMPLER="traceidratio",
        OTEL_TRACES_SAMPLER_ARG="0",
        OTEL_METRICS_EXPORTER="none",
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        OTEL_BSP_SCHEDULE_DELAY="100",
    )
    cloud.mail(1, (TRACED,), MAIL)
    settled(daemon, 1)
    told(cloud, "trace", TRACED, "--for", "1h")
    assert eventually(lambda: orders(daemon)["traced_masks"] == 1, OBEYED)
    cloud.mail(2, (OTHER,), MAIL)
    settled(daemon, 2)
    cloud.mail(3, (TRACED,), MAIL)
    settled(daemon, 3)
    cloud.clients.ses.delete_email_identity(EmailIdentity="mask.example")
    try:
        # SES's refusal repeats the address.
        cloud.mail(4, (TRACED,), MAIL)
        lines = settled(daemon, 4)
    finally:
        cloud.clients.ses.create_email_identity(EmailIdentity="mask.example")
    told(cloud, "trace", TRACED, "--off")
    assert eventually(lambda: orders(daemon)["traced_masks"] == 0, OBEYED)
    cloud.mail(5, (TRACED,), MAIL)
    settled(daemon, 5)
    assert daemon.stop() == 0
    collector.close()
    found = traces(collector)
    whole, refused = lines[2]["trace_id"], lines[3]["trace_id"]
    assert set(found) == {whole, refused}
    roots = {trace_id: [span for span in spans if not span.parent_span_id] for trace_id, spans in found.items()}
    for (root,) in roots.values():
        assert root.name.startswith("process ")
        assert attributes(root)[names.KEPT] == "traced"
    assert {span.name for span in found[whole]} >= WHOLE
    ids = {span.span_id for span in found[whole]}
    assert all(span.parent_span_id in ids for span in found[whole] if span.parent_span_id)
    assert {"SESv2.SendEmail", "settle"} <= {span.name for span in found[refused]}
    assert b"canary" not in collector.received.lower()


def test_a_pause_holds_mail_back_until_it_is_resumed(cloud: Cloud) -> None:
    """Everything, before the daemon starts: it takes nothing and is healthy. Let go, all mail is on its way within 5 s,
    but for that of an owner who is paused: it stays in the queue, and nothing is written down about it.
    """
    cloud.add_mask(OTHER, "me@owner.example")
    cloud.add_mask("second@mask.example", "you@owner.example")
    told(cloud, "pause", "--all", "--owner", "you@owner.example", "--reason", "wrong key")
    daemon = cloud.daemon()
    assert (orders(daemon)["known"], orders(daemon)["everything"]) == (True, True)
    for number in range(3):
        cloud.mail(number, (OTHER,))
    cloud.mail(3, ("second@mask.example",))
    time.sleep(1.5)  # longer than a poll
    assert cloud.queued() == (4, 0)
    assert [daemon.get(path)[0] for path in ("/livez", "/readyz")] == [200, 200]
    assert 'relayd_paused{scope="all"} 1.0' in daemon.get("/metrics")[1]
    told(cloud, "resume", "--all")
    assert eventually(lambda: len(cloud.sent()) == 3, OBEYED)
    settled(daemon, 4)
    (held,) = [line for line in daemon.events("message_settled") if line["reason"] == "paused"]
    assert (held["outcome"], cloud.queued()) == ("released", (0, 1))
    assert daemon.stop() == 0
    assert set(cloud.sends_of_each_mail().values()) == {1}
    assert {row.recipient for row in cloud.deliveries()} == {OTHER}
