"""An owner's addresses taken out of text, in every way that mail has of writing an address.

A contact who finds the address behind a mask makes the mask worthless, so whatever is doubtful counts as the address.
"""

import re
from collections.abc import Iterable

import idna

from relayd.mail.fields import Field
from relayd.mail.parameters import content_type, parameters, texts, written
from relayd.mail.words import decode_words, encoded_words, text_of, unstructured, visible
from relayd.model.address import Address

_SIGNS = ("@", "%", "&", "=40", "=25", "\\", "\uff20", "\ufe6b")
"""One of them stands in every form of an address, and none in megabytes of base64."""
_SIGN_END = "[@\uff20\ufe6b04;]"
"""The last character of an @ in any form: plain, %40, &#64, &commat;."""
_WIDE_SIGNS = (b"@\0", b"\0@")

_BREAK = (
    r"(?:\r?\n[ \t]|=\r?\n|<wbr ?/?>|[\xad\u200b-\u200d\u2060\ufeff]|&(?:shy|ZeroWidthSpace|#173|#8203|#x200b);)"
    r"{0,2}+"
)
"""What may split an address and is not seen: the fold of a header or a calendar, a soft line break, a place to wrap."""
_BEFORE = (
    r"(?:(?<![A-Za-z0-9])(?<![A-Za-z0-9][._+-])"
    r"|(?<=[%=][0-9A-Fa-f]{2})|(?<=%25[0-9A-Fa-f]{2})|(?<=\\[nrt])|(?<=\\u[0-9A-Fa-f]{4}))"
)
"""Not in the middle of another name. The letters and digits of an escape are none of it."""
_AFTER = r"(?![A-Za-z0-9])"
_TAG = r"""(?:[^\s@<>"%&;,:()\\=\uff20\ufe6b]|[%=](?!40)[0-9A-Fa-f]{2}|\r?\n[ \t]){0,100}+"""
_QUOTE = r"""(?:\\?"|&quot;|%22)?+(?:\\(?!u))?+"""
_NAMES = {"@": "commat", ".": "period", "+": "plus", "-": "hyphen", "_": "lowbar"}
_WIDE = {"@": "\uff20\ufe6b", ".": "\uff0e\u3002"}
_WORD = r"=\?[^?\s]{1,60}\?[bBqQ]\?[^?\s]*+\?="
_WORDS = re.compile(rf"{_WORD}(?:\s*+{_WORD})*+")
_PASSES = 5
"""What one replacement joins may be an address again."""
_LONGEST_FIELD = 20_000


