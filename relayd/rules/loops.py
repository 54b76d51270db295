"""Whether a mail goes round in circles: by our own signed hop header, by its hops, or as it comes from ourselves."""

import re

from relayd.rules.evidence import Evidence

MAX_HOPS = 2
"""A mask may forward to another mask; a third passage through relayd is a loop."""
MAX_RECEIVED = 25
"""Received fields of a mail that is still on its way somewhere. RFC 5321, 6.3 asks for 100 or more on the open
internet; mail to a mask has had nearly all of its hops."""

_SES_DAEMON = re.compile(r"(?:^|[<\s])mailer-daemon@(?:[a-z0-9-]+\.)*amazonses\.com(?:$|[>\s])", re.IGNORECASE)


def looped(evidence: Evidence, owner_id: str) -> bool:
    """Whether the mail, meant for something of this owner's, has been here before."""
    received = sum(name.lower() == "received" for name, _ in evidence.headers)
    return (
        evidence.hops >= MAX_HOPS
        or received > MAX_RECEIVED
        or evidence.sender_owner == owner_id
        or _from_ses_daemon(evidence)
    )


def _from_ses_daemon(evidence: Evidence) -> bool:
    """SES's own bounces, which answer what we sent. Their MAIL FROM may be empty; then From tells."""
    if evidence.source:
        return _SES_DAEMON.fullmatch(evidence.source.strip()) is not None
    return any(name.lower() == "from" and _SES_DAEMON.search(value) for name, value in evidence.headers)
