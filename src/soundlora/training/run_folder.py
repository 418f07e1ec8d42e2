"""The run folder, which holds everything that one training run was asked, did and made."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from soundlora.errors import InputError, MachineError
from soundlora.system.file_names import lora_file_name, steps_of
from soundlora.system.whole_files import PARTIAL, clear_left, second_name, whole, write_whole, writing
from soundlora.wording import using

if TYPE_CHECKING:
    from soundlora.lora.adapter import Adapter
    from soundlora.lora.plain import Plain
    from soundlora.training.optimizer import Optimizer

_LOCK = ".lock"
_LOCK_SECONDS = 2.0
"""The copies that a killed process has made of itself hold the lock for a moment longer."""


class RunFolder:
    """Paths and files of a run. Every file appears complete under its name or not at all."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.request = path / "request.json"
        self.report = path / "report.json"
        self.metrics = path / "metrics.jsonl"
        self.held_out = path / "held_out.jsonl"
        self.checkpoints = path / "checkpoints"
        self.previews = path / "previews"
        self.lora = path / "lora.safetensors"
        self.config = path / "config.json"
        self.preview = path / "preview.wav"
        self.stop_file = path / "stop"
        self.fetching = path / ".fetching"  # stands there until a run that comes from elsewhere is whole
        self.debug_dataset = path / "debug_dataset.zip"
        self._lock = FileLock(path / _LOCK, timeout=_LOCK_SECONDS)
        self._title: str | None = None  # what the LoRA is called, once it is known
        self._form = "lora"
        self._unwritten = ""  # lines of metrics.jsonl that the disk had no room for

    def check_free(self) -> None:
        """Raise InputError when a new run can't start here, MachineError when the folder can't be looked into."""
        with writing(self.path):
            self._check_free()

    def _check_free(self) -> None:
        # A killed run may have left a file half written before it was a run.
        if self.path.is_dir() and all(path.suffix == PARTIAL or path.name == _LOCK for path in self.path.iterdir()):
            return
        if self.request.exists():
            raise InputError(
                f"{self.path} already holds a run; give another folder with {using('out')}, or go on with that run by "
                f"{using('resume', True)}."
            )
        if self.path.exists():
            raise InputError(
                f"{self.path} already exists and is not an empty folder; give another one with {using('out')}."
            )
        file = next((parent for parent in self.path.parents if parent.is_file()), None)
        if file is not None:
            raise InputError(
                f"{self.path} can't be made, as {file} is a file; give another folder with {using('out')}."
            )

    def check_resumable(self) -> None:
        """Raise InputError unless this folder holds a run that has not finished."""
        if not self.request.exists():
            raise InputError(
                f"{self.path} holds no run to resume; leave {using('resume', True)} out to start one.", field="resume"
            )
        if self.is_finished():
            raise InputError(
                f"The run in {self.path} is finished; its LoRA is {self.lora}. Another run in another folder can begin "
                f"with it: {using('init_lora', str(self.lora))}.",
                field="resume",
            )

    def read_request(self) -> dict[str, Any]:
        """Return the run's request. Raises InputError when the file can't be read any more."""
        try:
            stored = json.loads(self.request.read_text(encoding="utf-8"))
        except ValueError as error:
            stored = error
        if not isinstance(stored, dict):
            reason = f" ({stored})" if isinstance(stored, ValueError) else ""
            raise InputError(
                f"{self.request} is no JSON object any more{reason}, so the run can't be resumed; put the file back as "
                "it was, or start another run in a new folder."
            )
        return stored

    def create(self, request: Mapping[str, Any], report: Mapping[str, Any], *, fresh: bool = False) -> None:
        """Make the folder and hold it until `release`. A `fresh` run begins where there is none yet.

        The request is written first and once: a run that has it can be resumed at any moment. What a kill left half
        written is deleted. Raises InputError when another process has begun a run there meanwhile, MachineError when
        one trains there or the folder can't be made or written to.
        """
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            self._hold()
            if fresh:
                self._check_free()
            clear_left(self.path)
            self.stop_file.unlink(missing_ok=True)  # whoever resumes a run wants it to go on
            if not self.request.exists():
                write_json(self.request, request)
            write_json(self.report, report)
            self.checkpoints.mkdir(exist_ok=True)
            self.previews.mkdir(exist_ok=True)

    def _hold(self) -> None:
        """Raise MachineError when another process holds the folder. The system frees a folder whose process is gone."""
        try:
            self._lock.acquire()
        except Timeout:
            raise self.held() from None
        except NotImplementedError:
            pass  # This file system has no locks.

    def held(self) -> MachineError:
        """Return the error of a folder in which another process trains."""
        return MachineError(
            f"Another process trains in {self.path}; wait for its end, or give another folder with {using('out')}.",
            "processes",
        )

    def is_finished(self) -> bool:
        """Say whether the run has ended with a LoRA. Its config is written last."""
        return self.lora.exists() and self.config.exists()

    def is_held(self) -> bool:
        """Say whether another process trains in the folder, or may do so where the file system has no locks."""
        try:
            with FileLock(self.path / _LOCK, timeout=0), contextlib.suppress(OSError):
                (self.path / _LOCK).unlink(missing_ok=True)
            return False
        except (Timeout, NotImplementedError):
            return True

    def release(self) -> None:
        """Let other processes go on with the run."""
        if self._lock.is_locked:
            with contextlib.suppress(OSError):
                (self.path / _LOCK).unlink(missing_ok=True)  # Windows refuses, and deletes it below
            self._lock.release()
            with contextlib.suppress(OSError):
                (self.path / _LOCK).unlink(missing_ok=True)

    def preview_path(self, step: int, prompt: int) -> Path:
        """Return the path of a preview after `step` steps. prompt: its number, counted from 0."""
        return self.previews / f"step_{step:06d}_prompt_{prompt}.wav"

    def log(self, figures: Mapping[str, Any]) -> None:
        """Append a line to metrics.jsonl. One that the disk has no room for is tried again with the next one.

        Raises MachineError when it can't be written.
        """
        self._unwritten += json.dumps(figures) + "\n"
        self._write_lines()

    def _write_lines(self) -> None:
        if not self._unwritten:
            return
        with writing(self.metrics), self.metrics.open("ab", buffering=0) as file:
            size = file.tell()
            try:
                if file.write(self._unwritten.encode()) < len(self._unwritten):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError:
                file.truncate(size)
                raise
        self._unwritten = ""

    def truncate_metrics(self, steps: int) -> None:
        """Drop the lines of steps beyond `steps`, which a resumed run will write again."""
        if self.metrics.exists():
            lines = self.metrics.read_text(encoding="utf-8").splitlines(keepends=True)
            write_whole(self.metrics, "".join(lines[:steps]).encode())
        if self.held_out.exists():
            before = [_held_out_line(step, loss) for step, loss in self.read_held_out() if step < steps]
            write_whole(self.held_out, "".join(before).encode())

    def log_held_out(self, step: int, loss: float) -> None:
        """Append a line to held_out.jsonl."""
        with writing(self.held_out), self.held_out.open("a", encoding="utf-8") as file:
            file.write(_held_out_line(step, loss))

    def read_held_out(self) -> list[tuple[int, float]]:
        """Return (step, loss) of every evaluation. A line that a kill cut off is left out."""
        if not self.held_out.exists():
            return []
        lines = self.held_out.read_text(encoding="utf-8").splitlines(keepends=True)
        figures = [json.loads(line) for line in lines if line.endswith("\n")]
        return [(line["step"], line["loss"]) for line in figures]

    def read_metrics(self) -> list[dict[str, Any]]:
        """Return the figures of every step, in order."""
        if not self.metrics.exists():
            return []
        return [json.loads(line) for line in self.metrics.read_text(encoding="utf-8").splitlines()]

    # ------------------------------------------------------------------------------------------------------------------
    # Checkpoints: the adapter in fp32 and the moments, from which a run goes on to the bit, and the LoRA as it is there

    def save_checkpoint(self, step: int, adapter: Adapter, optimizer: Optimizer, metadata: Mapping[str, str]) -> Path:
        """Write the state and the LoRA after `step` steps, and return the path of the state.

        metadata: the strings in the LoRA file, to which the step is added.
        Raises MachineError when the state can't be written.
        """
        with optimizer.averaged():
            adapter.save(self.checkpoint_lora(step), {**metadata, "step": str(step)})
        return self.save_state(step, adapter, optimizer)

    def save_state(self, step: int, adapter: Adapter, optimizer: Optimizer) -> Path:
        """Write the state after `step` steps without a LoRA, and return its path. Raises as `save_checkpoint` does."""
        import torch  # here, so that a folder can be looked into without it

        path = self.checkpoint_path(step)
        self._write_lines()  # a run that goes on from here has the figures of all steps before
        with whole(path) as unfinished:
            state = {"step": step, "adapter": adapter.state_dict(), "optimizer": optimizer.state_dict()}
            try:
                torch.save(state, unfinished)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:  # torch raises it for a file that can't be written
                raise MachineError(f"{path} can't be written whole; make room on its disk.", "disk") from error
        return path

    def has_checkpoint(self, step: int) -> bool:
        """Say whether there are a state and a LoRA of that step."""
        return self.checkpoint_path(step).exists() and step in self.checkpoint_loras()

    def drop_states(self, keep: int) -> None:
        """Delete the states that have no LoRA beside them, all but the last `keep`."""
        loras = self.checkpoint_loras()
        alone = [step for step in self.checkpoint_steps() if step not in loras]
        for step in alone[: len(alone) - keep]:
            self.checkpoint_path(step).unlink(missing_ok=True)

    def checkpoint_path(self, step: int) -> Path:
        """Return the path of the state after `step` steps."""
        return self.checkpoints / f"step_{step:06d}.pt"

    def checkpoint_lora(self, step: int) -> Path:
        """Return the path of the LoRA beside the state of a step, such as `checkpoints/rusty-gate-500.safetensors`.

        A LoKr is there in its own form alone: to make a plain LoRA of it takes a decomposition a layer.
        """
        earlier = self.checkpoints / f"step_{step:06d}.safetensors"  # as earlier versions called it
        if self._title is None and self.request.exists():
            request = self.read_request()
            self._title, self._form = str(request.get("name") or ""), str(request.get("adapter") or "lora")
        if not self._title or earlier.exists():
            return earlier
        return self.checkpoints / lora_file_name(self._title, step, self._form)

    def checkpoint_loras(self) -> dict[int, Path]:
        """Return the LoRAs of the checkpoints by their steps, from the earliest to the latest."""
        paths = self.checkpoints.glob("*.safetensors") if self.checkpoints.is_dir() else ()
        return dict(sorted((step, path) for path in paths if (step := steps_of(path.name)) is not None))

    def checkpoint_steps(self) -> list[int]:
        """Return the steps that have a checkpoint, from the earliest to the latest."""
        paths = self.checkpoints.glob("step_*.pt") if self.checkpoints.is_dir() else ()
        return sorted(int(path.stem.removeprefix("step_")) for path in paths)

    def latest_checkpoint(self) -> Path | None:
        """Return the path of the latest state, or None where there is none."""
        steps = self.checkpoint_steps()
        return self.checkpoint_path(steps[-1]) if steps else None

    def keep_checkpoints(self, count: int) -> None:
        """Delete all but the `count` of lowest held-out loss, or the latest ones where none was measured."""
        losses = dict(self.read_held_out())
        steps = {*self.checkpoint_steps(), *self.checkpoint_loras()}
        for step in sorted(steps, key=lambda step: (losses.get(step, math.inf), -step))[count:]:
            self.checkpoint_lora(step).unlink(missing_ok=True)
            self.checkpoint_path(step).unlink(missing_ok=True)

    def load_checkpoint(self, path: Path, adapter: Adapter, optimizer: Optimizer) -> int:
        """Restore adapter and optimiser, and return the number of steps that are done."""
        import torch

        state = torch.load(path, map_location="cpu", weights_only=True)
        adapter.load_state_dict(state["adapter"])
        optimizer.load_state_dict(state["optimizer"])
        return int(state["step"])

    def save_lora(self, adapter: Adapter, metadata: Mapping[str, str], name: str) -> Path:
        """Write the adapter as it is, as lora.safetensors and as the file `name` beside it. Return the latter's path.

        A kill in between leaves a run without config.json, which is not finished: resumed, it writes both again.
        """
        adapter.save(self.lora, metadata)
        second_name(self.lora, self.path / name)
        return self.path / name

    def save_both(self, adapter: Adapter, plain: Plain, metadata: Mapping[str, str], name: str, own: str) -> Path:
        """Do what `save_lora` does with the plain LoRA of an adapter, which is written in its own form as `own`."""
        from soundlora.lora.file import write_lora

        adapter.save(self.path / own, metadata)
        made = {key: value for key, value in metadata.items() if key != "adapter"} | plain.to_metadata(adapter.form)
        write_lora(self.lora, plain.pairs, made)
        second_name(self.lora, self.path / name)
        return self.path / name


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file, which appears whole or not at all. Raises MachineError when it can't be written."""
    # A path may hold bytes that are no text. Such a "character" becomes an escape, which JSON has too.
    write_whole(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace"))


def _held_out_line(step: int, loss: float) -> str:
    return json.dumps({"step": step, "loss": loss}) + "\n"
