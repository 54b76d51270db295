"""The forms that a setting's text may have: what is checked, and the hint that a wrong one gets.

No message repeats the text that it refuses, because a secret may have been put into the wrong variable.
"""

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relayd.mail.trackers import TrackerList
from relayd.model.address import Address, normal_domain

MIN_SECRET = 32
"""Bytes: the output size of the hash that the secret keys."""
MIN_DISTINCT = 8
"""Distinct bytes in a secret; `x` forty times is a placeholder that somebody forgot to replace."""


class WrongFormError(ValueError):
    """A text that is not of its form. `hint` is empty where the form's own hint says what to do."""

    def __init__(self, problem: str, hint: str = "") -> None:
        super().__init__(problem)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Form:
    """How a text is read, and what to write instead when it is missing or cannot be read."""

    parse: Callable[[str], Any]
    hint: str


def split(text: str) -> list[str]:
    """The items of a list, separated by commas or white space."""
    return text.replace(",", " ").split()


def _list(item: Callable[[str], str], hint: str) -> Form:
    def parse(text: str) -> tuple[str, ...]:
        items = split(text)
        if not items:
            raise WrongFormError("the list is empty")
        return tuple(dict.fromkeys(item(one) for one in items))

    return Form(parse, hint)


def _allow_list(pattern: str, problem: str, hint: str) -> Form:
    compiled = re.compile(pattern)

    def item(text: str) -> str:
        if text != "*" and not compiled.fullmatch(text):
            raise WrongFormError(problem)
        return text

    inner = _list(item, hint)

    def parse(text: str) -> Any:
        items = inner.parse(text)
        if "*" in items and len(items) > 1:
            raise WrongFormError(
                "`*` stands beside other entries, which would then mean nothing", "keep one or the other"
            )
        return items

    return Form(parse, hint)


def number(low: float, high: float, unit: str, *, whole: bool = False) -> Form:
    """A plain decimal number, as a float."""

    def parse(text: str) -> float:
        if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,6})?", text):
            raise WrongFormError("it is not a plain number")
        value = float(text)
        if whole and value != int(value):
            raise WrongFormError(f"SQS counts in whole {unit}")
        if not low <= value <= high:
            raise WrongFormError(f"it is not between {low:g} and {high:g}")
        return value

    return Form(parse, f"write a {'whole ' if whole else ''}number of {unit} from {low:g} to {high:g}, without a unit")


def seconds(low: float, high: float, *, whole: bool = False) -> Form:
    """A time in seconds."""
    return number(low, high, "seconds", whole=whole)


