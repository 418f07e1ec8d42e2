"""Damaged media files: whatever is wrong with them, a clip is kept or skipped with a reason, and nothing else is."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import WriteAudio, inputs

from soundlora.dataset import inspect_dataset

FILES = {
    "a.wav": ("pcm_s16le", {}),
    "float.wav": ("pcm_f32le", {}),
    "ima.wav": ("adpcm_ima_wav", {}),
    "a.flac": ("flac", {}),
    "a.mp3": ("libmp3lame", {}),
    "raw.mp3": ("libmp3lame", {"write_xing": "0", "id3v2_version": "0"}),
    "a.ogg": ("libopus", {}),
    "a.aac": ("aac", {}),
    "a.m4a": ("aac", {}),
    "alac.m4a": ("alac", {}),
}


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory, write_audio: WriteAudio) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("media")
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (1, 12_000)).astype(np.float32)
    return {
        name: write_audio(folder / name, noise, 24_000, codec=codec, muxer=muxer).read_bytes()
        for name, (codec, muxer) in FILES.items()
    }


edits = st.lists(
    st.tuples(
        st.sampled_from(["change", "cut", "remove", "repeat"]),
        st.floats(0, 1, exclude_max=True),
        st.one_of(st.binary(min_size=1, max_size=8), st.sampled_from([b"\0" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff"])),
    ),
    min_size=1,
    max_size=4,
)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=inputs(1.5),
)
@given(name=st.sampled_from(sorted(FILES)), near_start=st.booleans(), edits=edits)
def test_a_damaged_clip_has_a_fate_and_a_report(
    name: str, near_start: bool, edits: list[tuple[str, float, bytes]], media: dict[str, bytes], tmp_path: Path
) -> None:
    content = bytearray(media[name])
    for kind, place, piece in edits:
        at = int(place * (min(len(content), 200) if near_start else len(content)))
        if kind == "change":
            content[at : at + len(piece)] = piece
        elif kind == "cut":
            del content[max(at, 1) :]
        elif kind == "remove":
            del content[at : at + len(piece)]
        else:
            content[at:at] = piece * 30
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as bundle:
        bundle.writestr(name, bytes(content))
    report = inspect_dataset(tmp_path / "a.zip", duration=0.2)
    (clip,) = report.clips
    assert (clip.status == "kept") == (clip.reason is None)
    json.dumps(report.to_json(), allow_nan=False)
    if clip.status == "kept":
        assert clip.used_seconds == pytest.approx(0.2, abs=0.041)
        assert clip.seconds is not None
        assert 0 < clip.seconds < 10**6
