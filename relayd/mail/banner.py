"""The line above a forwarded mail that says which mask it came through; and out of what an answer quotes again.

The banner is found by its own sentences, since clients keep neither its markup nor its line breaks.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from html import escape
from html.entities import codepoint2name

from relayd.mail.languages import LANGUAGES, phrases
from relayd.mail.markup import Tag, tags
from relayd.mail.words import visible

_LONGEST_NAME = 320
"""Characters: an address has at most as many."""
_MOST_WORDS = 4
_NO_MARKS = str.maketrans("", "", "<>|")
_STYLE = (
    "margin:0 0 16px;padding:10px 14px;border-left:4px solid #4a6fa5;background-color:#eef2f7;color:#1f2933;"
    "font:13px/1.5 sans-serif;text-align:start;overflow-wrap:anywhere"
)
"""Both colours, since a mail's own may be any. A client's dark mode turns both around, or neither."""

_PROLOG = frozenset({"!", "html", "head", "title", "meta", "style", "link", "base", "script"})
"""What may stand before the first thing that is shown."""
_BLANK = re.compile(r"[\s\ufeff]*+")

_GAP = r"[\s>|]"
"""Between two words of a banner that was quoted, at any depth, and wrapped again."""
# An address with what clients make of it: `a@b<mailto:a@b>`, `a@b [a@b]`. Not longer, or the search could take squares.
_NAME = rf"\S{{1,1000}}+(?:{_GAP}++\S{{1,1000}}+){{0,{2 * _MOST_WORDS - 1}}}?"
_PLACEHOLDERS = {"{mask}": _NAME, "{sender}": _NAME, "{count}": "[0-9]{1,9}+"}
_PLACEHOLDER = re.compile(r"({[a-z]+})")

_QUOTE_MARKS = re.compile(r"[ \t>|]*+")
_LONGEST_PREFIX = 200
_LINE_END = re.compile(r"[ \t]*+(?:\r?\n|\Z)")
_EMPTY_LINE = re.compile(r"[ \t>|]*+(?:\r?\n|\Z)")

_SPACE = re.compile(r"&(?:nbsp|#160|#x0*a0);?", re.IGNORECASE)
_QUOTE = re.compile(r"&(?:gt|#62|#x3e);?", re.IGNORECASE)
_WRAPPERS = frozenset({"a", "b", "bdi", "blockquote", "center", "div", "em", "font", "i", "p", "pre", "small", "span"})
"""Elements that go with a banner when they hold nothing else."""
_LONGEST_SPACE = 1000
_MOST_TAGS = 200_000
"""In HTML with more, banners stay: 60 MB would be needed to find their elements, and they hold no secret."""
_VOID = frozenset({"!", "br", "hr", "img", "wbr"})


@dataclass(frozen=True, slots=True)
class Banner:
    """What a mask's banner says, as far as the mail's parts do not change it."""

    mask: str = field(repr=False)
    sender: str = field(repr=False)
    """An address, or whatever stood for one; empty when there was none."""
    language: str


def text_block(banner: Banner, trackers: int | None) -> str:
    """Lines for plain text, ended by LF, the last one empty. `trackers`: how many were removed; None says nothing."""
    return "\n".join((*_sentences(banner, trackers), "", ""))


def html_block(banner: Banner, trackers: int | None) -> str:
    """The same for HTML."""
    lines = "<br>".join(escape(sentence) for sentence in _sentences(banner, trackers))
    return f'<div lang="{phrases(banner.language).language}" dir="auto" style="{_STYLE}">{lines}</div>'


def _sentences(banner: Banner, trackers: int | None) -> list[str]:
    texts = phrases(banner.language).banner
    line = texts.line.format(mask=_shown(banner.mask) or "?", sender=_shown(banner.sender) or texts.nobody)
    return [line] if trackers is None else [line, texts.trackers.format(count=trackers)]


def _shown(foreign: str) -> str:
    # Without what may be taken for marks of a quote when the banner is looked for.
    words = visible(foreign[: 10 * _LONGEST_NAME]).translate(_NO_MARKS)[:_LONGEST_NAME].split()
    return " ".join(words if len(words) <= _MOST_WORDS else [*words[: _MOST_WORDS - 1], "..."])


def insert_html(html: str, block: str) -> str:
    """The HTML with a block before everything that it shows."""
    position = 0
    for tag in tags(html):
        if _BLANK.fullmatch(html, position, tag.start) is None or tag.name not in _PROLOG | {"body"}:
            break
        if tag.raw_end == len(html) and tag.name != "body":
            break  # a comment or title without an end hides what follows
        position = tag.raw_end
        if tag.name == "body":
            break
    return f"{html[:position]}{block}{html[position:]}"


def strip_text(text: str) -> str:
    """Plain text without banners, its own or quoted, in any language; the same object when there is none."""
    spans = [_whole_lines(text, start, end) for start, end in _found(text)]
    return _without(text, [(start, end, "") for start, end in spans]) if spans else text


def _whole_lines(text: str, start: int, end: int) -> tuple[int, int]:
    """With the marks that quote it and the empty line below, where nothing else stands on its lines."""
    line = max(text.rfind("\n", max(start - _LONGEST_PREFIX, 0), start) + 1, start - _LONGEST_PREFIX, 0)
    ended = _LINE_END.match(text, end)
    begins = line == 0 or text[line - 1] == "\n"
    if not begins or ended is None or _QUOTE_MARKS.fullmatch(text, line, start) is None:
        return start, end
    below = _EMPTY_LINE.match(text, ended.end())
    return line, below.end() if below is not None else ended.end()


def strip_html(html: str) -> str:
    """The same for HTML. Of the tags among a banner's words, those stay that others outside need."""
    if not any(all(re.search(word, html) for word in words) for words in _words()) or html.count("<") > _MOST_TAGS:
        return html
    found = list(tags(html))
    shown = _shown_text(html, found)
    edits: list[tuple[int, int, str]] = []
    first = 0
    for start, end in _found(shown):
        while first < len(found) and found[first].start < start:
            first += 1
        last = first
        while last < len(found) and found[last].start < end:
            last += 1
        kept = _unmatched(found[first:last])
        span = (start, end) if kept else _unwrapped(shown, found, first, last, (start, end))
        edits.append((*span, "".join(html[tag.start : tag.end] for tag in kept)))
        first = last
    return _without(html, edits) if edits else html


