"""What is set on a bucket of the embedded AWS beside its objects: told as it was put, refused as S3 refuses it."""

import json
from typing import Any

import pytest
import urllib3
from botocore.exceptions import ClientError

from tests.cloud.server import EmbeddedServer
from tests.cloud.test_s3 import SIGNED, code_and_status


@pytest.fixture
def bucket(server: EmbeddedServer) -> str:
    return server.new_bucket()


def rule(**facts: Any) -> dict[str, Any]:
    return {"ID": "mail", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 30}, **facts}


def test_a_new_bucket_is_encrypted_and_closed(server: EmbeddedServer, bucket: str) -> None:
    """As S3 makes them since 2023: with its own keys, all four blocks, no policy and no lifecycle."""
    found = server.s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert found[0]["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    block = server.s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    assert len(block) == 4
    assert all(block.values())
    for call, code in (
        (server.s3.get_bucket_policy, "NoSuchBucketPolicy"),
        (server.s3.get_bucket_lifecycle_configuration, "NoSuchLifecycleConfiguration"),
    ):
        with pytest.raises(ClientError) as caught:
            call(Bucket=bucket)
        assert code_and_status(caught) == (code, 404)


def test_what_was_put_is_told_until_it_is_deleted(server: EmbeddedServer, bucket: str) -> None:
    """Encryption with a key, a lifecycle with several rules, a policy, blocks that are left out."""
    s3 = server.s3
    key = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "arn:aws:kms:eu-west-1:123456789012:key/1"}
    encryption = {"Rules": [{"ApplyServerSideEncryptionByDefault": key, "BucketKeyEnabled": True}]}
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration=encryption)
    assert s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"] == encryption
    rules = [
        rule(),
        rule(ID="in/", Filter={"Prefix": "in/"}, Transitions=[{"Days": 0, "StorageClass": "GLACIER"}]),
        {"Status": "Disabled", "Filter": {}, "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7}},
    ]
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": rules})
    told = s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    assert told[:2] == rules[:2]
    assert told[2]["ID"]
    policy = {"Version": "2012-10-17", "Statement": [statement(bucket)]}
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
    assert json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"]) == policy
    s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration={"BlockPublicAcls": True})
    block = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    assert [name for name, on in block.items() if on] == ["BlockPublicAcls"]
    for delete, get in (
        (s3.delete_bucket_policy, s3.get_bucket_policy),
        (s3.delete_bucket_lifecycle, s3.get_bucket_lifecycle_configuration),
        (s3.delete_public_access_block, s3.get_public_access_block),
    ):
        delete(Bucket=bucket)
        with pytest.raises(ClientError):
            get(Bucket=bucket)
    s3.delete_bucket_encryption(Bucket=bucket)
    found = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert found[0]["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}


def statement(bucket: str, **facts: Any) -> dict[str, Any]:
    arn = f"arn:aws:s3:::{bucket}/*"
    ours = {"Effect": "Allow", "Principal": {"Service": "ses.amazonaws.com"}, "Action": "s3:PutObject", "Resource": arn}
    return ours | facts


@pytest.mark.parametrize(
    ("call", "parameters", "code"),
    [
        ("put_bucket_lifecycle_configuration", {"Rules": []}, "MalformedXML"),
        ("put_bucket_lifecycle_configuration", {"Rules": [rule(Status="On")]}, "MalformedXML"),
        ("put_bucket_lifecycle_configuration", {"Rules": [rule(Prefix="in/")]}, "MalformedXML"),
        ("put_bucket_lifecycle_configuration", {"Rules": [rule(), rule()]}, "InvalidArgument"),
        ("put_bucket_lifecycle_configuration", {"Rules": [rule(Expiration={"Days": 0})]}, "InvalidArgument"),
        ("put_bucket_encryption", {"SSEAlgorithm": "rot13"}, "MalformedXML"),
        ("put_bucket_encryption", {"SSEAlgorithm": "AES256", "KMSMasterKeyID": "1"}, "InvalidArgument"),
        ("put_bucket_policy", "{", "MalformedPolicy"),
        ("put_bucket_policy", "[]", "MalformedPolicy"),
        ("put_bucket_policy", {"Effect": "Perhaps"}, "MalformedPolicy"),
        ("put_bucket_policy", {"Resource": "arn:aws:s3:::another/*"}, "MalformedPolicy"),
    ],
)
def test_what_cannot_be_is_refused(server: EmbeddedServer, bucket: str, call: str, parameters: Any, code: str) -> None:
    """With S3's code, and nothing is changed by it."""
    if call == "put_bucket_lifecycle_configuration":
        given: dict[str, Any] = {"LifecycleConfiguration": parameters}
    elif call == "put_bucket_encryption":
        rules = [{"ApplyServerSideEncryptionByDefault": parameters}]
        given = {"ServerSideEncryptionConfiguration": {"Rules": rules}}
    else:
        policy = (
            parameters if isinstance(parameters, str) else json.dumps({"Statement": statement(bucket, **parameters)})
        )
        given = {"Policy": policy}
    before = server.s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]
    with pytest.raises(ClientError) as caught:
        getattr(server.s3, call)(Bucket=bucket, **given)
    assert code_and_status(caught) == (code, 400)
    assert server.s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"] == before
    with pytest.raises(ClientError, match="NoSuchBucketPolicy"):
        server.s3.get_bucket_policy(Bucket=bucket)


def test_bodies_need_a_checksum_and_are_held_against_it(server: EmbeddedServer, bucket: str) -> None:
    """S3 takes no configuration whose bytes nobody vouches for."""
    url = f"{server.endpoint}/{bucket}?policy"
    body = json.dumps({"Statement": statement(bucket)}).encode()
    for headers, code in (({}, b"InvalidRequest"), ({"Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="}, b"BadDigest")):
        answer = urllib3.request("PUT", url, body=body, headers=SIGNED | headers)
        assert answer.status == 400
        assert code in answer.data


def test_a_missing_bucket_has_no_configuration(server: EmbeddedServer) -> None:
    """Whatever is asked of it."""
    for call in ("get_bucket_policy", "get_bucket_encryption", "get_public_access_block"):
        with pytest.raises(ClientError) as caught:
            getattr(server.s3, call)(Bucket="not-there")
        assert code_and_status(caught) == ("NoSuchBucket", 404)
