"""A Ray cluster on this machine and what drives it, for tests that are skipped where Ray is not installed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from example_zip import some_clips
from local_http import free_port
from waiting import wait_until
from workplace import Place

from soundlora.server.endpoints import TRAINING, unit_prices
from soundlora.server.settings import Settings
from soundlora.server.store.requests import Requests
from soundlora.server.work.ray_driver import RayDriver
from soundlora.server.work.supervisor import Supervisor

pytest.importorskip("ray")

# isort: split
from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID as FAKE_HEAD_NODE_ID

SECONDS = 240.0


class Head:
    """Ray's head, which can be killed and started again with the same port."""

    def __init__(self, folder: Path, slots: int, gpus: int, growing: Mapping[str, Any] | None) -> None:
        """slots, gpus: its own. Ray believes in GPUs that it is told of. growing: what an autoscaler of it goes by."""
        self.port, self.client_port = free_port(), free_port()
        self._folder, self._log, self._config = folder, folder.with_suffix(".log"), folder.with_suffix(".json")
        self._slots, self._gpus, self._growing = slots, gpus, growing
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = {
            "--port": str(self.port),
            "--node-ip-address": "127.0.0.1",
            "--num-cpus": str(self._slots),
            "--num-gpus": str(self._gpus),
            "--object-store-memory": "80000000",
            "--include-dashboard": "false",
            "--ray-client-server-port": str(self.client_port),
            "--temp-dir": str(self._folder),
        }
        if self._growing is not None:
            provider = {**self._growing["provider"], "gcs_address": f"127.0.0.1:{self.port}"}
            self._config.write_text(json.dumps({**self._growing, "provider": provider}))
            options["--autoscaling-config"] = str(self._config)
        quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_memory_monitor_refresh_ms": "0"}
        if self._gpus:
            quiet["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, range(self._gpus)))
        if self._growing is not None:
            quiet |= {
                "RAY_FAKE_CLUSTER": "1",
                "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
                "AUTOSCALER_UPDATE_INTERVAL_S": "1",
            }
        log = self._log.open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", *sum(options.items(), ())],
            stdout=log, stderr=subprocess.STDOUT, env=os.environ | quiet,
        )  # fmt: skip
        log.close()
        wait_until(self._started, SECONDS)

    def _started(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text()
        return "block forever" in self._log.read_text()

    @property
    def address(self) -> str:
        """From a machine of the cluster."""
        return f"127.0.0.1:{self.port}"

    @property
    def address_from_outside(self) -> str:
        return f"ray://127.0.0.1:{self.client_port}"

    def kill(self) -> None:
        """Kill all that belongs to it, at once."""
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                command = (path / "cmdline").read_bytes()
                parts = (b"gcs_server", b"raylet/raylet", b"monitor.py")
                if any(part in command for part in parts) and str(self._folder).encode() in command:
                    os.kill(int(path.name), signal.SIGKILL)
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextlib.contextmanager
def started_head(slots: int = 3, gpus: int = 0, growing: Mapping[str, Any] | None = None) -> Iterator[Head]:
    # Ray's sockets have short names, or none.
    folder = Path(f"/tmp/soundlora-ray-{os.getpid()}")
    head = Head(folder, slots, gpus, growing)
    try:
        head.start()
        yield head
    finally:
        head.kill()
        shutil.rmtree(folder, ignore_errors=True)
        for left in (".log", ".json"):
            folder.with_suffix(left).unlink(missing_ok=True)


@contextlib.contextmanager
def started_driver(place: Place, address: str, **settings_of_it: Any) -> Iterator[RayDriver]:
    settings = Settings(data_dir=place.settings.data_dir, executor=address, warm_seconds=600, **settings_of_it)
    requests = Requests(place.database, unit_prices(settings))
    driver, supervisor = RayDriver(settings, requests), Supervisor(requests, settings.lease_seconds)
    driver.start()
    supervisor.start()
    try:
        yield driver
    finally:
        driver.stop()
        supervisor.stop()


def train(place: Place, steps: int, gpus: int = 1) -> str:
    payload = {"training_data_url": some_clips(), "number_of_steps": steps, "rank": 8, "audio_duration_seconds": 1}
    return place.requests.submit(TRAINING, payload | {"gpus": gpus}, gpus=gpus, prepared=False).id
