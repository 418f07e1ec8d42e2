"""Sliders between two prompts, which need no data, and between two folders of a data set."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support import tone, write_clip

from soundlora.errors import InputError, Interrupted
from soundlora.lora.file import read_lora
from soundlora.pipeline.first_look import look_at_settings
from soundlora.pipeline.fitting import Fitting
from soundlora.pipeline.options import TrainingOptions
from soundlora.pipeline.slider import SOUNDS, prompt_of, side_of
from soundlora.pipeline.train import TrainingResult
from soundlora.progress import Progress
from soundlora.wording import command_line_words, wording

Train = Callable[..., TrainingResult]
PROMPTS: dict[str, Any] = {"data": "", "slide_from": "low rain", "slide_to": "high rain"}


def lines(result: TrainingResult, name: str = "metrics.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (result.folder / name).read_text().splitlines()]


def stop_at(step: int) -> Callable[[Progress], None]:
    def on_progress(news: Progress) -> None:
        if news.stage == "training" and news.step == step:
            raise KeyboardInterrupt

    return on_progress


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Three clips each of two kinds, in two folders."""
    for kind, frequency in (("dark", 150.0), ("bright", 2500.0)):
        (tmp_path / "kit" / kind).mkdir(parents=True)
        for number in range(3):
            sound = tone(0.6, frequency * (1 + number / 10))
            write_clip(tmp_path / "kit" / kind / f"hit_{number}.wav", sound, f"a {kind} hit")
    return tmp_path / "kit"


# ----------------------------------------------------------------------------------------------------------------------
# two prompts


def test_two_prompts_need_no_data_and_the_run_is_resumed_to_the_bit(quick_train: Train) -> None:
    options = PROMPTS | {"validation_prompts": None, "preview_every": 100}
    whole = quick_train("whole", **options)
    with pytest.raises(Interrupted, match="Stopped at step 3"):
        quick_train("stopped", on_progress=stop_at(3), **options)
    resumed = quick_train("stopped", resume=True, **options)
    for name in ("lora.safetensors", "metrics.jsonl", "held_out.jsonl", "preview.wav"):
        assert (resumed.folder / name).read_bytes() == (whole.folder / name).read_bytes(), name
    request = json.loads((whole.folder / "request.json").read_text())
    assert (request["training_data_url"], request["slide_from"], request["slide_to"]) == ("", "low rain", "high rain")
    assert len(whole.report.kept) == len(request["clips"]) == SOUNDS
    assert {clip.caption for clip in whole.report.kept} == {"rain"}
    assert whole.lora.name == "low-rain-to-high-rain-6.safetensors"
    metadata = read_lora(whole.lora).metadata
    assert json.loads(metadata["slider"]) == {"from": "low rain", "to": "high rain"}
    assert metadata["modelspec.usage_hint"] == "A strength of -1 leads to low rain, 1 to high rain."
    assert whole.fit.verdict != "unknown", "a sound is kept out"
    assert whole.fit.distance is None, "there are no clips to be near to"
    card = whole.card.read_text()
    assert "It is a slider. A strength of -1" in card
    assert f"No recordings: {SOUNDS} sounds that the base made of *rain*" in card


@pytest.mark.parametrize(
    ("low", "high", "shared"),
    [
        ("a dark drum", "a bright drum", "a drum"),
        ("Low bell, far", "high Bell, far", "bell, far"),
        ("rain", "wind", ""),
        ("rain", "heavy rain at night", "rain"),
    ],
)
def test_in_between_are_the_words_that_both_prompts_share(low: str, high: str, shared: str) -> None:
    found = prompt_of(TrainingOptions("", "run", slide_from=low, slide_to=high))
    assert found.casefold() == shared
    assert prompt_of(TrainingOptions("", "run", slide_from=low, slide_to=high, slide_prompt="x")) == "x"


# ----------------------------------------------------------------------------------------------------------------------
# two folders


def test_two_folders_are_learnt_at_the_ends_with_one_caption(quick_train: Train, folders: Path) -> None:
    notes: list[str] = []
    options: dict[str, Any] = {
        "data": folders, "slide_from": "dark", "slide_to": "bright", "slide_prompt": "a hit", "hold_out": 1,
        "validation_prompts": ["a hit"], "preview_every": 100,
    }  # fmt: skip
    result = quick_train(on_progress=lambda news: notes.append(news.message) if news.note else None, **options)
    assert {clip.caption for clip in result.report.kept} == {"a hit"}
    assert "captions of the clips are left aside: all of a slider take 'a hit'" in notes
    assert {line["clip"].split("/")[0] for line in lines(result)} == {"dark", "bright"}
    assert result.fit.distance is not None
    swapped = quick_train("swapped", **options | {"slide_from": "bright", "slide_to": "dark"})
    one, other = (read_lora(run.lora).pairs for run in (result, swapped))
    for name, (_, b) in one.items():
        torch.testing.assert_close(other[name][1], -b, atol=2e-2, rtol=0.1)


