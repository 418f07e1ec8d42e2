from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from soundlora.errors import MachineError
from soundlora.net.storage import Storage, StorageError
from soundlora.pipeline.cache import Cache, context_key, latents_key
from soundlora.system.cache_root import default_root

KEY = latents_key("base", "clip", 5.0, True, True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_was_put_is_got_to_the_bit(tmp_path: Path, dtype: torch.dtype) -> None:
    value = torch.randn(3, 4).to(dtype).T
    Cache(tmp_path).put(KEY, value)
    found = Cache(tmp_path).get(KEY)
    assert found is not None
    assert found.dtype == dtype
    assert torch.equal(found, value)


def test_an_unknown_key_is_nothing(tmp_path: Path) -> None:
    assert Cache(tmp_path / "not there yet").get(KEY) is None


@pytest.mark.parametrize("damage", [b"", b"\x00" * 20, None])
def test_a_damaged_entry_counts_as_missing_and_is_replaced(tmp_path: Path, damage: bytes | None) -> None:
    cache = Cache(tmp_path)
    cache.put(KEY, torch.ones(2))
    (path,) = tmp_path.rglob("*.safetensors")
    path.write_bytes(path.read_bytes()[:-1] if damage is None else damage)
    assert cache.get(KEY) is None
    cache.put(KEY, torch.ones(2))
    assert cache.get(KEY) is not None


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr("soundlora.pipeline.cache.replace", full)
    with pytest.raises(MachineError, match="no space"):
        Cache(tmp_path).put(KEY, torch.ones(2))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_every_setting_that_shapes_latents_is_in_their_key() -> None:
    keys = {
        KEY,
        latents_key("other", "clip", 5.0, True, True),
        latents_key("base", "other", 5.0, True, True),
        latents_key("base", "clip", 5.5, True, True),
        latents_key("base", "clip", 5.0, False, True),
        latents_key("base", "clip", 5.0, True, False),
    }
    assert len(keys) == 6


def test_every_setting_that_shapes_a_context_is_in_its_key() -> None:
    keys = {
        context_key("base", "rain", torch.float32),
        context_key("other", "rain", torch.float32),
        context_key("base", "rain ", torch.float32),
        context_key("base", "rain", torch.bfloat16),
    }
    assert len(keys) == 4


def test_the_cache_lies_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SOUNDLORA_CACHE", str(tmp_path / "named"))
    assert default_root() == tmp_path / "named"
    monkeypatch.delenv("SOUNDLORA_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_root() == tmp_path / "xdg" / "soundlora"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_root() == tmp_path / ".cache" / "soundlora"


# ----------------------------------------------------------------------------------------------------------------------
# many machines, and little room


def test_machines_share_what_one_has_computed(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path / "storage"))
    Cache(tmp_path / "one", storage).put("aa" * 32, torch.arange(3.0))
    other = Cache(tmp_path / "two", storage)
    found = other.get("aa" * 32)
    assert found is not None
    assert torch.equal(found, torch.arange(3.0))
    assert other.get("bb" * 32) is None
    assert Cache(tmp_path / "two").get("aa" * 32) is not None, "this machine has it by now"


def test_a_shared_cache_that_fails_is_told_of_once_and_left_alone(tmp_path: Path) -> None:
    class Away:
        calls = 0

        def __getattr__(self, name: str) -> Any:
            def fail(*arguments: object) -> None:
                self.calls += 1
                raise StorageError("away")

            return fail

    said: list[str] = []
    away = Away()
    store = Cache(tmp_path / "one", cast(Storage, away), tell=said.append)
    assert store.get("aa" * 32) is None
    store.put("aa" * 32, torch.arange(3.0))
    assert store.get("aa" * 32) is not None
    assert (away.calls, len(said), "(away)" in said[0]) == (1, 1, True)
    assert [path.suffix for path in (tmp_path / "one").rglob("*") if path.is_file()] == [".safetensors"]


def test_a_damaged_shared_entry_is_computed_again(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path / "storage"))
    key = "aa" * 32
    storage.put(f"cache/aa/{key}.safetensors", b"no tensor")
    store = Cache(tmp_path / "one", storage)
    assert store.get(key) is None
    store.put(key, torch.arange(3.0))
    assert Cache(tmp_path / "two", storage).get(key) is not None


def test_what_was_used_longest_ago_makes_room(tmp_path: Path) -> None:
    keys = [f"{number:02x}" * 32 for number in range(6)]
    for age, key in enumerate(keys):
        Cache(tmp_path).put(key, torch.zeros(250))  # a thousand bytes, and a header
        os.utime(tmp_path / key[:2] / f"{key}.safetensors", (0, time.time() - 1000 * (10 - age)))
    store = Cache(tmp_path, limit=4500)
    assert store.get(keys[0]) is not None, "it was used just now"
    store.put("ff" * 32, torch.zeros(250))
    left = [key for key in [*keys, "ff" * 32] if Cache(tmp_path).get(key) is not None]
    assert left == [keys[0], keys[4], keys[5], "ff" * 32]


def test_what_is_in_use_stays_beyond_the_limit(tmp_path: Path) -> None:
    store = Cache(tmp_path, limit=1)
    for number in range(3):
        store.put(f"{number:02x}" * 32, torch.zeros(250))
    assert all(store.get(f"{number:02x}" * 32) is not None for number in range(3))
