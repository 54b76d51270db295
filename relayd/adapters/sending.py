"""Whether a request has left us whole: what tells a send that surely failed from one that is in doubt.

botocore cannot tell. A hanging TLS handshake and a missing answer are both its ReadTimeoutError; a body that could not
be written and an answer that was cut off are both its ConnectionClosedError. Only the connection knows.
"""

import threading
import time
from typing import Any

from botocore.awsrequest import (
    AWSHTTPConnection,
    AWSHTTPConnectionPool,
    AWSHTTPSConnection,
    AWSHTTPSConnectionPool,
)


class _Progress(threading.local):
    """What the calling thread's request has come to. A call runs in one thread from its start to its end."""

    sent = True
    """Assumed unless a connection of ours knows better: what is unknown must count as sent."""


_progress = _Progress()


def begin_request() -> None:
    """Say that this thread is about to make a call with a client that notes its sending."""
    _progress.sent = False


def request_sent() -> bool:
    """Whether the last byte of this thread's request was handed to the network. False is certain: the other side
    has not got the whole request, and cannot have accepted it.
    """
    return _progress.sent


def note_sending(client: Any) -> None:
    """Let this client's connections note their progress. Call it before the client's first call.

    It also lets the read timeout bound a request's sending and the wait for its answer together. Without that, the
    connect timeout (3 s) bounds the sending of 40 MB on a fresh connection.
    """
    read_timeout: float = client.meta.config.read_timeout

    class Noting:
        """A connection that knows whether its request is out."""

        _began = 0.0
        sock: Any
        timeout: float

        def connect(self) -> None:
            super().connect()  # type: ignore[misc]
            self.sock.settimeout(read_timeout)

        def request(self, *args: Any, **kwargs: Any) -> None:
            self._began = time.monotonic()
            if self.sock is not None:
                # urllib3 gives an open socket this timeout again, and over TLS or on a reused connection it is open:
                # the connect timeout would bound the sending. (A new one connects inside, bounded as it should be.)
                self.timeout = read_timeout
            # Raises what the socket raises, and then `sent` stays False; urllib3 swallows a broken pipe outside of
            # this, to read an answer that came early (413).
            super().request(*args, **kwargs)  # type: ignore[misc]
            _progress.sent = True

        def getresponse(self) -> Any:
            self.timeout = max(0.01, read_timeout - (time.monotonic() - self._began))
            return super().getresponse()  # type: ignore[misc]

    http = type("NotingConnection", (Noting, AWSHTTPConnection), {})
    https = type("NotingTLSConnection", (Noting, AWSHTTPSConnection), {})
    # Private, but the one place where botocore and its proxies look up what to build connections with. Should it go
    # away, the adapters' tests say so.
    pools = client._endpoint.http_session._pool_classes_by_scheme
    pools["http"] = type("NotingPool", (AWSHTTPConnectionPool,), {"ConnectionCls": http})
    pools["https"] = type("NotingTLSPool", (AWSHTTPSConnectionPool,), {"ConnectionCls": https})
