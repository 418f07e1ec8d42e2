"""A LoRA's strength in each part of a block and its range of sampling steps, over HTTP."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from support import BaseNames
from workplace import Place

from soundlora.contract.generation import GenerationRequest
from soundlora.lora.adapter import Adapter
from soundlora.pipeline.generate import Generator
from soundlora.pipeline.lora_use import LoraUse
from soundlora.server.endpoints import GENERATION_WITH_LORA
from soundlora.server.work.outcomes import rejected

URL = "https://example.com/a.safetensors"


def test_a_worker_uses_a_lora_as_it_is_told(place: Place, quick_base_25: BaseNames, tmp_path: Path) -> None:
    generator = Generator(quick_base_25.checkpoint)
    adapter = Adapter.create(generator.model, 8)
    with torch.no_grad():
        for layer in adapter.layers.values():
            layer.lora_B.normal_(std=0.05)
    file = tmp_path / "a.safetensors"
    adapter.save(file, {})
    adapter.detach()
    address = "data:application/octet-stream;base64," + base64.b64encode(file.read_bytes()).decode()
    wish = {"prompt": "rain", "num_frames": 25, "seed": 3, "num_inference_steps": 8, "sync_mode": True}
    lora = {"path": address, "scale": 0.8, "text_scale": 0.5, "ff_scale": 0, "end": 0.5}
    place.requests.submit(GENERATION_WITH_LORA, wish | {"loras": [lora]})
    found = place.work()
    assert found.status_code == 200, found.error
    generator.exchange([LoraUse(file, 0.8, {"text": 0.5, "ff": 0}, (0, 0.5))])
    expected = generator("rain", duration=25 / 24, seed=3, steps=8).save(tmp_path / "expected.wav")
    sound = base64.b64decode(found.response["audio"]["url"].partition(",")[2])
    assert sound == expected.read_bytes()
    generator.exchange([(file, 0.8)])
    assert generator("rain", duration=25 / 24, seed=3, steps=8).save(tmp_path / "whole.wav").read_bytes() != sound


def test_a_lora_works_everywhere_where_nothing_is_said() -> None:
    (entry,) = GenerationRequest.model_validate({"prompt": "x", "loras": [{"path": URL}]}).loras
    assert (entry.self_scale, entry.text_scale, entry.ff_scale, entry.start, entry.end) == (1, 1, 1, 0, 1)


@pytest.mark.parametrize(
    ("fields", "place", "message"),
    [
        ({"start": 0.5, "end": 0.5}, "end", "Input should be greater than 0.5"),
        ({"start": 1}, "start", "Input should be less than 1"),
        ({"end": 1.5}, "end", "Input should be less than or equal to 1"),
        ({"text_scale": 5}, "text_scale", "Input should be less than or equal to 4"),
        ({"ff_scale": True}, "ff_scale", "a number is needed"),
    ],
)
def test_what_is_out_of_range_is_told_with_its_field(fields: dict[str, Any], place: str, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        GenerationRequest.model_validate({"prompt": "x", "loras": [{"path": URL} | fields]})
    (entry,) = rejected(caught.value).response["detail"]
    assert entry["loc"] == ["body", "loras", 0, place]
    assert message in entry["msg"]
