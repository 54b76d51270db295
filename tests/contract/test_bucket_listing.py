"""Looking through a bucket: all of it, whatever its size, and only as much of each object as was asked for."""

import pytest

from relayd.adapters.bucket_listing import Beginning, Bucket
from relayd.errors import ConfigurationError, HoldError, PermanentError
from tests.cloud.server import EmbeddedServer
from tests.contract.moto_server import MotoServer


@pytest.fixture(params=["moto", "embedded"])
def server(request: pytest.FixtureRequest) -> MotoServer:
    found: MotoServer = request.getfixturevalue(request.param)
    return found


def bucket(server: MotoServer, **objects: bytes) -> Bucket:
    name = server.new_bucket()
    for key, data in objects.items():
        server.s3.put_object(Bucket=name, Key=key.replace("__", "/"), Body=data)
    return Bucket(server.relayd_client("s3"), name)


def test_what_lies_below_a_prefix(server: MotoServer) -> None:
    """Keys of any characters, sizes and times; what lies elsewhere is not told of."""
    found = bucket(server, in__a=b"x", in__b=b"", other=b"y")
    server.s3.put_object(Bucket=found.name, Key="in/ü&<+ %41", Body=b"zz")
    [page] = found.pages("in/")
    assert {one.key: one.size for one in page} == {"in/a": 1, "in/b": 0, "in/ü&<+ %41": 2}
    assert all(one.modified > 1_600_000_000 for one in page)
    assert [one.key for page in found.pages("") for one in page][-1] == "other"
    assert [page for page in found.pages("nothing/") if page] == []


def test_many_pages(server: MotoServer) -> None:
    """None is missing and none comes twice."""
    found = bucket(server, **{f"in__{number:05}": b"" for number in range(12)})
    pages = list(found.pages("in/", 5))
    assert [len(page) for page in pages] == [5, 5, 2]
    assert [one.key for page in pages for one in page] == [f"in/{number:05}" for number in range(12)]


def test_the_beginning_of_an_object(server: MotoServer) -> None:
    """So many bytes, and whether that is all of it."""
    found = bucket(server, a=b"0123456789")
    assert found.beginning("a", 4) == Beginning(b"0123", whole=False)
    assert found.beginning("a", 10) == Beginning(b"0123456789", whole=True)
    assert found.beginning("a", 4096) == Beginning(b"0123456789", whole=True)


def test_objects_that_give_nothing(server: MotoServer) -> None:
    """Empty, gone, encrypted by its client, or with a name that cannot be: trying again would not help."""
    found = bucket(server, empty=b"")
    server.s3.put_object(Bucket=found.name, Key="sealed", Body=b"x", Metadata={"x-amz-key-v2": "k"})
    for key, reason in (("empty", "not_mail"), ("gone", "content_missing"), ("sealed", "client_side_encrypted")):
        with pytest.raises(PermanentError) as caught:
            found.beginning(key, 100)
        assert caught.value.reason == reason


def test_a_bucket_that_may_not_be_listed(embedded: EmbeddedServer) -> None:
    """Said with what to allow."""
    found = bucket(embedded, a=b"x")
    embedded.aws.faults([{"operation": "s3:ListObjectsV2", "fault": "deny"}])
    try:
        with pytest.raises(ConfigurationError, match="s3:ListBucket"):
            next(found.pages(""))
    finally:
        embedded.aws.clear_faults()


def test_a_bucket_that_is_not_there(server: MotoServer) -> None:
    """Said on the first page."""
    missing = Bucket(server.relayd_client("s3"), "no-such-bucket-here")
    with pytest.raises(HoldError) as caught:
        next(missing.pages(""))
    assert caught.value.reason == "bucket_missing"
