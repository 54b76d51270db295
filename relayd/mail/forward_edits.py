"""What a forwarded mail's text gains and loses: the banner at its top, and the trackers in it."""

from relayd.mail.banner import Banner, html_block, insert_html, text_block
from relayd.mail.edits import Edited, Edits, Wish, edited, is_attachment
from relayd.mail.structure import Part
from relayd.mail.trackers import TrackerList, remove, remove_from_text

_HTML = "text/html"
_TEXT = "text/plain"
_BOM = "\ufeff"


def _is_shown(part: Part) -> bool:
    return part.kind == "leaf" and part.type.kind in (_HTML, _TEXT) and not is_attachment(part)


class WithoutTrackers(Edits):
    """Takes trackers out of every text that is shown; `count` of them."""

    def __init__(self, trackers: TrackerList, warning: str | None) -> None:
        self.count = 0
        self._trackers = trackers
        self._warning = warning

    def wish(self, part: Part, _content: bytes, /) -> Wish:
        return "edit" if _is_shown(part) else "keep"

    def edit(self, part: Part, content: bytes, /) -> Edited | None:
        take_out = remove if part.type.kind == _HTML else remove_from_text

        def change(text: str) -> str:
            new, count = take_out(text, self._trackers, self._warning)
            self.count += count
            return new

        return edited(content, part.type.charset, change)


class WithBanner(Edits):
    """Puts the banner above the mail's text and its HTML: the first of each that has content."""

    def __init__(self, banner: Banner, trackers: int | None) -> None:
        self._waiting = {_TEXT, _HTML}
        self._banner = banner
        self._trackers = trackers

    def wish(self, part: Part, content: bytes, /) -> Wish:
        if part.type.kind not in self._waiting or part.nested or not _is_shown(part) or content.isspace():
            return "keep"
        return "edit" if content else "keep"

    def edit(self, part: Part, content: bytes, /) -> Edited | None:
        self._waiting.discard(part.type.kind)
        return edited(content, part.type.charset, self._in_html if part.type.kind == _HTML else self._in_text)

    def _in_html(self, html: str) -> str:
        return insert_html(html, html_block(self._banner, self._trackers))

    def _in_text(self, text: str) -> str:
        mark = _BOM if text.startswith(_BOM) else ""
        return mark + text_block(self._banner, self._trackers) + text[len(mark) :]
