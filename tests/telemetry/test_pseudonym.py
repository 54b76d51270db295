"""Stand-ins for addresses, and names for secrets."""

from relayd.telemetry.pseudonym import fingerprint, pseudonym

SECRET = b"0123456789abcdef0123456789abcdef"


def test_a_pseudonym_is_stable_and_needs_the_secret() -> None:
    """The same person under the same secret, somebody else under another; 16 hex digits."""
    told = pseudonym("me@example.org", SECRET)
    assert told == pseudonym("me@example.org", SECRET)
    assert told not in (pseudonym("you@example.org", SECRET), pseudonym("me@example.org", SECRET[::-1]))
    assert len(told) == 16
    assert int(told, 16) >= 0


def test_a_fingerprint_names_a_secret_and_is_no_pseudonym() -> None:
    """Two uses of one secret must not meet, or a fingerprint could be looked for among pseudonyms."""
    assert fingerprint(SECRET) != fingerprint(SECRET[::-1])
    assert fingerprint(SECRET) not in (pseudonym("", SECRET), pseudonym("relayd fingerprint", SECRET))
