"""Textures are uncaptioned material for training the codec: random mixtures of everything that a waveform can do."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import fft

from .dsp import (
    Audio,
    Curve,
    Scene,
    add,
    bump,
    cloud,
    cycles,
    decay,
    harmonics,
    moving_noise,
    narrow,
    noise,
    read_table,
    reverberate,
    scattered,
    sine,
    swell,
    wander,
    wavetable,
    white,
)


def _harmonic_stack(s: Scene) -> Audio:
    """Return one to four tones at once, with vibrato and glides."""
    out = s.silence()
    for _ in range(int(s.rng.integers(1, 5))):
        t = s.time(s.uniform(0.3, 1.0) * s.seconds)
        f0 = s.log_uniform(40, 3_000)
        table = wavetable(harmonics(s, f0, s.uniform(0.2, 2.5)), s.rng.uniform(0, 6.28, 2_000))
        glide = s.uniform(-1, 1) * s.chance(0.4) * t / t[-1]
        bend = glide + s.uniform(0, 0.04) * np.sin(2 * np.pi * s.uniform(2, 9) * t) + 0.01 * wander(s, 4.0, t)
        level = swell(t, t[-1], s.log_uniform(0.002, 0.3), s.log_uniform(0.005, 0.5))
        tone = read_table(table, cycles(s, f0 * 2**bend)) * level.astype(np.float32)
        add(s, out, s.uniform(0, s.seconds - t[-1]), tone, s.uniform(0.2, 1.0), s.uniform(-1, 1))
    return out


def _noise_bursts(s: Scene) -> Audio:
    out = s.silence()
    times = scattered(s, s.log_uniform(0.5, 12))
    centre, octaves = s.log_uniform(80, 14_000), s.uniform(0.1, 2.0)
    for time in times[:60]:
        t = s.time(s.log_uniform(0.01, 0.8))
        burst = noise(s, lambda f: bump(f, centre * 2 ** s.uniform(-1, 1), octaves), len(t), 1)[0]
        shape = decay(t, t[-1], s.log_uniform(5e-4, 0.02)) if s.chance(0.6) else swell(t, t[-1], t[-1] / 3, t[-1] / 3)
        add(s, out, time, burst * shape.astype(np.float32), s.uniform(0.1, 1.0), s.uniform(-1, 1))
    return out


def _clicks(s: Scene) -> Audio:
    t = s.time(s.log_uniform(0.001, 0.02))[None, :]
    rings = s.rng.uniform(0.2, 1.0, (12, 1)) * t[0, -1]
    tones = np.sin(2 * np.pi * np.exp(s.rng.uniform(5, 9.6, (12, 1))) * t) if s.chance(0.5) else 0.0
    grains = (tones + s.rng.standard_normal((12, t.shape[1])) * s.chance(0.6) + 1e-3) * np.exp(-6.91 * t / rings)
    times = scattered(s, s.log_uniform(1, 200))
    return cloud(s, grains.astype(np.float32), times, s.rng.exponential(0.5, len(times)))


def _fm_tone(s: Scene) -> Audio:
    t = s.time()
    carrier = s.log_uniform(60, 4_000)
    ratio = float(s.rng.choice([0.5, 1.0, 1.41, 2.0, 3.0, 3.5, s.uniform(0.1, 5)]))
    index = s.uniform(0.2, 6.0) * (0.5 + 0.5 * wander(s, s.log_uniform(0.3, 8), t))
    modulator = sine(cycles(s, carrier * ratio, s.n))
    tone = sine(cycles(s, carrier, s.n) + index * modulator / (2 * np.pi))
    level: Curve = np.clip(0.4 + 0.8 * wander(s, s.log_uniform(0.5, 6), t), 0, 1)
    return (tone * level.astype(np.float32))[None, :].repeat(2, 0)


def _chirps(s: Scene) -> Audio:
    out = s.silence()
    for time in scattered(s, s.log_uniform(0.5, 10))[:60]:
        t = s.time(s.log_uniform(0.02, 1.0))
        start, stop = s.log_uniform(60, 16_000), s.log_uniform(60, 16_000)
        tone = sine(cycles(s, start * (stop / start) ** (t / t[-1])))
        add(
            s,
            out,
            time,
            tone * swell(t, t[-1], 0.005, t[-1] / 3).astype(np.float32),
            s.uniform(0.1, 1),
            s.uniform(-1, 1),
        )
    return out


def _am_noise(s: Scene) -> Audio:
    tilt = s.uniform(-1.2, 0.4)
    rate = s.log_uniform(0.5, 150)
    level = 0.5 + 0.5 * np.sin(2 * np.pi * rate * s.time()) if s.chance(0.5) else np.abs(wander(s, rate, s.time()))
    x = noise(s, lambda f: np.maximum(f, 25.0) ** tilt)
    return narrow(x, s.uniform(0, 1)) * level.astype(np.float32)


def _moving_noise(s: Scene) -> Audio:
    grid = np.arange(0, s.seconds + 1, 0.02)
    path = s.log_uniform(150, 6_000) * 2 ** (1.5 * wander(s, s.log_uniform(0.5, 6), grid))
    octaves = s.uniform(0.05, 1.5)
    return moving_noise(s, lambda t, f: bump(f, np.interp(t, grid, path), octaves))


LAYERS: tuple[Callable[[Scene], Audio], ...] = (
    _harmonic_stack,
    _harmonic_stack,
    _noise_bursts,
    _clicks,
    _fm_tone,
    _chirps,
    _am_noise,
    _moving_noise,
)


def texture(s: Scene) -> Audio:
    """Return one to four random layers (2, samples), with gaps, a room, a random equaliser and a random level."""
    out = s.silence()
    for index in s.rng.choice(len(LAYERS), size=int(s.rng.integers(1, 5)), replace=False):
        layer = LAYERS[int(index)](s)
        level = s.log_uniform(0.05, 1.0) / max(1e-6, float(np.sqrt(np.mean(layer**2))))
        if s.chance(0.3):
            gate = _gate(s)
            layer = layer * gate
        out = out + np.float32(level) * layer
    if s.chance(0.3):
        out = reverberate(s, out, s.uniform(0.2, 2.5), s.uniform(0.1, 1.0))
    if s.chance(0.6):
        out = _equalise(s, out)
    if s.chance(0.15):
        out = np.tanh(out * s.log_uniform(1, 10) / max(1e-6, float(np.abs(out).max()))).astype(np.float32)
    if s.chance(0.3):
        # Recordings have a faint noise floor, so some textures get one.
        out = out + np.float32(s.log_uniform(1e-4, 1e-2) * np.abs(out).max()) * np.stack([white(s), white(s)])
    peak = s.uniform(0.02, 0.98) if s.chance(0.5) else s.log_uniform(0.02, 0.98)
    return (out * (peak / max(1e-6, float(np.abs(out).max())))).astype(np.float32)


def _gate(s: Scene) -> Audio:
    """Return a gate (samples,) that switches at random between sound and silence, with short ramps."""
    openness = wander(s, s.log_uniform(0.5, 5), s.time())
    gate = np.clip((openness + s.uniform(0.0, 0.6)) * s.log_uniform(5, 60), 0, 1).astype(np.float32)
    return gate if gate.any() else np.ones_like(gate)


def _equalise(s: Scene, x: Audio) -> Audio:
    """Apply a random smooth gain curve over frequency, within about ±15 dB."""
    size = fft.next_fast_len(s.n, real=True)
    f = fft.rfftfreq(size, 1 / s.sample_rate).astype(np.float32)
    octave = np.log2(np.maximum(f, 20.0) / 20.0)
    gain = 10 ** (s.uniform(2, 15) * wander(s, s.uniform(0.2, 0.8), octave) / 20)
    equalised: Audio = fft.irfft(fft.rfft(x, size, axis=-1) * gain.astype(np.float32), size, axis=-1)[:, : s.n]
    return equalised
