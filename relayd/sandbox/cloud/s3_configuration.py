"""What is set on a bucket beside its objects: default encryption, lifecycle, policy, public access block.

All of it is checked as S3 checks it, kept, and told. Nothing here acts on objects: no object lives long enough for a
lifecycle, and whoever may call this emulator may do everything.
"""

import json
import xml.etree.ElementTree as ET
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from relayd.sandbox.cloud import s3_bodies
from relayd.sandbox.cloud.calls import Answer, Call, Headers, Refusal, element, request_id
from relayd.sandbox.cloud.objects import Bucket

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
MAX_BYTES = 1024 * 1024
MAX_POLICY = 20 * 1024
MAX_RULES = 1000

_BLOCKS = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
_ALGORITHMS = ("AES256", "aws:kms", "aws:kms:dsse")
_ACTIONS = frozenset(
    {
        "Expiration",
        "Transition",
        "NoncurrentVersionExpiration",
        "NoncurrentVersionTransition",
        "AbortIncompleteMultipartUpload",
    }
)
_KINDS: Mapping[str, tuple[str, str, str]] = {
    # By the query's parameter: how its operations are called, and what is said where there is none.
    "encryption": (
        "BucketEncryption",
        "ServerSideEncryptionConfigurationNotFoundError",
        "The server side encryption configuration was not found",
    ),
    "lifecycle": (
        "BucketLifecycleConfiguration",
        "NoSuchLifecycleConfiguration",
        "The lifecycle configuration does not exist",
    ),
    "policy": ("BucketPolicy", "NoSuchBucketPolicy", "The bucket policy does not exist"),
    "publicAccessBlock": (
        "PublicAccessBlock",
        "NoSuchPublicAccessBlockConfiguration",
        "The public access block configuration was not found",
    ),
}
_DELETES = {"lifecycle": "DeleteBucketLifecycle"}


def new() -> dict[str, str]:
    """As S3 makes a bucket today: encrypted with its own keys, and closed to the public."""
    rule = "<Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm>"
    rule += "</ApplyServerSideEncryptionByDefault><BucketKeyEnabled>false</BucketKeyEnabled></Rule>"
    closed = "".join(element(name, "true") for name in _BLOCKS)
    return {
        "encryption": f"<ServerSideEncryptionConfiguration>{rule}</ServerSideEncryptionConfiguration>",
        "publicAccessBlock": f"<PublicAccessBlockConfiguration>{closed}</PublicAccessBlockConfiguration>",
    }


def operation(method: str, query: Mapping[str, str]) -> str:
    """The operation that these parameters choose; empty for none of this room's."""
    for kind, (name, _, _) in _KINDS.items():
        if kind in query and len(query) == 1:
            return {"GET": f"Get{name}", "PUT": f"Put{name}", "DELETE": _DELETES.get(kind, f"Delete{name}")}.get(
                method, ""
            )
    return ""


def operations(bucket: Callable[[Call], Bucket]) -> dict[str, Callable[[Call], Answer | Awaitable[Answer]]]:
    """What answers them. `bucket` finds the one that a call is about, or raises Refusal."""
    found: dict[str, Callable[[Call], Answer | Awaitable[Answer]]] = {}
    for kind, (name, code, text) in _KINDS.items():
        found[f"Get{name}"] = _getter(bucket, kind, code, text)
        found[f"Put{name}"] = _putter(bucket, kind)
        found[_DELETES.get(kind, f"Delete{name}")] = _deleter(bucket, kind)
    return found


def _getter(bucket: Callable[[Call], Bucket], kind: str, code: str, text: str) -> Callable[[Call], Answer]:
    def get(call: Call) -> Answer:
        found = bucket(call).configuration.get(kind)
        if found is None:
            raise Refusal(code, text, 404)
        if kind == "policy":
            return Answer(headers=[*_common(), (b"content-type", b"application/json")], body=(found.encode(),))
        # Whoever wrote it, the root alone has the namespace.
        head, rest = found.split(">", 1)
        body = f'<?xml version="1.0" encoding="UTF-8"?>\n{head} xmlns="{NAMESPACE}">{rest}'.encode()
        return Answer(headers=[*_common(), (b"content-type", b"application/xml")], body=(body,))

    return get


def _putter(bucket: Callable[[Call], Bucket], kind: str) -> Callable[[Call], Awaitable[Answer]]:
    async def put(call: Call) -> Answer:
        found = bucket(call)
        body = await s3_bodies.read(call, MAX_BYTES, checksum_required=True)
        found.configuration[kind] = _CHECKED[kind](b"".join(body.pieces), found)
        return Answer(204 if kind == "policy" else 200, _common())

    return put


def _deleter(bucket: Callable[[Call], Bucket], kind: str) -> Callable[[Call], Answer]:
    def delete(call: Call) -> Answer:
        found = bucket(call)
        found.configuration.pop(kind, None)
        if kind == "encryption":
            # Nothing is stored without encryption any more: what goes is the wish for another kind.
            found.configuration[kind] = new()[kind]
        return Answer(204, _common())

    return delete


