"""Settings: what is given counts before the environment, and nonsense is refused."""

from pathlib import Path

import pytest

from soundlora.errors import InputError
from soundlora.server.settings import Settings


def test_what_is_given_counts_before_the_environment() -> None:
    environment = {"SOUNDLORA_PORT": "9000", "SOUNDLORA_BASE": "other", "SOUNDLORA_PRIVATE_HOSTS": "a.b, 10.0.0.0/8"}
    settings = Settings.from_environment(environment, base="nano", host=None)
    assert (settings.port, settings.base, settings.host) == (9000, "nano", "127.0.0.1")
    assert settings.private_hosts == ("a.b", "10.0.0.0/8")


@pytest.mark.parametrize(("text", "value"), [("1", True), ("Yes", True), ("off", False), ("", False)])
def test_words_for_yes_and_no(text: str, value: bool) -> None:
    assert Settings.from_environment({"SOUNDLORA_ALLOW_ANONYMOUS": text}).allow_anonymous is value


@pytest.mark.parametrize(
    ("name", "text"),
    [("PORT", "many"), ("PORT", "-1"), ("ALLOW_ANONYMOUS", "maybe"), ("PRICE_PER_STEP", "nan"), ("SLOTS", "1.5")],
)
def test_nonsense_is_refused_by_name(name: str, text: str) -> None:
    with pytest.raises(InputError, match=f"SOUNDLORA_{name}"):
        Settings.from_environment({f"SOUNDLORA_{name}": text})


def test_workers_get_the_same_settings() -> None:
    settings = Settings(data_dir=Path("/data"), private_hosts=("a", "b"), price_per_step=0.0)
    assert Settings.from_json(settings.to_json()) == settings


def test_by_default_everything_lies_in_the_data_folder(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    assert settings.database == f"sqlite:///{tmp_path}/soundlora.db"
    assert (settings.storage, settings.runs) == (str(tmp_path / "files"), tmp_path / "runs")
    assert settings.loopback
    assert not Settings(host="0.0.0.0").loopback


@pytest.mark.parametrize("name", ["cuda", "cuda:1", "xpu", "mps", "cpu", ""])
def test_a_device_is_named_as_torch_names_it(name: str) -> None:
    settings = Settings.from_environment({"SOUNDLORA_DEVICE": name})
    assert Settings.from_json(settings.to_json()).device == name


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:one", "CUDA"])
def test_a_device_of_another_name_is_refused_before_a_run_is_taken(name: str) -> None:
    with pytest.raises(InputError, match=rf"^SOUNDLORA_DEVICE is '{name}', but it must be cuda, xpu, mps or cpu"):
        Settings.from_environment({}, device=name)
