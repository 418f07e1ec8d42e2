"""The record of a run while it goes: its folder, other programs' logs, and news for whoever watches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from soundlora.lora.adapter import Adapter
from soundlora.lora.plain import Plain, plain_of
from soundlora.progress import OnProgress, Progress
from soundlora.training.logs import Log, open_logs
from soundlora.training.optimizer import Optimizer
from soundlora.training.run_folder import RunFolder
from soundlora.training.trainer import StepFigures


class Mirror(Protocol):
    """What brings the states of a run folder to another place."""

    def offer(self, step: int) -> None:
        """Bring the state after `step` steps there soon. It does not wait, and raises nothing."""

    def check(self) -> None:
        """Raise MachineError when another process has taken the run over."""


class RunRecorder:
    """The recorder of one process of a run. Only that of the first process is `awake`; the others' do nothing."""

    def __init__(
        self,
        folder: RunFolder,
        on_progress: OnProgress | None = None,
        mirror: Mirror | None = None,
        *,
        awake: bool = True,
    ) -> None:
        self.folder, self.awake = folder, awake
        self._mirror = mirror if awake else None
        self._on_progress = on_progress if awake else None
        self._metadata: Mapping[str, str] = {}
        self._logs: list[Log] = []

    def tell(self, progress: Progress) -> None:
        """Pass on a piece of news."""
        if self._on_progress is not None:
            self._on_progress(progress)

    def note(self, message: str) -> None:
        """Pass on advice, which should stay on the screen."""
        self.tell(Progress("base", message=message, note=True))

    def check(self, resume: bool) -> None:
        """Raise InputError when the folder can't take a new run, or has nothing to go on with."""
        if self.awake:
            self.folder.check_resumable() if resume else self.folder.check_free()

    def begin(
        self, request: Mapping[str, Any], metadata: Mapping[str, str], logs: Sequence[str], done: int, resume: bool
    ) -> None:
        """Open the logs before the first step. Figures beyond the `done` steps are dropped: they will be written again.

        metadata: the strings in the LoRA files that the run writes.
        """
        if not self.awake:
            return
        if resume:
            self.folder.truncate_metrics(done)
        self._metadata = metadata
        self._logs = open_logs(logs, self.folder, request, done)
        if self._mirror is not None:
            self._mirror.offer(done)

    def step(self, figures: StepFigures) -> None:
        """Keep a step's figures. Raises MachineError when another process has taken the run over."""
        if self.awake:
            self.folder.log(vars(figures))
            for log in self._logs:
                log.step(figures)
        if self._mirror is not None:
            self._mirror.check()

    def held_out(self, step: int, loss: float) -> None:
        """Keep the loss on the clips kept out, as it is after `step` steps."""
        if self.awake:
            self.folder.log_held_out(step, loss)
            for log in self._logs:
                log.held_out(step, loss)

    def checkpoint(self, step: int, adapter: Adapter, optimizer: Optimizer) -> Path | None:
        """Keep the state after `step` steps. Return its path, or None where this process keeps nothing."""
        if not self.awake:
            return None
        path = self.folder.save_checkpoint(step, adapter, optimizer, self._metadata)
        if self._mirror is not None:
            self._mirror.offer(step)
        return path

    def state(self, step: int, adapter: Adapter, optimizer: Optimizer) -> None:
        """Keep the state after `step` steps to go on from, until there are newer ones."""
        if self.awake:
            self.folder.save_state(step, adapter, optimizer)
            self.folder.drop_states(keep=2)
            if self._mirror is not None:
                self._mirror.offer(step)

    def lora(self, adapter: Adapter, name: str, own: str = "") -> tuple[Path, Plain | None]:
        """Write the LoRA as the adapter is, and return its path. name: the file's, beside lora.safetensors.

        own: of a LoKr, the name of the file in its own form. The LoRA is then a plain one, which is returned.
        """
        if not own:
            return self.folder.save_lora(adapter, self._metadata, name), None
        plain = plain_of(adapter)
        return self.folder.save_both(adapter, plain, self._metadata, name, own), plain

    def rename(self, metadata: Mapping[str, str]) -> None:
        """Let the LoRA files that are still to come hold these strings."""
        self._metadata = metadata

    def close(self) -> None:
        """Close other programs' logs, which then write what they have held back."""
        for log in self._logs:
            log.close()
