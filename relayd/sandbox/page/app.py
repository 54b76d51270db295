"""The page's routes. What a stranger wrote leaves here as JSON, as plain text, or as HTML that may do nothing."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from importlib import resources
from typing import Any
from urllib.parse import parse_qs

from relayd.sandbox.page import plumbing, views
from relayd.sandbox.page.book import Book, Entry
from relayd.sandbox.page.gauges import Gauges
from relayd.sandbox.page.outbox import VERDICTS, Form, FormError
from relayd.sandbox.page.plumbing import Answer, Gatekeeper, Receive, RefusedError, Scope, Send, as_json
from relayd.sandbox.page.reading import compare, harmless, read, source
from relayd.sandbox.page.switch import MODES, SERVICES, Switch
from relayd.sandbox.traces import Traces

SHOWN = 300
"""Lines of the list."""
STATIC = {
    "page.css": plumbing.CSS,
    "page.js": plumbing.JS,
    "dom.js": plumbing.JS,
    "gauges.js": plumbing.JS,
    "list.js": plumbing.JS,
    "mail.js": plumbing.JS,
    "write.js": plumbing.JS,
    "icon.svg": plumbing.SVG,
}
RECEIVED = "received"
"""The version of a mail that came in; the sent ones are called by their numbers."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the page's facts come from, and where it sends mail."""

    book: Book
    traces: Traces
    gauges: Gauges
    switch: Switch
    send: Callable[[Form], list[str]]
    sent_bytes: Callable[[int], bytes] | None
    """The bytes of a send by its number; None where the emulator does not tell."""
    masks: Callable[[], list[dict[str, str]]]
    facts: Mapping[str, Any]
    """What does not change: ports, addresses."""


Handler = Callable[[Mapping[str, str], Mapping[str, Any]], Awaitable[Answer]]


