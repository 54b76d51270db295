"""Tools that look at deployments and are no part of relayd's environment: where they are, or why a test is skipped."""

import os
import shutil
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent.parent / ".venv-deploy" / "bin"
"""Where `make deploy-check` puts them."""


def tool(name: str) -> str:
    """The program's path. Skips the test where it is not installed."""
    found = shutil.which(name, path=f"{FOLDER}{os.pathsep}{os.environ.get('PATH', '')}")
    if found is None:
        pytest.skip(f"{name} is not installed: `make deploy-check` installs it, and runs this")
    return found
