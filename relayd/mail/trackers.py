"""Trackers out of a mail: pictures that report who reads it, and links that report who clicks.

What a tracker is says a list in the form of Disconnect's `services.json`, which the operator provides. A host is
looked up with each of its parent domains in a set, so the cost of a mail does not depend on the list.
"""

import json
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import StringIO
from urllib.parse import quote, unquote

from relayd.mail.markup import Attribute, Tag, attributes, tags
from relayd.model.address import normal_domain

_NOT_TRACKERS = frozenset({"Content", "Social", "ConsentManagers", "Anti-fraud"})
_DEEPEST = 10
"""Levels of a category that are looked into; the published lists have three."""
_LONGEST_HOST = 255

_AUTHORITY = re.compile(r"[\x00-\x20]*+(?:https?:[/\\]*+|[/\\]{2,}+)([^/\\?#]*+)", re.IGNORECASE)
_LINE_BREAKS = str.maketrans("", "", "\t\n\r")
_CSS_ADDRESS = re.compile(
    r"""(?:url\(\s*+|@import\s++(?=["']))"""
    r"""(?:"((?:[^"\\]|\\.)*+)"?|'((?:[^'\\]|\\.)*+)'?|((?:[^)\s"'\\]|\\[0-9a-f]{1,6}+\s?|\\.)*+))\s*+\)?""",
    re.IGNORECASE | re.DOTALL,
)
_CSS_ESCAPE = re.compile(r"\\(?:([0-9a-fA-F]{1,6})\s?|(.))", re.DOTALL)
_TEXT_ADDRESS = re.compile(r"""https?://[^\s<>"]++""", re.IGNORECASE)
_TRAILING = ".,;:!?'*)]}"
"""What ends a sentence or a bracket around an address in plain text, rather than the address."""

_WHOLE = frozenset({"img", "image", "source", "link", "embed", "bgsound", "track"})
"""Elements that are nothing without their address. Others lose the attribute: they have content to show instead."""
_FETCHED = frozenset({"src", "background", "poster", "data", "lowsrc", "dynsrc", "xlink:href"})
"""Attributes whose address is fetched without a click."""
_LISTS = frozenset({"srcset", "imagesrcset", "ping"})
"""The same with several addresses; `ping` is told of clicks behind the reader's back."""
_LINKS = frozenset({"a", "area", "v:rect", "v:roundrect", "v:shape", "v:oval"})
"""Elements whose `href` is followed by a click. (Outlook's buttons are drawn with the last four.)"""

_Edit = tuple[int, int, str]
"""From, to, and what stands there instead."""


@dataclass(frozen=True, slots=True)
class TrackerList:
    """The domains of trackers, each with all that is below it."""

    domains: frozenset[str] = field(repr=False)

    @classmethod
    def parse(cls, data: bytes) -> "TrackerList":
        """Read a list. Raises ValueError, with what is wrong, for anything else.

        Every category counts but four: `Content` (hosts of ordinary pictures and pages, google.com among them),
        `Social` (the networks that every footer links to, and whose own mails consist of their own hosts),
        `ConsentManagers` and `Anti-fraud`, which do no tracking. `Email` and `EmailAggressive` are the ones made for
        mail. Both published shapes of a category are read: domains by company and site, and a plain list of domains.
        """
        try:
            document = json.loads(data)
        except RecursionError:
            raise ValueError("the tracker list is nested too deeply") from None
        except ValueError as error:
            raise ValueError(f"the tracker list is not JSON: {error}") from None
        match document:
            case {"categories": dict(categories)}:
                counted = [content for name, content in categories.items() if name not in _NOT_TRACKERS]
            case _:
                raise ValueError('the tracker list has no object "categories"')
        domains = frozenset(found for content in counted for found in _domains(content, _DEEPEST))
        if not domains:
            raise ValueError("the tracker list names no domain in any category that counts")
        return cls(domains)

    def covers(self, address: str) -> bool:
        """Whether an http(s) or protocol-relative address leads to a tracker."""
        host = _host(address)
        while host:
            if host in self.domains:
                return True
            host = host.partition(".")[2]
        return False


def _domains(content: object, depth: int) -> Iterator[str]:
    """Domains stand in lists. A text that is an object's value is a remark: `"session-replay": "true"`."""
    if depth == 0 or not isinstance(content, list | dict):
        return
    for item in content if isinstance(content, list) else content.values():
        if isinstance(item, list | dict):
            yield from _domains(item, depth - 1)
        elif isinstance(item, str) and isinstance(content, list):
            domain = _normal(item.strip())
            # An entry with a path is about a part of a host only; one without a dot would cover a top-level domain.
            if "." in domain and "/" not in domain:
                yield domain


