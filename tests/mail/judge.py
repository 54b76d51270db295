"""An independent judge: what the standard library's parser decodes from each leaf of a mail."""

import email
import email.message
import email.policy

from relayd.mail.letter import parse
from relayd.mail.rewrite import ForwardPlan, Rewritten, forward
from relayd.model.address import Address

PLAN = ForwardPlan(
    mask=Address.parse("shop@mask.example"),
    tag="",
    reply_address="mfzwizltoq3gk4tfobxw4@mask.example",
    envelope_source="bounce@sender.example",
    hops="v1; n=1; mac=" + "0" * 64,
)


def rewritten(raw: bytes, plan: ForwardPlan = PLAN) -> Rewritten:
    return forward(parse(raw), plan)


def leaves(raw: bytes) -> list[bytes]:
    """The decoded content of each leaf; text with LF for every CRLF, everything else to the byte."""
    found = []
    for part in email.message_from_bytes(raw, policy=email.policy.compat32).walk():
        if part.is_multipart():
            continue
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        is_text = part.get_content_maintype() in ("text", "multipart")
        found.append(content.replace(b"\r\n", b"\n") if is_text else content)
    return found


def flaws(data: bytes) -> list[str]:
    """Whatever SES would refuse in a rewritten mail."""
    found = []
    if not data.isascii():
        found.append("8-bit data")
    if b"\0" in data:
        found.append("NUL")
    if b"\n" in data.replace(b"\r\n", b"") or b"\r" in data.replace(b"\r\n", b""):
        found.append("a bare CR or LF")
    if any(len(line) > 998 for line in data.split(b"\r\n")):
        found.append("a line over 998 bytes")
    return found
