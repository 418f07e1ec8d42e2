"""Some clips of a run as sound: which ones, how they sound, and how much they may take."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import RATE, BaseNames, tone, write_clip

from soundlora.audio.wav import read_wav
from soundlora.dataset import ClipReport, prepare
from soundlora.dataset.partners import Entry
from soundlora.pipeline import clip_sounds
from soundlora.pipeline.clip_sounds import choose, nearness, write_clip_sounds
from soundlora.pipeline.options import TrainingOptions
from soundlora.pipeline.train import build
from soundlora.pipeline.train import prepare as begin

SECONDS = 0.5


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Twelve tones, of which two have the same name in different folders, and a clip that is too short."""
    folder = tmp_path / "data"
    for number in range(12):
        path = folder / ("more" if number == 11 else "") / f"tone {min(number, 10):02}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_clip(path, tone(0.6, 200.0 + 50 * number), f"a tone of {number}")
    write_clip(folder / "a_click.wav", tone(0.1), "a click")
    return folder


def begun(quick_base: BaseNames, data: Path, folder: Path, cache: Path, **settings: Any) -> list[str]:
    """Begin a run that is about to take its first step, and return the clips that it keeps out."""
    chosen: dict[str, Any] = {"steps": 2, "rank": 8, "duration": SECONDS, "trigger_phrase": "TRG", "cache": cache}
    run = begin(TrainingOptions(data, folder, **quick_base.arguments, **(chosen | settings)))
    training = build(run)
    run.folder.release()
    return [example.name for example in training.held_out.examples]


def listed(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text())["clips"]
    return found


def test_those_kept_out_come_first_and_sound_as_they_are_trained_on(
    quick_base: BaseNames, data: Path, tmp_path: Path, shared_cache: Path
) -> None:
    prompts = ["TRG a tone of 7"]
    out = begun(quick_base, data, tmp_path / "run", shared_cache, hold_out=2, validation_prompts=prompts)
    moved = shutil.move(data, tmp_path / "elsewhere")
    path = tmp_path / "sounds" / "clips.json"
    write_clip_sounds(path, tmp_path / "run", moved)

    fitted: dict[str, np.ndarray] = {}
    prepare(moved, duration=SECONDS, on_clip=lambda clip: fitted.update({clip.name: clip.samples}))
    clips = listed(path)
    assert len(clips) == clip_sounds.MOST_CLIPS
    assert [clip["kept_out"] for clip in clips] == [True, True] + [False] * 6
    assert {clip["name"] for clip in clips[:2]} == set(out)
    assert "TRG a tone of 7" in [clip["caption"] for clip in clips]
    assert sorted(path.parent.iterdir()) == sorted([path, *(path.parent / clip["file"] for clip in clips)])
    for clip in clips:
        samples, rate = read_wav(path.parent / clip["file"])
        assert (rate, clip["seconds"]) == (RATE, SECONDS)
        assert torch.allclose(samples, torch.from_numpy(fitted[clip["name"]]), atol=1 / 32_000)


def test_no_other_clip_is_decoded(
    quick_base: BaseNames, data: Path, tmp_path: Path, shared_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun(quick_base, data, tmp_path / "run", shared_cache)
    names: list[str] = []
    once = prepare.__globals__["_prepare_clip"]

    def counted(entry: Entry, *rest: Any) -> object:
        names.append(entry.clip.name)
        return once(entry, *rest)

    monkeypatch.setitem(prepare.__globals__, "_prepare_clip", counted)
    path = tmp_path / "sounds" / "clips.json"
    write_clip_sounds(path, tmp_path / "run", data)
    assert sorted(names) == sorted(clip["name"] for clip in listed(path))


def test_windows_of_a_recording_are_clips_too(quick_base: BaseNames, tmp_path: Path, shared_cache: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    write_clip(data / "long.wav", np.concatenate([tone(0.5, 220.0), tone(0.5, 440.0), tone(0.7, 880.0)]), "tones")
    begun(quick_base, data, tmp_path / "run", shared_cache, windows="all")
    path = tmp_path / "sounds" / "clips.json"
    write_clip_sounds(path, tmp_path / "run", data)
    clips = listed(path)
    assert {clip["name"] for clip in clips} == {"long.wav", "long.wav @ 0.5 s", "long.wav @ 1 s"}
    assert len({clip["file"] for clip in clips}) == 3


def clip(name: str, caption: str = "", *, seconds: float = 5.0, rate: int = 48_000, channels: int = 2) -> ClipReport:
    return ClipReport(name, "kept", caption, bucket=seconds, sample_rate=rate, channels=channels)


def test_the_nearest_to_each_prompt_are_among_them_in_the_runs_order() -> None:
    clips = [clip(f"{number}", f"TRG rain {number}") for number in range(30)] + [clip("wind", "TRG wind in trees")]
    chosen = [each.name for each in choose(clips, ["trg Wind, trees!", "TRG rain 20", "TRG rain 2"])]
    assert chosen == ["0", "1", "2", "3", "4", "5", "20", "wind"]


def test_together_they_stay_below_the_limit() -> None:
    long = [clip(f"{number}", seconds=20.0) for number in range(8)]  # 3.84 MB each
    assert len(choose(long, [])) == 4
    # One that is too large by itself makes room for others, and more than two channels take no more.
    odd = [clip("huge", seconds=60.0, rate=192_000), clip("small", channels=8)]
    assert [each.name for each in choose(odd, [])] == ["small"]


def test_nearness_is_the_share_of_words_in_both() -> None:
    assert nearness("heavy rain", "Heavy RAIN.") == 1
    assert nearness("heavy rain", "light rain") == pytest.approx(1 / 3)
    assert nearness("", "") == 0
