"""What relayd asks of AWS: calls for each mail under full load, and calls a day while nothing comes.

    python -m bench.calls --mails 2000 --idle 120

Counted by the embedded AWS, with relayd's default settings. All mails lie in the queue before the daemon starts: every
batch is as full as it gets; SES tells of each one twice (Send, Delivery). The calls of the start are counted by
themselves and taken off. docs/costs.md has the figures.
"""

import json
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import click

from relayd.sandbox.cloud.client import EmbeddedAws
from relayd.settings import SETTINGS
from tests.process.cloud import Cloud, eventually

DAY = 86_400
DEFAULTS = {
    setting.env: setting.default
    for setting in SETTINGS
    if setting.default is not None
    and setting.env not in ("RELAYD_HTTP_ADDRESS", "RELAYD_LOG_FORMAT", "RELAYD_SIGNATURES")
}
"""What the tests make shorter, as it is by itself."""


def called(aws: EmbeddedAws) -> Counter[str]:
    """Calls so far, by service and operation."""
    return Counter(aws.counts()["calls"])


def settings(cloud: Cloud) -> dict[str, str]:
    """A daemon's, without the gates that tests have before S3 and SES."""
    straight = {"AWS_ENDPOINT_URL_S3": cloud.aws.endpoint, "AWS_ENDPOINT_URL_SESV2": cloud.aws.endpoint}
    return DEFAULTS | straight | cloud.with_events | {"RELAYD_DAILY_MAILS": "100000000"}


def idle(cloud: Cloud, aws: EmbeddedAws, seconds: float) -> tuple[Counter[str], Counter[str]]:
    """What a start asks, and what a day without mail does."""
    before = called(aws)
    daemon = cloud.daemon(**settings(cloud))
    started = called(aws)
    time.sleep(seconds)
    after = called(aws)
    daemon.stop(60)
    day = {operation: round(count * DAY / seconds) for operation, count in (after - started).items()}
    return started - before, Counter(day)


@dataclass(frozen=True, slots=True)
class Load:
    """Of one mail, with the events that follow it."""

    calls: Mapping[str, float]
    log_bytes: float
    a_second: float
    """Mails: how fast the machine was while this was counted. A slow one leaves fewer messages to share a call."""


def loaded(cloud: Cloud, aws: EmbeddedAws, mails: int, start: Counter[str]) -> Load:
    """All of the mails, by one daemon."""
    cloud.mails(mails)
    events = cloud.world.events
    assert events is not None
    queues = [url.rpartition("/")[2] for url in (cloud.world.queue_url, events.queue_url)]
    before, began = called(aws), time.monotonic()
    daemon = cloud.daemon(**settings(cloud))

    def done() -> bool:
        return bool(aws.sent(mails - 1, raw=False)) and not any(map(aws.messages, queues))

    drained = eventually(done, 60 + mails / 10)
    took = time.monotonic() - began
    calls = called(aws) - before - start
    daemon.stop(60)
    assert drained, daemon.output()[-2000:]
    each = {operation: round(count / mails, 3) for operation, count in sorted(calls.items())}
    return Load(each, daemon.log.stat().st_size / mails, mails / took)


@click.command()
@click.option("--mails", default=2000, show_default=True)
@click.option("--idle", "seconds", default=120.0, show_default=True, help="How long to watch a daemon without mail.")
@click.option("--json", "as_json", is_flag=True)
def main(mails: int, seconds: float, as_json: bool) -> None:
    """Count what relayd asks of AWS."""
    with tempfile.TemporaryDirectory(prefix="relayd-calls-") as folder:
        aws = EmbeddedAws(Path(folder) / "aws.log")
        cloud = Cloud(Path(folder), aws, 1)
        try:
            cloud.add_mask()
            start, day = idle(cloud, aws, seconds)
            load = loaded(cloud, aws, mails, start)
        finally:
            cloud.close()
            aws.stop()
    told = {
        "a_start": start,
        "a_day_idle": day,
        "a_mail": load.calls,
        "log_bytes_a_mail": round(load.log_bytes),
        "mails_a_second": round(load.a_second),
    }
    if as_json:
        click.echo(json.dumps(told))
        return
    for what, counts in told.items():
        click.echo(what if isinstance(counts, Mapping) else f"{what} {counts}")
        for operation, count in sorted(counts.items()) if isinstance(counts, Mapping) else ():
            click.echo(f"  {operation:40} {count:>10}")


if __name__ == "__main__":
    main()
