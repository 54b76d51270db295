"""The sentences that people read, by language: one file each in `phrases/`, and nothing else to add a language."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from types import MappingProxyType

_FILES = {
    file.name.removesuffix(".toml"): file
    for file in files(__package__).joinpath("phrases").iterdir()
    if file.name.endswith(".toml")
}
LANGUAGES: tuple[str, ...] = tuple(sorted(_FILES))
"""Tags such as `en` or `pt-BR`."""
FALLBACK = "en"

_BY_FOLDED_TAG = {language.lower(): language for language in LANGUAGES}


@dataclass(frozen=True, slots=True)
class BannerPhrases:
    line: str
    """With {mask} and {sender}."""
    trackers: str
    """With {count}. Written so that it needs no plural."""
    nobody: str
    """Stands for a sender that is not known; at most four words."""
    former: tuple[str, ...] = ()
    """Lines of earlier versions, which answers may still quote."""


@dataclass(frozen=True, slots=True)
class NoticePhrases:
    """A notice's sentences. They name no fact: those stand in a list below, as far as they are known."""

    subject: str
    happened: str
    meaning: str
    advice: str


@dataclass(frozen=True, slots=True)
class Phrases:
    """All sentences of one language."""

    language: str
    product: str
    """How the service calls itself in From."""
    decimal: str
    """What stands between whole and tenths."""
    banner: BannerPhrases
    facts: Mapping[str, str]
    """What the facts of `relayd.model.notice.OwnerNotice` are called, in the order they are shown."""
    why: str
    notices: Mapping[str, NoticePhrases]
    """By `relayd.model.notice.NoticeKind`."""


def phrases(language: str) -> Phrases:
    """The sentences for a language tag: `pt-BR`, else `pt`, else English."""
    tag = language[:40].replace("_", "-").lower()
    while tag:
        if tag in _BY_FOLDED_TAG:
            return _read(_BY_FOLDED_TAG[tag])
        tag = tag.rpartition("-")[0]
    return _read(FALLBACK)


@lru_cache
def _read(language: str) -> Phrases:
    table = tomllib.loads(_FILES[language].read_text("utf-8"))
    banner = table["banner"]
    return Phrases(
        language=language,
        product=table["product"],
        decimal=table["decimal"],
        banner=BannerPhrases(**{**banner, "former": tuple(banner["former"])}),
        facts=MappingProxyType(table["facts"]),
        why=table["closing"]["why"],
        notices=MappingProxyType({kind: NoticePhrases(**texts) for kind, texts in table["notices"].items()}),
    )
