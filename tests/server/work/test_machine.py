from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from support import BaseNames

from soundlora.errors import InputError
from soundlora.server.work.machine import Keeper, NoRoomError


def test_a_base_is_loaded_once_for_several_requests(quick_base: BaseNames) -> None:
    keeper = Keeper()
    first = keeper.generator(quick_base.checkpoint, str(quick_base.encoder), [], "cpu")
    assert keeper.generator(quick_base.checkpoint, str(quick_base.encoder), [], "cpu") is first
    assert keeper.generator("nano", None, [], "cpu") is not first


def test_a_lora_that_cannot_be_used_costs_no_loaded_base(quick_base: BaseNames, tmp_path: Path) -> None:
    keeper = Keeper()
    first = keeper.generator(quick_base.checkpoint, str(quick_base.encoder), [], "cpu")
    with pytest.raises(InputError):
        keeper.generator(
            quick_base.checkpoint, str(quick_base.encoder), [(tmp_path / "nowhere.safetensors", 1.0)], "cpu"
        )
    assert keeper.generator(quick_base.checkpoint, str(quick_base.encoder), [], "cpu") is first


def test_another_file_of_the_same_name_is_loaded_anew(quick_base: BaseNames, tmp_path: Path) -> None:
    copy = tmp_path / "base.safetensors"
    shutil.copy(quick_base.checkpoint, copy)
    keeper = Keeper()
    first = keeper.generator(str(copy), str(quick_base.encoder), [], "cpu")
    status = copy.stat()
    os.utime(copy, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert keeper.generator(str(copy), str(quick_base.encoder), [], "cpu") is not first


def test_without_room_beside_a_training_nothing_is_loaded(
    quick_base: BaseNames, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = Keeper()
    monkeypatch.setattr("soundlora.pipeline.generate.check_room", lambda *where: False)
    where = quick_base.checkpoint, str(quick_base.encoder)
    with pytest.raises(NoRoomError):
        keeper.generator(*where, [], "cpu", beside=5.0)
    kept = keeper.generator(*where, [], "cpu")
    assert keeper.generator(*where, [], "cpu", beside=5.0) is kept, "its memory is taken already"
