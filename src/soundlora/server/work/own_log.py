"""What a worker's process prints goes to the log of the request that it does."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path


def log_to(folder: Path) -> None:
    """Let what this process prints go to the log in the folder."""
    with contextlib.suppress(OSError):  # The disk may be full. What is printed then goes where it went before.
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "worker.log").open("ab") as log:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
                os.dup2(log.fileno(), stream.fileno())
