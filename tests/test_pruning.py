"""`relayd db prune`: the ledger forgets what is old, at somebody's bidding."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from relayd.adapters.database import check_secret
from relayd.adapters.schema import attempts, deliveries, traced_masks
from relayd.errors import ConfigurationError, RelaydError
from tests.terminal import Operator

DAY = 86_400.0
OLD = 12_000
"""Three transactions."""


@pytest.fixture
def relayd(tmp_path: Path) -> Operator:
    """Somebody with a ledger of much that is old and two deliveries that are not, or are not for everybody."""
    operator = Operator(tmp_path)
    operator.ok("db", "upgrade")
    now = time.time()
    rows = [_delivery(f"old-{number}", now - 61 * DAY + number) for number in range(OLD)]
    rows += [_delivery("lately", now - 40 * DAY), _delivery("touched", now - 90 * DAY, now - DAY)]
    tried = {"attempt": 1, "reason": "s3_timeout", "ended_at": now - 61 * DAY}
    database = operator.database()
    with database.writing() as connection:
        connection.execute(sa.insert(deliveries), rows)
        connection.execute(sa.insert(attempts), [tried | {"delivery_id": "old-1"}])
        connection.execute(sa.insert(traced_masks), [{"mask_id": "m", "until": now - 1}])
    database.close()
    return operator


def _delivery(name: str, created_at: float, updated_at: float | None = None) -> dict[str, Any]:
    counts = dict.fromkeys(("attempt", "generation", "kills", "doubts", "resends"), 0)
    key = {"mail_id": name, "recipient": "shop@mask.example", "mailbox": "me@owner.example"}
    times = {"created_at": created_at, "updated_at": updated_at or created_at}
    return {"delivery_id": name, "state": "sent", "message_id": name, **key, **counts, **times}


def left(operator: Operator) -> list[str]:
    database = operator.database()
    with database.reading() as connection:
        found = list(connection.execute(sa.select(deliveries.c.delivery_id)).scalars())
        assert connection.execute(sa.select(attempts)).all() == [] or any(one.startswith("old") for one in found)
    database.close()
    return found


@contextmanager
def interrupted(number: int) -> Iterator[None]:
    """Ctrl-C right before that many deletes of deliveries have begun."""
    seen = []

    def look(_: object, __: object, statement: str, *___: object) -> None:
        if statement.startswith("DELETE FROM deliveries"):
            seen.append(statement)
            if len(seen) == number:
                raise KeyboardInterrupt

    event.listen(sa.Engine, "before_cursor_execute", look)
    try:
        yield
    finally:
        event.remove(sa.Engine, "before_cursor_execute", look)


def test_what_is_old_is_forgotten(relayd: Operator) -> None:
    """By the age that the settings say, all of it, and what is told adds up; once more there is nothing left to do."""
    assert relayd.json("db", "prune") == {"days": 60, "deliveries": OLD, "orders": 1, "finished": True}
    assert left(relayd) == ["lately", "touched"]
    assert relayd.json("db", "prune") == {"days": 60, "deliveries": 0, "orders": 0, "finished": True}


def test_the_age_may_be_given(relayd: Operator) -> None:
    """By the option, else by the setting."""
    relayd.environ["RELAYD_LEDGER_DAYS"] = "62"
    assert relayd.json("db", "prune")["deliveries"] == 0
    assert f"Forgot {OLD + 1} deliveries older than 30 days" in relayd.ok("db", "prune", "--days", "30")
    assert left(relayd) == ["touched"]


@pytest.mark.parametrize("days", ["29", "3651", "0", "-1", "1.5", "inf", "many"])
def test_the_limits_are_the_settings(relayd: Operator, days: str) -> None:
    """Less than both queues keep a message would let a redelivery send a mail again."""
    result = relayd("db", "prune", "--days", days)
    assert result.exit_code == 2
    assert "from 30 to 3650" in result.output
    relayd.environ["RELAYD_LEDGER_DAYS"] = days
    assert isinstance(relayd("db", "prune").exception, ConfigurationError)
    assert len(left(relayd)) == OLD + 2


def test_an_interruption_loses_nothing(relayd: Operator) -> None:
    """What was forgotten is told, the rest is there, and the next run finishes it."""
    with interrupted(2):
        result = relayd("db", "prune", "--json")
    assert result.exit_code == 130
    assert json.loads(result.stdout) == {"days": 60, "deliveries": 5000, "orders": 0, "finished": False}
    assert len(left(relayd)) == OLD - 5000 + 2
    assert relayd.json("db", "prune")["deliveries"] == OLD - 5000


def test_a_database_that_fails_half_way(relayd: Operator) -> None:
    """What was done is told before the error."""
    database = relayd.database()
    with database.writing() as connection:
        connection.exec_driver_sql(
            f"CREATE TRIGGER poison BEFORE DELETE ON deliveries WHEN OLD.delivery_id = 'old-{OLD - 1}'"
            " BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
    result = relayd("db", "prune")
    assert isinstance(result.exception, RelaydError)
    assert result.stdout == (
        "Forgot 10000 deliveries older than 60 days, and 0 expired orders; there may be more: run it again.\n"
    )
    database.close()


def test_a_foreign_or_missing_database_is_refused(relayd: Operator) -> None:
    """Nothing is forgotten of what belongs to other secrets, and no file is made."""
    database = relayd.database()
    check_secret(database, [b"the-secret-of-somebody-else-1234567"], remember=True)
    database.close()
    relayd.environ["RELAYD_SECRET"] = "8f2c1d7e90ab4365f1e2d3c4b5a69788"
    assert isinstance(relayd("db", "prune").exception, ConfigurationError)
    assert len(left(relayd)) == OLD + 2
    relayd.environ["RELAYD_DATABASE_URL"] = f"sqlite:///{relayd.folder}/nowhere.db"
    assert "relayd db upgrade" in str(relayd("db", "prune").exception)
    assert not (relayd.folder / "nowhere.db").exists()
