"""The shape of multiparts: what SES's parser finds begun, and what it refuses."""

import contextlib
import time

import pytest
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from relayd.sandbox.cloud.mime_shape import MAX_PARTS, MISSING_START, ShapeError, check
from tests.cloud.mailing import send, verify
from tests.cloud.server import EmbeddedServer

TOP = b'From: token@mask.example\r\nContent-Type: multipart/mixed; boundary="o"\r\n'
INNER = b"Content-Type: multipart/alternative;\r\n boundary=i\r\n"


@pytest.mark.parametrize(
    "data",
    [
        b"From: a@b.example\r\n\r\n--o\r\n",
        TOP + b"\r\n--o\r\n\r\ntext\r\n--o--\r\n",
        TOP + b"\r\npreamble\r\n--o\r\n\r\nno end",
        TOP + b"\r\n--o  \r\n" + INNER + b"\r\n--i\r\n\r\na\r\n--i--\r\n--o--\r\n--i--\r\n--x\r\n",
        TOP + b"\r\n--o\r\n" + INNER + b"\r\n--i\r\n\r\nan inner one without end\r\n--o--\r\n",
        TOP + b"--o\r\n\r\nno empty line before\r\n\r\n--o\r\n\r\n--o--\r\n",
        TOP.replace(b'; boundary="o"', b"")
        + b"\r\n--told by the first line\r\n\r\na\r\n--told by the first line--\r\n",
        TOP.replace(b"\r\n", b"\n") + b"\n--o\n\na\n--o--\n",
        TOP + b"\r\n--o\r\nContent-Type: text/plain; boundary=i\r\n\r\n--i--\r\n--o--\r\n",
        TOP + b"\r\n" + b"--o\r\n\r\nx\r\n" * (MAX_PARTS - 1),
        # `--o--` ends the inner one, although it would begin a part of the outer one.
        TOP.replace(b'"o"', b'"o--"')
        + b"\r\n--o--\r\n"
        + INNER.replace(b"=i", b"=o")
        + b"\r\n--o\r\n\r\na\r\n--o--\r\nContent-Type: multipart/mixed; boundary=z\r\n\r\nepilogue\r\n",
    ],
)
def test_what_is_whole(data: bytes) -> None:
    """Parts that begin, wherever and however they end."""
    check(data)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (TOP, MISSING_START),
        (TOP + b"\r\nno delimiter\r\n", MISSING_START),
        (TOP + b"\r\n--other\r\n\r\n--o--\r\n", MISSING_START),
        (TOP + b"\r\n--o\r\n" + INNER + b"\r\nnot begun\r\n--o--\r\n", MISSING_START),
        (TOP + b"\r\n--o\r\n" + INNER + b"\r\nnot begun\r\n--o\r\n\r\n", MISSING_START),
        (TOP + b"\r\n--o\r\n" + INNER + b"\r\nnot begun at the end\r\n", MISSING_START),
        (TOP.replace(b'; boundary="o"', b"") + b"\r\nno hyphens\r\n", MISSING_START),
        (TOP + b"\r\n" + b"--o\r\n\r\nx\r\n" * MAX_PARTS, "more than 500 MIME parts"),
    ],
)
def test_what_is_not(server: EmbeddedServer, data: bytes, text: str) -> None:
    """It is refused as malformed, where that is switched on."""
    verify(server)
    server.aws.settings(whole_parts=True)
    with pytest.raises(ClientError, match=text) as caught:
        send(server, data=data)
    assert caught.value.response["Error"]["Code"] == "BadRequestException"
    server.aws.settings(whole_parts=False)
    send(server, data=data)


PIECES = [TOP, INNER, b"\r\n", b"\n", b"--o", b"--o--", b"--i", b"--", b"x: y\r\n", b"Content-Type: multipart/x", b"\0"]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=30).map(b"".join) | st.binary(max_size=200))
def test_any_bytes_have_a_shape_or_none(data: bytes) -> None:
    """Nothing but a refusal comes out."""
    with contextlib.suppress(ShapeError):
        check(data)


@pytest.mark.parametrize(
    "part",
    [b"--\r\n", b"--o\r\nA: b\r\n", b"\r\n ;boundary", b"Content-Type:\r\n ", b"--q\r\n", b"\n"],
)
def test_time_is_linear(part: bytes) -> None:
    """300 KB of what looks like structure is walked in a fraction of a second, below 400 open multiparts."""
    nested = b"".join(b"Content-Type: multipart/mixed; boundary=%d\r\n\r\n--%d\r\n" % (n, n) for n in range(400))
    for head in (TOP + b"\r\n", TOP, nested):
        data = head + part * (300_000 // len(part))
        began = time.process_time()
        with contextlib.suppress(ShapeError):
            check(data)
        # What is quadratic takes minutes.
        assert time.process_time() - began < 1
