"""Fixtures that more than one suite uses, and what makes the collection of thousands of tests quick."""

import gc
from collections.abc import Generator

import pytest

# Found by pytest here and nowhere else: a module that imports one has one, and its server, of its own.
from tests.cloud.server import embedded  # noqa: F401
from tests.contract.moto_server import moto  # noqa: F401


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """All that is collected stays to the end: to look through it for garbage, now or later, finds none."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()
