"""Everybody's circumstances: folders that can't be written, full disks, odd locales, closed pipes, impatient people.

Each ends in one sentence or works, and what somebody has waited for is kept. A command is a process of its own where
the circumstance is one of the process: its user, its mounts, its limits, its locale, its streams.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from parity.runners import fresh_transformer
from support import SENTENCE, BaseNames, Cli

import soundlora
from soundlora.lora.adapter import Adapter

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the circumstances are made with Linux's tools")

SOURCE = Path(soundlora.__file__).parents[1]
# The endpoint trains 100 steps and more; here two are enough.
TRAIN_TWO = """
from soundlora.contract.training import TrainingRequest
TrainingRequest.model_fields["number_of_steps"].metadata.clear()
TrainingRequest.model_rebuild(force=True)
from soundlora.__main__ import main
main()
"""
CLOCK_OF_1970 = """
import time
local, begun = time.localtime, time.time()
time.time = lambda now=time.time: 1000.0 - 3 * (now() - begun)  # it runs backwards
time.localtime = lambda seconds=None: local(time.time() if seconds is None else seconds)
"""
BASE = ("--base", "{place}/base.safetensors", "--text-encoder", "{place}/encoder")
TRAIN = ("train", "--request", "{place}/two.json", *BASE, "--out", "{here}/run")
ENDLESS = (
    "train",
    "--request",
    "{place}/endless.json",
    *BASE,
    "--out",
    "{here}/run",
    "--checkpoint-every",
    "100000000",
)
GENERATE = ("generate", "--prompt", "rain", "--duration", "0.4", "--steps", "1", "--cfg", "1", "--stg", "0", *BASE)
MERGE = ("lora", "merge", "{place}/lora.safetensors", "--base", "{place}/base.safetensors")
CONVERT = ("lora", "convert", "{place}/lora.safetensors", "--to", "kohya")
INSPECT = ("inspect", "{place}/clips", "--duration", "0.5")


@cache
def can_mount() -> str:
    """Why there can be no mounts of our own, or ""."""
    try:
        done = subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, text=True)
    except OSError as error:
        return str(error)
    return done.stderr.strip() if done.returncode else ""


def within(mounts: str, after: str = "true") -> tuple[str, ...]:
    """Run a command where `mounts` has mounted something that only it sees."""
    return ("unshare", "-m", "sh", "-ec", f'{mounts}; set +e; "$@"; code=$?; {after}; exit $code', "sh")


def shell(redirected: str) -> tuple[str, ...]:
    return ("sh", "-c", f'exec "$@" {redirected}', "sh")


READ_ONLY = within("mount -t tmpfs -o ro none {here}/folder")
SMALL = within("mount -t tmpfs -o size=8k none {here}/folder; head -c 4096 /dev/zero >{here}/folder/ballast")
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
NOWHERE = ("setpriv", "--reuid=54321", "--regid=54321", "--clear-groups")


@dataclass
class Case:
    """A circumstance: a command, how it is run, its exit code, and words of its one sentence, or of its output."""

    name: str
    command: Sequence[str]
    code: int
    words: str = ""
    under: Sequence[str] = ()
    environment: dict[str, str | None] = field(default_factory=dict)
    program: str = ""
    slow: bool = False

    @property
    def alone(self) -> bool:
        """Whether the circumstance is one of the process."""
        return bool(self.under or self.program or self.environment.keys() - {"SOUNDLORA_CACHE"})


CACHE_BELOW_A_FILE: dict[str, str | None] = {"SOUNDLORA_CACHE": "{place}/file/cache"}
CACHE_READ_ONLY: dict[str, str | None] = {"SOUNDLORA_CACHE": "{here}/folder/cache"}
NO_HOME: dict[str, str | None] = {"SOUNDLORA_CACHE": None, "HOME": None, "XDG_CACHE_HOME": None}
FORBIDDEN_HOME: dict[str, str | None] = {"SOUNDLORA_CACHE": None, "HOME": "{here}", "XDG_CACHE_HOME": None}
ASCII: dict[str, str | None] = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
ASCII_OUTPUT: dict[str, str | None] = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
BAD_BYTES = os.fsdecode(b"clips\xff\xfe")

CASES = [
    # The cache, HOME and TMPDIR.
    Case("the cache lies below a file", TRAIN, 1, "name another folder with SOUNDLORA_CACHE", (), CACHE_BELOW_A_FILE,
         TRAIN_TWO, slow=True),
    Case("the cache is read-only", ["base", "fetch", "a/b"], 1, "SOUNDLORA_CACHE", READ_ONLY, CACHE_READ_ONLY,
         slow=True),
    Case("the cache is not there to be listed", ["base", "list"], 0, "Nothing has been", (), CACHE_BELOW_A_FILE),
    Case("no home", ["base", "list"], 1, "no home folder for the cache; name a folder with", NOWHERE, NO_HOME),
    Case("a home that is forbidden", ["base", "list"], 1, "(Permission denied)", NOBODY, FORBIDDEN_HOME, slow=True),
    Case("an unknown user's home", ["inspect", "~no-such-user/x"], 2, "~no-such-user/x does not exist"),
    Case("the folder for temporary files is full", ["inspect", "{place}/clips.zip", "--duration", "0.5"], 1,
         "make room on its disk", SMALL, {"TMPDIR": "{here}/folder"}),
    # Where results go.
    Case("a sound below a file", [*GENERATE, "--out", "{place}/file/x.wav"], 2, "there is no folder"),
    Case("a sound in /proc", [*GENERATE, "--out", "/proc/x.wav"], 1, "/proc/x.wav can't be written"),
    Case("a LoRA in a read-only folder", [*CONVERT, "{here}/folder/x"], 1, "(Read-only file system)", READ_ONLY,
         slow=True),
    Case("a forbidden place for a sound", [*GENERATE, "--out", "{here}/x.wav"], 1, "(Permission denied)", NOBODY),
    Case("forbidden clips", ["inspect", "{here}/clips"], 2, "cannot be opened (Permission denied)", NOBODY),
    Case("keys below a file", ["keys", "list", "--data-dir", "{place}/file/x"], 1, "(Not a directory)"),
    Case("keys in a read-only folder", ["keys", "create", "me", "--data-dir", "{here}/folder"], 1,
         "The database sqlite:////", READ_ONLY),
    Case("a server's data below a file", ["serve", "--port", "0", "--data-dir", "{place}/file/x"], 1, "(Not a dir"),
    # Room.
    Case("a limit of 3000 bytes a file", [*MERGE, "{here}/x"], 1, "(File too large); make room",
         ("prlimit", "--fsize=3000"), slow=True),
    Case("no files at all", ["keys", "create", "me", "--data-dir", "{here}/data"], 1, "can't be used (disk I/O error)",
         ("prlimit", "--fsize=0")),
    # Languages.
    Case("clips in German, in a locale of C", ["inspect", "{place}/Größe 音", "--duration", "0.5"], 0, "Töne.wav",
         (), {"LC_ALL": "C"}, slow=True),
    Case("clips in German, where only ASCII is known", ["inspect", "{place}/Größe 音", "--duration", "0.5"], 0,
         "Töne.wav", (), ASCII),
    Case("output that is ASCII", ["inspect", "{place}/Größe 音", "--duration", "0.5"], 0, r"T\xf6ne.wav", (),
         ASCII_OUTPUT),
    Case("JSON that is ASCII", ["inspect", "{place}/Größe 音", "--duration", "0.5", "--json"], 0, r"T\u00f6ne.wav", (),
         ASCII_OUTPUT),
    Case("a key with an umlaut, where only ASCII is known", ["keys", "create", "Jürgen", "--data-dir", "{here}/data"],
         0, "the key of Jürgen", (), ASCII),
    Case("a key that is no text", ["keys", "create", "\udcff", "--data-dir", "{here}/data"], 2, "that are no text"),
    Case("a prompt that is no text", [*GENERATE, "--prompt", "\udcff", "--out", "{here}/x.wav"], 2, "that are no text"),
    # Streams.
    Case("a full disk behind the output", INSPECT, 1, "The output can't be written (No space", shell(">/dev/full"),
         slow=True),
    Case("a full disk behind a version", ["--version"], 1, "The output can't be written (No sp", shell(">/dev/full")),
    # Names.
    Case("a sound's name of 255 bytes", [*GENERATE, "--out", "{here}/" + "ü" * 125 + "w.wav"], 0, "48000 Hz"),
    Case("a LoRA's name of 255 bytes", [*MERGE, "{here}/" + "m" * 255], 0, "weights changed"),
    Case("a name too long for clips", ["inspect", "x" * 300], 2, "cannot be opened (File name too long)"),
    Case("a name too long for keys", ["keys", "list", "--data-dir", "{here}/" + "x" * 300], 1, "(File name too long)"),
    Case("a name too long for a base", ["base", "verify", "x" * 300], 1, "(File name too long)"),
    # The whole of a training: nothing that is open, a path that is no text, ASCII alone, a package nobody may write to.
    Case("nothing open, ASCII alone, a path that is no text",
         ["train", "{place}/" + BAD_BYTES, "--out", "{here}/" + BAD_BYTES, "--steps", "2", "--rank", "8", "--duration",
          "0.5", "--trigger-phrase", "Töne", "--preview-every", "9", *BASE], 0, "", shell("<&- >&- 2>&-"), ASCII,
         TRAIN_TWO, slow=True),
    Case("a package in a read-only folder", TRAIN, 0, "lora.safetensors",
         within(f"mount --bind {SOURCE} {SOURCE}; mount -o remount,ro,bind {SOURCE}"),
         {"PYTHONDONTWRITEBYTECODE": None}, TRAIN_TWO, slow=True),
    Case("a clock that is set to 1970 and runs backwards", [each.replace("two", "debug") for each in TRAIN], 0,
         "debug_dataset.zip", (), {}, CLOCK_OF_1970 + TRAIN_TWO, slow=True),
    Case("a disk that fills while it trains",
         [*(each.replace("{here}/run", "{here}/folder/run") for each in TRAIN), "--checkpoint-every", "1"], 1,
         "step_000001.pt holds an earlier one. Go on with the same settings and --resume",
         within("mount -t tmpfs -o size=330k none {here}/folder"), {}, TRAIN_TWO, slow=True),
]  # fmt: skip


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory, quick_base: BaseNames, clips: Path) -> Path:
    """A base, clips and requests, which no case changes."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "base.safetensors").symlink_to(quick_base.checkpoint)
    (folder / "encoder").symlink_to(quick_base.encoder)
    (folder / "clips").symlink_to(clips)
    for name in ("Größe 音", BAD_BYTES):
        (folder / name).mkdir()
        for clip in clips.iterdir():
            (folder / name / clip.name.replace("low", "Töne")).write_bytes(clip.read_bytes())
    with zipfile.ZipFile(folder / "clips.zip", "w") as archive:
        for clip in clips.iterdir():
            archive.write(clip, clip.name)
    (folder / "file").write_text("a file")
    Adapter.create(fresh_transformer(), 8).save(folder / "lora.safetensors", {})
    request = {"training_data_url": "clips", "rank": 8, "audio_duration_seconds": 0.5}
    (folder / "two.json").write_text(json.dumps(request | {"number_of_steps": 2}))
    (folder / "debug.json").write_text(json.dumps(request | {"number_of_steps": 2, "debug_dataset": True}))
    (folder / "endless.json").write_text(json.dumps(request | {"number_of_steps": 10**7}))
    return folder


