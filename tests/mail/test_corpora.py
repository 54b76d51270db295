"""Mail from the outside world: every leaf decodes to the same content before and after."""

import email
import email.policy
import sysconfig
from pathlib import Path

import pytest

from tests.mail.judge import flaws, leaves, rewritten

CORPORA = (
    Path(__file__).resolve().parents[3] / "shared" / "corpora" / "mikel-mail",
    Path(sysconfig.get_paths()["stdlib"]) / "test" / "test_email" / "data",
)


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []


def variants_of(raw: bytes) -> list[bytes]:
    lf = raw.replace(b"\r\n", b"\n")
    return [raw, lf, lf.replace(b"\n", b"\r\n"), raw + b"\xe9", raw.replace(b"e", b"\xc3\xa9")]


@pytest.mark.parametrize("folder", CORPORA, ids=["mikel-mail", "cpython"])
def test_every_leaf_decodes_to_what_it_was(folder: Path) -> None:
    """As it is, with LF, with CRLF, with 8-bit data at the end or everywhere: no leaf's content changes."""
    files = files_of(folder)
    if not files:
        pytest.skip(f"{folder.name} is not on this machine")
    wrong = []
    for path in files:
        for number, raw in enumerate(variants_of(path.read_bytes())):
            result = rewritten(raw)
            if leaves(result.data) != leaves(raw) or (flaws(result.data) and not result.unsendable_parts):
                wrong.append(f"{path.name} variant {number}")
    assert wrong == []


@pytest.mark.parametrize("folder", CORPORA, ids=["mikel-mail", "cpython"])
def test_types_and_boundaries_stay(folder: Path) -> None:
    """A reader finds the same tree of types, charsets and boundaries: repair never changes what a part is."""
    files = files_of(folder)
    if not files:
        pytest.skip(f"{folder.name} is not on this machine")
    for path in files:
        raw = path.read_bytes()
        assert _tree(rewritten(raw).data) == _tree(raw), path.name


def _tree(raw: bytes) -> list[tuple[str, str | None, str | None]]:
    message = email.message_from_bytes(raw, policy=email.policy.compat32)
    return [(part.get_content_type(), part.get_content_charset(), part.get_boundary()) for part in message.walk()]
