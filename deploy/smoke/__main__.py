"""`python -m deploy.smoke`: says what it would do. With --really it asks, and does it. See the README beside it."""

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from deploy.smoke.consent import RefusedError, Where, ask, check_account, check_sending
from deploy.smoke.things import Names, Things
from deploy.smoke.trial import FATES, SIMULATOR, FailedError, Trial


def main(arguments: Sequence[str], environ: Mapping[str, str], read_line: Callable[[str], str]) -> int:
    """Exit code: 0 done, or said what would be; 1 the trial failed, or something is still there; 2 nothing was made."""
    parser = argparse.ArgumentParser(prog="python -m deploy.smoke", description=__doc__)
    parser.add_argument("--really", action="store_true", help="make it, try it, remove it; asks first")
    parser.add_argument("--remove", metavar="NAME", help="remove what a run that was killed has left; asks first")
    asked = parser.parse_args(arguments)
    try:
        where = Where.read(environ)
        session = boto3.session.Session(region_name=where.region)
        clients = clients_of(session)
        names = Names.new(where, check_account(where, clients["sts"]), asked.remove)
        if not asked.remove:
            # What was made must go also where nothing may be sent any more.
            check_sending(where, clients["ses"])
        asking = ", ".join(sorted({str(client.meta.endpoint_url) for client in clients.values()}))
        say(f"Account {where.account}, region {where.region}, at {asking}.")
        things = Things(names, s3=clients["s3"], sns=clients["sns"], sqs=clients["sqs"], ses=clients["ses"], say=say)
        if asked.remove:
            say("\n".join(["To be removed:", *(f"  {line}" for line in names.listed())]))
            ask(where, read_line)
            things.remove()
            return 1 if things.left else 0
        plan(where, names)
        if not asked.really:
            say("\nNothing was made. To do it: --really")
            return 0
        ask(where, read_line)
    except (RefusedError, ClientError, BotoCoreError) as error:
        say(f"Refused, nothing was made: {error}")
        return 2
    return try_it(where, names, things, clients, keys_of(session))


def plan(where: Where, names: Names) -> None:
    say("This is made, and removed at the end:")
    for line in names.listed():
        say(f"  {line}")
    say(f"A relayd on this machine, with a database of its own, then forwards three mails from {where.domain} to:")
    for fate in FATES:
        say(f"  {fate}@{SIMULATOR}")
    say("Nothing else in the account is changed, and no receipt rule is touched. It costs less than one US cent.")


def try_it(where: Where, names: Names, things: Things, clients: Mapping[str, Any], keys: Mapping[str, str]) -> int:
    say(f"\nShould this be killed, remove what it leaves with: python -m deploy.smoke --remove {names.name}\n")
    # SQS does not always know yet of a queue that was asked for in the last second.
    again = f"To be sure, in a minute: python -m deploy.smoke --remove {names.name}"
    # As Ctrl-C: what was made is removed on the way out. A closed terminal is a SIGHUP.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        with things.there() as made, tempfile.TemporaryDirectory(prefix="relayd-smoke-") as folder:
            Trial(where, names, made, Path(folder), keys, say).run(clients["s3"], clients["sns"])
    except (FailedError, ClientError, BotoCoreError) as error:
        say(f"FAILED: {error}")
        say(again)
        return 1
    except KeyboardInterrupt:
        say(f"Interrupted. {again}")
        return 130
    say("It works.")
    return 1 if things.left else 0


def clients_of(session: boto3.session.Session) -> dict[str, Any]:
    """With the keys, the profile and the endpoints that the shell has; the region is the one that was written down."""
    config = Config(connect_timeout=5, read_timeout=30, retries={"mode": "standard", "total_max_attempts": 3})
    services = {"s3": "s3", "sns": "sns", "sqs": "sqs", "ses": "sesv2", "sts": "sts"}
    anything: Any = session
    return {name: anything.client(service, config=config) for name, service in services.items()}


def keys_of(session: boto3.session.Session) -> dict[str, str]:
    """The keys whose account was checked, for relayd to act with them and with no others."""
    found = session.get_credentials()
    assert found is not None, "without keys the check could not have passed"
    keys = found.get_frozen_credentials()
    return {
        "AWS_ACCESS_KEY_ID": keys.access_key or "",
        "AWS_SECRET_ACCESS_KEY": keys.secret_key or "",
        "AWS_SESSION_TOKEN": keys.token or "",
    }


def say(text: str) -> None:
    # A terminal or a pipe that has gone must not keep what was made from being removed.
    with suppress(OSError):
        print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ, input))
