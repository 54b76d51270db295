"""OpenPGP and S/MIME keys, certificates and signatures: each names its owner, by more than an address."""

import re
from typing import Literal

from relayd.mail.fields import first
from relayd.mail.parameters import parameters
from relayd.mail.structure import Part
from relayd.mail.transfer import decode

_TYPES = frozenset(
    {
        "application/pgp-keys",
        "application/pgp-signature",
        "application/pkcs7-signature",
        "application/x-pkcs7-signature",
        "application/pkix-cert",
        "application/x-x509-ca-cert",
        "application/x-x509-user-cert",
        "application/x-x509-email-cert",
        "application/x-pkcs7-certificates",
        "application/pkcs12",
        "application/x-pkcs12",
    }
)
_ENVELOPES = frozenset({"application/pkcs7-mime", "application/x-pkcs7-mime"})
_SIGNED = frozenset({b"signed-data", b"certs-only", b"signed-receipt", b"compressed-data"})
_ENCRYPTED = frozenset({b"enveloped-data", b"authenveloped-data"})
_IS_SIGNED = b"\x02"
_PREFIX = 400
"""Encoded bytes that hold the object identifier that CMS begins with (RFC 5652, 3), white space included."""
_CMS = re.compile(
    rb"\x30.{1,6}?(?:\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07([\x02\x03\x06])"
    rb"|\x06\x0b\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x01(\x17))",
    re.DOTALL,
)

_BLOCK = re.compile(r"-----BEGIN PGP (PUBLIC KEY BLOCK|PRIVATE KEY BLOCK|SIGNATURE)-----")
_BREAK = r"[ \t]*+(?:<br ?/?>)?+(?:\r?\n)?+"
_CLEARTEXT = re.compile(
    rf"-----BEGIN PGP SIGNED MESSAGE-----{_BREAK}"
    rf"(?:[> \t]*+(?:Hash|Version|Comment|Charset|NotDashEscaped): ?[^\r\n<]*+{_BREAK})*+"
)
_DASHES = re.compile(r"^- (?=-)", re.MULTILINE)


Seal = Literal["none", "key", "signed", "encrypted"]


def seal_of(part: Part, content: bytes) -> Seal:
    """What a part has to do with keys, by its type and by its first bytes. `content` is still encoded.

    `key`: nothing but keys, certificates or a signature. `signed`: content and certificate in one, which nothing can
    be taken out of. An S/MIME part of which nobody can tell what it is counts as signed.
    """
    if part.type.kind in _TYPES:
        return "key"
    inside = _cms(part, content)
    if part.type.kind not in _ENVELOPES:
        if inside != _IS_SIGNED:
            return "none"
        named = (first(part.fields, key) for key in ("content-type", "content-disposition"))
        return "key" if any(item is not None and b".p7s" in item.raw.lower() for item in named) else "signed"
    item = first(part.fields, "content-type")
    found = dict(reversed(parameters(item.source))) if item is not None else {}
    label = found.get(b"smime-type", b"").lower()
    if label in _SIGNED or inside == _IS_SIGNED:
        return "signed"
    return "encrypted" if label in _ENCRYPTED or inside is not None else "signed"


def _cms(part: Part, content: bytes) -> bytes | None:
    """The last byte of the identifier of the type of CMS data; None for what is none."""
    match = _CMS.match(decode(content[:_PREFIX], part.encoding) or b"")
    return match[1] or match[2] if match is not None else None


def without_keys(text: str) -> str:
    """A text without armoured keys and signatures, and signed text without its armour; the same object without any."""
    if "-----BEGIN PGP " not in text:
        return text
    pieces: list[str] = []
    position = 0
    while (match := _BLOCK.search(text, position)) is not None:
        pieces.append(text[position : match.start()])
        end = f"-----END PGP {match[1]}-----"
        found = text.find(end, match.end())
        # Without an end, all that follows may belong to it.
        position = found + len(end) if found >= 0 else len(text)
    pieces.append(text[position:])
    kept = "".join(pieces)
    bare = _CLEARTEXT.sub("", kept)
    return _DASHES.sub("", bare) if bare != kept else bare