class Runner:
    """Runs commands in a folder of their own, `here`."""

    def __init__(self, place: Path, here: Path) -> None:
        self.place, self.here = place, here
        (here / "folder").mkdir()

    def filled(self, text: str) -> str:
        return text.replace("{place}", str(self.place)).replace("{here}", str(self.here))

    def arguments(self, command: Sequence[str], under: Sequence[str] = (), program: str = "") -> list[str]:
        python = [sys.executable, *(["-c", program] if program else ["-m", "soundlora"])]
        return [*map(self.filled, under), *python, *map(self.filled, command)]

    def environment(self, changes: dict[str, str | None]) -> dict[str, str]:
        found = {name: value for name, value in os.environ.items() if not name.startswith(("SOUNDLORA", "LC_", "LANG"))}
        found |= {"PYTHONPATH": str(SOURCE), "SOUNDLORA_CACHE": str(self.place / "cache"), "OMP_NUM_THREADS": "1"}
        found |= {"LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
        for name, value in changes.items():
            if value is None:
                found.pop(name, None)
            else:
                found[name] = self.filled(value)
        return found

    def run(self, case: Case) -> subprocess.CompletedProcess[bytes]:
        command = self.arguments(case.command, case.under, case.program)
        return subprocess.run(
            command, capture_output=True, env=self.environment(case.environment), cwd="/", timeout=300, check=False
        )

    def start(self, *more: str, stdout: Any = subprocess.PIPE) -> subprocess.Popen[bytes]:
        """A training that goes on for ever, after its first steps."""
        process = subprocess.Popen(
            self.arguments([*ENDLESS, *more], (), TRAIN_TWO),
            stdout=stdout,
            stderr=subprocess.PIPE,
            env=self.environment({}),
        )
        self.wait_for_steps(3, process)
        return process

    def steps(self) -> int:
        metrics = self.here / "run" / "metrics.jsonl"
        return metrics.read_bytes().count(b"\n") if metrics.exists() else 0

    def wait_for_steps(self, count: int, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + 120
        while self.steps() < count:
            assert time.monotonic() < deadline
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)

    def assert_kept(self) -> None:
        """The state of the last step is there, and the figures of just as many steps."""
        (state,) = (self.here / "run" / "checkpoints").glob("*.pt")
        assert torch.load(state, weights_only=True)["step"] == self.steps() >= 3
        left = [path.name for path in (self.here / "run").rglob("*") if path.suffix in (".partial", ".lock")]
        assert left == []
        assert not (self.here / "run" / ".lock").exists()


@pytest.fixture
def runner(place: Path, tmp_path: Path) -> Runner:
    here = tmp_path / "here"
    here.mkdir()
    return Runner(place, here)


def ended(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    _, told = process.communicate(timeout=120)
    said = told.decode()
    assert "Traceback" not in said
    return process.returncode, said


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=case.name, marks=[pytest.mark.slow] * case.slow) for case in CASES]
)
def test_each_circumstance_ends_in_a_sentence_or_works(
    runner: Runner, case: Case, soundlora: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    if case.under[:1] == ("unshare",) and can_mount():
        pytest.skip(f"no mounts can be made: {can_mount()}")
    if case.under[:1] == ("setpriv",) and os.geteuid() != 0:
        pytest.skip("only root can be another user")
    if case.alone:
        done = runner.run(case)
        code, out, err = done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    else:
        monkeypatch.chdir("/")
        for name, value in runner.environment(case.environment).items():
            monkeypatch.setenv(name, value)
        code, out, err = soundlora(*map(runner.filled, case.command))
    assert code == case.code, err
    assert "Traceback" not in err
    if case.code:
        assert SENTENCE.fullmatch(err), err
        assert case.words in err
    else:
        assert err == ""
        assert case.words in out
    assert list(runner.here.rglob("*.partial")) == []


@pytest.mark.parametrize(
    "command",
    [
        INSPECT,
        ["--help"],
        pytest.param(["doctor", "--plan"], marks=pytest.mark.slow),
        pytest.param(["lora", "info", "{place}/lora.safetensors"], marks=pytest.mark.slow),
    ],
)
def test_output_that_nobody_reads(runner: Runner, command: Sequence[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as pipe:
        done = subprocess.run(
            runner.arguments(command), stdout=pipe, stderr=subprocess.PIPE, env=runner.environment({}), check=False
        )
    assert done.returncode == 1
    assert done.stderr == b"soundlora: The output can't be written (Broken pipe).\n"


def test_errors_that_nobody_reads_keep_their_exit_code(runner: Runner) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as pipe:
        command = runner.arguments(["inspect", "{here}/nothing"])
        assert subprocess.run(command, stderr=pipe, env=runner.environment({}), check=False).returncode == 2


@pytest.mark.parametrize(
    "signals",
    [
        pytest.param([signal.SIGHUP], id="a terminal that closes"),
        pytest.param(
            [signal.SIGINT, signal.SIGINT, signal.SIGTERM, signal.SIGHUP], id="impatience", marks=pytest.mark.slow
        ),
    ],
)
def test_a_training_that_is_stopped_keeps_its_state(runner: Runner, signals: list[signal.Signals]) -> None:
    process = runner.start()
    for number in signals:
        process.send_signal(number)
        time.sleep(0.01)
    code, said = ended(process)
    assert code == 1
    assert SENTENCE.fullmatch(said), said
    assert "holds the state. Go on with the same settings and --resume." in said
    runner.assert_kept()


@pytest.mark.slow
def test_a_training_whose_output_nobody_reads_any_more_keeps_its_state(runner: Runner) -> None:
    reading, writing = os.pipe()
    with open(writing, "wb") as pipe:
        process = runner.start(stdout=pipe)
    os.close(reading)
    code, said = ended(process)
    assert code == 1
    assert SENTENCE.fullmatch(said), said
    assert said.startswith("soundlora: The output can't be written (Broken pipe). Stopped at step ")
    runner.assert_kept()


@pytest.mark.slow
def test_of_two_trainings_in_one_folder_the_second_is_refused_and_the_first_goes_on(runner: Runner) -> None:
    first = runner.start()
    second = runner.run(Case("", [*ENDLESS, "--resume"], 1, program=TRAIN_TWO))
    assert second.returncode == 1
    assert SENTENCE.fullmatch(second.stderr.decode()), second.stderr
    assert b"Another process trains in" in second.stderr
    runner.wait_for_steps(runner.steps() + 2, first)
    first.terminate()
    assert ended(first)[0] == 1
    runner.assert_kept()


def test_a_server_serves_whoever_reads_what_it_says_and_ends_with_its_terminal(runner: Runner) -> None:
    process = subprocess.Popen(
        runner.arguments(["serve", "--port", "0", "--data-dir", "{here}/data"]),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=runner.environment({}),
    )
    assert process.stdout is not None
    assert b"soundlora serves" in process.stdout.readline()
    process.stdout.close()
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGHUP)
    process.wait(60)
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.returncode == 0