class Disguise:
    """Replaces the addresses of one owner by a mask's."""

    def __init__(self, owned: Iterable[Address], mask: str) -> None:
        forms = dict.fromkeys((one.local, domain) for one in owned for domain in _spellings(one.domain))
        addresses = "|".join(_address(local, domain) for local, domain in forms) or "(?!)"
        domains = "|".join(map(_spelled, dict.fromkeys(domain for _, domain in forms))) or "(?!)"
        self._pattern = re.compile(f"{_BEFORE}(?:{addresses}){_AFTER}", re.IGNORECASE)
        # Begun by a set of characters, a search is ten times as fast.
        self._domain = re.compile(f"{_SIGN_END}{_BREAK}[ \\t]?+(?:{domains})", re.IGNORECASE)
        self._mask = mask

    def finds(self, text: str) -> bool:
        """Whether an address stands in the text."""
        if not any(sign in text for sign in _SIGNS) or self._domain.search(text) is None:
            return False
        return self._pattern.search(text) is not None

    def text(self, text: str) -> str:
        """The text with the mask's address in place of each; the same object when there is none."""
        if "=?" in text:
            text = self._words(text)
        for _ in range(_PASSES):
            if not self.finds(text):
                break
            text = self._pattern.sub(lambda _: self._mask, text)
        return text

    def _words(self, text: str) -> str:
        """Encoded words in a text that is no header: in a delivery status, or in headers that are quoted."""

        def plain(match: re.Match[str]) -> str:
            read = decode_words(match[0])
            return " ".join(encoded_words(self.text(read))) if self.finds(read) else match[0]

        new = _WORDS.sub(plain, text)
        return text if new == text else new

    def content(self, content: bytes) -> bytes:
        """The same for bytes whose charset is unknown, or not what it says."""
        content = self._by(content, "latin-1")
        if not content.isascii():
            content = self._by(content, "utf-8", "surrogateescape")
        if any(sign in content for sign in _WIDE_SIGNS):
            for codec in ("utf-16-le", "utf-16-be"):
                content = self._by(content, codec, "surrogatepass")
        return content

    def _by(self, content: bytes, codec: str, errors: str = "strict") -> bytes:
        # A unit that is cut off is not decoded by any of them.
        whole = len(content) & ~1 if codec.startswith("utf-16") else len(content)
        text = content[:whole].decode(codec, errors)
        return self.text(text).encode(codec, errors) + content[whole:] if self.finds(text) else content

    def field(self, item: Field, hint: str | None) -> Field | None:
        """A header field: the same object when it holds no address, None when nothing else could be kept of it."""
        if not self._tells(item):
            return item
        name, key = item.name, item.key
        new = Field(name, self._by(item.raw, "latin-1"), key)
        if self._tells(new):
            new = Field(name, self._anew(item, hint), key)
        return new if new.raw and not self._tells(new) else self._least(item)

    def _tells(self, item: Field) -> bool:
        raw = text_of(item.raw)
        if self.finds(raw) or ("=?" in raw and self.finds(decode_words(text_of(item.value)))):
            return True
        if b"=" not in item.raw or b"*" not in item.raw:
            return False
        return any(self.finds(decode_words(text_of(value))) for _, value in parameters(item.source))

    def _anew(self, item: Field, hint: str | None) -> bytes:
        if item.key not in ("content-type", "content-disposition"):
            text = decode_words(text_of(item.value[:_LONGEST_FIELD], hint))
            return unstructured(item.name, self.text(text), _LONGEST_FIELD)
        values = {key: self.text(decode_words(text)) for key, text in texts(item, hint).items()}
        return written(item.name, _main(item), values, self._boundary(item))

    def _least(self, item: Field) -> Field | None:
        """What the rest of the mail cannot be read without."""
        if item.key != "content-type":
            return None
        values = {key: text for key, text in texts(item, None).items() if key in ("charset", "boundary")}
        if self.finds(values.get("charset", "")):
            del values["charset"]
        main = "text/plain" if self.finds(decode_words(_main(item))) else _main(item)
        return item._replace(raw=written(item.name, main, values, self._boundary(item)))

    def _boundary(self, item: Field) -> bytes | None:
        """A boundary that holds an address only has to stand for one: the multipart gets a new one."""
        boundary = content_type(item).boundary
        return b"boundary" if boundary is not None and self.finds(boundary.decode("ascii")) else boundary


def _main(item: Field) -> str:
    return visible(item.source.partition(b";")[0][:200].decode("ascii", "replace")).encode("ascii", "replace").decode()


def _spellings(domain: str) -> set[str]:
    try:
        return {domain, idna.decode(domain)}
    except idna.IDNAError:
        return {domain}


def _address(local: str, domain: str) -> str:
    tag = f"(?:{_letter('+')}{_TAG})?+"
    at = f"{_BREAK}[ \\t]?+{_letter('@')}{_BREAK}[ \\t]?+"
    return f"{_spelled(local)}{_BREAK}{tag}{_QUOTE}{at}{_spelled(domain)}"


def _spelled(text: str) -> str:
    return _BREAK.join(map(_letter, text))


def _letter(letter: str) -> str:
    """One character: plain, or as HTML, addresses of pages, quoted-printable or JSON may write it."""
    forms = {form for form in (letter, letter.lower(), letter.upper()) if len(form) == 1}
    decimal = "|".join(sorted(str(ord(form)) for form in forms))
    hexadecimal = "|".join(sorted(f"{ord(form):x}" for form in forms))
    escaped = "|".join(sorted("".join(f"[%=](?:25){{0,3}}+{byte:02x}" for byte in form.encode()) for form in forms))
    plain = "".join(re.escape(form) for form in (letter, *_WIDE.get(letter, "")))
    name = f"|&{_NAMES[letter]};" if letter in _NAMES else ""
    numbers = f"&\\#(?:0{{0,6}}+(?:{decimal})|x0{{0,6}}+(?:{hexadecimal}))(?:;|(?![0-9a-f]))"
    return f"(?:[{plain}]|{numbers}|{escaped}|\\\\u0{{0,3}}+(?:{hexadecimal}){name})"
