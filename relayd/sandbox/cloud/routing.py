"""Which service a request is for, and from which region it was signed."""

import re
from functools import lru_cache
from urllib.parse import parse_qsl

from relayd.sandbox.cloud.calls import DEFAULT_REGION, Call, Refusal
from relayd.sandbox.cloud.kms import TARGET_PREFIX as KMS_PREFIX
from relayd.sandbox.cloud.ses import PREFIX as SES_PREFIX
from relayd.sandbox.cloud.sqs import TARGET_PREFIX

MAX_BODY = {
    # Bytes that are read before the service may judge. JSON may write one character as six.
    "sqs": 8 * 1024 * 1024,
    "query": 4 * 1024 * 1024,
    "ses": 60 * 1024 * 1024,
    "kms": 1024 * 1024,
    "s3": 1024 * 1024,
}

_SCOPE = re.compile(r"[^/]+/\d{8}/([a-z0-9-]+)/([a-z0-9-]+)/aws4_request")
_CREDENTIAL = re.compile(rb"Credential=([^,\s]+)")
_QUERY_SERVICES = {"sns": "sns", "sts": "sts", "ses": "sesv1", "iam": "iam"}
"""By what a call was signed for."""
_STS_ACTIONS = frozenset({"GetCallerIdentity", "AssumeRole", "AssumeRoleWithWebIdentity"})

_MISSING_TOKEN = {
    "sqs": Refusal("MissingAuthenticationTokenException", "Request is missing Authentication Token", 403),
    "ses": Refusal("MissingAuthenticationTokenException", "Missing Authentication Token", 403),
    "s3": Refusal("AccessDenied", "Access Denied", 403),
    "sns": Refusal("MissingAuthenticationToken", "Request is missing Authentication Token", 403),
    "sesv1": Refusal("MissingAuthenticationToken", "Request is missing Authentication Token", 403),
    "sts": Refusal("MissingAuthenticationToken", "Request is missing Authentication Token", 403),
    "iam": Refusal("MissingAuthenticationToken", "Request is missing Authentication Token", 403),
    "kms": Refusal("MissingAuthenticationTokenException", "Missing Authentication Token", 400),
}


def protocol(method: str, path: str, headers: dict[bytes, bytes]) -> str:
    """`sqs`, `kms`, `ses`, `query` (SNS, STS, IAM or the older SES, which only the signature and the body tell apart)
    or `s3`.
    """
    target = headers.get(b"x-amz-target", b"")
    if target.startswith(TARGET_PREFIX.encode()):
        return "sqs"
    if target.startswith(KMS_PREFIX.encode()):
        return "kms"
    if path.startswith(SES_PREFIX):
        return "ses"
    form = headers.get(b"content-type", b"").startswith(b"application/x-www-form-urlencoded")
    return "query" if method == "POST" and form else "s3"


def scope(headers: dict[bytes, bytes], query: dict[str, str]) -> tuple[str, str] | None:
    """Region and service that the request was signed for; None for one that is not signed. Any signature will do."""
    found = _CREDENTIAL.search(headers.get(b"authorization", b""))
    credential = found[1].decode("latin-1") if found else query.get("X-Amz-Credential", "")
    return _scope(credential) if credential else None


@lru_cache(maxsize=256)
def _scope(credential: str) -> tuple[str, str] | None:
    found = _SCOPE.fullmatch(credential)
    return (found[1], found[2]) if found else (DEFAULT_REGION, "")


def name_query_service(call: Call, signed_for: str) -> None:
    """Read the form, and set the service and the operation of a query call."""
    call.fields = dict(parse_qsl(call.body.decode("utf-8", "replace"), keep_blank_values=True))
    call.operation = call.fields.get("Action", "")
    by_action = "sts" if call.operation in _STS_ACTIONS else "sns"
    call.service = _QUERY_SERVICES.get(signed_for, by_action)


def refuse_unsigned(service: str) -> Refusal:
    return _MISSING_TOKEN[service]
