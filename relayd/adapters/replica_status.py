"""What a replica says at its own port: `/status`, asked over HTTP."""

import json
from collections.abc import Mapping
from typing import Any

import urllib3
from urllib3.exceptions import HTTPError

from relayd.errors import PermanentError, TransientError

MAX_BYTES = 1_000_000
"""A status has some 20 kB. Whatever answers at a mistyped address may have more."""


def replica_status(url: str, *, seconds: float) -> Mapping[str, Any]:
    """The JSON object that `url` answers with; each wait for the network is `seconds` at most. Redirects are not
    followed. Raises TransientError where nobody answers, PermanentError where the answer is no status.
    """
    timeout = urllib3.Timeout(connect=seconds, read=seconds)
    try:
        with urllib3.PoolManager(timeout=timeout, retries=False) as pool:
            answer = pool.request("GET", url, preload_content=False, redirect=False)
            body = answer.read(MAX_BYTES + 1)
            answer.close()
    except (HTTPError, ValueError, OSError) as error:
        # The type alone: its text repeats the URL, which may hold a password.
        raise TransientError("replica_unreachable", type(error).__name__) from None
    if answer.status != 200:
        raise PermanentError("no_status", f"HTTP {answer.status}")
    try:
        told = json.loads(body) if len(body) <= MAX_BYTES else None
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        raise PermanentError("no_status", "the answer is no status of relayd's")
    return told