def _encryption(data: bytes, bucket: Bucket) -> str:  # noqa: ARG001
    root = _parsed(data, "ServerSideEncryptionConfiguration")
    rules = root.findall("Rule")
    if len(rules) != 1:
        raise _malformed()
    wanted = rules[0].find("ApplyServerSideEncryptionByDefault")
    algorithm = wanted.findtext("SSEAlgorithm") if wanted is not None else None
    if wanted is None or algorithm not in _ALGORITHMS:
        raise _malformed()
    if algorithm == "AES256" and wanted.find("KMSMasterKeyID") is not None:
        text = "a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms or aws:kms:dsse"
        raise Refusal("InvalidArgument", text)
    return _text(root)


def _lifecycle(data: bytes, bucket: Bucket) -> str:  # noqa: ARG001
    root = _parsed(data, "LifecycleConfiguration")
    rules = root.findall("Rule")
    if not 1 <= len(rules) <= MAX_RULES:
        raise _malformed()
    names: set[str] = set()
    for at, rule in enumerate(rules, start=1):
        if rule.findtext("Status") not in {"Enabled", "Disabled"} or _ACTIONS.isdisjoint(one.tag for one in rule):
            raise _malformed()
        if (rule.find("Filter") is None) == (rule.find("Prefix") is None):
            raise _malformed()
        if rule.find("ID") is None:
            ET.SubElement(rule, "ID").text = f"rule-{at}"
        name = rule.findtext("ID") or ""
        if name in names:
            raise Refusal("InvalidArgument", "Rule ID must be unique. Found same ID for more than one rule")
        names.add(name)
        for action in ("Expiration", "Transition"):
            for days in rule.findall(f"{action}/Days"):
                least = 0 if action == "Transition" else 1
                if not (days.text or "").isdecimal() or int(days.text or "") < least:
                    raise Refusal("InvalidArgument", f"'Days' for {action} action must be a positive integer")
    return _text(root)


def _policy(data: bytes, bucket: Bucket) -> str:
    text = data.decode("utf-8", "replace")
    try:
        policy = json.loads(text)
    except ValueError:
        policy = None
    if not isinstance(policy, dict) or "Statement" not in policy or len(data) > MAX_POLICY:
        raise Refusal("MalformedPolicy", "Policies must be valid JSON and the first byte must be '{'")
    statements = policy["Statement"]
    for statement in statements if isinstance(statements, list) else [statements]:
        _check_statement(statement, bucket)
    return text


def _check_statement(statement: Any, bucket: Bucket) -> None:
    if not isinstance(statement, dict) or statement.get("Effect") not in {"Allow", "Deny"}:
        raise Refusal("MalformedPolicy", "Invalid effect")
    for name in ("Action", "Principal", "Resource"):
        if name not in statement and f"Not{name}" not in statement:
            raise Refusal("MalformedPolicy", f"Missing required field {name}")
    resources = statement.get("Resource", statement.get("NotResource"))
    arn = f"arn:aws:s3:::{bucket.name}"
    for resource in resources if isinstance(resources, list) else [resources]:
        if resource not in ("*", arn) and not str(resource).startswith((f"{arn}/", f"{arn}*")):
            raise Refusal("MalformedPolicy", "Policy has invalid resource")


def _block(data: bytes, bucket: Bucket) -> str:  # noqa: ARG001
    root = _parsed(data, "PublicAccessBlockConfiguration")
    told = {one.tag: (one.text or "").lower() for one in root}
    if not told.keys() <= set(_BLOCKS) or not set(told.values()) <= {"true", "false"}:
        raise _malformed()
    inner = "".join(element(name, told.get(name, "false")) for name in _BLOCKS)
    return f"<PublicAccessBlockConfiguration>{inner}</PublicAccessBlockConfiguration>"


_CHECKED: Mapping[str, Callable[[bytes, Bucket], str]] = {
    "encryption": _encryption,
    "lifecycle": _lifecycle,
    "policy": _policy,
    "publicAccessBlock": _block,
}


def _parsed(data: bytes, root: str) -> ET.Element:
    try:
        parsed = ET.fromstring(data)  # noqa: S314 - it comes from the sandbox's own clients
    except ET.ParseError:
        raise _malformed() from None
    for one in parsed.iter():
        one.tag = one.tag.rpartition("}")[2]
    if parsed.tag != root:
        raise _malformed()
    return parsed


def _text(root: ET.Element) -> str:
    return ET.tostring(root, encoding="unicode", short_empty_elements=False)


def _malformed() -> Refusal:
    text = "The XML you provided was not well-formed or did not validate against our published schema"
    return Refusal("MalformedXML", text)


def _common() -> Headers:
    return [(b"x-amz-request-id", request_id().encode())]
