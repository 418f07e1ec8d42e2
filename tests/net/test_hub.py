from __future__ import annotations

from pathlib import Path

import pytest

from soundlora.errors import MachineError
from soundlora.net.hub import check_online, find_token, hub, hub_cache, hub_home, is_offline


@pytest.fixture(autouse=True)
def _nothing_is_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HF_HOME", "XDG_CACHE_HOME", "HF_ENDPOINT", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def write(path: Path, token: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(token)
    return path


def test_without_a_token_anywhere_there_is_none() -> None:
    assert find_token() is None


def test_a_user_without_a_home_has_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container whose user is a number: pathlib raises an error of its own there."""
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", lambda number: {}[number])
    assert find_token() is None
    monkeypatch.setenv("HF_HOME", "~nobody-of-this-name/hub")
    assert find_token() is None
    assert hub_cache() == Path("~nobody-of-this-name/hub/hub")


def test_the_token_of_a_login_is_found_in_the_home_folder(tmp_path: Path) -> None:
    write(tmp_path / ".cache/huggingface/token", "hf_home\n")
    assert find_token() == ("hf_home", "the token of `hf auth login`")


@pytest.mark.parametrize(
    ("name", "value", "file"),
    [
        ("XDG_CACHE_HOME", "{}/xdg", "xdg/huggingface/token"),
        ("HF_HOME", "{}/hf", "hf/token"),
        ("HF_HOME", "~/elsewhere", "elsewhere/token"),
        ("HF_HOME", "$HOME/in-a-variable", "in-a-variable/token"),
        ("HF_TOKEN_PATH", "{}/secrets/mine", "secrets/mine"),
    ],
)
def test_each_variable_moves_the_tokens_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str, file: str
) -> None:
    write(tmp_path / ".cache/huggingface/token", "the wrong one")
    monkeypatch.setenv(name, value.format(tmp_path))
    write(tmp_path / file, "hf_moved")
    token = find_token()
    assert token is not None
    assert token.value == "hf_moved"


def test_the_environment_goes_before_the_file_and_the_new_name_before_the_old(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write(tmp_path / ".cache/huggingface/token", "hf_file")
    monkeypatch.setenv("HUGGING_FACE_HUB_TOKEN", " hf_old\r\n")
    assert find_token() == ("hf_old", "HUGGING_FACE_HUB_TOKEN")
    monkeypatch.setenv("HF_TOKEN", "hf_new")
    assert find_token() == ("hf_new", "HF_TOKEN")
    monkeypatch.setenv("HF_TOKEN", "  ")
    assert find_token() == ("hf_old", "HUGGING_FACE_HUB_TOKEN")


@pytest.mark.parametrize("content", [b"", b" \n", b"\xff\xfe\x00"])
def test_a_file_that_holds_no_token_counts_as_none(tmp_path: Path, content: bytes) -> None:
    write(tmp_path / ".cache/huggingface/token", "").write_bytes(content)
    assert find_token() is None


def test_the_libraries_cache_lies_in_its_home_unless_it_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert hub_home() == tmp_path / ".cache/huggingface"
    assert hub_cache() == tmp_path / ".cache/huggingface/hub"
    monkeypatch.setenv("HF_HUB_CACHE", "~/weights")
    assert hub_cache() == tmp_path / "weights"


def test_a_mirror_takes_the_hubs_place(monkeypatch: pytest.MonkeyPatch) -> None:
    assert hub() == "https://huggingface.co"
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example/")
    assert hub() == "https://mirror.example"


@pytest.mark.parametrize(("value", "offline"), [("1", True), ("on", True), ("True", True), ("0", False), ("", False)])
def test_offline_is_what_the_hubs_library_takes_for_it(
    monkeypatch: pytest.MonkeyPatch, value: str, offline: bool
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    assert is_offline() == offline


def test_offline_says_what_is_missing_and_which_variable_forbids_it(monkeypatch: pytest.MonkeyPatch) -> None:
    check_online("The files")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(MachineError, match=r"^The files are not on this machine, and HF_HUB_OFFLINE is set.*\.$") as e:
        check_online("The files")
    assert e.value.lack == "network"
