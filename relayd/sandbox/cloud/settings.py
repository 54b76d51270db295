"""What can be turned about the emulated AWS besides faults: limits, states of the account, strictness."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from relayd.sandbox.cloud.ses_fates import FATES


@dataclass(slots=True)
class Settings:
    """Change it at any time; it counts from the next call."""

    certificate_url: str = "own"
    """What notifications name as SigningCertURL: `own` (this server), `aws` (as SNS itself would), or a whole URL."""
    strict: bool = True
    """Refuse raw mail that SES would damage: 8-bit data, lines over 1,000 bytes, bare CR or LF."""
    refuse_attachments: bool = True
    """Refuse the file name extensions that SES documents as unsupported."""
    whole_parts: bool = False
    """Refuse multiparts in which no part begins, and more than 500 parts in all, as SES's own parser does."""
    sandbox: bool = False
    """The account has no production access: recipients must be verified, too."""
    suspended: bool = False
    """The account may never send again."""
    max_send_rate: float = 100_000.0
    """Recipients a second."""
    daily_quota: int = 100_000_000
    """Recipients in 24 hours."""
    probation: bool = False
    """The account is under review, and may still send."""
    unverified: list[str] = field(default_factory=list)
    """Identities whose DNS does not show that they are the account's: they may not send."""
    dkim_failed: list[str] = field(default_factory=list)
    """Domains whose DKIM records are not there."""
    mail_from_failed: list[str] = field(default_factory=list)
    """Domains whose custom MAIL FROM domain lacks its MX record."""
    fates: dict[str, str] = field(default_factory=dict)
    """What becomes of mail to an address (in lower case): a name from `relayd.sandbox.cloud.ses_fates.FATES`."""
    stop_ends_all: bool = True
    """A receipt rule's Stop action ends the way of the whole mail, and not only for the recipients that its rule is
    for. SES's documentation leaves open which; the default is what may lose mail."""
    event_delay_seconds: float = 0.0
    """How much later than SES would, it tells what became of a mail."""
    event_copies: int = 1
    """How often it tells each event. SNS promises once at least."""

    def change(self, wanted: Mapping[str, Any]) -> None:
        """Raises ValueError for names and types that do not exist; then nothing is changed."""
        known = {one.name: type(getattr(self, one.name)) for one in fields(self)}
        for name, value in wanted.items():
            if name not in known:
                raise ValueError(f"there is no setting {name}")
            if known[name] is float and isinstance(value, int) and not isinstance(value, bool):
                continue
            if type(value) is not known[name]:
                raise ValueError(f"{name} is a {known[name].__name__}")
        for name in wanted.get("fates", {}).values():
            if not isinstance(name, str) or name not in FATES:
                raise ValueError(f"there is no fate {name}; there are {', '.join(sorted(FATES))}")
        for name, value in wanted.items():
            setattr(self, name, value)

    def told(self) -> dict[str, Any]:
        return {one.name: getattr(self, one.name) for one in fields(self)}
