"""One embedded AWS for all tests of the doctor; each begins with everything right in it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from relayd.adapters.questions import QuestionClients
from relayd.sandbox.cloud.client import EmbeddedAws
from relayd.sandbox.world import REGION, Clients
from tests.contract.moto_server import fake_session
from tests.doctor.right import DOMAIN, OTHER_DOMAIN, Right, add_masks


@pytest.fixture(scope="session")
def doctors_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedAws]:
    log = tmp_path_factory.mktemp("doctor") / "aws.log"
    aws = EmbeddedAws(log)
    yield aws
    aws.stop()
    # It writes only when it has met something that it did not foresee.
    assert log.read_text() == ""


@pytest.fixture(scope="session")
def question_clients(doctors_aws: EmbeddedAws) -> QuestionClients:
    """Shared: to make eight clients takes longer than to ask all questions."""
    session = fake_session()
    session.set_config_variable("region", REGION)
    return QuestionClients(session, endpoint=doctors_aws.endpoint)


@pytest.fixture(scope="session")
def world_clients(doctors_aws: EmbeddedAws) -> Clients:
    return Clients(doctors_aws.endpoint)


@pytest.fixture(scope="session")
def filled_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with a mask on each domain."""
    path = tmp_path_factory.mktemp("filled") / "relayd.db"
    add_masks(f"sqlite:///{path}", f"shop@{DOMAIN}", f"news@{OTHER_DOMAIN}")
    return path


@pytest.fixture
def right(
    doctors_aws: EmbeddedAws,
    question_clients: QuestionClients,
    world_clients: Clients,
    filled_database: Path,
    tmp_path: Path,
) -> Iterator[Right]:
    yield Right(doctors_aws, tmp_path, filled_database, world_clients, question_clients)
    doctors_aws.clear_faults()
