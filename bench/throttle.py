"""SES takes fewer mails a second than there are: is nearly all of what it takes used, and is nothing held against mail?

    python -m bench.throttle --rate 14 --mails 1000 --daemons 1 --json

Two runs on the embedded AWS, each with all mails in the queue before the daemons start. In `told` the account's rate is
what GetAccount says, and what SES keeps to. In `untold` GetAccount promises more, and SES throttles all the same, as it
does when somebody else sends with the same account.

`share` is of the rate, until nine tenths of the mails were sent: what SES refused comes back half a minute later, and
the last of it leaves the queue too empty to use a rate with. `share_to_the_end` is until the last mail. Exit 0 only
when each mail was sent once, over 90 % of the rate was used, and no failed try was counted.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Literal

import click
import sqlalchemy as sa

from bench.databases import Kind, database_url
from relayd.adapters.database import connect
from relayd.adapters.schema import retries
from relayd.sandbox.child import Sent
from relayd.sandbox.cloud.client import EmbeddedAws
from tests.process.cloud import Cloud, eventually

Mode = Literal["told", "untold"]
MODES: tuple[Mode, ...] = ("told", "untold")
PROMISED = 200.0
"""Mails a second that GetAccount says where it is wrong."""
LEAST_SHARE = 0.9
BUSY_PART = 0.9
"""Of the mails: while they are sent there are enough others."""


def run(cloud: Cloud, mode: Mode, *, rate: float, mails: int, daemons: int) -> dict[str, object]:
    """One proof."""
    cloud.add_mask()
    if mode == "told":
        cloud.setting(max_send_rate=rate)
    else:
        cloud.setting(max_send_rate=PROMISED)
        # A second's worth at once, as SES's own limit allows.
        cloud.fault("ses:SendEmail", "throttle", rate=rate, burst=rate)
    cloud.mails(mails)
    running = [cloud.daemon(RELAYD_CONCURRENCY="16", AWS_ENDPOINT_URL_SESV2=cloud.aws.endpoint) for _ in range(daemons)]
    drained = eventually(lambda: cloud.queued() == (0, 0), 60 + 3 * mails / rate)
    settled = [line for daemon in running for line in daemon.events("message_settled")]
    opened = [line for daemon in running for line in daemon.events("breaker_opened")]
    codes = [daemon.stop() for daemon in running]
    sent = all_sent(cloud)
    assert isinstance(cloud.aws, EmbeddedAws)
    calls = cloud.aws.counts()
    throttled = sum(count for name, count in calls["errors"].items() if name.startswith("ses:SendEmail Too"))
    return {
        "mode": mode,
        "rate": rate,
        "mails": mails,
        "daemons": daemons,
        "forwarded": len({row.delivery_id for row in cloud.deliveries() if row.state == "sent"}),
        "sends": len(sent),
        "drained": drained,
        "seconds": round(sent[-1].at - sent[0].at, 1) if sent else 0.0,
        "share": share(sent[: int(len(sent) * BUSY_PART)], rate),
        "share_to_the_end": share(sent, rate),
        "throttled_calls": throttled,
        "charged": charged(cloud),
        "breakers_opened": len(opened),
        "came_back": sum(line["outcome"] != "accepted" for line in settled),
        "max_receive_count": max((line["receive_count"] for line in settled), default=0),
        "dead_lettered": len(cloud.dead_letters()),
        "exit_codes": codes,
    }


def all_sent(cloud: Cloud) -> list[Sent]:
    """What SES accepted, in order, without its bytes."""
    sent: list[Sent] = []
    while page := cloud.aws.sent(len(sent), raw=False):
        sent += page
    return sent


def share(sent: list[Sent], rate: float) -> float:
    """Of what the rate allowed from the first of these sends to the last."""
    seconds = sent[-1].at - sent[0].at if sent else 0.0
    return round((len(sent) - 1) / (rate * seconds), 3) if seconds else 0.0


def charged(cloud: Cloud) -> int:
    """Messages that a failed try was counted for."""
    database = connect(cloud.database_url, pool_size=1)
    try:
        with database.reading() as connection:
            return connection.execute(sa.select(sa.func.count()).select_from(retries)).scalar_one()
    finally:
        database.close()


def proven(result: dict[str, object], mails: int) -> bool:
    used = result["share"]
    assert isinstance(used, float)
    return (
        result["forwarded"] == result["sends"] == mails
        and used > LEAST_SHARE
        and result["charged"] == result["dead_lettered"] == 0
    )


@click.command()
@click.option("--rate", default=14.0, show_default=True, help="Mails a second that SES takes.")
@click.option("--mails", default=1000, show_default=True)
@click.option("--daemons", default=1, show_default=True)
@click.option("--mode", "modes", type=click.Choice(MODES), multiple=True, default=MODES, show_default=True)
@click.option("--database", type=click.Choice(["sqlite", "postgres"]), default="sqlite", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, with a key for each run.")
def main(rate: float, mails: int, daemons: int, modes: tuple[Mode, ...], database: Kind, as_json: bool) -> None:
    """Let SES throttle, and look at how much of its rate is used."""
    results: dict[str, dict[str, object]] = {}
    for mode in modes:
        with tempfile.TemporaryDirectory(prefix="relayd-throttle-") as name, database_url(database, Path(name)) as url:
            aws = EmbeddedAws(Path(name) / "aws.log")
            cloud = Cloud(Path(name), aws, 1, database_url=url)
            try:
                results[mode] = run(cloud, mode, rate=rate, mails=mails, daemons=daemons)
            finally:
                cloud.close()
                aws.stop()
    if as_json:
        click.echo(json.dumps(results))
    else:
        for result in results.values():
            click.echo("\n".join(f"{key:20} {value}" for key, value in result.items()) + "\n")
    sys.exit(0 if all(proven(result, mails) for result in results.values()) else 1)


if __name__ == "__main__":
    main()
