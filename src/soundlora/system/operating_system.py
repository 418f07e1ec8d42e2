"""Everything that differs between POSIX and Windows: processes, signals, replacing files, what the machine has.

No other module names a function, module or path that only one of them has. The Windows half was written by the
documentation and has not been run on Windows.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import glob
import importlib
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

_REPLACE_SECONDS = 5.0
_LONGEST_WINDOWS_PATH = 259
_ERROR_FILENAME_EXCED_RANGE = 206
_GIVING_WAY = 10  # of 19 that are possible on POSIX

# ----------------------------------------------------------------------------------------------------------------------
# Signals

STOP_SIGNALS: tuple[int, ...] = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)
)
"""Those by which a user or a system asks a program to end. SIGHUP comes when a terminal closes, SIGBREAK on Windows."""


def interrupt_main_thread() -> None:
    """Do to this process what Ctrl-C does, from any thread."""
    if hasattr(os, "fork"):
        os.kill(os.getpid(), signal.SIGINT)
    else:
        # os.kill would end the process on Windows.
        importlib.import_module("_thread").interrupt_main()


def unblock_interrupts() -> None:
    """Let SIGINT come through to this thread: whoever started the process may have blocked it."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


# ----------------------------------------------------------------------------------------------------------------------
# Processes


def own_group() -> dict[str, Any]:
    """Return the arguments of `Popen` for a process that Ctrl-C in this one's terminal does not reach."""
    if hasattr(os, "setsid"):
        return {"start_new_session": True}
    return {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}


def give_way(pid: int) -> None:
    """Let a process that was just started take the processor's time that others leave, where the system can do so."""
    if hasattr(os, "setpriority"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            os.setpriority(os.PRIO_PROCESS, pid, _GIVING_WAY)


def thread_gives_way() -> None:
    """Let the calling thread take the processor's time that others leave. Linux alone has priorities of threads."""
    if sys.platform == "linux":
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, max(_GIVING_WAY, os.getpriority(os.PRIO_PROCESS, thread)))


def ask_to_end(process: subprocess.Popen[bytes]) -> None:
    """Ask a process of its own group to end, which it may do in its own time."""
    with contextlib.suppress(OSError):  # it has ended meanwhile
        process.send_signal(getattr(signal, "CTRL_BREAK_EVENT", signal.SIGTERM))


def end_at_once(process: subprocess.Popen[bytes]) -> None:
    """End a process of its own group, and on Windows those that it has started; elsewhere their pipes close."""
    if not hasattr(os, "fork"):
        with contextlib.suppress(OSError):
            subprocess.run(["taskkill", "/F", "/T", "/PID", str(process.pid)], capture_output=True, check=False)
    process.kill()


def fork() -> int | None:
    """Return what `os.fork` does, or None where no copy of this process can be made."""
    if not hasattr(os, "fork"):
        return None
    try:
        with warnings.catch_warnings():
            # Python warns of numpy's BLAS threads, but these are made to survive a fork.
            warnings.simplefilter("ignore", DeprecationWarning)
            return os.fork()
    except OSError:
        return None


def end_fork(child: int) -> None:
    """End a copy that `fork` has made, and wait for its end."""
    # No child is left to wait for where the parent ignores SIGCHLD.
    with contextlib.suppress(ProcessLookupError, ChildProcessError):
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def pipe_has_ended(descriptor: int) -> bool:
    """Say whether nobody holds the other end of a pipe any more. Nothing is waited for."""
    if hasattr(os, "fork"):
        select = importlib.import_module("select")
        readable, _, _ = select.select([descriptor], [], [], 0)
        return bool(readable) and os.read(descriptor, 1) == b""
    handle = importlib.import_module("msvcrt").get_osfhandle(descriptor)
    return not _kernel32().PeekNamedPipe(ctypes.c_void_p(handle), None, 0, None, None, None)


# ----------------------------------------------------------------------------------------------------------------------
# Files


def replace(source: Path, target: Path) -> None:
    """Give `source` the name `target`, in the place of a file that has it. Raises OSError.

    Windows refuses that while another program has the target open, as virus scanners and indexers have for moments, so
    it is tried for a few seconds there.
    """
    deadline = time.monotonic() + (0.0 if hasattr(os, "fork") else _REPLACE_SECONDS)
    while True:
        try:
            os.replace(source, target)
            return
        except PermissionError:
            if time.monotonic() >= deadline:
                raise
        time.sleep(0.05)


def link(path: Path, other: Path) -> bool:
    """Give the file `path` the second name `other`, and say whether the file system could."""
    try:
        os.link(path, other)
    except (AttributeError, OSError, NotImplementedError):
        return False
    return True


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk, where a system can. Raises OSError."""
    if not hasattr(os, "fork"):
        return  # Windows opens no folders.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def reason_of(error: OSError) -> str:
    """Return why the system refused, in words. Of a path that is too long for Windows it says so."""
    code = getattr(error, "winerror", None)
    name = error.filename if isinstance(error.filename, str) else ""
    long = code is not None and error.errno == errno.ENOENT and len(os.path.abspath(name)) > _LONGEST_WINDOWS_PATH
    if code == _ERROR_FILENAME_EXCED_RANGE or long:
        return f"Windows takes paths of up to {_LONGEST_WINDOWS_PATH} characters unless long paths are switched on"
    return error.strerror or str(error)


# ----------------------------------------------------------------------------------------------------------------------
# The machine


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def forks_are_safe() -> bool:
    """Say whether a copy of this process can do work: macOS's own libraries don't survive a fork."""
    return sys.platform == "linux" and hasattr(os, "fork")


def memory_bytes() -> int | None:
    """Return the bytes of this machine's memory, or None where it can't be found out."""
    if hasattr(os, "sysconf"):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if not hasattr(ctypes, "windll"):
        return None
    status = _MemoryStatus()
    status.length = ctypes.sizeof(_MemoryStatus)
    return int(status.total) if _kernel32().GlobalMemoryStatusEx(ctypes.byref(status)) else None


def cpu_flags() -> list[str]:
    """Return the features of the CPU as Linux names them; none are known elsewhere."""
    try:
        return Path("/proc/cpuinfo").read_text().split("flags", 1)[1].split("\n", 1)[0].split()
    except (OSError, IndexError):
        return []


def loaded_library(name: str) -> str | None:
    """Return the path of a shared library that this process has loaded and whose name holds `name`; Linux tells."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/maps").read_text().splitlines():
            library = line.partition("/")[2]
            if name in library:
                return f"/{library}"
    return None


def loopback_interface() -> str:
    """Return the name of the network interface that only this machine reaches, "" where it is not known."""
    return "lo" if sys.platform == "linux" else "lo0" if sys.platform == "darwin" else ""


def gpu_count() -> int:
    """Return the number of NVIDIA GPUs, without loading torch; Linux tells, and elsewhere it is 0."""
    return len(glob.glob("/dev/nvidia[0-9]*"))


class _MemoryStatus(ctypes.Structure):
    """MEMORYSTATUSEX."""

    _fields_ = [
        ("length", ctypes.c_ulong),
        ("load", ctypes.c_ulong),
        ("total", ctypes.c_ulonglong),
        ("free", ctypes.c_ulonglong),
        ("total_page_file", ctypes.c_ulonglong),
        ("free_page_file", ctypes.c_ulonglong),
        ("total_virtual", ctypes.c_ulonglong),
        ("free_virtual", ctypes.c_ulonglong),
        ("free_extended_virtual", ctypes.c_ulonglong),
    ]


def _kernel32() -> Any:
    return ctypes.windll.kernel32  # type: ignore[attr-defined]
