"""Input made to be slow: each case is minutes of work for a quadratic reader, and a blink for a linear one.

No clock is read. The time limit is a hundred times what the case needs, and far below what squares would.
"""

import tracemalloc

import pytest

from tests.mail.judge import flaws, rewritten

MIXED = b'From: a@b.example\r\nContent-Type: multipart/mixed; boundary="b"\r\n\r\n\xff\r\n'
N = 200_000

CASES = {
    "delimiters": MIXED + b"--b\r\n" * N,
    "closing delimiters": MIXED + b"--b\r\n\r\n--b--\r\n" * N,
    "nearly delimiters": MIXED + b"--bb\r\n" * N,
    "dashes": MIXED + b"--" * N,
    "dashes in lines": MIXED + b"--\n" * N,
    "CRs": MIXED + b"\r" * N,
    "LFs": MIXED + b"\n" * N,
    "header fields": b"X-Y: z\r\n" * N + b"\r\nbody",
    "From fields": b"From: nobody\r\n" * N + b"\r\nbody",
    "folds": b"Subject: x\r\n" + b" y\r\n" * N + b"\r\nbody",
    "empty folds": b"To: \xff\r\n" + b" \r\n" * N + b"\r\nbody",
    "fields of a part": MIXED + b"--b\r\n" + b"X: \xff\r\n" * N + b"\r\nbody",
    "one long header line": b"Subject: " + b"\xe9 " * N + b"\r\n\r\nbody",
    "semicolons": b"Content-Type: multipart/mixed" + b";" * N + b"\r\n\r\n\xff",
    "quotes": b"Content-Type: multipart/mixed" + b';"' * N + b"\r\n\r\n\xff",
    "continuations": b"Content-Type: multipart/mixed" + b";a*1*=%20" * N + b"\r\n\r\n\xff",
    "angle brackets": b"From: " + b"<" * N + b"\r\nTo: " + b"<a@" * N + b"\r\n\r\nbody",
    "open quotes": b"From: " + b'"\\' * N + b"\r\nTo: " + b'" ' * N + b"\r\n\r\nbody",
    "parentheses": b"From: " + b"(" * N + b"\r\nTo: " + b"a(" * N + b"\r\n\r\nbody",
    "commas and colons": b"To: \xff" + b",:" * N + b"\r\nCc: " + b":" * N + b";\r\n\r\nbody",
    "encoded words": b"From: " + b"=?utf-8?q?" * N + b"\r\nSubject: \xff" + b"=?x?b?" * N + b"\r\n\r\nbody",
    "references": b"References: " + b"<a" * N + b"\r\nIn-Reply-To: " + b"<a@b> " * N + b"\r\n\r\nbody",
    "links": b"List-Unsubscribe: " + b"<https://" * N + b"\r\n\r\nbody",
    "levels": b"".join(
        b"Content-Type: multipart/mixed; boundary=%d\r\n\r\n--%d\r\n" % (level, level) for level in range(N // 20)
    )
    + b"\r\n\xff",
    "long boundaries": b"".join(
        b"Content-Type: multipart/mixed; boundary=%0300d\r\n\r\n--%0300d\r\n" % (level, level) for level in range(1500)
    )
    + b"\r\n\xff",
    "messages in messages": b"Content-Type: message/rfc822\r\n\r\n" * (N // 10) + b"\xff",
    "statuses": b"Content-Type: message/delivery-status\r\n\r\n" + b"A: \xff\r\n\r\n" * N,
    "begin lines": b"Content-Transfer-Encoding: uue\r\n\r\n" + b"begin x\r\n" * N + b"\xff",
    "one line": b"Subject: x\r\n\r\n" + b"x" * N * 10,
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("raw", CASES.values(), ids=CASES.keys())
def test_hostile_input_takes_linear_time(raw: bytes) -> None:
    """However often a pattern is begun and not ended, each byte is looked at a few times."""
    assert flaws(rewritten(raw).data) == []


@pytest.mark.parametrize("name", ["folds", "one long header line", "one line", "CRs"])
def test_hostile_input_takes_a_few_times_its_memory(name: str) -> None:
    """No list of the words, lines or folds of a mail is made: each would be an object of many times its bytes."""
    raw = CASES[name]
    tracemalloc.start()
    try:
        rewritten(raw)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * len(raw) + 1_000_000
