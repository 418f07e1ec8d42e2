"""A worker does a training request with this job: the command line's own run, reported in the endpoint's words."""

from __future__ import annotations

import contextlib
import functools
import json
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import Any

from soundlora.contract.training import billable_units, parse_request
from soundlora.net.addresses import shown
from soundlora.pipeline.run_mirror import RunMirror
from soundlora.progress import Progress
from soundlora.server.endpoints import base_of, endpoints
from soundlora.server.store.finish import Outcome
from soundlora.server.work.curve import Curve
from soundlora.server.work.job import Job, NotStoredError
from soundlora.server.work.ranks import beside
from soundlora.server.work.training_data import fetched
from soundlora.system.file_names import steps_of
from soundlora.system.whole_files import write_whole

_LINE_SECONDS = 5.0
"""The time between two lines of the log while the training runs."""

_STATE_EVERY = "5min"
"""A run whose worker is killed has lost no more than this."""

JSON = "application/json"
WAV = "audio/wav"
MARKDOWN = "text/markdown; charset=utf-8"
SAFETENSORS = "application/octet-stream"


class TrainingJob:
    """Trains in the job's folder, and goes on from what an earlier worker has left there."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.folder = job.folder / "run"
        self._curve = Curve(self.folder / "metrics.jsonl", self.folder / "held_out.jsonl", _steps(job.input))
        self._last_message = ""
        self._last_line = 0.0
        self._clips_told = False
        self.clips = job.folder / "clips" / "clips.json"
        self._write_clips: Callable[[], None] | None = None
        self._clips_turn = threading.Lock()

    def run(self) -> Outcome:
        mirror = self.job.mirror(self.folder)
        if mirror is None:
            return self._trained(None)
        try:
            self._begin(mirror)
            outcome = self._trained(mirror)
            if self.job.settings.keep_state_days:
                mirror.settle(mirror.END_SECONDS)
            return outcome
        except BaseException:
            # Another machine goes on from here, so the state gets there before the request is given back.
            with contextlib.suppress(KeyboardInterrupt):
                mirror.settle(mirror.STOP_SECONDS)
            raise
        finally:
            mirror.close()

    def _begin(self, mirror: RunMirror) -> None:
        """Fetch what another machine has left. Without the storage the training goes on with what is on this one."""
        try:
            self.job.patiently(mirror.begin)
        except NotStoredError as error:
            if self.job.pulse.reason is not None or mirror.folder.fetching.exists():
                raise
            self.job.pulse.log(f"States of other machines can't be fetched ({error}); this one begins without", "WARN")

    def _trained(self, mirror: RunMirror | None) -> Outcome:
        job = self.job
        url = job.input["training_data_url"]
        self._last_message = f"fetching {shown(url)}"  # `fetched` logs it, where there is something to fetch
        self._show(Progress("base", message=self._last_message))
        data, request = fetched(job)
        mode = endpoints(job.settings)[job.request.endpoint].mode
        before = self._done_before()
        from soundlora.pipeline.clip_sounds import write_clip_sounds

        if not self.clips.exists():
            self._write_clips = functools.partial(write_clip_sounds, self.clips, self.folder, data)
        if not (self.folder / "config.json").exists() or not (self.folder / "lora.safetensors").exists():
            from soundlora.pipeline.naming import lora_title
            from soundlora.pipeline.train import train_request

            base, text_encoder = base_of(job.settings, job.input)
            resume = (self.folder / "request.json").exists()
            if resume:
                job.pulse.log("Going on with the run of an earlier worker")
            options: dict[str, Any] = {
                # The copy of the data here has a name of the server's own.
                "name": lora_title(getattr(request, "name", ""), request.trigger_phrase, url),
                "base": base,
                "text_encoder": text_encoder,
                "device": job.settings.device or None,
                "batch_size": job.input.get("gpus") or 1,
                "resume": resume,
                "checkpoint_every": _STATE_EVERY,
            }
            # What was not sent is the base's own to say, in the other processes, too.
            sent = request.model_dump(exclude_unset=True)
            told = {"request": sent, "mode": mode, "folder": str(self.folder), "options": options}
            with beside(job.request.gpus, job.folder, told):
                train_request(
                    request,
                    self.folder,
                    mode=mode,
                    mirror=mirror,
                    store=job.cache(),
                    on_progress=self._show,
                    stop=lambda: job.request.stop_asked or job.pulse.stop_asked,
                    **options,
                )
        config = json.loads((self.folder / "config.json").read_text(encoding="utf-8"))
        steps = int(config["number_of_steps"])
        self._show(Progress("saving", steps, steps, message="storing the results"))
        # A training that was stopped costs what a cancelled one does, and a longer one what was added to it.
        units = billable_units(steps - before, succeeded="asked_steps" not in config)
        return Outcome(200, job.patiently(lambda: self._results(url)) | {"steps": steps}, units=units)

    def _done_before(self) -> int:
        """Return the steps of the finished run that this one makes longer, 0 where it makes none longer."""
        request = self.folder / "request.json"
        stretches = json.loads(request.read_text(encoding="utf-8")).get("lengthened") if request.exists() else None
        return int(stretches[-1]["step"]) if stretches else 0

    def keep_state(self) -> None:
        """Leave of a finished run what it can be trained on from: not its data, nor states before the last."""
        for path in self.job.folder.iterdir():
            if path.is_dir() and path != self.folder:
                shutil.rmtree(path, ignore_errors=True)
            elif path.is_file():
                path.unlink(missing_ok=True)
        (self.folder / "debug_dataset.zip").unlink(missing_ok=True)
        for state in sorted((self.folder / "checkpoints").glob("*.pt"))[:-1]:
            state.unlink(missing_ok=True)

    def watch(self) -> list[tuple[int, str, float]]:
        self._tell_clips()
        return self._curve.new()

    def publish_new(self) -> None:
        """Store the clips to hear, and the previews and checkpoints that have been made so far."""
        self._publish_clips()
        for path in sorted((self.folder / "previews").glob("*.wav")):
            self.job.publish(path, "preview", WAV)
        for path in self._checkpoints():
            self.job.publish(path, "checkpoint", SAFETENSORS)

    def _checkpoints(self) -> list[Path]:
        found = (self.folder / "checkpoints").glob("*.safetensors")
        return sorted(found, key=lambda path: steps_of(path.name) or 0)

    def _publish_clips(self) -> None:
        """Store some clips as they are trained on: their archive may soon be gone, or lie where no page may look."""
        with self._clips_turn:
            if self._write_clips is not None and (self.folder / "report.json").exists():
                write, self._write_clips = self._write_clips, None
                try:
                    write()
                except Exception as error:  # The training is worth more than they are.
                    said = self.job.public(str(error))
                    self.job.pulse.log(f"The clips can't be heard beside the previews: {said}", "WARN")
            if self.clips.exists():
                for path in sorted(self.clips.parent.glob("*.wav")):
                    self.job.publish(path, "clip", WAV)
                self.job.publish(self.clips, "clips", JSON)

    def _results(self, url: str) -> dict[str, Any]:
        job, folder = self.job, self.folder
        self._publish_clips()
        report = folder / "report.json"
        # The report names the server's own copy of the data. People know the data by its address.
        told = json.loads(report.read_text()) | {"source": shown(url)}
        write_whole(report, json.dumps(told, ensure_ascii=False).encode())

        def published(name: str, role: str, content_type: str) -> dict[str, Any] | None:
            path = folder / name
            return job.publish(path, role, content_type) if path.exists() else None

        config = json.loads((folder / "config.json").read_text())
        lora = str(config.get("lora_file", "lora.safetensors"))
        previews = [job.publish(path, "preview", WAV) for path in sorted((folder / "previews").glob("*.wav"))]
        return {
            "lora_file": published(lora, "lora", SAFETENSORS),
            "config_file": published("config.json", "config", JSON),
            "audio": published("preview.wav", "audio", WAV),
            "video": None,
            "debug_dataset": published("debug_dataset.zip", "debug_dataset", "application/zip"),
            # The hosted endpoint does not give the following. Clients pass it on.
            "card": published(PurePath(lora).with_suffix(".md").name, "card", MARKDOWN),
            "report": published("report.json", "report", JSON),
            **({"own_file": published(own, "own", SAFETENSORS)} if (own := config.get("own_file")) else {}),
            "previews": previews,
            "checkpoints": [job.publish(path, "checkpoint", SAFETENSORS) for path in self._checkpoints()],
            "metrics": published("metrics.jsonl", "metrics", "application/jsonl"),
        }

    # ------------------------------------------------------------------------------------------------------------------
    # what is said while it runs

    def _show(self, progress: Progress) -> None:
        """Pass on the progress. This is called at every step, so it must cost next to nothing."""
        self.job.pulse.show(
            {
                "stage": progress.stage,
                "step": progress.step,
                "steps": progress.steps,
                "loss": progress.loss,
                "steps_per_second": progress.steps_per_second,
                "seconds_left": progress.seconds_left,
                "message": self.job.public(progress.message) if progress.message else "",
            }
        )
        now = time.monotonic()
        if progress.stage != "training":
            self._say(progress)
        elif now - self._last_line >= _LINE_SECONDS or progress.step == progress.steps:
            self._last_line = now
            self.job.pulse.log(training_line(progress))
        self.job.machine.turn.give_way()

    def _say(self, progress: Progress) -> None:
        message = self.job.public(progress.message)
        # The report has a line for each clip, which would be hundreds here. "done" names a file of the server's own.
        if progress.stage == "done" or (progress.stage == "clips" and progress.step and not progress.steps):
            return
        if message and message != self._last_message:
            self.job.pulse.log(message[0].upper() + message[1:])
        self._last_message = message

    def _tell_clips(self) -> None:
        """Log each skipped clip with its reason, and every warning, as soon as the report is written."""
        report = self.folder / "report.json"
        if self._clips_told or not report.exists():
            return
        self._clips_told = True
        content = json.loads(report.read_text())
        for clip in content.get("clips", []):
            if clip.get("status") == "skipped":
                self.job.pulse.log(f"Skipped {clip['name']}: {clip['reason']}", "WARN")
        for warning in content.get("warnings", []):
            self.job.pulse.log(str(warning), "WARN")


def training_line(progress: Progress) -> str:
    """Return a line of the log such as "step 120 of 2000, loss 0.612, 18.8 steps/s, 1:40 left"."""
    parts = [f"Step {progress.step} of {progress.steps}"]
    if progress.loss is not None:
        parts.append(f"loss {progress.loss:.3f}")
    if progress.steps_per_second is not None:
        parts.append(f"{progress.steps_per_second:.1f} steps/s")
    if progress.seconds_left is not None:
        minutes, seconds = divmod(round(progress.seconds_left), 60)
        parts.append(f"{minutes}:{seconds:02d} left")
    return ", ".join(parts)


def _steps(payload: dict[str, Any]) -> int:
    return parse_request(payload | {"training_data_url": "x"}).number_of_steps
