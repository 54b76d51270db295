"""S3 of the embedded AWS through boto3 with its default checksums, and plain HTTP where boto3 is too polite."""

import hashlib
import io
from typing import Any

import pytest
import urllib3
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.cloud.server import EmbeddedServer
from tests.contract.moto_server import REGION

EVERY_BYTE = bytes(range(256)) * 40
LARGE = EVERY_BYTE * 4200  # 43 MB


def code_and_status(caught: pytest.ExceptionInfo[ClientError]) -> tuple[str, int]:
    response = caught.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


@pytest.fixture
def bucket(server: EmbeddedServer) -> str:
    return server.new_bucket()


@pytest.mark.parametrize("key", ["plain", "in/ä b+c%d?e", "a//b/../c", "in/."])
def test_every_byte_comes_back(server: EmbeddedServer, bucket: str, key: str) -> None:
    """What was put is what is got, under any key, with its facts."""
    put = server.s3.put_object(
        Bucket=bucket, Key=key, Body=EVERY_BYTE, ContentType="message/rfc822", Metadata={"note": "ours"}
    )
    assert put["ETag"] == f'"{hashlib.md5(EVERY_BYTE).hexdigest()}"'
    got = server.s3.get_object(Bucket=bucket, Key=key)
    assert got["Body"].read() == EVERY_BYTE
    head = server.s3.head_object(Bucket=bucket, Key=key)
    for answer in (got, head):
        assert answer["ETag"] == put["ETag"]
        assert answer["ContentLength"] == len(EVERY_BYTE)
        assert answer["ContentType"] == "message/rfc822"
        assert answer["Metadata"] == {"note": "ours"}
        assert answer["LastModified"].year >= 2024


def test_forty_megabytes(server: EmbeddedServer, bucket: str) -> None:
    """More than the largest mail that SES receives, from memory and from a stream (aws-chunked)."""
    for body in (LARGE, io.BytesIO(LARGE)):
        server.s3.put_object(Bucket=bucket, Key="large", Body=body)
        assert server.s3.get_object(Bucket=bucket, Key="large")["Body"].read() == LARGE


def test_empty_objects(server: EmbeddedServer, bucket: str) -> None:
    """No bytes at all are an object, too."""
    server.s3.put_object(Bucket=bucket, Key="empty", Body=b"")
    assert server.s3.get_object(Bucket=bucket, Key="empty")["Body"].read() == b""


@pytest.mark.parametrize(
    ("wanted", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=100-199", 100, 200),
        ("bytes=65500-65600", 65500, 65601),
        ("bytes=10000-", 10000, None),
        ("bytes=-5", -5, None),
        ("bytes=5-9999999999", 5, None),
    ],
)
def test_ranges(server: EmbeddedServer, bucket: str, wanted: str, start: int, end: int | None) -> None:
    """Part of an object, across the pieces in which it came."""
    data = EVERY_BYTE * 20
    server.s3.put_object(Bucket=bucket, Key="k", Body=data)
    got = server.s3.get_object(Bucket=bucket, Key="k", Range=wanted)
    part = data[start:end]
    assert got["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert got["Body"].read() == part
    first = data.index(part) if start < 0 or start > 60000 else start
    assert got["ContentRange"].endswith(f"/{len(data)}")
    if start >= 0:
        assert got["ContentRange"].startswith(f"bytes {max(first, start)}-")


def test_impossible_ranges(server: EmbeddedServer, bucket: str) -> None:
    """A range behind the end is refused."""
    server.s3.put_object(Bucket=bucket, Key="k", Body=b"short")
    with pytest.raises(ClientError) as caught:
        server.s3.get_object(Bucket=bucket, Key="k", Range="bytes=5-9")
    assert code_and_status(caught) == ("InvalidRange", 416)


def test_what_is_missing(server: EmbeddedServer, bucket: str) -> None:
    """Objects and buckets that are not there have their codes; a HEAD has the status alone."""
    for parameters, code in (({"Bucket": bucket}, "NoSuchKey"), ({"Bucket": "not-there"}, "NoSuchBucket")):
        with pytest.raises(ClientError) as caught:
            server.s3.get_object(**parameters, Key="not/there")
        assert code_and_status(caught) == (code, 404)
    with pytest.raises(ClientError) as caught:
        server.s3.head_object(Bucket=bucket, Key="not/there")
    assert code_and_status(caught) == ("404", 404)
    with pytest.raises(ClientError) as caught:
        server.s3.head_bucket(Bucket="not-there")
    assert code_and_status(caught) == ("404", 404)


def test_listing_in_pages(server: EmbeddedServer, bucket: str) -> None:
    """All keys in order, page by page, by prefix."""
    keys = sorted(f"in/{number:02} ä" for number in range(7))
    for key in [*keys, "other"]:
        server.s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    pages = list(
        server.s3.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Prefix="in/", PaginationConfig={"PageSize": 3}
        )
    )
    assert [len(page["Contents"]) for page in pages] == [3, 3, 1]
    assert [one["Key"] for page in pages for one in page["Contents"]] == keys
    after = server.s3.list_objects_v2(Bucket=bucket, StartAfter=keys[4])
    assert [one["Key"] for one in after["Contents"]] == [*keys[5:], "other"]
    assert server.s3.list_objects_v2(Bucket=bucket, Prefix="nothing")["KeyCount"] == 0


