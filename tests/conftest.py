"""Fixtures that more than one suite uses."""

from tests.contract.moto_server import moto  # noqa: F401 -- pytest finds fixtures in conftest
