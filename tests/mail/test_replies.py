"""What an owner writes to a token: from the mask, to the contact, and without what only the owner has."""

import base64
import email.message

import pytest
from hypothesis import HealthCheck, given, settings

from relayd.errors import PermanentError
from relayd.mail.banner import Banner, html_block, text_block
from relayd.mail.letter import parse
from relayd.mail.replies import ReplyLeakError, addressed
from tests.mail.contact import MASK, PLAN, replied, reply_message
from tests.mail.judge import leaves
from tests.mail.test_properties import broken_mails


def test_the_header_says_nothing_but_what_is_needed() -> None:
    """The mask writes to the contact; of the owner's header the subject is left, and the contact's thread."""
    lines = b"".join(
        b"%s: jane <jane.doe@xn--bcher-kva.example>\r\n" % name
        for name in (
            b"Reply-To",
            b"Sender",
            b"Return-Path",
            b"Autocrypt",
            b"User-Agent",
            b"Date",
            b"Message-ID",
            b"X-Y",
        )
    )
    message = reply_message(
        lines
        + b"From: Jane Real <jd@post.example>\r\nTo: Bob (bob at contact.example) <TOKEN1@mask.example>\r\n"
        + b"Cc: shop@mask.example, Eve <token2+x@mask.example>, token1@mask.example\r\n"
        + b"Subject: Re: =?utf-8?q?caf=C3=A9?=\r\n"
        + b"References: <own@post.example> <ses-1@eu.amazonses.com>\r\nIn-Reply-To: <ses-1@eu.amazonses.com>\r\n"
        + b"Auto-Submitted: auto-replied\r\n\r\nbody\r\n"
    )
    assert dict(message.items()) == {
        "From": '"Jane" <shop@mask.example>',
        "To": "bob@contact.example",
        "Cc": "eve@contact.example",
        "Subject": "Re: =?utf-8?q?caf=C3=A9?=",
        "References": "<bobs-1@contact.example>",
        "In-Reply-To": "<bobs-1@contact.example>",
        "Auto-Submitted": "auto-replied",
        "X-Relayd-Hops": PLAN.hops,
    }


def test_ids_that_the_contact_does_not_know_stay_behind() -> None:
    """They end in the domain of the owner's mail system."""
    message = reply_message(
        b"To: token1@mask.example\r\nReferences: <a@post.example>\r\nIn-Reply-To: <b@post.example>\r\n\r\n"
    )
    assert message["References"] is None
    assert message["In-Reply-To"] is None


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("", "From: shop@mask.example"),
        ('A "B"\r\nBcc: x', 'From: "A \\"B\\" Bcc: x" <shop@mask.example>'),
        ("Jd@Post.Example", 'From: "shop at mask.example" <shop@mask.example>'),
        ("é", "From: =?utf-8?b?w6k=?= <shop@mask.example>"),
    ],
)
def test_the_display_name_is_clean(name: str, line: str) -> None:
    """It is the owner's own text: one line, no address, never the owner's."""
    assert replied(b"To: token1@mask.example\r\n\r\n", display_name=name).data.split(b"\r\n")[0] == line.encode()


@pytest.mark.parametrize(
    "lines",
    [
        b"To: token1@mask.example, third@x.example",
        b"To: token1@mask.example\r\nCc: jd@post.example",
        b"To: token1@mask.example\r\nTo: third@x.example",
        b"To: Group: token1@mask.example, third@x.example;",
        b"To: token1@mask.example\r\nCc: <<third@x.example>>",
        b"To: token1@mask.example\r\nCc: third(his)@(host)x.example",
        b"To: token3@mask.example",
        b"To: " + b"token1@mask.example, " * 500 + b"third@x.example",
        b"To: " + b"x" * 30_000 + b", third@x.example",
    ],
)
def test_a_mail_to_somebody_else_too_is_refused(lines: bytes) -> None:
    """Whoever else it went to has the owner's real address; and no address is told in the refusal."""
    with pytest.raises(ReplyLeakError) as caught:
        replied(lines + b"\r\n\r\nbody")
    assert caught.value.reason == "reply_leak"
    assert "@" not in str(caught.value)


@pytest.mark.parametrize("line", [b"To: shop@mask.example", b"Subject: x", b"To: undisclosed-recipients:;", b"To: Bob"])
def test_a_token_in_bcc_reaches_its_contact(line: bytes) -> None:
    """Nothing in To can be shown: the contact sees an address of their own."""
    assert reply_message(line + b"\r\n\r\nbody")["To"] == "bob@contact.example"


