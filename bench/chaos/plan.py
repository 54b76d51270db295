"""What a run is made of, and the daemons' settings for it: times so short that a run of minutes sees them all pass."""

from collections.abc import Mapping
from dataclasses import dataclass

from bench.chaos.faults import Outage
from bench.databases import Kind

VISIBILITY = 10
SETTINGS: Mapping[str, str] = {
    "RELAYD_CONCURRENCY": "16",
    "RELAYD_WAIT_SECONDS": "1",
    "RELAYD_VISIBILITY_SECONDS": str(VISIBILITY),
    # Also how long the claim of a daemon that was killed stands in the way of the others.
    "RELAYD_DEADLINE_SECONDS": "15",
    "RELAYD_GRACE_SECONDS": "12",
    "RELAYD_S3_CONNECT_SECONDS": "0.5",
    "RELAYD_S3_READ_SECONDS": "1",
    # A send takes 8 s of lease with these: twice to connect, once to read, and 5 s beside it.
    "RELAYD_SES_CONNECT_SECONDS": "0.5",
    "RELAYD_SES_READ_SECONDS": "2",
    "RELAYD_DAILY_MAILS": "100000000",
    "RELAYD_DAILY_MEGABYTES": "100000000",
    "RELAYD_DAILY_REPLIES": "100000000",
}
IN_DOUBT = str(2 * VISIBILITY)
"""Seconds that a send in doubt waits for SES's event, where there is an events queue. More than a lease: an event whose
receiver was killed, or never got it, comes a lease later. (By default it is 300 s to 60 s.)
"""
PAUSE = VISIBILITY + 3.0
"""Seconds of a SIGSTOP: whatever the daemon had in hand is somebody else's by then."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One run."""

    mails: int
    daemons: int
    faults: float
    """The chance of every call to meet one."""
    kills: int
    terms: int
    stops: int
    seed: int
    database: Kind
    events: bool = True
    timeout: float = 900.0
    """Seconds; what is not done by then is found in the queue, or lost."""
    outages: tuple[Outage, ...] = ()
