"""What every service room is asked and what it answers: a call, an answer, a refusal."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from xml.sax.saxutils import escape

ACCOUNT = "123456789012"
"""The one account there is. It is what AWS's own documentation uses."""
DEFAULT_REGION = "us-east-1"

Headers = list[tuple[bytes, bytes]]
JSON = b"application/json"
AMZ_JSON = b"application/x-amz-json-1.0"
XML = b"text/xml"

_request_numbers = itertools.count(1)


async def never() -> None:
    """Wait without end."""
    await asyncio.get_running_loop().create_future()


@dataclass(slots=True, eq=False)
class Effects:
    """What the faults that are set do to one call. Rooms that never misbehave by themselves do not look at it."""

    delay: float = 0.0
    """Seconds before the effect."""
    body_delay: float = 0.0
    """Seconds between the answer's headers and its body."""
    hang: str = ""
    """`before` or `after` the effect."""
    reset: str = ""
    """`before` or `after` the effect."""
    refusal: "Refusal | None" = None
    keep: float = 1.0
    """The share of the answer's body that goes out before the connection ends."""
    stale_delete: str = "ignore"
    """What a delete with an old handle gets: `ignore` (success, nothing deleted) or `error`."""
    forget_delete: bool = False
    """A delete answers success and deletes nothing, even with the newest handle."""
    redeliver: float | None = None
    """A deleted message comes once more after so many seconds."""
    fails_entry: Callable[[], bool] | None = None
    """Whether the next entry of a batch fails while the call succeeds."""
    twin: bool = False
    """A receive holds its first message twice."""
    shorten: Callable[[float], float] | None = None
    """How long a lease really lasts."""
    orphan: bool = False
    """A long poll whose client went away is still given messages."""
    withhold: dict[str, float] = field(default_factory=dict)
    """Events of a mail that are held back, by their type or `*` for all: for so many seconds, 0 for without end."""
    changed: Callable[[], Awaitable[object]] = never
    """Waits until other faults are set, which ends what has no other end."""


NO_EFFECTS = Effects()


@dataclass(slots=True)
class Call:
    """One request, read and recognised."""

    service: str
    operation: str
    region: str
    host: str
    method: str
    path: str
    query: dict[str, str]
    headers: dict[bytes, bytes]
    body: bytes
    disconnected: Callable[[], Awaitable[None]]
    """Waits until the client has gone away."""
    chunks: AsyncIterator[bytes] | None = None
    """The body of a call whose room reads it itself; `body` is empty then."""
    resource: str = ""
    """What it is about, for faults that concern one queue, object, topic or recipient."""
    effects: Effects = NO_EFFECTS
    parts: tuple[str, ...] = ()
    """What the path's pattern held open: names of configuration sets, of identities."""
    fields: dict[str, Any] = field(default_factory=dict)
    """The parameters, where the body is JSON or a form."""

    @property
    def endpoint(self) -> str:
        """The emulator's own URL, as this client knows it."""
        return f"http://{self.host}"


@dataclass(slots=True)
class Answer:
    """A status, headers without Content-Length, and the body in pieces."""

    status: int = 200
    headers: Headers = field(default_factory=list)
    body: Sequence[bytes | memoryview] = ()
    length: int | None = None
    """Content-Length when it is not the body's size (HEAD)."""
    code: str = ""
    """The error's code, for the counts; empty for success."""

    @property
    def size(self) -> int:
        return sum(map(len, self.body)) if self.length is None else self.length


class Refusal(Exception):  # noqa: N818 - AWS saying no is a result here, not a failure of ours
    """The service says no. Each room writes it in its own protocol."""

    def __init__(self, code: str, text: str, status: int = 400) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text
        self.status = status


class Service(Protocol):
    """A room that answers for one service."""

    def recognise(self, call: Call) -> None:
        """Set the call's operation, resource and fields. Raises Refusal for what the service does not offer."""
        ...

    def answer(self, call: Call) -> Answer | Awaitable[Answer]: ...

    def refuse(self, refusal: Refusal) -> Answer: ...


def request_id() -> str:
    """A new id of the form that AWS gives requests."""
    number = next(_request_numbers)
    return f"5e1f0000-0000-4000-8000-{number:012x}"


def json_answer(value: Any, *, status: int = 200, kind: bytes = JSON, code: str = "") -> Answer:
    body = json.dumps(value, separators=(",", ":")).encode()
    headers = [(b"content-type", kind), (b"x-amzn-requestid", request_id().encode())]
    return Answer(status, headers, (body,), code=code)


def xml_answer(text: str, *, status: int = 200, code: str = "") -> Answer:
    headers = [(b"content-type", XML), (b"x-amzn-requestid", request_id().encode())]
    return Answer(status, headers, (text.encode(),), code=code)


def element(name: str, text: object) -> str:
    """An XML element with text in it."""
    return f"<{name}>{escape(str(text))}</{name}>"


def query_refusal(refusal: Refusal, namespace: str) -> Answer:
    """An error in the query protocol of SNS and STS."""
    blame = "Receiver" if refusal.status >= 500 else "Sender"
    inner = element("Type", blame) + element("Code", refusal.code) + element("Message", refusal.text)
    text = (
        f'<ErrorResponse xmlns="{namespace}"><Error>{inner}</Error>{element("RequestId", request_id())}</ErrorResponse>'
    )
    return xml_answer(text, status=refusal.status, code=refusal.code)


def query_answer(operation: str, namespace: str, inner: str | None = None) -> Answer:
    """A success in the query protocol. Operations without a result (None, not an empty one) have no result element."""
    result = "" if inner is None else f"<{operation}Result>{inner}</{operation}Result>"
    meta = f"<ResponseMetadata>{element('RequestId', request_id())}</ResponseMetadata>"
    return xml_answer(f'<{operation}Response xmlns="{namespace}">{result}{meta}</{operation}Response>')
