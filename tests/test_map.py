"""Maps rot: the README's and the architecture's are held against the tree."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_map_names_every_room_and_no_other() -> None:
    """A room that is added, moved or removed must be in the README's map."""
    section = (ROOT / "README.md").read_text().partition("<!-- map -->")[2].partition("<!-- end -->")[0]
    named = {name.rstrip("/") for name in re.findall(r"`relayd/([\w./]+)`", section)}
    found = {
        path.name
        for path in (ROOT / "relayd").iterdir()
        if (path.is_dir() and (path / "__init__.py").exists()) or path.suffix == ".py"
    }
    assert named == found - {"__init__.py", "__main__.py"}


def test_the_walk_names_files_that_exist() -> None:
    """docs/architecture.md follows a message through files; each of them is there."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    for name in re.findall(r"`((?:runtime|wire|rules|adapters|mail|model|telemetry)/\w+\.py|\w+\.py)`", text):
        assert (ROOT / "relayd" / name).exists(), name


def test_links_of_the_documents_lead_somewhere() -> None:
    """No link inside the repository is dead."""
    for document in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_files_stay_small() -> None:
    """A file that grows far over 300 lines holds two kinds of knowledge."""
    large = {
        str(path.relative_to(ROOT)): count
        for path in (ROOT / "relayd").rglob("*.py")
        if (count := len(path.read_text().splitlines())) > 360
    }
    assert large == {}
