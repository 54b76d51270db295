"""The `aws-chunked` body encoding, which SDKs use to send a checksum after an upload."""

from collections.abc import AsyncIterator

from relayd.sandbox.cloud.calls import Refusal

_MAX_LINE = 16 * 1024


class Unchunked:
    """Iterate over it for the content; `trailers` is complete when that is over."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self._buffer = bytearray()
        self.trailers: dict[bytes, bytes] = {}

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            # `<size in hex>;chunk-signature=...`; nobody checks signatures here.
            size_text = (await self._line()).partition(b";")[0]
            try:
                left = int(size_text, 16)
            except ValueError:
                raise _broken() from None
            if left == 0:
                break
            while left:
                if not self._buffer:
                    await self._more()
                piece = bytes(self._buffer[:left])
                del self._buffer[:left]
                left -= len(piece)
                yield piece
            if await self._line():
                raise _broken()
        while line := await self._line(at_end=True):
            name, _, value = line.partition(b":")
            self.trailers[name.strip().lower()] = value.strip()

    async def _more(self, *, at_end: bool = False) -> bool:
        async for chunk in self._chunks:
            if chunk:
                self._buffer += chunk
                return True
        if not at_end:
            raise _broken()
        return False

    async def _line(self, *, at_end: bool = False) -> bytes:
        while (end := self._buffer.find(b"\r\n")) < 0:
            if len(self._buffer) > _MAX_LINE:
                raise _broken()
            if not await self._more(at_end=at_end):
                line = bytes(self._buffer)
                self._buffer.clear()
                return line
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line


def _broken() -> Refusal:
    return Refusal("IncompleteBody", "The request body terminated unexpectedly.")
