"""RFC 2047: header text from bytes of any sort, and back into ASCII that folds."""

import binascii
import re
from collections.abc import Iterable, Iterator
from encodings.aliases import aliases

_WORD = re.compile(r"=\?([^?\s]{1,60})\?([bBqQ])\?([^?\r\n]*)\?=")
_LONG_WORD = re.compile(r"=\?[^?\s]{1,60}\?[bBqQ]\?[^?\s]{180,}\?=")
_INVISIBLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]+")
_NOT_ALNUM = re.compile(r"[^0-9a-z]+")
_CHARSETS = (
    {*aliases, *aliases.values(), "koi8_t", "koi8_u", "cp720", "cp737", "cp856", "cp874", "cp875", "cp1006"}
    | {"mac_arabic", "mac_croatian", "mac_farsi", "mac_romanian", "utf_8_sig"}
) - {"idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "charmap"}
"""Python's own text codecs. Others are not even looked up: it remembers each unknown name for good, and mail has any
number of them."""
_ENCODED_BYTES = 45
"""UTF-8 bytes an encoded word: 60 characters of base64, 72 with its frame, under the 75 that RFC 2047 allows."""
_Q_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/")
_FOLD_AT = 76


def text_of(data: bytes, hint: str | None = None) -> str:
    """Header bytes as text. 8-bit bytes without a label: UTF-8, else the mail's own charset, else Windows-1252."""
    if data.isascii():
        # Raw ISO-2022-JP and -KR are 7-bit and look like ASCII with escapes.
        japanese_or_korean = "iso2022_kr" if b"\x1b$)C" in data else "iso2022_jp_2"
        return (decoded(data, japanese_or_korean) if b"\x1b$" in data else None) or data.decode("ascii")
    for charset in ("utf-8", hint, "windows-1252"):
        text = decoded(data, charset) if charset else None
        if text is not None:
            return text
    return data.decode("latin-1")


def codec_of(charset: str) -> str | None:
    """Python's name for a charset; None for one that nobody knows."""
    name = _NOT_ALNUM.sub("_", charset[:60].lower()).strip("_")
    return name if name in _CHARSETS else None


def decoded(data: bytes, charset: str) -> str | None:
    """The text, or None for a charset that nobody knows or that does not fit."""
    name = codec_of(charset)
    if name is None:
        return None
    try:
        return data.decode(name)
    except (LookupError, ValueError, OverflowError):
        return None


def visible(text: str) -> str:
    """Without controls, and without the marks that turn the direction of what follows; white space made single."""
    return " ".join(_INVISIBLE.sub(" ", text).split())


def decode_words(text: str) -> str:
    """Text with its encoded words read. What cannot be read stays as it was."""
    if "=?" not in text:
        return text
    out: list[str] = []
    run = bytearray()
    charset, end = "", 0
    for match in _WORD.finditer(text):
        raw = _word_bytes(match[2], match[3])
        between = text[end : match.start()]
        end = match.end()
        if run and (between.strip() or match[1].lower() != charset):
            out.append(_run_text(run, charset))
            run.clear()
            if not between.strip():
                between = ""
        # White space between two encoded words is no content; a character may be split over both.
        if not run and (between.strip() or not out):
            out.append(between)
        charset = match[1].lower()
        run += raw
    out += (_run_text(run, charset) if run else "", text[end:])
    return "".join(out)


def _word_bytes(encoding: str, payload: str) -> bytes:
    raw = payload.encode("utf-8", "replace")
    if encoding in "qQ":
        return binascii.a2b_qp(raw, header=True)
    try:
        return binascii.a2b_base64(raw + b"=" * (-len(raw) % 4))
    except binascii.Error:
        return raw


def _run_text(run: bytearray, charset: str) -> str:
    data = bytes(run)
    text = decoded(data, charset.partition("*")[0])
    return text_of(data) if text is None else text


def encoded_words(text: str) -> list[str]:
    """Any text as encoded words of at most 75 characters, none of which splits a character."""
    chunks: list[bytes] = []
    chunk = b""
    for character in text:
        data = character.encode("utf-8", "replace")
        if len(chunk) + len(data) > _ENCODED_BYTES:
            chunks.append(chunk)
            chunk = b""
        chunk += data
    chunks.append(chunk)
    return [_encoded_word(chunk) for chunk in chunks if chunk]


def _encoded_word(chunk: bytes) -> str:
    quoted = "".join(chr(b) if b in _Q_SAFE else "_" if b == 0x20 else f"={b:02X}" for b in chunk)
    if len(quoted) <= 4 * ((len(chunk) + 2) // 3):
        return f"=?utf-8?q?{quoted}?="
    return f"=?utf-8?b?{binascii.b2a_base64(chunk, newline=False).decode('ascii')}?="


def ascii_words(text: str, longest: int = 200) -> Iterator[str]:
    """The words of a text, in ASCII: as they are where they can be, in encoded words where not."""
    pending: list[str] = []
    for word in text.split(" "):
        if word.isascii() and len(word) <= longest:
            if pending:
                yield from encoded_words(" ".join(pending))
                pending.clear()
            yield word
        else:
            pending.append(word)
    if pending:
        yield from encoded_words(" ".join(pending))


def folded(name: str, words: Iterable[str]) -> bytes:
    """A field of ASCII words, folded at 76 characters where a word ends there, ended by CRLF."""
    lines: list[str] = []
    # The first word stays beside the name: a line of a name alone is hidden from some parsers.
    line = start = f"{name}:"
    for word in words:
        if not word:
            continue
        if len(line) + 1 + len(word) > _FOLD_AT and line != start:
            lines.append(line)
            line = ""
        line += f" {word}"
    lines.append(line)
    return "\r\n".join([*lines, ""]).encode("ascii")


def unstructured(name: str, text: str, cap: int = 2000) -> bytes:
    """A whole field for any text: safe against injected lines, ASCII, folded. Empty for a text of nothing."""
    # Cut first: the words of a header of megabytes take a hundred times its memory.
    text = visible(text[: 10 * cap])
    if _LONG_WORD.search(text) is not None:
        # It must be cut, and a piece of an encoded word says nothing.
        text = visible(decode_words(text))
    if len(text) > cap:
        text = text[: cap - 3] + "..."
    return folded(name, ascii_words(text)) if text else b""
