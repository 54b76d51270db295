"""What is sent in place of a mail that SES refused as malformed: two rungs of a ladder, each more careful than forward.

Where SES v2 refuses both, nothing is left but to tell the owner; the original stays in the bucket.
"""

from relayd.mail.addresses import is_plain, plain_address
from relayd.mail.anew import BrokenSealError, fresh_stem, write_anew
from relayd.mail.fields import Field, first
from relayd.mail.file_names import has_refused_name
from relayd.mail.forward_header import header
from relayd.mail.letter import Letter
from relayd.mail.lines import CRLF
from relayd.mail.plans import ForwardPlan, Rewritten
from relayd.mail.transfer import encode
from relayd.mail.words import decode_words, text_of, unstructured

MAX_MESSAGE = 40 * 1024 * 1024
"""Bytes of a raw mail, headers and encoded attachments included, that SES v2 takes.
https://docs.aws.amazon.com/ses/latest/dg/quotas.html"""

HEADER_RESERVE = 64 * 1024
"""Bytes that are set aside for the new header, in which any character may have become fourteen, and for the text."""
_LONGEST_SUBJECT = 2000
_MIME_VERSION = b"MIME-Version: 1.0\r\n"
_TEXT = b"This mail could not be sent on as it came. You find it in the attachment, as it was received.\r\n"


def would_be_refused(letter: Letter, rewritten: Rewritten) -> bool:
    """Whether it is known beforehand that SES refuses the forwarded mail, so that the first rung is sent at once: for
    a sealed part that nobody may change, or for the name of a file.
    """
    return rewritten.unsendable_parts > 0 or has_refused_name(letter.body, letter.fields)


def strict(letter: Letter, plan: ForwardPlan, raw: bytes) -> Rewritten:
    """The first rung: the essential headers, and each part written anew, which says the same in the plainest way.

    A signed or encrypted part is copied where SES would take it. Where it would not, its content is written anew too;
    the original (`raw`), in which a signature can still be verified, is attached then.
    """
    try:
        anew = write_anew(letter.body, letter.fields)
    except BrokenSealError:
        anew = write_anew(letter.body, letter.fields, sealed=False)
        if anew.signed:
            return _mixed(letter, plan, anew.fields, anew.body, raw, anew.parts)
    data = b"".join((*_essential(letter, plan), anew.fields, CRLF, anew.body))
    return Rewritten(data, anew.parts)


def as_attachment(letter: Letter, plan: ForwardPlan, raw: bytes) -> Rewritten:
    """The second rung: the mail as it was received, in an attachment that mail clients open, below a line of text."""
    fields = b"Content-Type: text/plain; charset=us-ascii\r\n"
    return _mixed(letter, plan, fields, _TEXT, raw, 0)


def fits(raw_size: int) -> bool:
    """Whether SES v2 would take a mail of so many bytes as an attachment, which makes each 57 of them 78."""
    return -(-raw_size // 57) * 78 + HEADER_RESERVE <= MAX_MESSAGE


def _mixed(
    letter: Letter, plan: ForwardPlan, fields: bytes, body: bytes | bytearray, original: bytes, parts: int
) -> Rewritten:
    # A message/rfc822 must not be encoded (RFC 2046, 5.2.1), and clients open what is called .eml all the same.
    boundary = fresh_stem(body) + b"original"
    _, encoded = encode(original, is_text=False)
    data = b"".join(
        (
            *_essential(letter, plan),
            b'Content-Type: multipart/mixed;\r\n boundary="%s"\r\n\r\n--%s\r\n' % (boundary, boundary),
            *(fields, CRLF, body, b"" if body.endswith(CRLF) else CRLF),
            b"--%s\r\n" % boundary,
            b'Content-Type: application/octet-stream;\r\n name="original.eml"\r\n',
            b"Content-Transfer-Encoding: base64\r\n",
            b'Content-Disposition: attachment;\r\n filename="original.eml"\r\n\r\n',
            *(encoded, b"\r\n--%s--\r\n" % boundary),
        )
    )
    return Rewritten(data, parts)


def _essential(letter: Letter, plan: ForwardPlan) -> list[bytes]:
    """The header without its Content fields: what relayd writes itself, and no more of the mail's own than a reader
    needs to know it by.
    """
    lines = header(letter, plan, (*_to(letter, plan), *_subject(letter)))
    return lines if _MIME_VERSION in lines else [*lines, _MIME_VERSION]


def _to(letter: Letter, plan: ForwardPlan) -> list[Field]:
    """For display, one address: the first that can be read, else the mask's. SES does not ask for any."""
    source = first(letter.fields, "to")
    found = plain_address(source, letter.charset) if source is not None else None
    found = plan.mask.full if found is None else found
    return [Field("To", f"To: {found}\r\n".encode("ascii"), "to")] if is_plain(found) else []


def _subject(letter: Letter) -> list[Field]:
    source = first(letter.fields, "subject")
    if source is None:
        return []
    text = decode_words(text_of(source.value[: 10 * _LONGEST_SUBJECT], letter.charset))
    raw = unstructured("Subject", text, _LONGEST_SUBJECT)
    return [Field("Subject", raw, "subject")] if raw else []
