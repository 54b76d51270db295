"""Runs an image as a careful cluster would, against the embedded AWS: one mail through, then a SIGTERM.

It shows what no linter can: that the daemon works without root, on a read-only file system, without capabilities, and
stops in order as the first process of its container. Needs podman or docker and relayd[sandbox]; nothing leaves this
machine.

    python -m deploy.image.trial relayd:0.1.0
    python -m deploy.image.trial relayd:0.1.0 --engine "podman --runtime runc --cgroup-manager cgroupfs"
"""

import argparse
import json
import secrets
import shlex
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import urllib3

from relayd.sandbox.cloud.client import EmbeddedAws
from relayd.sandbox.receiving import Receiving
from relayd.sandbox.world import ACCESS_KEY, DOMAIN, REGION, Clients, Store, World

MASK = f"shop@{DOMAIN}"
MAILBOX = "me@owner.example"
MAIL = f"From: news@stranger.example\r\nTo: {MASK}\r\nSubject: hello\r\nMessage-ID: <1@stranger.example>\r\n\r\nhi\r\n"
GRACE_SECONDS = 50
"""The default of RELAYD_GRACE_SECONDS, which the trial leaves alone."""
HARDENED = (
    "--network=host --read-only --cap-drop=ALL --security-opt=no-new-privileges "
    "--ulimit=nofile=4096:4096 --ulimit=nproc=4096:4096 --memory=640m"
)
"""Host network, because the embedded AWS answers on loopback alone. The user is the image's own."""


class Engine:
    """podman or docker, by their common words."""

    def __init__(self, command: str, image: str, options: list[str]) -> None:
        self._command = shlex.split(command)
        self._image = image
        self._options = options

    def ask(self, *words: str) -> str:
        """What it answers, or its complaint as the end of the trial."""
        done = subprocess.run([*self._command, *words], capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{shlex.join(done.args)}\n{done.stdout}{done.stderr}")
        return done.stdout.strip()

    def refusal(self, *words: str) -> str:
        """What kept it from doing that; empty where it did."""
        done = subprocess.run([*self._command, *words], capture_output=True, text=True, check=False)
        return done.stderr.strip().partition("\n")[0] if done.returncode else ""

    def run(self, *words: str, detached: bool = False) -> str:
        """A command of the image; `detached`: its container's id."""
        return self.ask("run", *(["--detach"] if detached else ["--rm"]), *self._options, self._image, *words)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("image")
    parser.add_argument("--engine", default="podman", metavar="COMMAND", help="with its own options [default: podman]")
    parser.add_argument("--run-options", default=HARDENED, metavar="OPTIONS", help=f"[default: {HARDENED}]")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="relayd-trial-") as name:
        folder = Path(name)
        # The container's user reads the certificate in it.
        folder.chmod(0o755)
        aws = EmbeddedAws(folder / "aws.log")
        try:
            trial(
                folder, aws, lambda options: Engine(asked.engine, asked.image, [*options, *asked.run_options.split()])
            )
        finally:
            aws.stop()


def trial(folder: Path, aws: EmbeddedAws, engine_with: Callable[[list[str]], Engine]) -> None:
    clients = Clients(aws.endpoint)
    world = World.build(aws.endpoint, clients)
    certificate = folder / "sns.pem"
    certificate.write_bytes(aws.certificate())
    volume = f"relayd-trial-{secrets.token_hex(4)}"
    port = free_port()
    options = [f"--env={name}={value}" for name, value in environment(world, port).items()]
    options += [f"--volume={volume}:/var/lib/relayd", f"--volume={certificate}:/etc/relayd/sns.pem:ro"]
    engine = engine_with(options)
    try:
        print(engine.run("--version"))
        print(engine.run("db", "upgrade"))
        print(engine.run("masks", "add", MASK, "--to", MAILBOX))
        container = engine.run(detached=True)
        try:
            watch(engine, container, port)
            Receiving(Store(world, clients)).accept("bounce@stranger.example", (MASK,), MAIL.encode(), "127.0.0.1")
            within(20, "the mail's forward", lambda: len(aws.sent()) == 1)
            print(f"forwarded: {aws.sent()[0].recipients}")
            stop(engine, container)
        except SystemExit:
            print(engine.ask("logs", container), file=sys.stderr)
            raise
        finally:
            engine.ask("rm", "--force", container)
    finally:
        engine.ask("volume", "rm", "--force", volume)


def environment(world: World, port: int) -> Mapping[str, str]:
    """The daemon's settings."""
    return {
        "AWS_ENDPOINT_URL": world.endpoint,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": ACCESS_KEY,
        "AWS_REGION": REGION,
        "RELAYD_QUEUE_URL": world.queue_url,
        "RELAYD_DATABASE_URL": "sqlite:////var/lib/relayd/relayd.db",
        "RELAYD_MAIL_DOMAINS": DOMAIN,
        "RELAYD_TOPIC_ARNS": world.topic_arn,
        "RELAYD_BUCKETS": world.bucket,
        "RELAYD_SECRET": secrets.token_hex(32),
        "RELAYD_SNS_CERTIFICATE_FILE": "/etc/relayd/sns.pem",
        "RELAYD_HTTP_ADDRESS": f"127.0.0.1:{port}",
    }


def watch(engine: Engine, container: str, port: int) -> None:
    """Until it is ready; then what it may do."""
    http = urllib3.PoolManager(timeout=2.0, retries=False)

    def ready() -> bool:
        try:
            return http.request("GET", f"http://127.0.0.1:{port}/readyz").status == 200
        except urllib3.exceptions.HTTPError:
            return False

    began = time.monotonic()
    within(60, "readiness", ready)
    print(f"ready after {time.monotonic() - began:.1f} s")
    told = json.loads(engine.ask("inspect", container))[0]
    process = Path(f"/proc/{told['State']['Pid']}/status").read_text("ascii")
    facts = dict(line.split(":\t", 1) for line in process.splitlines() if ":\t" in line)
    for fact in ("Uid", "Gid", "Groups", "NSpid", "CapEff", "CapBnd", "NoNewPrivs", "Seccomp", "VmHWM"):
        print(f"  {fact}: {facts.get(fact, '').strip()}")
    refusal = engine.refusal("exec", container, "touch", "/opt/relayd/written")
    print(f"  a write: {refusal}")
    if "0" in facts["Uid"].split() or int(facts["CapEff"], 16) or "Read-only" not in refusal:
        raise SystemExit("that may do more than it should")


def stop(engine: Engine, container: str) -> None:
    """SIGTERM, as a kubelet sends it, and what came of it."""
    began = time.monotonic()
    engine.ask("kill", "--signal", "TERM", container)
    code = engine.ask("wait", container)
    took = time.monotonic() - began
    print(f"stopped after {took:.1f} s with exit code {code}")
    if code != "0" or took > GRACE_SECONDS:
        raise SystemExit("the stop was none")


def within(seconds: float, what: str, happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > deadline:
            raise SystemExit(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    main()
