"""The way of one request: recognise it, let the faults have it, let its service answer, send the answer."""

import asyncio
import inspect
import sys
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qsl

from relayd.sandbox.cloud import control, routing
from relayd.sandbox.cloud.calls import DEFAULT_REGION, NO_EFFECTS, Answer, Call, Effects, Refusal
from relayd.sandbox.cloud.clock import Now, real
from relayd.sandbox.cloud.cloud import Cloud
from relayd.sandbox.cloud.connection import Connection
from relayd.sandbox.cloud.faults import Faults
from relayd.sandbox.cloud.signing import Signing

CERTIFICATE_PREFIX = "/SimpleNotificationService-"

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class ClientGoneError(Exception):
    """Nobody is there to answer."""


class App:
    """A raw ASGI application. A framework would cost more than everything that happens here."""

    def __init__(self, now: Now = real) -> None:
        self._now = now
        self.cloud = Cloud(now, Signing())
        self.faults = Faults(now)

    def reset(self) -> None:
        self.cloud = Cloud(self._now, self.cloud.signing)
        self.faults.replace([])

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        connection = Connection.of(scope)
        try:
            if scope["path"].startswith(control.PREFIX):
                body = await _body(receive, control.MAX_BODY)
                query = dict(parse_qsl(scope["query_string"].decode("latin-1")))
                answer = control.answer(self, scope["method"], scope["path"], query, body)
                await _send_answer(answer, send)
            elif scope["path"].startswith(CERTIFICATE_PREFIX):
                await _send_answer(self._certificate(scope["path"]), send)
            else:
                await self._serve(scope, receive, send, connection)
        except ClientGoneError:
            pass
        except Exception:
            # uvicorn's own log is off: it would complain of every fault.
            traceback.print_exc(file=sys.stderr)
            connection.reset()

    def _certificate(self, path: str) -> Answer:
        if path == self.cloud.signing.certificate_path:
            return control.certificate(self.cloud)
        return Answer(404)

    async def _serve(self, scope: Message, receive: Receive, send: Send, connection: Connection) -> None:
        cloud = self.cloud
        call, answer = await self._read(cloud, scope, receive)
        service = cloud.services[call.service]
        if answer is not None:
            await _drain(call)
        try:
            if answer is None:
                service.recognise(call)
                call.effects = effects = self.faults.effects(call)
                await self._strike(effects, call, "before", connection)
                if effects.refusal is not None:
                    raise effects.refusal
                answered = service.answer(call)
                answer = await answered if inspect.isawaitable(answered) else answered
        except Refusal as refusal:
            await _drain(call)
            answer = service.refuse(refusal)
        name = f"{call.service}:{call.operation}"
        cloud.counts.calls[name] += 1
        if answer.code:
            cloud.counts.errors[f"{name} {answer.code}"] += 1
        if call.method == "HEAD" and answer.length is None:
            answer.length, answer.body = answer.size, ()
        await self._strike(call.effects, call, "after", connection)
        await _send_answer(answer, send, call.effects, connection)

    async def _read(self, cloud: Cloud, scope: Message, receive: Receive) -> tuple[Call, Answer | None]:
        """The call, and the answer where there is one already: it is not signed, or much too large."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        method, path = scope["method"], scope["path"]
        query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        signed = routing.scope(headers, query)
        protocol = routing.protocol(method, path, headers)
        streamed = protocol == "s3" and method == "PUT"

        async def disconnected() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        call = Call(
            "" if protocol == "query" else protocol,
            "Unrecognised",
            signed[0] if signed else DEFAULT_REGION,
            headers.get(b"host", b"127.0.0.1").decode("latin-1"),
            method,
            path,
            query,
            headers,
            b"",
            disconnected,
            _chunks(receive) if streamed else None,
        )
        too_large = False
        if not streamed:
            try:
                call.body = await _body(receive, routing.MAX_BODY[protocol])
            except _TooLargeError:
                too_large = True
        if protocol == "query":
            routing.name_query_service(call, signed[1] if signed else "")
        service = cloud.services[call.service]
        if too_large:
            return call, service.refuse(Refusal("RequestEntityTooLargeException", "Request entity too large", 413))
        return call, None if signed else service.refuse(routing.refuse_unsigned(call.service))

    async def _strike(self, effects: Effects, call: Call, when: str, connection: Connection) -> None:
        if when == "before" and effects.delay:
            await asyncio.sleep(effects.delay)
        if effects.hang == when:
            await self._hang(call)
        if effects.reset == when:
            connection.reset()
            raise ClientGoneError

    async def _hang(self, call: Call) -> None:
        if call.chunks is not None and call.effects.hang == "before":
            # Only after its body can the client's end be told from the body's.
            call.chunks = _again([chunk async for chunk in call.chunks])
        gone = asyncio.ensure_future(call.disconnected())
        changed = asyncio.ensure_future(self.faults.changed())
        try:
            await asyncio.wait({gone, changed}, return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                raise ClientGoneError
        finally:
            gone.cancel()
            changed.cancel()


class _TooLargeError(Exception):
    pass


async def _body(receive: Receive, limit: int) -> bytes:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGoneError
    first: bytes = message.get("body", b"")
    if not message.get("more_body"):
        return first
    pieces, size = [first], len(first)
    async for piece in _chunks(receive):
        size += len(piece)
        if size > limit:
            raise _TooLargeError
        pieces.append(piece)
    return b"".join(pieces)


async def _chunks(receive: Receive) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        yield message.get("body", b"")
        if not message.get("more_body"):
            return


async def _drain(call: Call) -> None:
    """Read what is left of a body that nobody wants, or it would be taken for the connection's next request."""
    if call.chunks is not None:
        async for _ in call.chunks:
            pass


async def _again(chunks: list[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def _send_answer(
    answer: Answer, send: Send, effects: Effects = NO_EFFECTS, connection: Connection | None = None
) -> None:
    headers = [*answer.headers, (b"content-length", str(answer.size).encode())]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    if effects.body_delay:
        # Without this the headers would wait for the body.
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        await asyncio.sleep(effects.body_delay)
    left = int(answer.size * effects.keep) if effects.keep < 1 else -1
    last = len(answer.body) - 1
    for position, piece in enumerate(answer.body):
        if left >= 0:
            piece = piece[:left]  # noqa: PLW2901
            left -= len(piece)
        await send({"type": "http.response.body", "body": piece, "more_body": position < last or left == 0})
        if left == 0 and connection is not None:
            connection.close()
            raise ClientGoneError
    if last < 0:
        await send({"type": "http.response.body", "body": b"", "more_body": False})
