from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml

from soundlora.dataset import ClipReport, DatasetReport
from soundlora.pipeline.model_card import model_card, where_it_loads
from soundlora.pipeline.options import TrainingOptions
from soundlora.training.distances import Estimate
from soundlora.training.verdict import Facts, Figures, Heard, judge

CONFIG: dict[str, Any] = {
    "name": "pearl kit",
    "lora_file": "pearl-kit-2000.safetensors",
    "training_type": "t2a",
    "trigger_phrase": "pearlkit",
    "base": "Lightricks/LTX-2.5",
    "generation": "2.5",
    "rank": 32,
    "target_modules": ["attn1.to_q"],
    "init_lora": None,
    "number_of_steps": 2000,
    "learning_rate": 2e-4,
    "batch_size": 1,
    "audio_duration_seconds": 5.0,
    "seed": 42,
    "soundlora_version": "1",
}
SOURCES = ("/home/me/a.txt", "b.TXT", "sub/metadata.csv", "BWF description", None)
REPORT = DatasetReport(
    "/home/me/clips.zip",
    5.0,
    [
        *(
            ClipReport(f"/home/me/{number}.wav", "kept", "pearlkit", source, used_seconds=4.0)
            for number, source in enumerate(SOURCES)
        ),
        ClipReport("/home/me/short.wav", "skipped", ""),
    ],
)
FIT = judge(Figures([(0, 0.9), (2000, 0.6)], (0.2, 0.7), ("/home/me/0.wav", 0.95)), Facts())


def card(prompts: tuple[str, ...] = ("pearlkit a snare",), **changes: Any) -> str:
    options = TrainingOptions("/home/me/clips.zip", "/home/me/run", validation_prompts=prompts)
    return model_card(CONFIG | changes, REPORT, FIT, options)


def front(text: str) -> Any:
    """The front matter, as a program reads it."""
    dashes, matter, _ = text.split("---\n", 2)
    assert dashes == ""
    return yaml.safe_load(matter)


def test_the_front_matter_says_base_licence_and_trigger() -> None:
    assert front(card()) == {
        "license": "other",
        "license_name": "ltx-2-community-license-agreement",
        "base_model": "Lightricks/LTX-2.5",
        "base_model_relation": "adapter",
        "pipeline_tag": "text-to-audio",
        "tags": ["lora", "audio", "soundlora", "ltx-2.5"],
        "instance_prompt": "pearlkit",
    }
    nano = front(card(base="nano", trigger_phrase=""))
    assert (nano["license"], nano["tags"][-1]) == ("apache-2.0", "nano")
    assert not nano.keys() & {"license_name", "base_model", "instance_prompt"}


def test_the_card_says_what_it_was_made_of_and_what_was_learnt() -> None:
    text = card()
    assert "5 clips, 20.0 s of sound in all, 5 s of each at most." in text
    assert "BWF description (1), a table (1), nothing but the trigger phrase (1), text files (2)." in text
    assert "| learning rate | 0.0002 |" in text
    assert "Learnt: the loss on clips kept out of the training is 0.600 with the LoRA and 0.900 without it." in text
    assert "[pearlkit a snare](previews/step_002000_prompt_0.wav)" in text
    assert "--lora pearl-kit-2000.safetensors --base Lightricks/LTX-2.5 --out" in text


def test_the_card_names_no_folder_and_no_clip() -> None:
    text = card(base="/home/me/ltx.safetensors")
    assert "/home" not in text
    assert ".wav" not in text.replace("previews/step_002000_prompt_0.wav", "").replace("--out sound.wav", "")
    assert "--base ltx.safetensors" in text


def test_words_of_people_stay_words() -> None:
    text = card(prompts=("[x](javascript:y) <b>",), name="# <script> |", trigger_phrase="a: `b`\n---\n$(rm)")
    assert "<script>" not in text.replace("\\<script\\>", "")
    assert "[\\[x\\](javascript:y) \\<b\\>](previews/" in text
    assert front(text)["instance_prompt"] == "a: `b`\n---\n$(rm)"
    assert "--prompt 'a: `b` --- $(rm)' --lora" in text
    assert "`` a: `b` --- $(rm) ``" in text


@pytest.mark.parametrize(("base", "there"), [("nano", False), ("Lightricks/LTX-2.5", True)])
def test_only_a_lora_on_ltx_is_sent_to_comfyui(base: str, there: bool) -> None:
    said = where_it_loads(CONFIG | {"base": base})
    assert ("models/loras" in said) is there
    assert ("ComfyUI and diffusers can't use it" in said) is not there
    assert said in card(base=base)


def test_figures_of_what_is_heard_are_a_table_where_there_are_any() -> None:
    assert "| heard |" not in card()
    rows = (
        Heard("spectrum", "nats", None, Estimate(4.25), Estimate(1.106, 0.2)),
        Heard("latents, Fréchet distance", "", *3 * (None,)),
    )
    options = TrainingOptions("/home/me/clips.zip", "/home/me/run")
    text = model_card(CONFIG, REPORT, replace(FIT, heard=rows, heard_of="2 sounds, beside 3 clips."), options)
    assert "| spectrum, nats | – | 4.25 | 1.11 ± 0.2 |\n| latents, Fréchet distance | – | – | – |\n\n2 sounds" in text
