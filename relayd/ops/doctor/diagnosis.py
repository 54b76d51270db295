"""The diagnosis: every check of the chosen areas, held against the facts."""

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from relayd.ops.doctor.facts import Facts
from relayd.ops.doctor.findings import Area, Finding, Level, UnknownError, Verdict
from relayd.ops.doctor.gathering import SECONDS, Senses, gather
from relayd.ops.doctor.setup import Setup
from relayd.ops.doctor.table import CHECKS, Check, Judgement


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was found, in the order of the table."""

    findings: tuple[Finding, ...]

    @property
    def counts(self) -> dict[str, int]:
        counted = Counter(finding.verdict.level for finding in self.findings)
        return {level.value: counted[level] for level in Level}

    def of(self, *levels: Level) -> list[Finding]:
        return [finding for finding in self.findings if finding.verdict.level in levels]


def diagnose(areas: Collection[Area], senses: Senses | None = None, seconds: float = SECONDS) -> Diagnosis:
    """Gather what these areas need, and judge it."""
    senses = senses or Senses()
    facts = gather(Setup.read(senses.environ), areas, senses, seconds)
    return judge(facts, areas)


def judge(facts: Facts, areas: Collection[Area]) -> Diagnosis:
    """Every check of these areas. One that cannot be made keeps none of the others from being made."""
    return Diagnosis(
        tuple(
            Finding(check.name, check.area, subject, verdict)
            for check in CHECKS
            if check.area in areas
            for subject, verdict in _verdicts(check, facts)
        )
    )


def _verdicts(check: Check, facts: Facts) -> Iterator[tuple[str, Verdict]]:
    try:
        # Here, too, a fact may be missing: whom there is to judge.
        judgements: list[Judgement] = list(check.judgements(facts))
    except UnknownError as error:
        yield "", _unchecked(error)
        return
    for subject, judgement in judgements:
        try:
            yield subject, judgement()
        except UnknownError as error:
            yield subject, _unchecked(error)
        except Exception as error:
            # A bug of one check, or an answer of AWS that nobody has seen yet.
            hint = "this is a bug of relayd: please report it"
            yield subject, Verdict(Level.UNCHECKED, f"the check itself failed ({type(error).__name__})", hint=hint)


def _unchecked(error: UnknownError) -> Verdict:
    return Verdict(Level.UNCHECKED, str(error), hint=error.hint)