def test_an_owner_may_be_a_contact() -> None:
    """Whoever tries a mask from a mailbox of their own gets the answer; and a thread's id that tells is refused."""
    raw = b"To: token1@mask.example\r\nReferences: <ses-1@amazonses.com>\r\n\r\nhello"
    contacts = {"token1@mask.example": "jd@post.example"}
    assert reply_message(raw, recipients=contacts)["To"] == "jd@post.example"
    with pytest.raises(ReplyLeakError):
        replied(raw, threads={"ses-1@amazonses.com": ("jd@post.example",)})


def test_addresses_are_read_for_the_directory() -> None:
    """All copies of both fields, groups and oddities, in normal form, each once."""
    letter = parse(
        b'To: "a@b.example" <Token1@MASK.example>, G: c@d.example;\r\nTo: token1@mask.example\r\nCC: x <e@f.example>'
    )
    assert [address.full for address in addressed(letter)] == ["token1@mask.example", "c@d.example", "e@f.example"]


def test_a_plan_that_no_header_can_carry_is_refused() -> None:
    """Its addresses come from the directory."""
    with pytest.raises(PermanentError):
        replied(
            b"To: token1@mask.example\r\n\r\n", recipients={"token1@mask.example": "a@b.example\r\nBcc: x@y.example"}
        )


def test_an_attached_message_does_not_tell_its_way() -> None:
    """Its header is what a reader is shown; servers and keys of the owner are not in it."""
    inner = b"From: x@y.example\r\nReceived: by post.example\r\nAutocrypt: keydata=SECRET\r\nSubject: kept\r\n\r\nhello"
    data = replied(b"To: token1@mask.example\r\nContent-Type: message/rfc822\r\n\r\n" + inner).data
    assert data.endswith(b"\r\n\r\nFrom: x@y.example\r\nSubject: kept\r\n\r\nhello")


KEY = b"-----BEGIN PGP PUBLIC KEY BLOCK-----\r\n\r\nSECRETDATA\r\n-----END PGP PUBLIC KEY BLOCK-----\r\n"
SIGNATURE = KEY.replace(b"PUBLIC KEY BLOCK", b"SIGNATURE")


def test_keys_and_signatures_go_with_their_parts() -> None:
    """A key names its owner. A multipart whose parts are all gone is still one that can be read."""

    def of(*parts: bytes) -> list[email.message.Message]:
        body = b"".join(b"--b\r\n" + part + b"\r\n" for part in parts)
        raw = b"To: token1@mask.example\r\nContent-Type: multipart/signed; boundary=b\r\n\r\n" + body + b"--b--\r\n"
        message = reply_message(raw)
        assert b"SECRETDATA" not in message.as_bytes()
        found = message.get_payload()
        assert isinstance(found, list)
        return [part for part in found if not isinstance(part, str)]

    text = b"Content-Type: text/plain\r\n\r\nhello"
    key = b"Content-Type: application/pgp-keys\r\n\r\n" + KEY
    signature = b"Content-Type: application/pgp-signature; name=s.asc\r\n\r\n" + SIGNATURE
    assert [part.get_payload() for part in of(text, signature)] == ["hello"]
    assert [part.get_payload() for part in of(text, key, text, signature)] == ["hello", "hello"]
    assert [part.get_payload() for part in of(key, text)] == ["", "hello"]
    assert [part.get_payload() for part in of(key, signature)] == [""]


def test_a_multipart_cut_off_after_a_key() -> None:
    """The part before it ends where it did."""
    raw = b"To: token1@mask.example\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nhello\r\n"
    raw += b"--b\r\nContent-Type: application/pgp-keys\r\n\r\n" + KEY
    assert leaves(replied(raw).data) == [b"hello"]


def test_a_mail_that_is_a_key() -> None:
    """There is no part that could go: its content does."""
    raw = b"To: token1@mask.example\r\nContent-Type: application/pgp-keys; name=jane.asc\r\n\r\n" + KEY
    message = reply_message(raw)
    assert message.get_content_type() == "text/plain"
    assert message.get_payload() == ""


@pytest.mark.parametrize("quoted", [b"", b"> "])
def test_armour_in_text_is_removed(quoted: bytes) -> None:
    """Keys and signatures go whole; signed text loses what is around it."""
    lines = (
        b"-----BEGIN PGP SIGNED MESSAGE-----\r\nHash: SHA256\r\n\r\nhello\r\n- -- \r\nJane\r\n"
        + SIGNATURE
        + b"bye\r\n"
        + KEY
    )
    body = b"".join(quoted + line for line in lines.splitlines(keepends=True))
    (content,) = leaves(replied(b"To: token1@mask.example\r\n\r\n" + body).data)
    assert b"PGP" not in content
    assert b"SECRETDATA" not in content
    assert b"Hash" not in content
    assert b"hello" in content
    assert b"bye" in content
    if not quoted:
        assert b"\n-- \nJane" in content


