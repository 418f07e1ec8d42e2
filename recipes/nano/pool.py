"""Stage 1 makes the pool of sound that the codec is trained on, as samples at 48 and 16 kHz and as log-mels.

    python recipes/nano/pool.py

Every ninth piece is held out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import av
import numpy as np
import torch
from numpy.lib.format import open_memmap
from sizes import AUDIO, CONFIG, WORK
from sounds import FAMILIES, render, render_texture

from soundlora.model.mel import log_mel, resample

RATE = 48_000  # Hz
HOP = 480  # samples at 48 kHz per mel frame
FAMILY_CLIPS, TEXTURE_CLIPS, SECONDS = 14, 400, 4.0


def pieces() -> Iterator[tuple[str, np.ndarray]]:
    """Yield (kind, samples) of each piece. Samples are float32 (2, n) at 48 kHz."""
    rng = np.random.default_rng(1)
    for path in sorted((WORK / "material").glob("*/*.wav")):
        yield path.parent.name, _read_wav(path)
    for _ in range(FAMILY_CLIPS):
        for family in FAMILIES:
            yield "families", render(family, rng, SECONDS).audio
    for _ in range(TEXTURE_CLIPS):
        yield "texture", render_texture(rng, SECONDS)


def _read_wav(path: object) -> np.ndarray:
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray() for frame in container.decode(audio=0)]
        channels = container.streams.audio[0].codec_context.channels
    samples = np.concatenate(frames, axis=1).reshape(-1, channels).T.astype(np.float32) / 32768
    return np.repeat(samples, 2, axis=0) if channels == 1 else samples


def main() -> None:
    index: list[dict[str, Any]] = []
    waves, lows, mels, start = [], [], [], 0
    for kind, audio in pieces():
        frames = audio.shape[1] // HOP
        audio = audio[:, : frames * HOP]
        if frames < 100 or np.abs(audio).max() < 1e-3:
            continue
        wave = torch.from_numpy(audio)
        low = resample(wave, RATE, AUDIO.sample_rate)
        mel = log_mel(low[None], AUDIO)[0, :, :frames]
        index.append({"kind": kind, "start": start, "frames": frames, "held_out": len(index) % 9 == 8})
        waves.append((audio.T * 32767).astype(np.int16))
        lows.append((low.T.clamp(-1, 1) * 32767).to(torch.int16).numpy())
        mels.append(mel.to(torch.float16).numpy())
        start += frames
    for name, hop, parts in (("pool_wave", HOP, waves), ("pool_low", AUDIO.hop, lows)):
        pool = open_memmap(WORK / f"{name}.npy", "w+", np.int16, (start * hop, 2))
        np.concatenate(parts, out=pool)
        pool.flush()
    np.save(WORK / "pool_mel.npy", np.concatenate(mels, axis=1))  # (2, frames, 64)
    (WORK / "pool.json").write_text(json.dumps(index))
    minutes = start / 100 / 60
    print(f"{len(index)} pieces, {minutes:.1f} minutes; mel config {CONFIG['audio_vae']['preprocessing']['stft']}")


class Pool:
    """Random crops of the pool."""

    def __init__(self) -> None:
        self.wave = np.load(WORK / "pool_wave.npy", mmap_mode="r")
        self.low = np.load(WORK / "pool_low.npy", mmap_mode="r")
        self.mel = np.load(WORK / "pool_mel.npy", mmap_mode="r")
        self.index = json.loads((WORK / "pool.json").read_text())

    def crops(self, rng: np.random.Generator, count: int, frames: int, *, held_out: bool = False) -> list[int]:
        """Return the start frames of crops of `frames` mel frames, each within one piece."""
        pieces = [p for p in self.index if p["held_out"] == held_out and p["frames"] >= frames]
        weights = np.array([p["frames"] for p in pieces], float)
        chosen = rng.choice(len(pieces), count, p=weights / weights.sum())
        return [pieces[i]["start"] + int(rng.integers(pieces[i]["frames"] - frames + 1)) for i in chosen]

    def mels(self, starts: list[int], frames: int) -> torch.Tensor:
        """Return the crops' log-mels (B, 2, frames, 64) as float32."""
        return torch.from_numpy(np.stack([self.mel[:, s : s + frames] for s in starts]).astype(np.float32))

    def waves(self, starts: list[int], frames: int, *, low: bool = False) -> torch.Tensor:
        """Return the crops' samples (B, 2, frames·hop) as float32 at 48 kHz, or with `low` at the mel's own rate."""
        samples, hop = (self.low, AUDIO.hop) if low else (self.wave, HOP)
        crops = np.stack([samples[s * hop : (s + frames) * hop].T for s in starts])
        return torch.from_numpy(crops.astype(np.float32) / 32767)


if __name__ == "__main__":
    main()
