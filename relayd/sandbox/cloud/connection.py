"""The connection under a request: ASGI hides it, and faults must be able to break it."""

import asyncio
import socket
import struct
from collections.abc import MutableMapping
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_KEY = "relayd.connection"


class Connection:
    """One client's connection."""

    def __init__(self, transport: asyncio.Transport | None) -> None:
        self._transport = transport

    @classmethod
    def of(cls, scope: MutableMapping[str, Any]) -> "Connection":
        found: Connection = scope.get("extensions", {}).get(_KEY) or cls(None)
        return found

    def reset(self) -> None:
        """End it with a TCP reset, whatever is still on its way."""
        if self._transport is None:
            return
        raw = self._transport.get_extra_info("socket")
        if raw is not None:
            # Lingering for no time at all turns the close into a reset.
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def close(self) -> None:
        """End it after what has been written."""
        if self._transport is not None:
            self._transport.close()


class KnownConnection(HttpToolsProtocol):
    """uvicorn's protocol, which lets the application know its connection."""

    _known: Connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._known = Connection(transport)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {_KEY: self._known}  # type: ignore[dict-item]