SIGNED_DATA = bytes.fromhex("3080 0609 2a864886f70d010702 a080") + b"certificate"
ENVELOPED = bytes.fromhex("3082 0100 0609 2a864886f70d010703 a082") + b"content"


@pytest.mark.parametrize(
    ("kind", "content", "refused"),
    [
        (b"application/pkcs7-mime; smime-type=signed-data", b"?", True),
        (b"application/x-pkcs7-mime; name=smime.p7m", SIGNED_DATA, True),
        (b"application/pkcs7-mime; smime-type=enveloped-data", SIGNED_DATA, True),
        (b"application/octet-stream; name=smime.p7m", SIGNED_DATA, True),
        (b"application/pkcs7-mime", b"?", True),
        (b"application/pkcs7-mime; smime-type=enveloped-data", ENVELOPED, False),
        (b"application/pkcs7-mime; name=smime.p7m", ENVELOPED, False),
    ],
)
def test_s_mime(kind: bytes, content: bytes, refused: bool) -> None:
    """Signed data hold the owner's certificate, and nothing can be taken out; encrypted content stays to the byte."""
    encoded = base64.encodebytes(content).replace(b"\n", b"\r\n")
    raw = (
        b"To: token1@mask.example\r\nContent-Transfer-Encoding: base64\r\nContent-Type: " + kind + b"\r\n\r\n" + encoded
    )
    if refused:
        with pytest.raises(ReplyLeakError):
            replied(raw)
    else:
        assert replied(raw).data.endswith(b"\r\n\r\n" + encoded)


def test_a_detached_signature_under_another_type_goes() -> None:
    """Known by its first bytes and its name; the text that was signed stays."""
    signature = base64.encodebytes(SIGNED_DATA).replace(b"\n", b"\r\n")
    raw = b"To: token1@mask.example\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nhello\r\n--b\r\n"
    raw += b"Content-Type: application/octet-stream; name=smime.p7s\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    assert leaves(replied(raw + signature + b"--b--\r\n").data) == [b"hello"]


def test_encrypted_mail_stays_as_it_is() -> None:
    """Unless the address stands beside what is encrypted: then it is refused."""
    body = b"--b\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n--b\r\n"
    body += b"Content-Type: application/octet-stream; name=%s\r\n\r\n-----BEGIN PGP MESSAGE-----\r\nx\r\n--b--\r\n"
    head = b"To: token1@mask.example\r\nContent-Type: multipart/encrypted; boundary=b\r\n\r\n"
    assert replied(head + body % b"e.asc").data.endswith(b"\r\n\r\n" + body % b"e.asc")
    with pytest.raises(ReplyLeakError):
        replied(head + body % b'"jd@post.example"')


@pytest.mark.parametrize("language", ["en", "de"])
def test_the_quoted_banner_goes(language: str) -> None:
    """The contact need not read what relayd told the owner."""
    banner = Banner(MASK, "bob@contact.example", language)
    text = "Hi\n\n> " + text_block(banner, 3).replace("\n", "\n> ") + "what do you say?\n"
    page = f"<p>Hi</p><blockquote>{html_block(banner, 3)}<p>what do you say?</p></blockquote>"
    for kind, body in (("plain", text), ("html", page)):
        head = f"To: token1@mask.example\r\nContent-Type: text/{kind}; charset=utf-8\r\n\r\n"
        (content,) = leaves(replied((head + body).encode()).data)
        assert b"bob@contact" not in content
        assert b"what do you say?" in content


def test_attachments_keep_their_bytes() -> None:
    """Pictures and documents are not looked into, and text in which nothing is found is not written anew."""
    picture = base64.encodebytes(bytes(range(256)) * 20).replace(b"\n", b"\r\n")
    body = (
        b"--b\r\n\r\nhello \r\n--b\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        + picture
        + b"--b--\r\n"
    )
    raw = b"To: token1@mask.example\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" + body
    assert replied(raw).data.endswith(b"\r\n\r\n" + body)


@given(broken_mails())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_broken_mails_keep_their_content(raw: bytes) -> None:
    """Where there is nothing to take out, each leaf says what it said."""
    long = b"x" * 999 in raw or b"y" * 999 in raw
    if not (long and b"message/" in raw and b"base64" in raw.lower()):
        assert leaves(replied(raw).data) == leaves(raw)
