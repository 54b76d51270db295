"""Where the tags of an HTML text begin and end, as browsers see it, in one pass and without a tree.

Mail is edited in place and must keep every byte that is not meant, so nothing here is parsed and written anew.
"""

import re
from collections.abc import Iterator
from html.entities import html5
from typing import NamedTuple

_WS = r"\t\n\f\r "
# The end of the text also ends a quote: a tag that lacks its end can then only fail there, at once.
_VALUE = rf'"([^"]*+)(?:"|\Z)|' rf"'([^']*+)(?:'|\Z)|([^{_WS}>]*+)"
_ATTRIBUTE = rf"[{_WS}/]*+([^{_WS}/>][^{_WS}/>=]*+)(?:[{_WS}]*+=[{_WS}]*+(?:{_VALUE}))?+"
_ONE = re.compile(_ATTRIBUTE)
_TAG = re.compile(rf"<(/?)([A-Za-z][^{_WS}/>]*+)((?:{_ATTRIBUTE})*+)[{_WS}/]*+>")
_NEXT = re.compile(r"<(?:(!--)|([!?]|/[^A-Za-z])|(?=/?[A-Za-z]))")
_COMMENT_END = re.compile(r"--!?>")
_CONDITION = re.compile(r"<!--\[if [^\]>]*+\]>", re.IGNORECASE)
_REFERENCE = re.compile(r"&(?:#0*+([0-9]++);?|#[xX]0*+([0-9a-fA-F]++);?|([A-Za-z][A-Za-z0-9]*+)([;=]?))")
_RAW = {
    name: re.compile(rf"</{name}(?=[{_WS}/>])", re.IGNORECASE)
    for name in ("iframe", "noembed", "noframes", "script", "style", "textarea", "title", "xmp")
}
"""Elements whose content is text and no markup. (`noscript` is markup: nothing that shows mail runs scripts.)"""


class Tag(NamedTuple):
    """A start or end tag."""

    name: str
    """In lower case; `!` for a comment, a doctype and whatever else is not shown."""
    start: int
    end: int
    """Behind its `>`."""
    closing: bool
    inside: tuple[int, int]
    """Where its attributes stand."""
    raw_end: int
    """Where the content ends that is text and no markup; `end` where there is none."""


class Attribute(NamedTuple):
    name: str
    """In lower case."""
    value: str
    """Character references read."""
    start: int
    """White space before it included."""
    end: int


def tags(html: str, *, conditional: bool = False) -> Iterator[Tag]:
    """The tags in order. With `conditional`, also those that only Outlook sees (`<!--[if mso]>`)."""
    return _tags(html, 0, len(html), conditional=conditional)


def _tags(html: str, position: int, end: int, *, conditional: bool) -> Iterator[Tag]:
    while (found := _NEXT.search(html, position, end)) is not None:
        start = found.start()
        if found[1]:
            # `<!-->` and `<!--->` are whole comments.
            inside = start + (2 if html.startswith((">", "->"), start + 4) else 4)
            closed = _COMMENT_END.search(html, inside, end)
            position = closed.end() if closed is not None else end
            condition = _CONDITION.match(html, start, position) if conditional else None
            if condition is not None:
                yield from _tags(html, condition.end(), closed.start() if closed else end, conditional=False)
            else:
                yield _unseen(start, position)
        elif found[2]:
            position = html.find(">", start + 2, end) + 1 or end
            yield _unseen(start, position)
        else:
            match = _TAG.match(html, start, end)
            if match is None:  # the text ends within the tag, and browsers show nothing of it
                return
            tag = _tag(html, match, end)
            yield tag
            position = tag.raw_end


def _unseen(start: int, end: int) -> Tag:
    return Tag("!", start, end, False, (end, end), end)


def _tag(html: str, match: re.Match[str], end: int) -> Tag:
    name, closing = match[2].lower(), bool(match[1])
    raw_end = match.end()
    if not closing and name in _RAW:
        closer = _RAW[name].search(html, raw_end, end)
        raw_end = closer.start() if closer is not None else end
    elif name == "plaintext":
        raw_end = end
    return Tag(name, match.start(), match.end(), closing, match.span(3), raw_end)


def attributes(html: str, tag: Tag) -> Iterator[Attribute]:
    """All attributes, those too that stand twice."""
    for match in _ONE.finditer(html, *tag.inside):
        value = match[2] or match[3] or match[4] or ""
        yield Attribute(match[1].lower(), unescaped(value), *match.span())


def unescaped(value: str) -> str:
    """An attribute's value with its character references read.

    A name without `;` before a `=` or a letter is none (`?a=1&copy=2`): that is where this differs from the standard
    library's `unescape`, which also raises for numbers of thousands of digits.
    """
    return _REFERENCE.sub(_character, value) if "&" in value else value


def _character(match: re.Match[str]) -> str:
    decimal, hexadecimal, name, after = match.groups()
    if name is not None:
        return html5.get(name + after, match[0])  # no name ends with "="
    if len(decimal or hexadecimal) > 7:
        return "\ufffd"
    number = int(decimal) if decimal else int(hexadecimal, 16)
    return chr(number) if 0 < number < 0x110000 and not 0xD800 <= number < 0xE000 else "\ufffd"
