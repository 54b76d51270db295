"""Who is asked, in whose account, and what must be true before anything is made."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

ACCOUNT = "RELAYD_SMOKE_ACCOUNT"
REGION = "RELAYD_SMOKE_REGION"
DOMAIN = "RELAYD_SMOKE_DOMAIN"
VARIABLES = {
    ACCOUNT: ("the account's number, twelve digits", re.compile(r"\d{12}")),
    REGION: ("the region, eu-west-1 for example", re.compile(r"[a-z]{2}(-[a-z]+)+-\d")),
    DOMAIN: ("a domain that SES lets this account send from", re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+")),
}


class RefusedError(Exception):
    """Nothing was made, and why."""


@dataclass(frozen=True, slots=True)
class Where:
    """What somebody wrote down by hand; nothing of it is guessed from a profile."""

    account: str
    region: str
    domain: str

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Self:
        """Raises RefusedError with all that is missing or malformed."""
        wrong = [
            f"{name} must be set: {meaning}."
            for name, (meaning, form) in VARIABLES.items()
            if not form.fullmatch(environ.get(name, ""))
        ]
        if wrong:
            raise RefusedError("\n".join(wrong))
        return cls(environ[ACCOUNT], environ[REGION], environ[DOMAIN])


def check_account(where: Where, sts: Any) -> str:
    """That the keys are of this account. Reads only; tells the partition."""
    caller = sts.get_caller_identity()
    if caller["Account"] != where.account:
        raise RefusedError(f"The keys are of account {caller['Account']}, and {ACCOUNT} says {where.account}.")
    return str(caller["Arn"]).split(":")[1]


def check_sending(where: Where, ses: Any) -> None:
    """That it may send from the domain. Reads only."""
    account = ses.get_account()
    if not account["SendingEnabled"] or account.get("EnforcementStatus", "HEALTHY") == "SHUTDOWN":
        raise RefusedError("SES has paused sending for this account in this region.")
    try:
        identity = ses.get_email_identity(EmailIdentity=where.domain)
    except ses.exceptions.NotFoundException:
        raise RefusedError(f"SES has no identity {where.domain} in {where.region}.") from None
    if not identity["VerifiedForSendingStatus"]:
        raise RefusedError(f"SES has not verified {where.domain} in {where.region} yet.")


def ask(where: Where, read_line: Callable[[str], str]) -> None:
    """The account's number, typed. Raises RefusedError for anything else, Ctrl-C and the end of the input included."""
    try:
        typed = read_line(f"Type the account's number ({where.account}) to go on, anything else to leave: ")
    except (EOFError, KeyboardInterrupt):
        typed = ""
    if typed.strip() != where.account:
        raise RefusedError("Not confirmed.")
