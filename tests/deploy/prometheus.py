"""A real Prometheus that scrapes one daemon, for tests of what is asked of it."""

import json
import math
import shutil
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.process.cloud import free_port

RULES = Path(__file__).parent.parent.parent / "deploy" / "observability" / "alerts.yaml"


class Prometheus:
    """Scrapes 127.0.0.1:`port` once a second as job `relayd`, and evaluates our rules."""

    def __init__(self, folder: Path, port: int) -> None:
        program = shutil.which("prometheus")
        if program is None:
            pytest.skip("prometheus is not installed (Debian: apt install prometheus)")
        own = free_port()
        self._url = f"http://127.0.0.1:{own}"
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(RULES)],
            "scrape_configs": [{"job_name": "relayd", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}],
        }
        (folder / "prometheus.yml").write_text(json.dumps(config))
        self._log = (folder / "prometheus.log").open("wb")
        self._process = subprocess.Popen(
            [
                program,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{own}",
            ],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    def ask(self, query: str) -> list[float]:
        """The values of an instant query, numbers only: Grafana shows nothing where there is none."""
        found = self.get(f"query?{urllib.parse.urlencode({'query': query})}")["result"]
        values = [float(series["value"][1]) for series in found]
        return [value for value in values if math.isfinite(value)]

    def get(self, what: str) -> Any:
        with urllib.request.urlopen(f"{self._url}/api/v1/{what}", timeout=5) as answer:
            return json.load(answer)["data"]

    def is_up(self) -> bool:
        assert self._process.poll() is None, "prometheus ended; see prometheus.log"
        try:
            return bool(self.ask('up{job="relayd"} == 1'))
        except OSError:
            return False

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)
        self._log.close()
