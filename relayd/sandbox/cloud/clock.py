"""Time, and the ways in which AWS writes it."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import formatdate

Now = Callable[[], float]
"""Seconds since the epoch. Everything that looks at the time is given one of these."""

real: Now = time.time


def iso(seconds: float) -> str:
    """2024-05-02T00:54:06.655Z"""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def http_date(seconds: float) -> str:
    """Thu, 02 May 2024 00:54:06 GMT"""
    return formatdate(seconds, usegmt=True)
