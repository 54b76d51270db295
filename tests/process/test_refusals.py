"""What relayd does with a configuration that cannot work: exit 2 at once, all that is wrong, each with a hint."""

import pytest

from tests.process.cloud import Cloud

pytestmark = pytest.mark.process


def refusal(cloud: Cloud, **settings: str | None) -> str:
    """Run the daemon with changed settings; it must refuse, and its words come back."""
    environment = {**cloud.environment, **settings}
    done = cloud.relayd("run", environment={name: value for name, value in environment.items() if value is not None})
    assert done.returncode == 2, done.stdout + done.stderr
    assert "hint:" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    return done.stderr


def test_everything_that_is_wrong_is_said_at_once(cloud: Cloud) -> None:
    """One run shows all problems, not the first."""
    said = refusal(
        cloud, RELAYD_QUEUE_URL=None, RELAYD_DATABASE_URL=None, RELAYD_SECRET="short", RELAYD_CONCURRENCY="many"
    )
    for name in ("RELAYD_QUEUE_URL", "RELAYD_DATABASE_URL", "RELAYD_SECRET", "RELAYD_CONCURRENCY"):
        assert name in said
    assert "short" not in said.replace("shorter", ""), "a secret is never repeated"


def test_an_empty_directory_is_refused(cloud: Cloud) -> None:
    """A forgotten or wrong database must not turn all mail into unknown masks."""
    said = refusal(cloud)
    assert "no masks" in said
    assert "relayd masks add" in said


def test_a_missing_queue_and_a_missing_bucket_are_refused_together(cloud: Cloud) -> None:
    """Both are looked at before either is reported."""
    cloud.add_mask()
    said = refusal(cloud, RELAYD_QUEUE_URL=cloud.world.queue_url + "-typo", RELAYD_BUCKETS="no-such-bucket-of-ours")
    assert "RELAYD_QUEUE_URL" in said
    assert "RELAYD_BUCKETS" in said


def test_a_foreign_secret_is_refused(cloud: Cloud) -> None:
    """The database remembers the fingerprint of the secret that its tokens and hops belong to."""
    cloud.add_mask()
    daemon = cloud.daemon()
    assert daemon.stop() == 0
    assert "RELAYD_SECRET" in refusal(cloud, RELAYD_SECRET="0011aabb2233ccdd4455eeff66778899")


def test_a_missing_database_folder_is_refused(cloud: Cloud) -> None:
    """The folder is named as the problem, with the forms that work."""
    assert "RELAYD_DATABASE_URL" in refusal(cloud, RELAYD_DATABASE_URL="sqlite:////no/such/folder/relayd.sqlite")


def test_an_unreachable_postgresql_is_refused(cloud: Cloud) -> None:
    """Nothing listens there: said at once, without the password."""
    said = refusal(cloud, RELAYD_DATABASE_URL="postgresql://relayd:hunter22@127.0.0.1:1/relayd")
    assert "RELAYD_DATABASE_URL" in said
    assert "hunter22" not in said


def test_a_taken_port_is_refused(cloud: Cloud) -> None:
    """Two daemons on one address: the second says so."""
    cloud.add_mask()
    daemon = cloud.daemon()
    assert "RELAYD_HTTP_ADDRESS" in refusal(cloud, RELAYD_HTTP_ADDRESS=f"127.0.0.1:{daemon.port}")
    assert daemon.stop() == 0
