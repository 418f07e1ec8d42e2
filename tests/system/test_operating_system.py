"""What only one of POSIX and Windows has stands in one module, and without POSIX everything still runs."""

from __future__ import annotations

import ast
import errno
import json
import os
import signal
import subprocess
import sys
import types
from pathlib import Path

import pytest
from support import BaseNames

import soundlora
from soundlora.system import operating_system

PACKAGE = Path(soundlora.__file__).parent
HOME = PACKAGE / "system" / "operating_system.py"
MODULES = {
    "fcntl", "grp", "msvcrt", "pty", "pwd", "resource", "select", "syslog", "termios", "tty", "winreg", "_winapi",
}  # fmt: skip
"""Modules that only one system has, and `select`, which knows no pipes on Windows."""
NAMES = {
    "os": {
        "chown", "fchmod", "fork", "forkpty", "getegid", "geteuid", "getgid", "getpgid", "getppid", "getuid", "kill",
        "killpg", "lchown", "link", "mkfifo", "mknod", "nice", "open", "pread", "pwrite", "rename", "replace",
        "sched_getaffinity", "sched_setaffinity", "sendfile", "setpgid", "setpriority", "setsid", "setuid", "startfile",
        "statvfs", "symlink", "sync",
        "sysconf", "uname", "wait", "waitpid", "WEXITSTATUS",
    },
    "signal": {
        "CTRL_BREAK_EVENT", "SIGALRM", "SIGBREAK", "SIGCHLD", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGQUIT", "SIGUSR1",
        "SIGUSR2", "alarm", "pthread_kill", "setitimer", "sigwait",
    },
    "subprocess": {"CREATE_NEW_PROCESS_GROUP", "STARTUPINFO"},
    "ctypes": {"windll", "WinDLL", "WinError"},
}  # fmt: skip
PATHS = ("/proc/", "/sys/", "/dev/", "/tmp/", "/etc/", "/var/")
ARGUMENTS = {"creationflags", "pass_fds", "preexec_fn", "process_group", "start_new_session"}
ALLOWED = {("cli/output.py", "os.open")}
"""`os.open` of the null device, which every system has."""

WITHOUT_POSIX = """
import importlib, json, os, pkgutil, signal, sys, threading, warnings
for name in ("fcntl", "grp", "pwd", "resource", "termios", "tty", "pty", "syslog"):
    sys.modules[name] = None  # importing it fails
# What the libraries import on this system is theirs; they have halves of their own for Windows.
import torch, torch._dynamo, torch.utils.data, uvicorn, obstore, filelock, sqlalchemy, alembic
import numpy, av, httpx2, cryptography.fernet, rich.progress, typer
import platform, shutil, subprocess, tempfile
platform.platform()  # asks another program, once
shutil.disk_usage = lambda path: type("Usage", (), {"free": 1 << 30})  # has a half for Windows, which is not here
for name in ("fork", "forkpty", "killpg", "getuid", "geteuid", "getgid", "getegid", "setsid", "statvfs", "sysconf",
             "sched_getaffinity", "waitpid", "wait", "uname", "kill", "sync", "nice", "getppid", "pread"):
    if hasattr(os, name):
        delattr(os, name)
for name in ("SIGHUP", "SIGKILL", "SIGUSR1", "SIGUSR2", "SIGQUIT", "SIGPIPE", "SIGALRM", "SIGCHLD"):
    delattr(signal, name)
"""
RUN = """
import soundlora
from contextlib import redirect_stdout
import io
names = [module.name for module in pkgutil.walk_packages(soundlora.__path__, "soundlora.")]
names = [name for name in names if "node_modules" not in name and "migrations." not in name]
for name in names:
    # Ray is an extra of its own.
    if not name.endswith(("__main__", ".ray_executor")):
        importlib.import_module(name)
from soundlora.cli.app import main
from soundlora.pipeline.generate import generate
from soundlora.pipeline.train import train

def command(*arguments):
    sys.argv = ["soundlora", *arguments]
    said = io.StringIO()
    try:
        with redirect_stdout(said):
            main()
    except SystemExit as ended:
        return ended.code, said.getvalue()

data, base, encoder, out = sys.argv[1:]
doctor = command("doctor", "--json")
inspected = command("inspect", data, "--duration", "0.5", "--json")
result = train(data, out, base=base, text_encoder=encoder, rank=4, steps=2, duration=0.5, validation_prompts=[])
sound = generate("rain", lora=result.lora, duration=0.4, steps=1, cfg=1, stg=0, base=base, text_encoder=encoder)
sound.save(out + "/sound.wav")
print(json.dumps({"modules": len(names), "doctor": doctor, "inspect": inspected, "files": sorted(os.listdir(out))}))
"""


