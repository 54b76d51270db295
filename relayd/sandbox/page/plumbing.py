"""Raw ASGI made small: a request with a bounded body, an answer with strict headers, and who may ask at all."""

import hmac
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

MAX_BODY = 256 * 1024
"""Of a request: a mail that somebody types."""

HTML, CSS, JS = "text/html; charset=utf-8", "text/css; charset=utf-8", "text/javascript; charset=utf-8"
JSON, TEXT, SVG = "application/json", "text/plain; charset=utf-8", "image/svg+xml"

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; frame-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
    "trusted-types 'none'"
)
MAIL_POLICY = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'"
)
"""For strangers' HTML. `sandbox` holds also when the address is opened by itself, outside of the frame."""
NOTHING = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox"

_HEADERS = {
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-dns-prefetch-control": "off",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back. The policy is that of a document; whatever is none may do nothing at all."""

    body: bytes
    kind: str
    status: HTTPStatus = HTTPStatus.OK
    policy: str = NOTHING
    extra: Mapping[str, str] = field(default_factory=dict)


class RefusedError(Exception):
    """A request that gets this answer and nothing else."""

    def __init__(self, status: HTTPStatus, told: str, **extra: str) -> None:
        super().__init__(told)
        self.answer = as_json({"error": told}, status, extra)


def as_json(value: Any, status: HTTPStatus = HTTPStatus.OK, extra: Mapping[str, str] | None = None) -> Answer:
    return Answer(json.dumps(value).encode(), JSON, status, extra=extra or {})


class Gatekeeper:
    """Lets in what comes from the page itself. Any site that the user has open could call this port otherwise."""

    def __init__(self, port: int, token: str) -> None:
        # By name or by number: DNS rebinding arrives with a name of its own.
        self._hosts = {f"{host}:{port}" for host in ("127.0.0.1", "localhost")}
        self._origins = {f"http://{host}" for host in self._hosts}
        self._token = token

    def admit(self, method: str, headers: Mapping[str, str]) -> None:
        """Raises RefusedError."""
        if headers.get("host", "") not in self._hosts:
            raise RefusedError(HTTPStatus.MISDIRECTED_REQUEST, "this page answers to 127.0.0.1 and localhost only")
        if method in ("GET", "HEAD"):
            return
        if method != "POST":
            raise RefusedError(HTTPStatus.METHOD_NOT_ALLOWED, "GET and POST only", allow="GET, HEAD, POST")
        if (
            headers.get("origin", "") not in self._origins
            or headers.get("sec-fetch-site", "same-origin") != "same-origin"
        ):
            raise RefusedError(HTTPStatus.FORBIDDEN, "this came from another site")
        if not hmac.compare_digest(headers.get("x-relayd-token", "").encode(), self._token.encode()):
            raise RefusedError(HTTPStatus.FORBIDDEN, "the page is out of date: load it again")
        if headers.get("content-type", "").partition(";")[0].strip() != JSON:
            raise RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "JSON only")


def headers_of(scope: Scope) -> dict[str, str]:
    """The request's headers. One that stands there twice is not to be trusted, and so is empty."""
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        key = name.decode("latin-1").lower()
        found[key] = "" if key in found else value.decode("latin-1")
    return found


async def json_body(receive: Receive) -> dict[str, Any]:
    """The body as a JSON object. Raises RefusedError."""
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise RefusedError(HTTPStatus.BAD_REQUEST, "the request was cut off")
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > MAX_BODY:
            raise RefusedError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {MAX_BODY // 1024} KB", connection="close"
            )
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise RefusedError(HTTPStatus.BAD_REQUEST, "this is no JSON") from None
    if not isinstance(value, dict):
        raise RefusedError(HTTPStatus.BAD_REQUEST, "this is no JSON object")
    return value


async def respond(send: Send, answer: Answer, *, with_body: bool = True) -> None:
    headers = {
        **_HEADERS,
        "content-type": answer.kind,
        "content-length": str(len(answer.body)),
        "content-security-policy": answer.policy,
        **answer.extra,
    }
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": int(answer.status), "headers": encoded})
    await send({"type": "http.response.body", "body": answer.body if with_body else b""})
