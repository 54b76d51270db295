"""What the settings want, as far as they can be read: a wrong one keeps only its own checks from being made."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from relayd.errors import Problem
from relayd.ops.doctor.findings import UnknownError
from relayd.settings import SETTINGS, readable
from relayd.settings.combinations import longest_send

ANY = "*"


@dataclass(frozen=True, slots=True)
class Setup:
    """The settings that doctor looks at. Asking for one that is not there raises UnknownError."""

    values: Mapping[str, Any] = field(repr=False)
    problems: tuple[Problem, ...] = ()

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Self:
        values, problems = readable(environ)
        return cls(values, tuple(problems))

    @property
    def queue_url(self) -> str:
        return str(self._required("queue_url"))

    @property
    def events_queue_url(self) -> str | None:
        return self._text("events_queue_url")

    @property
    def dead_letter_url(self) -> str | None:
        return self._text("dead_letter_url")

    @property
    def database_url(self) -> str:
        return str(self._required("database_url"))

    @property
    def mail_domains(self) -> tuple[str, ...]:
        return tuple(self._required("mail_domains"))

    @property
    def topic_arns(self) -> tuple[str, ...]:
        """The topics that are named; none where any is right."""
        return tuple(one for one in self._required("topic_arns") if one != ANY)

    @property
    def buckets(self) -> tuple[str, ...]:
        """The buckets that are named; none where any is right."""
        return tuple(one for one in self._required("buckets") if one != ANY)

    @property
    def any_topic(self) -> bool:
        return ANY in self._required("topic_arns")

    @property
    def any_bucket(self) -> bool:
        return ANY in self._required("buckets")

    @property
    def secrets(self) -> tuple[bytes, ...]:
        return tuple(self._required("secrets"))

    @property
    def verifies(self) -> bool:
        """Whether SNS's signatures are looked at."""
        return bool(self._required("signatures") == "verify")

    @property
    def certificate_file(self) -> Any:
        return self.values.get("sns_certificate_file")

    @property
    def configuration_set(self) -> str | None:
        return self._text("configuration_set")

    @property
    def notice_from(self) -> str | None:
        """None: an address on the first mail domain."""
        return self._text("notice_from")

    @property
    def ses_region(self) -> str | None:
        return self._text("ses_region")

    @property
    def retry_seconds(self) -> float:
        return 3600 * self._number("retry_hours")

    @property
    def wait_seconds(self) -> float:
        return self._number("wait_seconds")

    @property
    def grace_seconds(self) -> float:
        return self._number("grace_seconds")

    @property
    def visibility_seconds(self) -> float:
        return self._number("visibility_seconds")

    @property
    def send_seconds(self) -> float:
        """The longest that one send can take."""
        return longest_send(self._number("ses_connect_seconds"), self._number("ses_read_seconds"))

    @property
    def concurrency(self) -> int:
        return int(self._number("concurrency"))

    def refused(self, variable: str) -> bool:
        """Whether something is wrong with this variable, alone or beside others."""
        return any(problem.subject == variable for problem in self.problems)

    def _required(self, name: str) -> Any:
        value = self.values.get(name)
        if value is None:
            variable = next((one.env for one in SETTINGS if one.field == name), name)
            raise UnknownError(f"{variable} is not set, or cannot be read", "see what is said of the settings")
        return value

    def _number(self, name: str) -> float:
        return float(self._required(name))

    def _text(self, name: str) -> str | None:
        value = self.values.get(name)
        return None if value is None else str(value)
