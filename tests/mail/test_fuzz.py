"""The first cases of `bench.fuzz`, which runs for longer when somebody asks it to."""

from bench import fuzz
from bench.fuzz_cases import case

SEED = 1
CASES = 500


def test_no_case_fails() -> None:
    """Damaged, grown and random mails and JSON: a result or a PermanentError, and nothing that SES refuses."""
    found = [fuzz.run(SEED, number) for number in range(CASES)]
    assert [(one.number, one.failures) for one in found if one.failures] == []
    assert len({one.kind for one in found}) == 4


def test_a_case_is_made_again_from_its_number() -> None:
    """What a report names can be looked at: the same bytes come out, whatever was made before."""
    for number in (3, 77):
        again = case(SEED, number)
        case(SEED, number + 1)
        assert case(SEED, number) == again
        assert case(SEED + 1, number) != again