def test_deleting(server: EmbeddedServer, bucket: str) -> None:
    """Deleting twice is no error; a bucket goes when it is empty."""
    server.s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    with pytest.raises(ClientError) as caught:
        server.s3.delete_bucket(Bucket=bucket)
    assert code_and_status(caught) == ("BucketNotEmpty", 409)
    for _ in range(2):
        server.s3.delete_object(Bucket=bucket, Key="k")
    server.s3.delete_bucket(Bucket=bucket)
    assert bucket not in [one["Name"] for one in server.s3.list_buckets()["Buckets"]]


def test_buckets_have_names_and_regions(server: EmbeddedServer, bucket: str) -> None:
    """A bucket is in the region where it was made; making it twice there, or with an odd name, is refused."""
    assert server.s3.get_bucket_location(Bucket=bucket)["LocationConstraint"] == REGION
    with pytest.raises(ClientError) as caught:
        server.s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
    assert code_and_status(caught)[0] == "BucketAlreadyOwnedByYou"
    answer = plain(server, "PUT", "/Impossible_Name")
    assert b"InvalidBucketName" in answer.data


def test_what_the_emulator_does_not_have(server: EmbeddedServer, bucket: str) -> None:
    """Other operations on buckets and objects say so, and do not pass for the ones that there are."""
    for call, parameters in (
        (server.s3.get_object_acl, {"Key": "k"}),
        (server.s3.put_bucket_versioning, {"VersioningConfiguration": {"Status": "Enabled"}}),
        (server.s3.list_objects_v2, {"Delimiter": "/"}),
    ):
        with pytest.raises(ClientError) as caught:
            call(Bucket=bucket, **parameters)
        assert code_and_status(caught)[0] == "NotImplemented"


SIGNED = {"Authorization": f"AWS4-HMAC-SHA256 Credential=x/20260101/{REGION}/s3/aws4_request"}


def plain(server: EmbeddedServer, method: str, path: str, **options: Any) -> urllib3.BaseHTTPResponse:
    headers = {**SIGNED, **options.pop("headers", {})}
    return urllib3.request(method, server.endpoint + path, headers=headers, **options)


@pytest.mark.parametrize(
    ("body", "headers", "code"),
    [
        (b"x", {"Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="}, b"BadDigest"),
        (b"x", {"x-amz-checksum-crc32": "AAAAAA=="}, b"BadDigest"),
        (b"not chunked", {"Content-Encoding": "aws-chunked"}, b"IncompleteBody"),
        (b"5\r\nab", {"Content-Encoding": "aws-chunked"}, b"IncompleteBody"),
        (b"2\r\nabc\r\n0\r\n\r\n", {"Content-Encoding": "aws-chunked"}, b"IncompleteBody"),
        (
            b"2\r\nab\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n",
            {"Content-Encoding": "aws-chunked"},
            b"BadDigest",
        ),
        (
            b"2\r\nab\r\n0\r\n\r\n",
            {"Content-Encoding": "aws-chunked", "x-amz-decoded-content-length": "3"},
            b"IncompleteBody",
        ),
    ],
)
def test_bodies_are_held_against_their_checksums(
    server: EmbeddedServer, bucket: str, body: bytes, headers: dict[str, str], code: bytes
) -> None:
    """What arrived otherwise than it was sent is refused, and not stored."""
    answer = plain(server, "PUT", f"/{bucket}/k", body=body, headers=headers)
    assert answer.status == 400
    assert code in answer.data
    assert plain(server, "GET", f"/{bucket}/k").status == 404


def test_virtual_hosts(server: EmbeddedServer, bucket: str) -> None:
    """The bucket may stand in the host's name."""
    server.s3.put_object(Bucket=bucket, Key="a/b", Body=b"x")
    host = {"Host": f"{bucket}.s3.localhost:{server.endpoint.rpartition(':')[2]}"}
    assert plain(server, "GET", "/a/b", headers=host).data == b"x"


def test_a_refused_put_leaves_the_connection_usable(server: EmbeddedServer, bucket: str) -> None:
    """The body that nobody wanted is read to its end: the next call on the connection is a call of its own."""
    config = Config(max_pool_connections=1, read_timeout=2, retries={"total_max_attempts": 1})
    session: Any = server.session
    one = session.create_client("s3", endpoint_url=server.endpoint, config=config)
    for body in (b"small", EVERY_BYTE * 100):
        with pytest.raises(ClientError) as caught:
            one.put_object(Bucket="not-there", Key="k", Body=body)
        assert code_and_status(caught) == ("NoSuchBucket", 404)
        assert one.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    server.aws.faults([{"operation": "s3:PutObject", "fault": "error"}])
    with pytest.raises(ClientError):
        one.put_object(Bucket=bucket, Key="k", Body=EVERY_BYTE * 100)
    assert one.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
