"""SIGKILL at random moments: is every mail forwarded, and is every double an in-doubt resend?

    python -m bench.kills --mails 1000 --kills 10 --database sqlite --seed 1 --json

A real daemon works on the embedded AWS while mail keeps arriving; it is killed at random moments and started again at
once. Exit 0 only when nothing is lost and every mail that went out twice is one that the ledger counted as resent.
"""

import json
import random
import sys
import tempfile
import threading
import time
from pathlib import Path

import click

from bench.databases import Kind, database_url
from relayd.sandbox.cloud.client import EmbeddedAws
from tests.process.cloud import Cloud, eventually

DRAIN_SECONDS = 180.0


def run(cloud: Cloud, *, mails: int, kills: int, seed: int) -> dict[str, object]:
    """One proof. The daemon's settings are the cloud's."""
    chance = random.Random(seed)
    assert cloud.relayd("db", "upgrade").returncode == 0
    cloud.add_mask()
    # Slow enough that most kills fall on mail in flight, some of it between SES's acceptance and the record.
    cloud.fault("s3:GetObject", "latency", distribution="uniform", low=0.005, seconds=0.05)
    cloud.fault("ses:SendEmail", "latency", distribution="uniform", low=0.02, seconds=0.2)
    feeder = threading.Thread(target=cloud.mails, args=(mails,), daemon=True)
    feeder.start()
    daemon = cloud.daemon()
    began = time.monotonic()
    for _ in range(kills):
        time.sleep(chance.uniform(0.3, 1.5))
        daemon.kill()
        daemon = cloud.daemon()
    feeder.join()
    drained = eventually(lambda: cloud.queued() == (0, 0), DRAIN_SECONDS)
    code = daemon.stop()
    sends = cloud.sends_of_each_mail()
    resends = cloud.resends()
    doubled = [count for count in sends.values() if count > 1]
    letters = cloud.dead_letters()
    return {
        "mails": mails,
        "kills": kills,
        "seed": seed,
        "forwarded": len(sends),
        "lost": mails - len(sends) - len(letters),
        "dead_lettered": len(letters),
        "duplicates": sum(sends.values()) - len(sends),
        "mails_doubled": len(doubled),
        "in_doubt_resends": sum(resends.values()),
        "unexplained": len([mail for mail, count in sends.items() if count > 1 and count - 1 > resends.get(mail, 0)]),
        "drained": drained,
        "exit_code": code,
        "seconds": round(time.monotonic() - began, 1),
    }


@click.command()
@click.option("--mails", default=1000, show_default=True)
@click.option("--kills", default=10, show_default=True)
@click.option("--seed", default=1, show_default=True)
@click.option("--database", type=click.Choice(["sqlite", "postgres"]), default="sqlite", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def main(mails: int, kills: int, seed: int, database: Kind, as_json: bool) -> None:
    """Kill the daemon at random moments and count what became of the mail."""
    with tempfile.TemporaryDirectory(prefix="relayd-kills-") as name, database_url(database, Path(name)) as url:
        folder = Path(name)
        aws = EmbeddedAws(folder / "aws.log")
        cloud = Cloud(folder, aws, 1, database_url=url)
        try:
            result = run(cloud, mails=mails, kills=kills, seed=seed)
        finally:
            cloud.close()
            aws.stop()
    result["database"] = database
    if as_json:
        click.echo(json.dumps(result))
    else:
        for key, value in result.items():
            click.echo(f"{key:18} {value}")
    sys.exit(0 if result["lost"] == 0 and result["unexplained"] == 0 and result["drained"] else 1)


if __name__ == "__main__":
    main()
