"""What a reply's parts must lose: the owner's addresses, keys and signatures, the quoted banner, and idle talk."""

import re
from typing import assert_never

from relayd.errors import PermanentError
from relayd.mail.banner import strip_html, strip_text
from relayd.mail.disguise import Disguise
from relayd.mail.edits import Edited, Edits, Wish, edited
from relayd.mail.fields import Field, first
from relayd.mail.keys import seal_of, without_keys
from relayd.mail.parameters import written
from relayd.mail.repair import repair
from relayd.mail.structure import Part

CONTENT_FIELDS = frozenset(
    {
        "content-type",
        "content-transfer-encoding",
        "content-disposition",
        "content-language",
        "content-id",
        "content-description",
    }
)
"""All that a part needs to be read. Mail programs put more there: a copy of the header that is meant to be hidden."""

_TELLING = frozenset(
    {
        "authentication-results",
        "autocrypt",
        "autocrypt-gossip",
        "autocrypt-setup-message",
        "arc-authentication-results",
        "arc-message-signature",
        "arc-seal",
        "delivered-to",
        "dkim-signature",
        "domainkey-signature",
        "openpgp",
        "received",
        "received-spf",
        "return-path",
        "x-google-original-from",
        "x-gm-message-state",
        "x-originating-ip",
        "x-received",
    }
)
"""Fields of an attached message that tell of keys, or of the way that it took to its owner."""

_TEXTUAL = re.compile(r"json|xml|html|ics|calendar|vcard|csv|yaml|script|rtf|mbox")
"""In the names of types that are text without being called so."""


class ReplyLeakError(PermanentError):
    """The mail cannot be sent without telling the contact, or somebody else, who the owner is."""

    def __init__(self, detail: str = "") -> None:
        super().__init__("reply_leak", detail)


class ReplyEdits(Edits):
    """Takes all that out; `found` counts the fields and leaves in which an address of the owner stood."""

    opens_signed = True
    keeps_fillers = False

    def __init__(self, disguise: Disguise) -> None:
        self.found = 0
        self._disguise = disguise
        self._begins_message = False

    def fields(self, part: Part, /) -> tuple[Field, ...]:
        """Of a part, what it needs; of an attached message, all that does not tell."""
        is_message, self._begins_message = self._begins_message, part.kind == "container" and _is_message(part)
        kept: list[Field] = []
        for item in part.fields:
            if part.head is None and item.key not in CONTENT_FIELDS:
                kept.append(item)  # the mail's own header has an allow list of its own
            elif item.key in CONTENT_FIELDS or (is_message and item.key not in _TELLING):
                clean = self._field(item, part)
                kept += [clean] if clean is not None else []
        same = len(kept) == len(part.fields) and all(a is b for a, b in zip(kept, part.fields, strict=True))
        return part.fields if same else tuple(kept)

    def _field(self, item: Field, part: Part) -> Field | None:
        if item.key == "content-type" and part.type.kind == "multipart/signed" and item is _type_of(part):
            # It keeps its parts but for the signature, which would not fit any more.
            values = {"boundary": ""} if part.type.boundary is not None else {}
            return item._replace(raw=written(item.name, "multipart/mixed", values, part.type.boundary))
        clean = self._disguise.field(item, part.type.charset)
        self.found += clean is not item
        return clean

    def is_renamed(self, boundary: bytes, /) -> bool:
        return self._disguise.finds(boundary.decode("latin-1"))

    def wish(self, part: Part, content: bytes, /) -> Wish:
        match seal_of(part, content):
            case "signed":
                raise ReplyLeakError("it is signed with the owner's certificate")
            case "key":
                return "drop"
            case "encrypted" | "none":
                # Text beside data, which decoders pass over: headers within a sealed part, a footer below base64.
                is_data = part.kind == "sealed" or part.encoding in ("base64", "uuencode")
                if is_data and self._disguise.content(content) is not content:
                    raise ReplyLeakError("an address of the owner beside encoded content")
                return "keep" if part.kind == "sealed" else "edit"
            case other:
                assert_never(other)

    def edit(self, part: Part, content: bytes, /) -> Edited | None:
        if _is_message(part) and part.type.kind != "message/delivery-status":
            return self._message(part, content)
        if not (_is_text(part) or _is_readable(content)):
            return None
        is_html = "html" in part.type.kind or "xml" in part.type.kind
        new = edited(content, part.type.charset, lambda text: self._text(text, is_html=is_html))
        # A charset may not be what it says, and a reader may guess better.
        before = new.content if new is not None else content
        after = self._disguise.content(before)
        if after is before:
            return new
        self.found += 1
        return Edited(after, new.charset if new is not None else None)

    def _text(self, text: str, *, is_html: bool) -> str:
        text = without_keys(strip_html(text) if is_html else strip_text(text))
        clean = self._disguise.text(text)
        self.found += clean is not text
        return clean

    def _message(self, part: Part, content: bytes) -> Edited | None:
        """A message in base64, against the rules. Inside another one it is a third longer, so they are few."""
        raw = f"Content-Type: {part.type.kind}\r\n".encode("ascii", "replace")
        inner = ReplyEdits(self._disguise)
        repaired = repair(content, (Field("Content-Type", raw, "content-type"),), inner)
        self.found += inner.found
        return Edited(bytes(repaired.body)) if repaired.body != content else None


def _type_of(part: Part) -> Field | None:
    return first(part.fields, "content-type")


def _is_message(part: Part) -> bool:
    return part.type.main == "message"


def _is_text(part: Part) -> bool:
    return (
        part.type.main in ("text", "message") or part.kind == "shapeless" or _TEXTUAL.search(part.type.kind) is not None
    )


def _is_readable(content: bytes) -> bool:
    """Whether data is a text in anything but its type."""
    if b"\0" in content:
        return False
    try:
        content.decode()
    except ValueError:
        return False
    return True
