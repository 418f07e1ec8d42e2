from __future__ import annotations

import errno
import wave
from pathlib import Path

import numpy as np
import pytest
import torch

from soundlora.audio.wav import read_wav, write_wav
from soundlora.errors import MachineError


def written(path: Path) -> np.ndarray:
    with wave.open(str(path), "rb") as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, file.getnchannels()).T


@pytest.mark.parametrize("channels", [1, 2])
def test_a_file_is_16_bit_pcm_of_the_given_rate(tmp_path: Path, channels: int) -> None:
    path = tmp_path / "sound.wav"
    write_wav(path, torch.zeros(channels, 100), 48_000)
    with wave.open(str(path), "rb") as file:
        assert file.getparams()[:4] == (channels, 2, 48_000, 100)
    assert list(tmp_path.iterdir()) == [path]


def test_samples_are_cut_to_full_scale_and_truncated_towards_zero(tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    write_wav(path, torch.tensor([[0.0, 1.0, -1.0, 1.5, -7.0, 1.9 / 32767, -1.9 / 32767, 0.5]]), 48_000)
    assert written(path).tolist() == [[0, 32767, -32767, 32767, -32767, 1, -1, 16383]]


def test_channels_stay_apart_and_reading_undoes_writing(tmp_path: Path) -> None:
    path, sound = tmp_path / "sound.wav", 2 * torch.rand(2, 500) - 1
    write_wav(path, sound, 44_100)
    again, rate = read_wav(path)
    assert rate == 44_100
    torch.testing.assert_close(again, sound, atol=1.01 / 32767, rtol=0)
    write_wav(path, again, rate)
    torch.testing.assert_close(read_wav(path)[0], again, atol=1.01 / 32767, rtol=0)


def test_a_half_written_file_never_has_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: wave.Wave_write, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(wave.Wave_write, "writeframes", broken)
    with pytest.raises(MachineError, match="no space"):
        write_wav(tmp_path / "sound.wav", torch.zeros(2, 10), 48_000)
    assert not (tmp_path / "sound.wav").exists()
