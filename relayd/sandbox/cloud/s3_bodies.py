"""What a client puts into S3: the bytes of a body, plain or in `aws-chunked`, held against what it said about them."""

import base64
import hashlib
import zlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

from relayd.sandbox.cloud.aws_chunked import Unchunked
from relayd.sandbox.cloud.calls import Call, Refusal

MAX_PUT = 5 * 1024**3

_CHECKSUMS = (b"content-md5", b"x-amz-checksum-crc32", b"x-amz-checksum-crc64nvme", b"x-amz-checksum-sha256")


@dataclass(frozen=True, slots=True)
class Body:
    """A body in the pieces in which it came."""

    pieces: list[bytes] = field(repr=False)
    size: int
    md5: bytes


async def read(call: Call, most: int = MAX_PUT, *, checksum_required: bool = False) -> Body:
    """The whole body. Raises Refusal where it is too large, or is not what the client said it is."""
    assert call.chunks is not None
    unchunked = Unchunked(call.chunks) if _is_chunked(call) else None
    pieces, size, digest, crc = await _read(aiter(unchunked) if unchunked else call.chunks, most)
    trailers = unchunked.trailers if unchunked else {}
    if checksum_required and not any(name in call.headers or name in trailers for name in _CHECKSUMS):
        text = "Missing required header for this request: Content-MD5 OR x-amz-checksum-*"
        raise Refusal("InvalidRequest", text)
    _check(call, trailers, size, digest, crc)
    return Body(pieces, size, digest)


def _is_chunked(call: Call) -> bool:
    return b"aws-chunked" in call.headers.get(b"content-encoding", b"") or call.headers.get(
        b"x-amz-content-sha256", b""
    ).startswith(b"STREAMING-")


async def _read(chunks: AsyncIterator[bytes], most: int) -> tuple[list[bytes], int, bytes, int]:
    pieces: list[bytes] = []
    size = crc = 0
    digest = hashlib.md5(usedforsecurity=False)
    async for chunk in chunks:
        if not chunk:
            continue
        size += len(chunk)
        if size > most:
            raise Refusal("EntityTooLarge", "Your proposed upload exceeds the maximum allowed size")
        digest.update(chunk)
        crc = zlib.crc32(chunk, crc)
        pieces.append(chunk)
    return pieces, size, digest.digest(), crc


def _check(call: Call, trailers: Mapping[bytes, bytes], size: int, digest: bytes, crc: int) -> None:
    """Whatever the client said about the body must be so."""
    sent = dict(call.headers) | dict(trailers)
    length = sent.get(b"x-amz-decoded-content-length") if _is_chunked(call) else None
    if length is not None and length != str(size).encode():
        text = "You did not provide the number of bytes specified by the Content-Length HTTP header"
        raise Refusal("IncompleteBody", text)
    if (md5 := sent.get(b"content-md5")) is not None and md5 != base64.b64encode(digest):
        raise Refusal("BadDigest", "The Content-MD5 you specified did not match what we received.")
    crc32 = sent.get(b"x-amz-checksum-crc32")
    if crc32 is not None and crc32 != base64.b64encode(crc.to_bytes(4, "big")):
        raise Refusal("BadDigest", "The CRC32 you specified did not match the calculated checksum.")
