"""A secret's fingerprint may be shown and compared."""

from relayd.telemetry.fingerprint import fingerprint

SECRET = b"0123456789abcdef0123456789abcdef"


def test_a_fingerprint_names_a_secret_and_does_not_hold_it() -> None:
    """The same secret, the same name; another one, another; and nothing of the secret in it."""
    told = fingerprint(SECRET)
    assert told == fingerprint(bytes(SECRET))
    assert told != fingerprint(SECRET[::-1])
    assert not any(SECRET[at : at + 6].decode() in told for at in range(len(SECRET) - 5))
    assert len(told) >= 8
