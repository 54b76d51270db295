"""What stands for a mask's address."""

from relayd.telemetry.fingerprint import fingerprint
from relayd.telemetry.pseudonyms import LENGTH, pseudonym

SECRET, OTHER = b"0123456789abcdef0123456789abcdef", b"another secret of thirty-two byte"


def test_it_is_the_same_for_ever() -> None:
    """Logs of last year are searched with it."""
    assert pseudonym("shop@mask.example", SECRET) == "00b3615bc0bbbfb1"


def test_it_tells_masks_and_secrets_apart() -> None:
    """And is no other use of the secret; half a surrogate pair is no error."""
    found = [pseudonym(mask, SECRET) for mask in ("shop@mask.example", "shop@mask.exampl", "", "\ud800@mask.example")]
    found += [pseudonym("shop@mask.example", OTHER), fingerprint(SECRET)]
    assert len(set(found)) == len(found)
    assert all(len(one) == LENGTH for one in found)