def _shown_text(html: str, found: list[Tag]) -> str:
    """The text between the tags. Whatever is none is blanked, so that each character stays at its place."""
    pieces: list[str] = []
    position = 0
    for tag in found:
        pieces += (html[position : tag.start], " " * (tag.raw_end - tag.start))
        position = tag.raw_end
    text = "".join((*pieces, html[position:]))
    text = _SPACE.sub(lambda match: " " * len(match[0]), text)
    return _QUOTE.sub(lambda match: ">".ljust(len(match[0])), text)


def _unmatched(found: list[Tag]) -> list[Tag]:
    """Tags whose other half is not among them."""
    closings: list[Tag] = []
    opened: list[Tag] = []
    for tag in found:
        if tag.name in _VOID:
            continue
        if not tag.closing:
            opened.append(tag)
        elif opened and opened[-1].name == tag.name:
            opened.pop()
        else:
            closings.append(tag)
    return closings + opened


def _unwrapped(shown: str, found: list[Tag], first: int, last: int, span: tuple[int, int]) -> tuple[int, int]:
    """Outwards over the elements that hold nothing but what stands in `span`."""
    while first > 0 and last < len(found):
        first -= 1
        opening, closing = found[first], found[last]
        last += 1
        same = opening.name == closing.name and closing.closing and not opening.closing
        alone = _is_blank(shown, opening.end, span[0]) and _is_blank(shown, span[1], closing.start)
        if not (same and alone and opening.name in _WRAPPERS):
            break
        span = opening.start, closing.end
    return span


def _is_blank(text: str, start: int, end: int) -> bool:
    # Any more would be looked at again for each of many banners.
    return end - start <= _LONGEST_SPACE and _BLANK.fullmatch(text, start, end) is not None


def _without(text: str, edits: list[tuple[int, int, str]]) -> str:
    pieces: list[str] = []
    position = 0
    for start, end, instead in edits:
        pieces += (text[position:start], instead)
        position = max(position, end)
    return "".join((*pieces, text[position:]))


def _found(text: str) -> Iterator[tuple[int, int]]:
    """Where banners stand, in order, none inside another."""
    position = 0
    for start, end in sorted(match.span() for pattern in _patterns() for match in pattern.finditer(text)):
        if start >= position:
            yield start, end
            position = end


@lru_cache
def _patterns() -> list[re.Pattern[str]]:
    """One for each line that relayd writes, or wrote, in any language: its words, whatever stands between them."""
    patterns = []
    for language in LANGUAGES:
        texts = phrases(language).banner
        more = rf"{_GAP}++".join(map(_word, texts.trackers.split()))
        for line in (texts.line, *texts.former):
            sentence = rf"{_GAP}++".join(map(_word, line.split()))
            patterns.append(re.compile(rf"{sentence}(?:{_GAP}*+{more})?+"))
    return patterns


@lru_cache
def _words() -> list[list[str]]:
    """The fixed words of each line, as patterns."""
    texts = [phrases(language).banner for language in LANGUAGES]
    lines = [line for banner in texts for line in (banner.line, *banner.former)]
    return [[_word(word) for word in line.split() if "{" not in word] for line in lines]


def _word(word: str) -> str:
    pieces = _PLACEHOLDER.split(word)
    return "".join(_PLACEHOLDERS.get(piece) or "".join(map(_letter, piece)) for piece in pieces)


def _letter(letter: str) -> str:
    """A letter as HTML clients may write it."""
    if letter.isascii():
        return re.escape(letter)
    code = ord(letter)
    name = f"{codepoint2name[code]}|" if code in codepoint2name else ""
    return f"(?:{letter}|&(?:{name}#0*{code}|#[xX]0*(?i:{code:x}));)"
