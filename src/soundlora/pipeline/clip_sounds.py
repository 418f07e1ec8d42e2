"""Some clips of a run as sound, as it was trained on, so that whoever hears a preview can hear what it imitates."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

import torch

from soundlora.audio.wav import write_wav
from soundlora.dataset import Clip, ClipReport
from soundlora.pipeline.fitting import Fitting
from soundlora.pipeline.options import TrainingOptions
from soundlora.system.file_names import short_stem
from soundlora.system.whole_files import write_whole
from soundlora.training.evaluation import keeping_order
from soundlora.training.run_folder import RunFolder

MOST_CLIPS = 8
MOST_BYTES = 16 * 1024**2
"""The clips of a run take no more than that together, which is eight of 10 s."""

_MOST_NEAREST = 4
_MOST_CHANNELS = 2
_SAMPLE_BYTES = 2


class _AllThere(Exception):  # noqa: N818  (no error: there is nothing more to read)
    """Every clip that is wanted has been read."""


def write_clip_sounds(path: Path, run: Path, data: str | os.PathLike[str]) -> None:
    """Write some clips of a begun run as WAV beside the JSON file `path`, their list, which is there when all are.

    run: the run's folder, which has its report. data: the run's, wherever it lies now. The list is in `clips`: each has
    `file`, `name`, `caption`, `seconds` and `kept_out`, which says whether it was kept out of the training. Those come
    first. Raises as `dataset.prepare` does, and MachineError when a file can't be written.
    """
    folder = RunFolder(run)
    options = TrainingOptions.from_request(folder.read_request(), data=data, out=run)
    told = json.loads(folder.report.read_text(encoding="utf-8"))["clips"]
    kept = [ClipReport(**clip) for clip in told if clip["status"] == "kept"]
    order = keeping_order(len(kept), options.seed)
    out = {kept[number].name for number in order[: options.hold_out]}
    chosen = [clip.name for clip in choose([kept[number] for number in order], options.validation_prompts or ())]
    found: dict[str, dict[str, object]] = {}

    def add(clip: Clip) -> None:
        if clip.name not in chosen:
            return
        place = chosen.index(clip.name)
        file = "_".join(filter(None, (f"clip_{place}", short_stem(Path(clip.name).stem)))) + ".wav"
        write_wav(path.parent / file, torch.from_numpy(clip.samples[:_MOST_CHANNELS]), clip.sample_rate)
        found[clip.name] = {
            "file": file,
            "name": clip.name,
            "caption": clip.caption,
            "seconds": round(clip.samples.shape[1] / clip.sample_rate, 3),
            "kept_out": clip.name in out,
        }
        if len(found) == len(chosen):
            raise _AllThere

    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(_AllThere):
        Fitting.of(options).prepare(add, chosen)
    listed = {"clips": [found[name] for name in chosen if name in found]}
    write_whole(path, json.dumps(listed, ensure_ascii=False).encode())


def choose(clips: Sequence[ClipReport], prompts: Sequence[str]) -> list[ClipReport]:
    """Return the clips to hear, in the order of `clips`: those nearest to a prompt, then the first, as far as fit."""
    nearest = [max(clips, key=lambda clip: nearness(prompt, clip.caption)) for prompt in prompts[:_MOST_NEAREST]]
    room, chosen = MOST_BYTES, set[str]()
    for clip in (*nearest, *clips):
        size = _size(clip)
        if clip.name not in chosen and len(chosen) < MOST_CLIPS and size <= room:
            chosen.add(clip.name)
            room -= size
    return [clip for clip in clips if clip.name in chosen]


def nearness(prompt: str, caption: str) -> float:
    """Return which share of the words of both is in both, from 0 to 1."""
    one, other = (set(re.findall(r"\w+", text.casefold())) for text in (prompt, caption))
    return len(one & other) / max(1, len(one | other))


def _size(clip: ClipReport) -> int:
    """Return about how many bytes the clip takes."""
    channels = min(clip.channels or 1, _MOST_CHANNELS)
    return round((clip.bucket or 0.0) * (clip.sample_rate or 0) * channels * _SAMPLE_BYTES)