def spoken_of(path: Path) -> set[str]:
    """What a file names that only one system has."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names if name.name in MODULES}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or ""} & MODULES
            found |= {
                f"{node.module}.{name.name}" for name in node.names if name.name in NAMES.get(node.module or "", ())
            }
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.attr in NAMES.get(node.value.id, ()):
                found.add(f"{node.value.id}.{node.attr}")
        elif isinstance(node, ast.keyword) and node.arg in ARGUMENTS:
            found.add(node.arg)
        elif isinstance(node, ast.Constant) and str(node.value).startswith(PATHS):
            found.add(str(node.value))
    return found


def test_no_other_module_names_what_only_one_system_has() -> None:
    files = [path for path in sorted(PACKAGE.rglob("*.py")) if "node_modules" not in path.parts and path != HOME]
    assert len(files) > 100
    found = {(path.relative_to(PACKAGE).as_posix(), name) for path in files for name in spoken_of(path)}
    assert found - ALLOWED == set()
    assert ALLOWED - found == set()


def test_the_one_module_is_seen_to_name_it(tmp_path: Path) -> None:
    assert {"os.fork", "os.kill", "os.sysconf", "signal.SIGKILL", "/proc/cpuinfo", "ctypes.windll"} <= spoken_of(HOME)
    other = tmp_path / "other.py"
    other.write_text("import fcntl\nfrom os import replace\nfrom signal import SIGHUP\nPopen([], preexec_fn=None)\n")
    assert spoken_of(other) == {"fcntl", "os.replace", "signal.SIGHUP", "preexec_fn"}


def test_every_module_and_a_whole_training_run_without_posix(
    quick_base: BaseNames, clips: Path, tmp_path: Path
) -> None:
    arguments = [str(clips), quick_base.checkpoint, str(quick_base.encoder), str(tmp_path / "run")]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WITHOUT_POSIX + RUN, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["modules"] > 100
    assert said["doctor"][0] == 0
    assert json.loads(said["doctor"][1])["memory"] is None
    assert said["inspect"][0] == 0
    assert json.loads(said["inspect"][1])["kept"] == 3
    assert {"lora.safetensors", "config.json", "sound.wav"} <= set(said["files"])


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The module takes its Windows half."""
    for name in ("fork", "setsid", "sched_getaffinity", "sysconf"):
        monkeypatch.delattr(os, name, raising=False)


@pytest.mark.usefixtures("windows")
def test_a_file_that_is_open_elsewhere_is_replaced_a_moment_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "new").write_text("new")
    (tmp_path / "old").write_text("old")
    tries: list[Path] = []
    real = os.replace

    def busy(source: Path, target: Path) -> None:
        tries.append(target)
        if len(tries) < 3:
            raise PermissionError(errno.EACCES, "it is being used by another process", str(target))
        real(source, target)

    monkeypatch.setattr(os, "replace", busy)
    operating_system.replace(tmp_path / "new", tmp_path / "old")
    assert (tmp_path / "old").read_text() == "new"
    tries.clear()
    monkeypatch.setattr(operating_system, "_REPLACE_SECONDS", 0.0)
    with pytest.raises(PermissionError, match="another process"):
        operating_system.replace(tmp_path / "old", tmp_path / "other")
    assert len(tries) == 1


@pytest.mark.usefixtures("windows")
def test_a_process_has_a_group_that_is_asked_and_then_ended_with_all_it_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[int] = []
    called: list[list[str]] = []
    monkeypatch.setattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0x200, raising=False)
    monkeypatch.setattr(signal, "CTRL_BREAK_EVENT", 1, raising=False)
    monkeypatch.setattr(subprocess, "run", lambda command, **given: called.append(command))
    process = types.SimpleNamespace(pid=77, send_signal=sent.append, kill=lambda: sent.append(-9))
    assert operating_system.own_group() == {"creationflags": 0x200}
    operating_system.ask_to_end(process)  # type: ignore[arg-type]
    operating_system.end_at_once(process)  # type: ignore[arg-type]
    assert sent == [1, -9]
    assert called == [["taskkill", "/F", "/T", "/PID", "77"]]


@pytest.mark.usefixtures("windows")
def test_without_fork_nothing_is_forked_and_folders_are_not_synced(tmp_path: Path) -> None:
    assert operating_system.fork() is None
    assert not operating_system.forks_are_safe()
    assert operating_system.usable_cores() == os.cpu_count()
    assert operating_system.memory_bytes() is None
    operating_system.sync_folder(tmp_path / "not there")


@pytest.mark.usefixtures("windows")
def test_an_interrupt_of_the_main_thread_needs_no_kill() -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupted()


def interrupted() -> None:
    operating_system.interrupt_main_thread()
    for _ in range(1000):  # it comes between two steps of the interpreter
        pass


def test_a_path_that_is_too_long_for_windows_is_said_to_be() -> None:
    error = OSError(errno.ENOENT, "No such file or directory", "x" * 300)
    assert operating_system.reason_of(error) == "No such file or directory"
    error.winerror = 3  # type: ignore[attr-defined, unused-ignore]
    assert "up to 259 characters" in operating_system.reason_of(error)


@pytest.mark.skipif(sys.platform == "win32", reason="the pipes of POSIX")
def test_a_pipe_has_ended_when_nobody_can_write_to_it() -> None:
    reading, writing = os.pipe()
    assert not operating_system.pipe_has_ended(reading)
    os.close(writing)
    assert operating_system.pipe_has_ended(reading)
    os.close(reading)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells")
def test_linux_tells_what_the_machine_has() -> None:
    assert operating_system.usable_cores() >= 1
    memory = operating_system.memory_bytes()
    assert memory is not None
    assert memory > 1 << 28
    library = operating_system.loaded_library("libc")
    assert library is not None
    assert Path(library).is_file()
    assert operating_system.loaded_library("no such library") is None
