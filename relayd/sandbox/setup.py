"""`python -m relayd.sandbox.setup`: what a relayd needs of the sandbox where the emulated AWS is none of its own, as in
a cluster. It may be done any number of times, and by several at once.
"""

import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import urllib3

from relayd.adapters.database import connect
from relayd.errors import ConfigurationError, RelaydError
from relayd.sandbox.care import take_care
from relayd.sandbox.directory import add_masks
from relayd.sandbox.world import Clients, World

PATIENCE_SECONDS = 120.0
"""For an AWS and a database that are only just starting."""
PAUSE_SECONDS = 1.0
_NEEDED = ("AWS_ENDPOINT_URL", "RELAYD_DATABASE_URL", "RELAYD_SNS_CERTIFICATE_FILE")


def set_up(endpoint: str, database_url: str, certificate: Path) -> World:
    """Make the queue and all that belongs to it, the masks, and the file with the certificate that SNS signs with."""
    clients = Clients(endpoint)
    world = World.build(endpoint, clients, events=True)
    take_care(world, clients)
    try:
        answer = urllib3.request("GET", f"{endpoint}/_relayd/certificate.pem", timeout=5.0, retries=False)
    except urllib3.exceptions.HTTPError as error:
        raise RelaydError("sandbox_aws", type(error).__name__) from None
    if answer.status != 200:
        raise RelaydError("sandbox_aws", f"the emulator at {endpoint} is none of relayd's own")
    certificate.write_bytes(answer.data)
    database = connect(database_url, pool_size=1)
    try:
        add_masks(database)
    finally:
        database.close()
    return world


def main(environ: Mapping[str, str], sleep: Callable[[float], None] = time.sleep) -> None:
    """Set up what the daemon's own settings name, as soon as it can be reached."""
    if missing := [name for name in _NEEDED if not environ.get(name)]:
        sys.exit(f"relayd.sandbox.setup: not set: {', '.join(missing)}")
    endpoint, database_url, certificate = (environ[name] for name in _NEEDED)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            world = set_up(endpoint, database_url, Path(certificate))
            break
        except ConfigurationError as error:
            sys.exit(f"relayd.sandbox.setup: {error}")
        except RelaydError as error:
            if time.monotonic() > deadline:
                sys.exit(f"relayd.sandbox.setup: {error}")
            print(f"waiting: {error.reason}", flush=True)
            sleep(PAUSE_SECONDS)
    print(f"ready: {world.queue_url}")


if __name__ == "__main__":
    main(os.environ)
