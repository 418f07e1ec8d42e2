"""Which executor the settings name, and what a server without one leaves to others."""

from pathlib import Path

import pytest
from rows import found

from soundlora.errors import InputError
from soundlora.server.endpoints import taken
from soundlora.server.settings import Settings
from soundlora.server.store.requests import Requests
from soundlora.server.work import ray_driver
from soundlora.server.work.executors import executor_of
from soundlora.server.work.local import LocalExecutor
from soundlora.server.work.ray_driver import RayDriver


def settings(tmp_path: Path, **named: str) -> Settings:
    return Settings(data_dir=tmp_path, **named)  # type: ignore[arg-type]


def test_a_server_without_one_takes_requests_and_does_none(tmp_path: Path, requests: Requests) -> None:
    executor = executor_of(settings(tmp_path, executor="none"), requests)
    request_id = requests.submit("train", {}).id
    executor.start()
    executor.wake()
    assert (executor.slots, executor.running(), executor.over.is_set()) == (0, [], False)
    executor.stop()
    assert found(requests, request_id).state == "queued"


@pytest.mark.parametrize("name", ["auto", "ray://head:10001", "10.0.0.1:6379"])
def test_ray_is_named_by_an_address(
    tmp_path: Path, requests: Requests, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(ray_driver, "find_spec", lambda name: object())
    assert isinstance(executor_of(settings(tmp_path, executor=name), requests), RayDriver)
    monkeypatch.setattr(ray_driver, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"soundlora\[ray\]"):
        executor_of(settings(tmp_path, executor=name), requests)


@pytest.mark.parametrize("name", ["", "ray", "ray://head", "http://head:80", "Local"])
def test_others_are_refused(tmp_path: Path, requests: Requests, name: str) -> None:
    with pytest.raises(InputError, match="it must be local, none, auto"):
        executor_of(settings(tmp_path, executor=name), requests)


def test_this_machine_is_the_one_that_is_named_by_itself(tmp_path: Path, requests: Requests) -> None:
    assert isinstance(executor_of(settings(tmp_path), requests), LocalExecutor)


def test_endpoints_are_named_by_their_work_or_their_ids(tmp_path: Path) -> None:
    some = Settings(data_dir=tmp_path, endpoints=("generation", "fal-ai/ltx23-trainer-v2/t2a"))
    assert taken(some) == (
        "fal-ai/ltx-2.3-quality/text-to-audio",
        "fal-ai/ltx-2.3-quality/text-to-audio/lora",
        "fal-ai/ltx23-trainer-v2/t2a",
    )
    assert taken(Settings(data_dir=tmp_path)) == ()
