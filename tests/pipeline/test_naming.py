from __future__ import annotations

from pathlib import Path

import pytest

from soundlora.errors import InputError
from soundlora.pipeline.naming import check_name, lora_title


@pytest.mark.parametrize(
    ("name", "trigger", "data", "title"),
    [
        ("gate", "rusty", "clips.zip", "gate"),
        ("gate.safetensors", "rusty", "clips.zip", "gate"),
        ("", "rusty  gate", "clips.zip", "rusty gate"),
        ("", "a\x1b[31m red\n\tgate\udcff", "clips.zip", "a[31m red gate"),
        ("", "", "/home/me/Kit.zip", "Kit"),
        ("", "?!", "Kit.zip", "Kit"),
        ("", "", "https://user:word@host/a/my%20kit.zip?signature=1", "my kit"),
        ("", "", "https://host/", "lora"),
        ("", "", "data:application/zip;base64,UEsFBg==", "lora"),
    ],
)
def test_a_lora_is_called_by_its_name_its_trigger_or_its_data(name: str, trigger: str, data: str, title: str) -> None:
    assert lora_title(name, trigger, data) == title


def test_a_folder_of_data_is_called_as_it_is_from_within_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "kit.v2"
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert lora_title("", "", folder) == lora_title("", "", ".") == "kit.v2"


def test_a_name_must_have_something_that_a_file_can_be_called() -> None:
    check_name("")
    check_name("音")
    with pytest.raises(InputError, match=r"^name is '/', but it must have a letter or a digit") as raised:
        check_name("/")
    assert raised.value.field == "name"
