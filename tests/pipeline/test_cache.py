from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch

from soundlora.errors import MachineError
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
