"""The phrases: every language says everything, with the same placeholders, in a form that answers can be cleaned of."""

import re
import tomllib
from collections.abc import Iterator
from importlib.resources import files

import pytest

from relayd.mail.languages import LANGUAGES, phrases
from relayd.model.notice import NOTICE_KINDS

OTHERS = [language for language in LANGUAGES if language != "en"]


def sentences(language: str) -> dict[str, str]:
    """Each text of a language by its dotted key; those of `former`, of which each language has its own, left out."""
    text = files("relayd.mail").joinpath("phrases", f"{language}.toml").read_text("utf-8")
    return dict(flat(tomllib.loads(text), ""))


def flat(table: dict[str, object], prefix: str) -> Iterator[tuple[str, str]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        elif isinstance(value, str):
            yield f"{prefix}{key}", value


def placeholders(text: str) -> list[str]:
    return sorted(re.findall(r"{[^}]*}", text))


def test_english_and_german_are_there() -> None:
    """The languages are the files."""
    assert {"en", "de"} <= set(LANGUAGES)


@pytest.mark.parametrize("language", OTHERS)
def test_each_language_says_what_english_says(language: str) -> None:
    """The same keys, none empty, the same placeholders."""
    english, theirs = sentences("en"), sentences(language)
    assert theirs.keys() == english.keys()
    for key, text in theirs.items():
        assert text == text.strip() != "", key
        assert placeholders(text) == placeholders(english[key]), key


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_notice_has_its_sentences(language: str) -> None:
    """A notice of any kind can be written in any language."""
    assert set(phrases(language).notices) == set(NOTICE_KINDS)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_banner_line_can_be_found_again(language: str) -> None:
    """It begins and ends with fixed words, and its placeholders are words of their own."""
    texts = phrases(language).banner
    for line in (texts.line, *texts.former):
        words = line.split()
        assert "{" not in words[0] + words[1] + words[-1]
        assert [word for word in words if "{" in word] == re.findall("{(?:mask|sender)}", line)
    assert "{" not in texts.trackers.split()[0]
    assert len(texts.nobody.split()) <= 4


@pytest.mark.parametrize(
    ("tag", "language"),
    [
        ("de", "de"),
        ("de-AT", "de"),
        ("de_CH.UTF-8", "de"),
        ("DE-1996", "de"),
        ("en-GB", "en"),
        ("tlh", "en"),
        ("deutsch", "en"),
        ("", "en"),
        ("-", "en"),
        ("../de", "en"),
        ("x" * 10_000, "en"),
    ],
)
def test_a_tag_falls_back_by_its_parts(tag: str, language: str) -> None:
    """A region without a file of its own gets its language's, and an unknown language English."""
    assert phrases(tag).language == language
