"""How an operator is told no: what is wrong, and what to do instead."""

from collections.abc import Sequence

from relayd.errors import Problem, RelaydError


class WrongEntryError(ValueError):
    """What somebody typed means nothing here, and what to type instead."""

    def __init__(self, problem: str, hint: str) -> None:
        super().__init__(problem)
        self.hint = hint


class RefusedError(RelaydError):
    """What was asked for cannot be done. The problems name addresses: they are for the operator, never for a log."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("refused", f"{len(problems)} problem(s)")
        self.problems = list(problems)


def refused(subject: str, problem: str, hint: str) -> RefusedError:
    """The refusal with a single problem."""
    return RefusedError([Problem(subject, problem, hint)])