def whole(low: int, high: int) -> Form:
    """A whole number."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text):
            raise WrongFormError("it is not a whole number")
        if not low <= int(text) <= high:
            raise WrongFormError(f"it is not between {low} and {high}")
        return int(text)

    return Form(parse, f"write a whole number from {low} to {high}")


def one_of(*words: str) -> Form:
    """One of a few words, in any case."""

    def parse(text: str) -> str:
        if text.lower() not in words:
            raise WrongFormError("it is none of the words that it may be")
        return text.lower()

    return Form(parse, f"write one of: {', '.join(words)}")


def _word(pattern: str, problem: str, hint: str) -> Form:
    compiled = re.compile(pattern)

    def parse(text: str) -> str:
        if not compiled.fullmatch(text):
            raise WrongFormError(problem)
        return text

    return Form(parse, hint)


def _parse_queue_url(text: str) -> str:
    match = re.fullmatch(r"https?://[^/@\s?#]+(?:/[^/@\s?#]+)*/[0-9]{12}/([A-Za-z0-9_-]{1,80})(\.fifo)?", text)
    if match is None:
        raise WrongFormError("it is not the URL of a queue")
    if match[2]:
        raise WrongFormError(
            "it is a FIFO queue, which SES notifications cannot reach in parallel", "use a standard queue"
        )
    return text


def _parse_database_url(text: str) -> str:
    scheme, found, rest = text.partition("://")
    dialect, _, driver = scheme.partition("+")
    if not found or dialect == "postgres":
        raise WrongFormError("it is not a database URL")
    if (dialect, driver) not in {("sqlite", ""), ("sqlite", "pysqlite"), ("postgresql", ""), ("postgresql", "psycopg")}:
        raise WrongFormError("neither SQLite nor PostgreSQL (with psycopg)")
    if dialect == "sqlite":
        if "?" in rest:
            raise WrongFormError("a SQLite URL has no parameters", "end it before the ?, or write that as %3F")
        if rest in ("", "/") or ":memory:" in rest:
            raise WrongFormError("a database in memory forgets every mask and delivery when relayd stops")
        if not rest.startswith("/"):
            raise WrongFormError("a SQLite URL names no host", "write three slashes, four for an absolute path")
    return text


def mask_url(text: str) -> str:
    """The URL without what may be secret in it: the password, and the values of parameters that we do not know."""
    scheme, found, rest = text.partition("://")
    if not found:
        return "***"
    # The last @ of all, not of the host part: a password may hold a raw slash, question mark or @.
    credentials, at, place = rest.rpartition("@")
    user, colon, _ = credentials.partition(":")
    place, question, query = place.partition("?")
    shown = [p if p.partition("=")[0] in _PLAIN_PARAMETERS else f"{p.partition('=')[0]}=***" for p in query.split("&")]
    return f"{scheme}://{user}{':***' if colon else ''}{at}{place}{question}{'&'.join(shown) if question else ''}"


_PLAIN_PARAMETERS = {
    "sslmode",
    "host",
    "port",
    "connect_timeout",
    "application_name",
    "target_session_attrs",
}


def _parse_domain(text: str) -> str:
    try:
        domain = normal_domain(text)
    except ValueError as error:
        raise WrongFormError(str(error)) from None
    labels = domain.split(".")
    well_formed = all(re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", label) for label in labels)
    if not well_formed or len(labels) < 2 or len(domain) > 253:
        raise WrongFormError("an entry is not a full domain name")
    return domain


def _parse_secrets(text: str) -> tuple[bytes, ...]:
    keys = tuple(dict.fromkeys(part.encode() for part in split(text)))
    if not keys:
        raise WrongFormError("the list is empty")
    for place, key in enumerate(keys, start=1):
        if len(key) < MIN_SECRET:
            raise WrongFormError(f"entry {place} has fewer than {MIN_SECRET} bytes")
        if len(set(key)) < MIN_DISTINCT:
            raise WrongFormError(f"entry {place} repeats a few characters, like a placeholder")
    return keys


def _parse_certificate_file(text: str) -> Path:
    path = Path(text)
    try:
        with path.open("rb") as file:
            head = file.read(65_536)
    except OSError as error:
        raise WrongFormError(f"the file cannot be read ({type(error).__name__})") from None
    if b"-----BEGIN CERTIFICATE-----" not in head:
        raise WrongFormError("the file holds no certificate in PEM form")
    return path


def _parse_trackers_file(text: str) -> TrackerList:
    try:
        return TrackerList.parse(Path(text).read_bytes())
    except OSError as error:
        raise WrongFormError(f"the file cannot be read ({type(error).__name__})") from None
    except ValueError as error:
        raise WrongFormError(f"the file is not a list of trackers: {error}") from None


def _parse_address(text: str) -> str:
    try:
        address = Address.parse(text)
    except ValueError as error:
        raise WrongFormError(str(error)) from None
    if not re.fullmatch(r"[a-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@[a-z0-9.-]{1,255}", address.full):
        raise WrongFormError("SES sends from no such address")
    return address.full


def _parse_http_address(text: str) -> tuple[str, int]:
    bracketed = re.fullmatch(r"\[([0-9A-Fa-f:.]+)\]:([0-9]{1,5})", text)
    # Empty or longer labels break the resolver with an error of another kind.
    plain = re.fullmatch(r"([A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})*\.?):([0-9]{1,5})", text)
    match = bracketed or plain
    if match is None:
        raise WrongFormError("it is not of the form host:port")
    if bracketed:
        try:
            ipaddress.IPv6Address(match[1])
        except ValueError:
            raise WrongFormError("what stands in the brackets is not an IPv6 address") from None
    if int(match[2]) > 65_535:
        raise WrongFormError("a port is at most 65535")
    return match[1], int(match[2])


queue_url = Form(_parse_queue_url, "write its URL: https://sqs.us-east-1.amazonaws.com/123456789012/incoming-mail")
database_url = Form(
    _parse_database_url,
    "write sqlite:////var/lib/relayd/relayd.sqlite or postgresql://relayd:PASSWORD@db.internal/relayd",
)
domains = _list(_parse_domain, "write the domains of your masks, separated by commas: mask.example")
topic_arns = _allow_list(
    r"arn:aws[a-z-]{0,16}:sns:[a-z0-9-]{1,32}:[0-9]{12}:[A-Za-z0-9_-]{1,256}",
    "an entry is not the ARN of a standard SNS topic",
    "write the topic that SES publishes to: arn:aws:sns:us-east-1:123456789012:incoming-mail; or `*` for any",
)
buckets = _allow_list(
    r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]",
    "an entry is not the name of a bucket",
    "write the bucket's name alone, without s3:// or a path; or `*` for any",
)
secrets = Form(_parse_secrets, "make one with: python -c 'import secrets; print(secrets.token_hex(32))'")
certificate_file = Form(
    _parse_certificate_file, "name a readable PEM file, or unset it to let relayd fetch the certificate"
)
configuration_set = _word(
    r"[A-Za-z0-9_-]{1,64}", "it is not the name of a configuration set", "write the name of an SES configuration set"
)
region = _word(r"[a-z]{2,4}(-[a-z]{2,16}){1,3}-[0-9]{1,2}", "it is not the name of a region", "write it like us-east-1")
http_address = Form(_parse_http_address, "write 127.0.0.1:8080, 0.0.0.0:8080 for all interfaces, or [::1]:8080")
address = Form(_parse_address, "write an address on a domain that SES may send from: noreply@mask.example")
trackers_file = Form(_parse_trackers_file, "name a readable file in the form of Disconnect's services.json")
https_url = _word(
    r"https://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[!-~]*)?",
    "it is not an https address",
    "write https://mask.example/tracker",
)