class Page:
    """The ASGI application."""

    def __init__(self, sources: Sources, *, port: int, token: str) -> None:
        self._sources = sources
        self._gate = Gatekeeper(port, token)
        self._files = _files(token)
        letter = r"/api/mails/(?P<id>[\w.-]{1,100})/(?P<version>received|\d{1,9})"
        self._routes: tuple[tuple[str, re.Pattern[str], Handler], ...] = (
            ("GET", re.compile(r"/api/live"), self._live),
            ("GET", re.compile(r"/api/start"), self._start),
            ("GET", re.compile(r"/api/mails/(?P<id>[\w.-]{1,100})"), self._mail),
            ("GET", re.compile(letter), self._letter),
            ("GET", re.compile(letter + "/html"), self._html),
            ("GET", re.compile(letter + "/source"), self._source),
            ("GET", re.compile(letter + "/headers"), self._headers),
            ("POST", re.compile(r"/api/send"), self._send),
            ("POST", re.compile(r"/api/switch"), self._switch),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            answer = await self._answer(scope, receive)
        except RefusedError as refused:
            answer = refused.answer
        await plumbing.respond(send, answer, with_body=scope["method"] != "HEAD")

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        method, path = scope["method"], scope["path"]
        self._gate.admit(method, plumbing.headers_of(scope))
        method = "GET" if method == "HEAD" else method
        if method == "GET" and path in self._files:
            return self._files[path]
        for wanted, pattern, handler in self._routes:
            match = pattern.fullmatch(path)
            if match is None:
                continue
            if method != wanted:
                raise RefusedError(HTTPStatus.METHOD_NOT_ALLOWED, f"{wanted} only", allow=wanted)
            given = await plumbing.json_body(receive) if method == "POST" else _query(scope)
            return await handler(match.groupdict(), given)
        raise RefusedError(HTTPStatus.NOT_FOUND, "there is no such page")

    # What is going on.

    async def _live(self, path: Mapping[str, str], query: Mapping[str, Any]) -> Answer:  # noqa: ARG002
        book, gauges = self._sources.book, self._sources.gauges
        entries, revision = book.changed(_number(query, "since"), SHOWN)
        return as_json(
            {
                "mails": [views.line(entry) for entry in entries],
                "revision": revision,
                "totals": book.totals(),
                "latency": views.latency(book.latency()),
                "lives": views.lives(gauges.lives()),
                "points": [views.point(point) for point in gauges.points(_number(query, "point"))],
                "switch": views.switch(self._sources.switch.position()),
            }
        )

    async def _start(self, path: Mapping[str, str], query: Mapping[str, Any]) -> Answer:  # noqa: ARG002
        masks = await asyncio.to_thread(self._sources.masks)
        return as_json({"facts": self._sources.facts, "masks": masks, "verdicts": VERDICTS, "shown": SHOWN})

    # One mail.

    async def _mail(self, path: Mapping[str, str], query: Mapping[str, Any]) -> Answer:  # noqa: ARG002
        entry = self._entry(path)
        story = self._sources.traces.story(entry.mail.trace_id) if entry.mail else []
        sends = self._sources.book.sends(entry)
        whole = entry.mail is not None and self._sources.book.received(entry.entry_id) is not None
        versions = [{"version": RECEIVED, "label": "as it came in"}] if whole else []
        if self._sources.sent_bytes is not None:
            versions += [
                {"version": str(sent.number), "label": f"as sent to {', '.join(sent.recipients)}"} for _, sent in sends
            ]
        told = {"versions": versions, "answers": views.answers(sends), "trace": views.trace(story)}
        return as_json({**views.line(entry), **views.whole(entry), **told})

    async def _letter(self, path: Mapping[str, str], query: Mapping[str, Any]) -> Answer:  # noqa: ARG002
        data = await self._bytes(path)
        return as_json(views.letter(await asyncio.to_thread(read, data), source(data)))

    async def _html(self, path: Mapping[str, str], query: Mapping[str, Any]) -> Answer:  # noqa: ARG002
        reading = await asyncio.to_thread(read, await self._bytes(path))
        body = harmless(reading.html).encode("utf-8", "replace")
        return Answer(body, plumbing.HTML, policy=plumbing.MAIL_POLICY)

    async def _source(self, path: Mapping[str, str], query: Mapping[str, Any]) -> Answer:  # noqa: ARG002
        return Answer(await self._bytes(path), plumbing.TEXT)

    async def _headers(self, path: Mapping[str, str], query: Mapping[str, Any]) -> Answer:  # noqa: ARG002
        after = await self._bytes(path)
        before = await self._bytes({**path, "version": RECEIVED})
        return as_json({"fields": [views.field_row(row) for row in await asyncio.to_thread(compare, before, after)]})

    def _entry(self, path: Mapping[str, str]) -> Entry:
        entry = self._sources.book.entry(path["id"])
        if entry is None:
            raise RefusedError(HTTPStatus.NOT_FOUND, "this mail is not, or no longer, known here")
        return entry

    async def _bytes(self, path: Mapping[str, str]) -> bytes:
        entry = self._entry(path)
        if path["version"] == RECEIVED:
            data = self._sources.book.received(entry.entry_id)
        else:
            # Only sends of this very mail: the numbers count through all of them.
            number = int(path["version"])
            theirs = any(sent.number == number for _, sent in self._sources.book.sends(entry))
            fetch = self._sources.sent_bytes
            data = await asyncio.to_thread(fetch, number) if theirs and fetch is not None else None
        if not data:
            raise RefusedError(HTTPStatus.NOT_FOUND, "the bytes of this mail have been let go")
        return data

    # What can be done.

    async def _send(self, path: Mapping[str, str], given: Mapping[str, Any]) -> Answer:  # noqa: ARG002
        try:
            form = Form.of(given)
            return as_json({"sent": await asyncio.to_thread(self._sources.send, form)})
        except FormError as error:
            return as_json({"error": error.problem, "field": error.field_name}, HTTPStatus.UNPROCESSABLE_ENTITY)

    async def _switch(self, path: Mapping[str, str], given: Mapping[str, Any]) -> Answer:  # noqa: ARG002
        service, mode = given.get("service"), given.get("mode")
        if service not in SERVICES or mode not in MODES:
            raise RefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, "there is no such position")
        try:
            await asyncio.to_thread(self._sources.switch.move, service, mode)
        except LookupError as error:
            raise RefusedError(HTTPStatus.CONFLICT, str(error)) from None
        return as_json(views.switch(self._sources.switch.position()))


def _query(scope: Scope) -> dict[str, Any]:
    found = parse_qs(scope["query_string"].decode("latin-1")[:1000])
    return {name: values[0] for name, values in found.items()}


def _number(query: Mapping[str, Any], name: str) -> int:
    text = str(query.get(name, "0"))
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise RefusedError(HTTPStatus.BAD_REQUEST, f"{name} has to be a number")
    return int(text)


def _files(token: str) -> dict[str, Answer]:
    folder = resources.files(__package__) / "static"
    html = (folder / "page.html").read_text(encoding="utf-8").replace("{{token}}", token)
    files = {f"/{name}": Answer((folder / name).read_bytes(), kind) for name, kind in STATIC.items()}
    return files | {"/": Answer(html.encode(), plumbing.HTML, policy=plumbing.PAGE_POLICY)}
