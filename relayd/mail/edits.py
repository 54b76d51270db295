"""Changes to what a mail says, asked for leaf by leaf while `repair` goes over it; and text made bytes again."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from relayd.mail.fields import Field, first
from relayd.mail.parameters import texts, written
from relayd.mail.structure import Part
from relayd.mail.words import codec_of

Wish = Literal["keep", "edit", "drop"]


@dataclass(frozen=True, slots=True)
class Edited:
    """A leaf's new content, not yet encoded for the wire."""

    content: bytes = field(repr=False)
    charset: str | None = None
    """The charset to declare from now on; None where the declared one still holds."""


class Edits:
    """What is to change in a body. This one changes nothing; each kind of rewriting overrides what it is about.

    `repair` asks in the order of the parts, and leaves alone whatever comes back as the same object.
    """

    opens_signed = False
    """Whether parts that a signature covers are edited too. It breaks then, so whoever says yes removes it."""
    keeps_fillers = True
    """Whether preambles and epilogues, which no reader shows, stay."""

    def fields(self, part: Part, /) -> tuple[Field, ...]:
        """The part's header fields. Asked first, and for containers too."""
        return part.fields

    def is_renamed(self, _boundary: bytes, /) -> bool:
        """Whether a multipart gets a new boundary."""
        return False

    def wish(self, _part: Part, _content: bytes, /) -> Wish:
        """What to do with a part that is no container, whose content is still encoded. A sealed one is never edited.

        What is dropped goes with its delimiter; where none can go (the mail's own content, the first part of a
        multipart), an empty text stays behind.
        """
        return "keep"

    def edit(self, _part: Part, _content: bytes, /) -> Edited | None:
        """The decoded content changed; None to leave its bytes as they are."""
        return None


def is_attachment(part: Part) -> bool:
    """Whether readers are asked to show the part as a file."""
    disposition = first(part.fields, "content-disposition")
    return disposition is not None and disposition.value[:10].lower() == b"attachment"


def edited(content: bytes, charset: str | None, change: Callable[[str], str]) -> Edited | None:
    """Change a text; None where that changes nothing.

    Bytes that the declared charset does not know go through as they are. A charset that cannot hold the new text
    gives way to UTF-8.
    """
    declared = (codec_of(charset) if charset else None) or "ascii"
    text, codec, errors = _read(content, declared)
    new = change(text)
    if new is text or new == text:
        return None
    try:
        data = new.encode(codec, errors)
        return Edited(data, None if codec == declared or data.isascii() else codec)
    except (LookupError, ValueError):
        # What was undecodable is most often Windows-1252, the charset of those who declare none.
        return Edited(new.translate(_WESTERN).encode("utf-8", "replace"), "utf-8")


def _read(content: bytes, declared: str) -> tuple[str, str, str]:
    """The text, the codec it was read by, and how that codec treats errors."""
    for codec in (declared, "utf-8"):
        try:
            return content.decode(codec), codec, "strict"
        except (LookupError, ValueError, OverflowError):
            continue
    return content.decode("ascii", "surrogateescape"), "ascii", "surrogateescape"


_WESTERN = {0xDC00 + byte: bytes((byte,)).decode("cp1252", "replace") for byte in range(128, 256)}


def with_charset(fields: tuple[Field, ...], charset: str, hint: str | None) -> tuple[Field, ...]:
    """The fields with another charset in the Content-Type. `hint` is the charset of values that declare none."""
    old = first(fields, "content-type")
    if old is None:
        raw = f'Content-Type: text/plain; charset="{charset}"\r\n'.encode("ascii")
        return (*fields, Field("Content-Type", raw, "content-type"))
    values = {**texts(old, hint), "charset": charset}
    main = old.source.partition(b";")[0].strip().decode("ascii", "replace")
    if main.count("/") != 1 or not main.isprintable() or not main.isascii():
        main = "text/plain"
    new = old._replace(raw=written("Content-Type", main, values), name="Content-Type")
    return tuple(new if item is old else item for item in fields)


def without_content(fields: tuple[Field, ...]) -> tuple[Field, ...]:
    """The fields with nothing said about the content but that it is a text: the header of what was dropped."""
    text = Field("Content-Type", b"Content-Type: text/plain\r\n", "content-type")
    return (*(item for item in fields if not item.key.startswith("content-")), text)