@pytest.mark.parametrize(
    ("prompt", "trigger", "caption"), [("a hit", "", "a hit"), ("", "TRG", "TRG"), ("a hit", "TRG", "TRG a hit")]
)
def test_all_clips_of_both_folders_have_the_prompt_as_their_caption(
    folders: Path, prompt: str, trigger: str, caption: str
) -> None:
    ends: dict[str, Any] = {"slide_from": "dark", "slide_to": "bright", "slide_prompt": prompt}
    options = TrainingOptions(folders, "run", duration=0.5, trigger_phrase=trigger, **ends)
    report = Fitting.of(options).prepare(lambda clip: None)
    assert [clip.caption for clip in report.kept] == [caption] * 6


def test_the_nearest_folder_counts() -> None:
    side = side_of(TrainingOptions("kit", "run", slide_from="dark", slide_to="bright"))
    names = ("dark/a.wav", "kit/bright/b/a.wav", "dark/bright/a.wav", "bright/dark/a.wav")
    assert [side(name) for name in names] == [-1, 1, 1, -1]
    assert side_of(TrainingOptions("kit", "run"))("a.wav") == 1


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({}, r"hit_9.wav lies in neither folder of the slider, dark and bright; put it into one, or take it out\."),
        ({"slide_to": "brigth"}, r"bright/hit_0.wav lies in neither folder of the slider, dark and brigth"),
        ({"slide_from": "kit2", "slide_to": "dark"}, "bright/hit_0.wav lies in neither"),
    ],
)
def test_a_clip_in_neither_folder_is_named(
    quick_train: Train, folders: Path, change: dict[str, Any], sentence: str
) -> None:
    if not change:
        write_clip(folders / "hit_9.wav", tone(0.6, 440.0), "a hit")
    with pytest.raises(InputError, match=sentence) as refused:
        quick_train(data=folders, **{"slide_from": "dark", "slide_to": "bright", "slide_prompt": "a hit"} | change)
    assert refused.value.field == "data"


def test_an_empty_side_is_named(quick_train: Train, folders: Path) -> None:
    for path in (folders / "bright").iterdir():
        path.unlink()
    with pytest.raises(InputError, match="No clip lies in a folder 'bright' of the data, but slide_to names it") as bad:
        quick_train(data=folders, slide_from="dark", slide_to="bright", slide_prompt="a hit")
    assert bad.value.field == "slide_to"


# ----------------------------------------------------------------------------------------------------------------------
# what does not go together


@pytest.mark.parametrize(
    ("given", "sentence", "field"),
    [
        ({}, "DATA is missing: give a zip or a folder of clips, or two prompts", "data"),
        ({"slide_from": "a"}, "--slide-from needs --slide-to, the other end", "slide_to"),
        ({"slide_to": "a"}, "--slide-to needs --slide-from, the other end", "slide_from"),
        ({"slide_from": "a", "slide_to": "a"}, "are both 'a', but a slider has two ends", "slide_to"),
        ({"data": "kit", "slide_prompt": "a"}, "--slide-prompt is what a slider slides on", "slide_prompt"),
        ({"data": "kit", "slide_from": "a", "slide_to": "b"}, "say with --slide-prompt what", "slide_prompt"),
        ({"slide_from": "a", "slide_to": "b", "mode": "a2a"}, "leave out --mode a2a", "mode"),
        ({"slide_from": "a", "slide_to": "b", "preserve": 0.2}, "--preserve 0.2 has no use for a slider", "preserve"),
        ({"slide_from": "a", "slide_to": "b", "trigger_phrase": "T"}, "--trigger-phrase T has no", "trigger_phrase"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_said_before_anything_is_opened(
    given: dict[str, Any], sentence: str, field: str
) -> None:
    with wording(command_line_words), pytest.raises(InputError) as refused:
        look_at_settings(TrainingOptions(**{"data": "", "out": "run"} | given), 1, torch.device("cpu"))
    assert sentence in str(refused.value)
    assert refused.value.field == field
