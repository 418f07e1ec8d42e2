"""A long recording is cut into clips in the browser."""

from __future__ import annotations

import inspect
import io
import re
import wave
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from browsing import Visit
from playwright.sync_api import expect

from soundlora.dataset.clip_files import write_clips
from soundlora.dataset.cut_plan import PlannedPiece, PlannedRecording
from soundlora.dataset.recordings import prepare_recordings

FADE = inspect.signature(prepare_recordings).parameters["fade"].default
RATE = 44_100
PARTS = ((7, 0.3), (3, 0), (6, 0.2), (0.2, 0.02), (7, 0.3), (2, 0), (1, 0.3))
"""Seconds and amplitude."""


def recording(path: Path) -> Any:
    """Stereo noise with silences between; the frames."""
    random = np.random.default_rng(0)
    parts = [amplitude * random.uniform(-1, 1, (round(seconds * RATE), 2)) for seconds, amplitude in PARTS]
    frames = (np.concatenate(parts) * 32767).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setparams((2, 2, RATE, 0, "NONE", ""))
        file.writeframes(frames.tobytes())
    return frames


def prepared(path: Path, start: int, end: int) -> Any:
    """The frames of a clip that `soundlora prepare` writes of the recording."""
    with wave.open(str(path)) as file:
        recording = PlannedRecording(path.name, RATE, 2, file.getnframes())
    write_clips(path, recording, [PlannedPiece(start, end, "clip.wav")], path.parent, FADE, lambda name: None)
    with wave.open(str(path.parent / "clip.wav")) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)


def test_a_long_recording_becomes_clips_with_one_click(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    frames = recording(tmp_path / "field.wav")
    (tmp_path / "field.txt").write_text("a field at noon")
    visit.go()
    page.get_by_label("Zip or audio files").set_input_files([tmp_path / "field.wav", tmp_path / "field.txt"])
    expect(page.get_by_text("5 s of 1 long recording of 26 s is used.")).to_be_visible()
    visit.button("Cut field.wav").click()
    dialog = page.get_by_role("dialog", name="Cut field.wav")
    expect(dialog.get_by_text("3 clips, 20 s of 26 s.")).to_be_visible()
    clips = dialog.get_by_role("button", name=re.compile(r"^Clip \d"))
    expect(clips).to_have_count(4)
    expect(clips.nth(3)).to_have_accessible_name(re.compile("left out$"))
    visit.check_looks()
    page.set_viewport_size({"width": 1280, "height": 900})
    # The waveform is drawn, at this width too.
    drawn = "canvas => canvas.getContext('2d').getImageData(0, 48, canvas.width, 1).data.some((value) => value > 0)"
    assert dialog.locator("canvas").evaluate(drawn)
    # By hand and by keyboard: an edge is moved, a clip split and joined again, the rest taken and left out.
    end = dialog.get_by_role("slider", name="End of clip 1")
    expect(end).to_have_attribute("aria-valuenow", re.compile(r"^7(\.0\d)?$"))
    box = end.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 40)
    page.mouse.down()
    track = end.locator("..").bounding_box()
    assert track is not None
    second = track["width"] / sum(seconds for seconds, _ in PARTS)
    page.mouse.move(box["x"] + box["width"] / 2 - second, box["y"] + 40, steps=3)
    page.mouse.up()
    expect(end).to_have_attribute("aria-valuenow", re.compile(r"^(5\.9|6(\.[01])?)"))
    for _ in range(3):
        end.press("ArrowLeft")
    expect(end).to_have_attribute("aria-valuenow", re.compile(r"^5\.[789]"))
    length = float(end.get_attribute("aria-valuenow") or 0)
    clips.nth(0).focus()
    page.keyboard.press("ArrowRight")
    expect(clips.nth(1)).to_be_focused()
    visit.button("Split").click()
    expect(clips).to_have_count(5)
    visit.button("Join with the next").click()
    expect(clips).to_have_count(4)
    visit.button("Leave it out").click()
    expect(visit.button("Use 2 clips")).to_be_visible()
    visit.button("Take it").click()
    visit.button("Listen").click()
    expect(visit.button("Stop")).to_be_visible()
    with page.expect_request(lambda call: call.url.endswith("/v1/datasets/inspect")) as checked:
        visit.button("Use 3 clips").click()
    expect(page.get_by_text("3 of 3 clips will be trained on")).to_be_visible()
    expect(page.get_by_label("Caption of field_003.wav")).to_have_value("a field at noon")
    asked = checked.value.post_data_json
    assert isinstance(asked, dict)
    with zipfile.ZipFile(io.BytesIO(page.request.get(asked["training_data_url"]).body())) as archive:
        assert archive.namelist() == [f"field_00{number}.{kind}" for number in (1, 2, 3) for kind in ("wav", "txt")]
        with wave.open(archive.open("field_001.wav")) as file:
            assert file.getparams()[:3] == (2, 2, RATE)
            cut = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)
        with wave.open(archive.open("field_002.wav")) as file:
            middle = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)
    assert abs(len(cut) / RATE - length) < 0.02
    fade = round(FADE * RATE)
    np.testing.assert_array_equal(cut[:-fade], frames[: len(cut) - fade])
    # Cuts are faded as `soundlora prepare` does.
    np.testing.assert_array_equal(cut, prepared(tmp_path / "field.wav", 0, len(cut)))
    half = len(middle) // 2
    same = (frames[:-1] == middle[half]).all(axis=1) & (frames[1:] == middle[half + 1]).all(axis=1)
    (place,) = np.flatnonzero(same)
    first = int(place) - half
    np.testing.assert_array_equal(middle, prepared(tmp_path / "field.wav", first, first + len(middle)))
    assert not np.array_equal(middle, frames[first : first + len(middle)])
    # The pieces are the draft now.
    page.reload()
    expect(page.get_by_text("3 of 3 clips will be trained on")).to_be_visible()