def _host(address: str) -> str:
    """The host that a browser would ask, in its normal form; empty where there is none."""
    match = _AUTHORITY.match(address.translate(_LINE_BREAKS))
    if match is None:
        return ""
    host = match[1].rpartition("@")[2].partition(":")[0]
    return _normal(unquote(host) if "%" in host else host)


def _normal(host: str) -> str:
    if len(host) > _LONGEST_HOST:
        return ""
    try:
        return normal_domain(host)
    except ValueError:
        # Some label is not a valid name, but one above it may be listed.
        return unicodedata.normalize("NFKC", host).replace("\u3002", ".").strip(".").lower()


def remove(html: str, trackers: TrackerList, warning: str | None) -> tuple[str, int]:
    """The HTML without trackers, and how many elements and style sheet addresses were changed.

    What is fetched from a tracker goes. Links to one lead to `warning`, an address, with the original in its query
    parameter `url`; without a warning they stay. Everything else stays as it was to the last character.
    """
    # Written as it goes: a list of edits takes ten times the memory of a mail made of nothing but trackers.
    out = StringIO()
    position = count = 0
    for tag in tags(html, conditional=True):
        if tag.closing or tag.name == "!":
            continue
        edits = _of_tag(html, tag, trackers, warning)
        count += bool(edits)
        if tag.name == "style":
            sheet, addresses = _css(html[tag.end : tag.raw_end], trackers)
            count += addresses
            if addresses:
                edits.append((tag.end, tag.raw_end, sheet))
        for start, end, instead in edits:
            out.write(html[position:start])
            out.write(instead)
            position = end
    if not count:
        return html, 0
    out.write(html[position:])
    return out.getvalue(), count


def _of_tag(html: str, tag: Tag, trackers: TrackerList, warning: str | None) -> list[_Edit]:
    inside = html[slice(*tag.inside)]
    if not ("/" in inside or "\\" in inside or "&" in inside):
        return []  # most tags: no address without one of these
    edits: list[_Edit] = []
    for attribute in attributes(html, tag):
        if _is_fetched(tag, attribute, trackers):
            if tag.name in _WHOLE:
                # What stood apart must not become a tag now: `<<img ...>img ...>`.
                return [(tag.start, tag.end, " " if html.endswith("<", 0, tag.start) else "")]
            edits.append((attribute.start, attribute.end, " "))
        elif attribute.name == "style":
            clean, addresses = _css(attribute.value, trackers)
            if addresses:
                edits.append(_set(attribute, clean))
        elif warning is not None and _is_followed(tag, attribute, trackers):
            edits.append(_set(attribute, _warned(attribute.value, warning)))
    return edits


def _is_fetched(tag: Tag, attribute: Attribute, trackers: TrackerList) -> bool:
    if attribute.name in _LISTS:
        return any(trackers.covers(candidate) for candidate in re.split(r"[\s,]+", attribute.value))
    fetched = attribute.name in _FETCHED or (attribute.name == "href" and tag.name in _WHOLE)
    return fetched and trackers.covers(attribute.value)


def _is_followed(tag: Tag, attribute: Attribute, trackers: TrackerList) -> bool:
    return attribute.name == "href" and tag.name in _LINKS and trackers.covers(attribute.value)


def _set(attribute: Attribute, value: str) -> _Edit:
    quoted = value.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")
    return attribute.start, attribute.end, f' {attribute.name}="{quoted}"'


def _warned(address: str, warning: str) -> str:
    original = quote(address.translate(_LINE_BREAKS).strip(), safe="", errors="replace")
    page, mark, fragment = warning.partition("#")
    return f"{page}{'&' if '?' in page else '?'}url={original}{mark}{fragment}"


def _css(sheet: str, trackers: TrackerList) -> tuple[str, int]:
    count = 0

    def clean(match: re.Match[str]) -> str:
        nonlocal count
        if not trackers.covers(_CSS_ESCAPE.sub(_css_character, match[1] or match[2] or match[3] or "")):
            return match[0]
        count += 1
        return "none"  # valid where an image is, and ignored elsewhere

    return _CSS_ADDRESS.sub(clean, sheet), count


def _css_character(match: re.Match[str]) -> str:
    if match[1] is None:
        return match[2]
    number = int(match[1], 16)
    return chr(number) if 0 < number < 0x110000 else "\ufffd"


def remove_from_text(text: str, trackers: TrackerList, warning: str | None) -> tuple[str, int]:
    """Plain text with the addresses of trackers led to `warning`, and how many; without a warning, the text."""
    if warning is None:
        return text, 0
    count = 0

    def clean(match: re.Match[str]) -> str:
        nonlocal count
        address = match[0].rstrip(_TRAILING)
        if not trackers.covers(address):
            return match[0]
        count += 1
        return _warned(address, warning) + match[0][len(address) :]

    clean_text = _TEXT_ADDRESS.sub(clean, text)
    return (clean_text, count) if count else (text, 0)
