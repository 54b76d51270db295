"""What must stand in a mail that was sent on, and what must not.

Like the page, it reads mail with the standard library: relayd's own reader would be blind to its own mistakes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes


@dataclass(frozen=True, slots=True)
class Contents:
    """Texts, whatever their case."""

    has: tuple[str, ...] = ()
    """In the text parts, all together."""
    lacks: tuple[str, ...] = ()
    """In no text part, and nowhere in the mail's own bytes."""

    def complaints(self, data: bytes) -> Iterator[str]:
        """What is wrong with a mail."""
        shown = _text(data)
        everything = shown + data.decode("latin-1").lower()
        yield from (f"{text} is not in it" for text in self.has if text.lower() not in shown)
        yield from (f"{text} is still in it" for text in self.lacks if text.lower() in everything)


def _text(data: bytes) -> str:
    texts: list[str] = []
    for part in message_from_bytes(data).walk():
        payload = part.get_payload(decode=True)
        if part.get_content_maintype() == "text" and isinstance(payload, bytes):
            texts.append(payload.decode("utf-8", "replace").lower())
    return "\n".join(texts)
