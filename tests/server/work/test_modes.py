"""Workers train the modes of the hosted sister endpoints, and generate from a sound, for real."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from example_zip import CLIPS
from support import tone, write_clip
from workplace import Place

from soundlora.server.endpoints import GENERATION, TRAINERS

SOUND = sorted(path for path in CLIPS.iterdir() if path.suffix != ".txt")[0]


def uri(path: Path) -> str:
    return "data:audio/wav;base64," + base64.b64encode(path.read_bytes()).decode()


def data(folder: Path, mode: str) -> str:
    """Two clips of 1 s, with masks or as pairs where the mode needs that."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number, name in enumerate(("bell", "drum")):
            for role in ("_start", "_end") if mode == "a2a" else ("",):
                frequency = 200.0 + 100 * number + 400 * (role == "_end")
                path = write_clip(folder / f"{name}{role}.wav", tone(1.0, frequency))
                archive.write(path, path.name)
            archive.writestr(f"{name}.txt", f"a {name}")
            if mode == "audio-inpaint":
                archive.writestr(f"{name}_mask.json", "[[0.2, 0.5]]")
    return "data:application/zip;base64," + base64.b64encode(buffer.getvalue()).decode()


@pytest.mark.parametrize(
    ("name", "fields", "preview"),
    [
        ("audio-extend-prefix", {"conditioning_seconds": 0.4}, {"audio_url": uri(SOUND)}),
        ("audio-inpaint", {}, {"audio_url": uri(SOUND), "spans": [[0.2, 0.4]]}),
        ("ic-lora/a2a", {"condition_probability": 0.5, "name": "My bells"}, {"reference_audio_url": uri(SOUND)}),
    ],
)
def test_each_endpoint_trains_its_mode(
    place: Place, tmp_path: Path, name: str, fields: dict[str, Any], preview: dict[str, Any]
) -> None:
    payload = {
        "training_data_url": data(tmp_path, name.removeprefix("ic-lora/")),
        "number_of_steps": 100,
        "rank": 8,
        "audio_duration_seconds": 1,
        "validation": [{"prompt": "a bell"} | preview],
    }
    request = place.requests.submit(f"{TRAINERS}/{name}", payload | fields)
    found = place.work()
    assert found.status_code == 200, found.error
    assert found.units == 100
    assert found.response["audio"] is not None
    rows = {row.role: row for row in place.files.of_request(request.id)}
    config = json.loads((place.settings.data_dir.absolute() / "files" / rows["config"].key).read_bytes())
    assert config["training_type"] == name.removeprefix("ic-lora/")
    assert config["clips"] == 2
    title = fields.get("name", "lora")  # nothing else names data that came in the request itself
    stem = f"{title.replace(' ', '-')}-100"
    assert config["lora_file"] == found.response["lora_file"]["file_name"] == f"{stem}.safetensors"
    assert found.response["lora_file"]["url"].endswith(f"/{stem}.safetensors")
    assert found.response["card"]["file_name"] == f"{stem}.md"
    card = (place.settings.data_dir.absolute() / "files" / rows["card"].key).read_text()
    assert f"# {title}\n" in card
    assert str(tmp_path) not in card
    role = "_end" if name.endswith("a2a") else ""
    listed = json.loads((place.settings.data_dir.absolute() / "files" / rows["clips"].key).read_bytes())["clips"]
    assert {(clip["name"], clip["caption"]) for clip in listed} == {
        (f"bell{role}.wav", "a bell"),
        (f"drum{role}.wav", "a drum"),
    }
    sounds = place.files.of_request(request.id, "clip")
    assert {row.name for row in sounds} == {clip["file"] for clip in listed}
    assert {row.content_type for row in sounds} == {"audio/wav"}


@pytest.mark.parametrize(
    ("name", "mode", "preview", "loc", "words"),
    [
        ("audio-inpaint", "t2a", None, ["training_data_url"], "bell.wav has no bell_mask.json"),
        ("a2a", "t2a", None, ["training_data_url"], "bell.wav is neither the start nor the end of a pair"),
        (
            "audio-extend-suffix",
            "t2a",
            {"prompt": "x", "audio_url": "data:audio/wav;base64,AAAA"},
            ["validation"],
            "can't be used",
        ),
    ],
)
def test_what_is_missing_is_said_with_its_field(
    place: Place, tmp_path: Path, name: str, mode: str, preview: Any, loc: list[str], words: str
) -> None:
    payload: dict[str, Any] = {"training_data_url": data(tmp_path, mode), "audio_duration_seconds": 1}
    payload |= {"conditioning_seconds": 0.5, "validation": [preview] if preview else []}
    place.requests.submit(f"{TRAINERS}/{name}", payload)
    found = place.work()
    assert (found.status_code, found.units) == (422, 0)
    (entry,) = found.response["detail"]
    assert entry["loc"][: 1 + len(loc)] == ["body", *loc]
    assert words in entry["msg"]
    assert str(tmp_path) not in str(found.response)


@pytest.mark.parametrize(
    "fields",
    [{"audio_mode": "extend-prefix", "added_seconds": 0.5}, {"audio_mode": "inpaint", "spans": [[0.1, 0.3]]}],
)
def test_a_sound_is_generated_from_another(place: Place, fields: dict[str, Any]) -> None:
    request = place.requests.submit(GENERATION, {"prompt": "a bell", "seed": 3, "audio_url": uri(SOUND)} | fields)
    found = place.work()
    assert found.status_code == 200, found.error
    (row,) = place.files.of_request(request.id)
    assert row.role == "audio"


@pytest.mark.parametrize(
    ("fields", "loc"),
    [
        ({"audio_url": "data:audio/wav;base64,AAAA"}, ["audio_url"]),
        ({"audio_url": uri(SOUND), "audio_mode": "inpaint"}, ["spans"]),
        ({"audio_url": uri(SOUND), "audio_mode": "a2a", "conditioning_seconds": 2}, ["conditioning_seconds"]),
        ({"audio_url": uri(SOUND), "audio_mode": "a2a", "added_seconds": 2}, ["added_seconds"]),
    ],
)
def test_a_sound_that_can_not_be_used_is_said_with_its_field(
    place: Place, fields: dict[str, Any], loc: list[str]
) -> None:
    place.requests.submit(GENERATION, {"prompt": "a bell"} | fields)
    found = place.work()
    assert found.status_code == 422
    (entry,) = found.response["detail"]
    assert entry["loc"] == ["body", *loc]
