"""A Ray cluster grows by its own autoscaler with what waits in the queue, and shrinks when nothing does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from ray_head import FAKE_HEAD_NODE_ID, SECONDS, Head, started_driver, started_head, train
from waiting import wait_until
from workplace import Place

# isort: split
from ray._raylet import GcsClient
from ray.core.generated.gcs_pb2 import GcsNodeInfo

pytestmark = pytest.mark.slow


def growing(most: int) -> dict[str, Any]:
    """Return the configuration of an autoscaler whose machines are processes here: Ray's own provider for tests."""
    head = {"resources": {"CPU": 0}, "node_config": {}, "min_workers": 0, "max_workers": 0}
    worker = {"resources": {"CPU": 1, "object_store_memory": 80_000_000}, "node_config": {}, "min_workers": 0}
    return {
        "cluster_name": "fake_multinode",
        "provider": {
            "type": "fake_multinode",
            "head_node_id": FAKE_HEAD_NODE_ID,
            "launch_multiple": True,
            "disable_node_updaters": True,  # else it would reach them by SSH
            "disable_launch_config_check": True,
            "use_node_id_as_ip": True,  # they all have one address
        },
        "head_node_type": "ray.head.default",
        "available_node_types": {"ray.head.default": head, "worker": worker | {"max_workers": most}},
        "max_workers": most,
        "upscaling_speed": 1.0,
        "idle_timeout_minutes": 0.1,
        "auth": {},
        "docker": {},
        "file_mounts": {},
        "cluster_synced_files": [],
        "file_mounts_sync_continuously": False,
        "rsync_exclude": [],
        "rsync_filter": [],
        **{
            name: []
            for name in (
                "initialization_commands",
                "setup_commands",
                "head_setup_commands",
                "worker_setup_commands",
                "head_start_ray_commands",
                "worker_start_ray_commands",
            )
        },
    }


@pytest.fixture
def head() -> Iterator[Head]:
    with started_head(slots=0, growing=growing(most=2)) as head:
        yield head


def nodes(head: Head) -> int:
    """Return how many machines the cluster has."""
    found = GcsClient(address=head.address).get_all_node_info(timeout=30)
    return sum(node.state == GcsNodeInfo.ALIVE for node in found.values())


def test_machines_come_for_what_waits_and_go_when_nothing_does(place: Place, head: Head) -> None:
    assert nodes(head) == 1
    with started_driver(place, head.address, slots=2):
        ids = [train(place, 100) for _ in range(2)]
        wait_until(lambda: nodes(head) == 3, SECONDS)
        wait_until(lambda: all(place.find(id).state == "completed" for id in ids), SECONDS)
        assert [place.find(id).status_code for id in ids] == [200, 200]
        wait_until(lambda: nodes(head) == 1, SECONDS)
