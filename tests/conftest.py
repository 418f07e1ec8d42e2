"""One thread, no shared cache, and a base and clips small enough to train on in a second."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import shortcuts
import torch
from file_server import FileServer, serving
from hypothesis import HealthCheck, settings
from postgres import NoPostgresError, cluster
from support import (
    TINY_CHECKPOINT,
    TINY_ENCODER,
    BaseNames,
    Cli,
    Gpu,
    Outcome,
    make_quick,
    rewrite,
    tone,
    write_base_25,
    write_clip,
)

from soundlora.system.operating_system import STOP_SIGNALS, usable_cores
from soundlora.weights.generations import LTX_25

os.environ["OMP_NUM_THREADS"] = "1"
# Runs are compared to the bit, which a GPU in bf16 does not promise; name one to try them there.
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
if not os.environ["CUDA_VISIBLE_DEVICES"]:  # Triton reads it once, when it is first imported
    os.environ.setdefault("TRITON_INTERPRET", "1")
# Made-up inputs are judged by what becomes of them, and not by how busy the machine is.
untimed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("many", untimed, max_examples=100)
settings.register_profile("some", untimed, max_examples=30)
SLOW = re.compile(r"^pytestmark = \[?pytest\.mark\.slow\b", re.MULTILINE)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Three processes for two cores: a test computes with one thread, and waits for processes and servers at times."""
    return max(1, usable_cores() * 3 // 2)


def pytest_configure(config: pytest.Config) -> None:
    """Where slow tests are left out, a fact about all inputs is tried with fewer of them."""
    settings.load_profile("some" if "not slow" in config.option.markexpr else "many")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """A file that is slow as a whole is not even imported, with all that it imports, where slow tests are left out."""
    if "not slow" not in config.option.markexpr or collection_path.suffix != ".py":
        return None
    return True if SLOW.search(collection_path.read_text()) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take minutes come first, so that at the end no process waits for another one's long file."""
    here = Path(__file__).parent
    items.sort(key=lambda item: item.path.parent not in (here / "page", here))


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _shortcuts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        shortcuts.take(patch, tmp_path_factory.mktemp("shortcuts"))
        yield


@pytest.fixture(autouse=True)
def _same_random_numbers_every_time() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _usual_signals() -> Iterator[None]:
    """As a shell starts a program, whatever the tests were started with and the tests before did."""
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    for number in STOP_SIGNALS:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOUNDLORA_CACHE", str(tmp_path / "cache"))
    # Neither is anything found that the user's other programs keep: tokens, and weights of the hub.
    monkeypatch.setenv("HF_HOME", str(tmp_path / "huggingface"))
    monkeypatch.setenv("SOUNDLORA_MODELS", str(tmp_path / "models"))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_HUB_OFFLINE", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def soundlora(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """The command, in this process."""
    from soundlora.cli import app as cli

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["soundlora", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        code = exit_.value.code
        assert isinstance(code, int)
        return Outcome(code, *capsys.readouterr())

    return run


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    """A device that says it is a GPU of so many GiB, some of which other programs hold."""
    from soundlora.system.gpu_memory import GIB

    def pretend(gib: float, held: float = 0.0) -> torch.device:
        total, free = round(gib * GIB), round((gib - held - 2) * GIB)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, total))
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 2 * GIB)
        monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
        return torch.device("cuda")

    return pretend


@pytest.fixture
def file_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """A web server that stands in for the hub too, and no waiting between tries."""
    from soundlora.net import patience

    with serving() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url + "/")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setattr(patience, "time", SimpleNamespace(sleep=server.waits.append))
        yield server


@pytest.fixture(scope="session")
def tiny_base() -> BaseNames:
    """The base of the reference cases, in the official layout."""
    return BaseNames(str(TINY_CHECKPOINT), TINY_ENCODER)


@pytest.fixture(scope="session")
def quick_base(tmp_path_factory: pytest.TempPathFactory) -> BaseNames:
    """The tiny base with another vocoder and sampling defaults: a whole run takes a second."""
    return BaseNames(str(rewrite(tmp_path_factory.mktemp("base") / "quick.safetensors", make_quick)), TINY_ENCODER)


@pytest.fixture(scope="session")
def quick_base_25(quick_base: BaseNames, tmp_path_factory: pytest.TempPathFactory) -> BaseNames:
    """A tiny LTX 2.5 in the hub's layout: a whole run takes a second."""
    folder = write_base_25(tmp_path_factory.mktemp("base") / "ltx-2.5", Path(quick_base.checkpoint))
    return BaseNames(str(folder), folder / LTX_25.files[1].path)


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For runs whose latents and contexts need not be computed anew."""
    return tmp_path_factory.mktemp("shared-cache")


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three clips of 0.6 s with captions."""
    folder = tmp_path_factory.mktemp("data") / "clips"
    folder.mkdir()
    for name, frequency in {"low": 220.0, "middle": 440.0, "high": 880.0}.items():
        write_clip(folder / f"{name}.wav", tone(0.6, frequency), f"a {name} tone")
    return folder


@pytest.fixture(scope="session")
def clips_zip(clips: Path) -> Path:
    return Path(shutil.make_archive(str(clips.parent / "clips"), "zip", clips))


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a Postgres of the tests' own; its tests are skipped where none can be started."""
    with contextlib.ExitStack() as stack:
        try:
            url = stack.enter_context(cluster())
        except NoPostgresError as error:
            pytest.skip(str(error))
        yield url
