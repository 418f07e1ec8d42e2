"""A worker does a generation request with this job: it makes sound from a prompt, with up to three LoRAs."""

from __future__ import annotations

import base64
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

from soundlora.contract.generation import GenerationRequest
from soundlora.errors import InputError, about
from soundlora.progress import Progress
from soundlora.server.endpoints import base_of
from soundlora.server.store.finish import Outcome
from soundlora.server.work.inputs import name_of
from soundlora.server.work.job import Job

if TYPE_CHECKING:
    from soundlora.pipeline.given_sound import Source


class GenerationJob:
    """Generates one sound."""

    def __init__(self, job: Job) -> None:
        self.job = job

    def run(self) -> Outcome:
        job = self.job
        request = GenerationRequest.model_validate(job.input)
        source = self._source(request)
        files = [self._lora(entry.path, number) for number, entry in enumerate(request.loras)]
        named = request.model_fields_set
        seed = request.seed if request.seed is not None else random.SystemRandom().randrange(2**31)
        seconds: float | None = request.num_frames / request.frames_per_second
        base, text_encoder = base_of(job.settings, job.input)
        import soundlora.pipeline.generate  # noqa: F401  # takes seconds, for which a training need not wait
        from soundlora.pipeline.lora_use import LoraUse

        loras = [
            LoraUse(
                file,
                entry.scale,
                {"self": entry.self_scale, "text": entry.text_scale, "ff": entry.ff_scale},
                (entry.start, entry.end),
            )
            for file, entry in zip(files, request.loras, strict=True)
        ]

        with job.machine.turn.taken():
            generator = job.machine.keeper.generator(
                base,
                text_encoder,
                loras,
                job.settings.device or None,
                beside=seconds if job.machine.shared else None,
            )
            if source is not None and "num_frames" not in named:
                seconds = None  # the sound itself has a length
            # The base's own value holds for a field that was not sent: a small base samples best with other settings.
            steps = request.num_inference_steps if "num_inference_steps" in named else None
            for note in generator.warnings + generator.advice(request.prompt, seconds, steps):
                job.pulse.log(note, "WARN")
            sound = generator(
                request.prompt,
                duration=seconds,
                seed=seed,
                steps=steps,
                cfg=request.guidance_scale if "guidance_scale" in named else None,
                stg=request.stg_scale if "stg_scale" in named else None,
                negative_prompt=request.negative_prompt if "negative_prompt" in named else None,
                source=source,
                on_progress=self._show,
            )
        path = job.folder / "audio.wav"
        file = job.patiently(lambda: job.publish(sound.save(path), "audio", "audio/wav"))
        if request.sync_mode:
            file = file | {"url": "data:audio/wav;base64," + base64.b64encode(path.read_bytes()).decode()}
        return Outcome(200, {"audio": file, "prompt": request.prompt, "seed": seed})

    def watch(self) -> list[tuple[int, str, float]]:
        return []

    def keep_state(self) -> None:
        """Nothing goes on from a sound."""

    def publish_new(self) -> None:
        pass

    def _source(self, request: GenerationRequest) -> Source | None:
        """Return the sound that the request names, in the run's folder."""
        if request.audio_url is None:
            return None
        from soundlora.pipeline.given_sound import Source, check_source

        with about("audio_url"):
            path = self.job.fetch(request.audio_url, f"source_{name_of(request.audio_url)}")
        source = Source(
            request.audio_mode,
            path,
            tuple(sorted((start, end) for start, end in request.spans)),
            request.conditioning_seconds,
            request.added_seconds,
            request.decoded,
        )
        check_source(source, None)
        return source

    def _lora(self, path: str, number: int) -> Path:
        # The end of the address, as far as it can be the name of a file.
        name = name_of(path)
        if not path.startswith(("http://", "https://", "data:", "/files/")):
            raise InputError(
                f"loras[{number}].path is {path[:80]!r}, but it must be a URL of a .safetensors file.",
                field=f"loras.{number}.path",
            )
        with about(f"loras.{number}.path"):
            return self.job.fetch(path, f"lora_{number}_{name}")

    def _show(self, progress: Progress) -> None:
        shown: dict[str, Any] = {"stage": progress.stage, "step": progress.step, "steps": progress.steps}
        self.job.pulse.show(shown | {"message": progress.message})
