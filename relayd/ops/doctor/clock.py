"""Clocks: ours against AWS's, which refuses calls that are dated wrongly, and against the database's."""

from relayd.ops.doctor.database import of
from relayd.ops.doctor.facts import Facts
from relayd.ops.doctor.findings import UnknownError, Verdict, duration, failure, ok, warning

REFUSED = 300.0
"""Seconds from which on AWS refuses what is signed."""
NOTICED = 30.0
"""Seconds from which on somebody should look after the clock."""
_SET = "timedatectl set-ntp true"


def aws(facts: Facts) -> Verdict:
    """Against the dates of AWS's answers, refusals included."""
    if not facts.skews:
        raise UnknownError("AWS gave no answer, and so no date")
    skew = min(facts.skews.values(), key=abs)
    evidence = {"seconds ahead": round(skew, 1), "answers of": sorted(facts.skews)}
    if abs(skew) >= REFUSED:
        says = f"This host's clock is {_apart(skew)} AWS's: AWS refuses its calls."
        return failure(says, _SET, evidence=evidence)
    if abs(skew) >= NOTICED:
        return warning(f"This host's clock is {_apart(skew)} AWS's.", _SET, evidence=evidence)
    return ok("This host's clock agrees with AWS's.", **evidence)


def database(facts: Facts) -> Verdict:
    """Against the database's, by which claims and retries go."""
    found = of(facts)
    if found.kind == "sqlite":
        return ok("The database's clock is this host's.")
    skew = found.skew.known
    evidence = {"seconds ahead": round(skew, 1)}
    if abs(skew) >= NOTICED:
        return warning(
            f"This host's clock is {_apart(skew)} the database's.",
            _SET,
            hint="on whichever host is wrong",
            evidence=evidence,
        )
    return ok("This host's clock agrees with the database's.", **evidence)


def _apart(skew: float) -> str:
    return f"{duration(abs(round(skew)))} {'ahead of' if skew > 0 else 'behind'}"
