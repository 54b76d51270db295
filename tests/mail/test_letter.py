"""What is read out of a header: who, which id, which thread."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.errors import PermanentError
from relayd.mail import letter
from relayd.mail.letter import parse


@pytest.mark.parametrize(
    ("line", "name", "address"),
    [
        (b"From: Bob <bob@Example.ORG>", "Bob", "bob@example.org"),
        (b"From: bob@example.org", "", "bob@example.org"),
        (b"From: bob@example.org (Bob B.)", "Bob B.", "bob@example.org"),
        (b"From: a, b <x@y.example>", "a, b", "x@y.example"),
        (b"From: <<x@y.example>>", "", "x@y.example"),
        (b"From: a..b@x.example", "", "a..b@x.example"),
        (b'From: "Bob \\"the\\" B" <bob@example.org>', 'Bob "the" B', "bob@example.org"),
        (b'From: "fake@bank.example" <bob@example.org>', "fake@bank.example", "bob@example.org"),
        (b'From: "<fake@bank.example>" <bob@example.org>', "<fake@bank.example>", "bob@example.org"),
        (b'From: "open quote <bob@example.org>', "open quote", "bob@example.org"),
        (b"From: <@hop.example,@two.example:bob@example.org>", "", "bob@example.org"),
        (b"From: Team: Bob <bob@example.org>, Al <al@example.org>;", "Team: Bob", "bob@example.org"),
        (b"From: =?utf-8?q?J=C3=B6rg?= <jorg@example.org>", "Jörg", "jorg@example.org"),
        (b"From: =?utf-8?b?w?= =?utf-8?b?7Y=?= <jorg@example.org>", None, "jorg@example.org"),
        (b"From: =?utf-8?q?=C3?= =?utf-8?q?=B6?= <o@example.org>", "ö", "o@example.org"),
        (b"From: =?utf-8?q?Bob_=3Cbob=40example.org=3E?=", "Bob", "bob@example.org"),
        (b"From: =?uft-8?q?J=C3=B6rg?= <jorg@example.org>", "Jörg", "jorg@example.org"),
        (b"From: =?utf-8?q?a=0D=0ABcc:_x?= <bob@example.org>", "a Bcc: x", "bob@example.org"),
        (b"From: J\xf6rg <jorg@example.org>", "Jörg", "jorg@example.org"),
        (b"From: J\xc3\xb6rg <j\xc3\xb6rg@example.org>", "Jörg", "jörg@example.org"),
        (b"From: Bob\r\n\t<bob@example.org>", "Bob", "bob@example.org"),
        (b"From: nobody\r\nFrom: Bob <bob@example.org>", "Bob", "bob@example.org"),
        (b"From: Pete(A nice \\) chap) <pete(his account)@silly.example(his host)>", "Pete", "pete@silly.example"),
    ],
)
def test_sender_is_read_from_what_people_write(line: bytes, name: str | None, address: str) -> None:
    """Broken, nested, encoded or doubled: the first address that can be read, with the name beside it."""
    sender = parse(line + b"\r\n\r\nbody").sender
    assert sender is not None
    assert sender.address is not None
    assert sender.address.full == address
    assert name is None or sender.name == name


@pytest.mark.parametrize("line", [b"From:", b"From: nobody", b"From: @", b"From: undisclosed:;", b"Subject: x", b""])
def test_no_address_is_no_sender(line: bytes) -> None:
    """A From that names nobody is the same as none."""
    assert parse(line + b"\r\n\r\nbody").sender is None


def test_ids_come_without_brackets_and_once() -> None:
    """References first, then In-Reply-To; folds, repeats and words between them do not matter."""
    raw = b"Message-ID: <m@x>\r\nReferences: <a@x>\r\n <b@x> junk <a@x>\r\nIn-Reply-To: your mail <c@x>\r\n\r\n"
    found = parse(raw)
    assert found.message_id == "m@x"
    assert found.references == ("a@x", "b@x", "c@x")
    assert parse(b"Message-ID: bare@x\r\n\r\n").message_id == "bare@x"
    assert parse(b"Message-ID: <>\r\n\r\n").message_id is None
    assert parse(b"\r\n").message_id is None


def test_long_threads_keep_their_root_and_their_latest() -> None:
    """A hundred thousand references are capped; the first names the thread, the last the mail answered."""
    ids = b" ".join(b"<%d@x>" % number for number in range(100_000))
    found = parse(b"References: " + ids + b"\r\n\r\n").references
    assert len(found) <= 100
    assert found[0] == "0@x"
    assert found[-1] == "99999@x"


def test_header_items_are_text_in_order() -> None:
    """The rules see every field, unfolded, 8-bit values decoded by the best guess."""
    raw = b"Received: a\r\n b\r\nX-Y: caf\xc3\xa9\r\nReceived: c\r\n\r\n"
    assert parse(raw).header_items() == (("Received", "a b"), ("X-Y", "café"), ("Received", "c"))


def test_far_too_large_is_a_permanent_error() -> None:
    """Memory is bounded: what SES cannot have received is refused before anything is looked at."""
    with pytest.raises(PermanentError) as caught:
        parse(bytes(letter.MAX_SIZE + 1))
    assert caught.value.reason == "mail_too_large"


def test_ids_in_encoded_words_are_read() -> None:
    """Python's library writes an In-Reply-To that is longer than a line as an encoded word; the thread must not end."""
    long_id = "0100019a" + "0" * 60 + "-000000@email.amazonses.com"
    encoded = "=?utf-8?q?=3C" + long_id.replace("@", "=40") + "=3E?="
    letter = parse(f"In-Reply-To: {encoded}\r\nReferences: <one@a.example>\r\n {encoded}\r\n\r\n".encode())
    assert set(letter.references) == {"one@a.example", long_id}


@given(
    st.lists(
        st.sampled_from(
            [b"From x@y Mon\r\n", b"X: y\n", b" fold\r\n", b"\r\n", b"\n", b"\r", b":x\r\n", b"body", b"From "]
        )
        | st.binary(max_size=5)
    ).map(b"".join)
)
def test_a_mail_can_be_had_again_as_it_came(raw: bytes) -> None:
    """From its head and its body, which may both have an mbox separator that stands between them."""
    found = parse(raw)
    assert found.raw() == raw
    assert found.size == len(raw)
