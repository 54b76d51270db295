"""What a MailStore promises, on the fake and on S3 as moto and the embedded AWS have it."""

from collections.abc import Callable

import pytest

from relayd.adapters.s3 import S3MailStore
from relayd.errors import TransientError
from relayd.model.notification import S3Content
from relayd.ports import MailStore
from relayd.runtime.clock import SystemClock
from tests.contract.moto_server import MotoServer
from tests.fakes.clock import VirtualClock
from tests.fakes.store import FakeStore

MAIL = bytes(range(256)) * 5000  # more than one chunk, every byte value

Put = Callable[[str, bytes], S3Content]
"""Stores a mail, and answers where."""


class RefusedError(Exception):
    """What an `admit` of a test raises."""


def fakes() -> tuple[MailStore, Put]:
    store = FakeStore(VirtualClock())
    return store, store.put


def on_s3(server: MotoServer) -> tuple[MailStore, Put]:
    bucket = server.new_bucket()

    def put(key: str, data: bytes) -> S3Content:
        server.s3.put_object(Bucket=bucket, Key=key, Body=data)
        return S3Content(bucket, key)

    return S3MailStore(server.relayd_client("s3"), clock=SystemClock()), put


@pytest.fixture(params=["fake", "moto", "embedded"])
def world(request: pytest.FixtureRequest) -> tuple[MailStore, Put]:
    return fakes() if request.param == "fake" else on_s3(request.getfixturevalue(request.param))


def any_size(size: int) -> None:
    """An `admit` that lets everything through."""


@pytest.mark.parametrize("mail", [MAIL, b"", b"x"], ids=["large", "empty", "one byte"])
def test_every_byte_comes_back(world: tuple[MailStore, Put], mail: bytes) -> None:
    """What was stored is what is fetched, and its size is told beforehand."""
    store, put = world
    sizes: list[int] = []
    assert store.fetch(put("inbound/some key+é", mail), sizes.append) == mail
    assert sizes == [len(mail)]


def test_admit_may_refuse(world: tuple[MailStore, Put]) -> None:
    """What `admit` raises comes out as it is, and the store works on."""
    store, put = world
    content = put("inbound/1", MAIL)

    def refuse(size: int) -> None:
        raise RefusedError

    for _ in range(6):  # more often than the client has connections
        with pytest.raises(RefusedError):
            store.fetch(content, refuse)
    assert store.fetch(content, any_size) == MAIL


def test_a_missing_object_is_transient(world: tuple[MailStore, Put]) -> None:
    """A key without an object may still appear: S3's event and its object race."""
    store, put = world
    there = put("inbound/there", b"x")
    with pytest.raises(TransientError) as caught:
        store.fetch(S3Content(there.bucket, "inbound/not-there"), any_size)
    assert caught.value.reason == "content_missing"
