"""Building blocks of the synthesiser: noise, envelopes, oscillators, resonators, event placement and rooms.

Audio is float32; mono has shape (samples,), stereo (2, samples). Times are in seconds, frequencies in hertz.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.signal import butter, lfilter, sosfilt

Audio = NDArray[np.float32]
Curve = NDArray[np.floating]
Wave = NDArray[np.floating]  # sound that is not rounded to Audio yet
FRAME = 2048


@dataclass(frozen=True)
class Scene:
    """A clip that is being rendered: its random generator, length in samples and sample rate in hertz."""

    rng: np.random.Generator
    n: int
    sample_rate: int

    @property
    def seconds(self) -> float:
        return self.n / self.sample_rate

    def uniform(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def log_uniform(self, low: float, high: float) -> float:
        return float(np.exp(self.rng.uniform(np.log(low), np.log(high))))

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def samples(self, seconds: float) -> int:
        return max(8, int(seconds * self.sample_rate))

    def time(self, seconds: float | None = None) -> Curve:
        """Return a time axis in seconds, over the whole clip unless ``seconds`` is given."""
        return np.arange(self.n if seconds is None else self.samples(seconds)) / self.sample_rate

    def silence(self) -> Audio:
        return np.zeros((2, self.n), np.float32)


# ---- noise ---------------------------------------------------------------------------------------------------------


def band(f: Curve, low: float, high: float, order: float = 2.0) -> Curve:
    """Return the Butterworth-like magnitude of a band pass from ``low`` to ``high``."""
    f = np.maximum(f, 1.0)
    return 1.0 / np.sqrt((1.0 + (low / f) ** (2 * order)) * (1.0 + (f / high) ** (2 * order)))


def bump(f: Curve, centre: Curve | float, octaves: float) -> Curve:
    """Return a Gaussian peak on the log-frequency axis, with a standard deviation of ``octaves``."""
    return np.exp(-0.5 * (np.log2(np.maximum(f, 1.0) / centre) / octaves) ** 2)


def white(s: Scene, n: int | None = None) -> Audio:
    return s.rng.standard_normal(s.n if n is None else n, dtype=np.float32)


def noise(s: Scene, gain: Callable[[Curve], Curve], n: int | None = None, channels: int = 2) -> Audio:
    """Return stationary noise (channels, n) with magnitude ``gain(frequency)`` and unit RMS."""
    n = s.n if n is None else n
    size = fft.next_fast_len(n, real=True)
    f = fft.rfftfreq(size, 1.0 / s.sample_rate).astype(np.float32)
    magnitude = gain(f).astype(np.float32)
    # White noise has a white spectrum. Drawing the spectrum directly saves the forward transform.
    spectrum = s.rng.standard_normal((channels, 2 * len(f)), dtype=np.float32).view(np.complex64) * magnitude
    out: Audio = fft.irfft(spectrum, size, axis=-1)[:, :n]
    return out * np.float32(1.0 / max(1e-12, float(np.sqrt(np.mean(out**2)))))


def moving_noise(s: Scene, gain: Callable[[Curve, Curve], Curve]) -> Audio:
    """Return stereo noise (2, n) whose magnitude ``gain(time, frequency)`` changes over time. It is not normalised.

    ``gain`` gets time as a column and frequency as a row, and returns their (frames, bins) grid.
    """
    hop = FRAME // 2
    frames = s.n // hop + 2
    x = s.rng.standard_normal((2, (frames + 1) * hop), dtype=np.float32)
    window = np.sin(np.pi * (np.arange(FRAME) + 0.5) / FRAME).astype(np.float32)
    halves = x.reshape(2, frames + 1, hop)
    blocks = np.concatenate([halves[:, :-1], halves[:, 1:]], axis=-1) * window
    t = (np.arange(frames)[:, None] * hop) / s.sample_rate
    f = fft.rfftfreq(FRAME, 1.0 / s.sample_rate).astype(np.float32)[None, :]
    spectrum = fft.rfft(blocks, axis=-1) * gain(t, f).astype(np.float32)
    blocks = fft.irfft(spectrum, FRAME, axis=-1) * window
    out: Wave = blocks[:, 1:, :hop] + blocks[:, :-1, hop:]
    return out.reshape(2, -1)[:, : s.n].astype(np.float32)


def narrow(x: Wave, width: float) -> Audio:
    """Scale the stereo width of (2, n) audio: 0 is mono, 1 leaves it."""
    middle: Wave = x.mean(axis=0, keepdims=True)
    return (middle + width * (x - middle)).astype(np.float32)


# ---- control curves ------------------------------------------------------------------------------------------------


def wander(s: Scene, rate: float, points: Curve) -> Curve:
    """Return a smooth random curve in [-1, 1] at the times ``points``, with about ``rate`` turns a second."""
    knots = int(np.ceil((float(np.max(points)) + 1.0) * rate)) + 3
    values = s.rng.uniform(-1, 1, knots).astype(np.float32)
    position = np.asarray(points) * rate
    index = position.astype(np.int32)
    fraction = (position - index).astype(np.float32)
    fraction *= fraction * (3.0 - 2.0 * fraction)
    return values[index] + fraction * np.diff(values)[index]


def decay(t: Curve, t60: float, attack: float = 0.001) -> Curve:
    """Exponential decay by 60 dB in ``t60`` after a linear attack."""
    level: Curve = np.exp(-6.91 * t / t60) * np.minimum(1.0, t / attack)
    return level


def swell(t: Curve, length: float, attack: float, release: float) -> Curve:
    """Return level 1 over ``length``, with raised-cosine attack and release inside it."""
    rise = np.clip(t / attack, 0, 1)
    fall = np.clip((length - t) / release, 0, 1)
    ramp: Curve = np.minimum(rise, fall)
    return ramp * ramp * (3 - 2 * ramp)


# ---- oscillators and resonators ------------------------------------------------------------------------------------


def wavetable(amplitudes: Curve, phases: Curve | None = None, size: int = 4096) -> Audio:
    """Return one period (size,) of the harmonics 1, 2, … with the given amplitudes, and a peak of 1."""
    spectrum = np.zeros(size // 2 + 1, np.complex128)
    count = min(len(amplitudes), size // 4)
    turn = np.zeros(count) if phases is None else phases[:count]
    spectrum[1 : count + 1] = amplitudes[:count] * np.exp(1j * turn) * -0.5j
    table: Wave = fft.irfft(spectrum, size)
    return (table / max(1e-12, float(np.abs(table).max()))).astype(np.float32)


def cycles(s: Scene, frequency: Curve | float, n: int | None = None) -> Curve:
    """Return the phase in cycles of an oscillator with constant or sampled ``frequency``, from a random start."""
    start = s.rng.random()
    if np.ndim(frequency) == 0:
        return start + np.arange(s.n if n is None else n) * (float(frequency) / s.sample_rate)
    return start + np.cumsum(frequency) / s.sample_rate


def read_table(table: Audio, phase: Curve) -> Audio:
    """Look a wavetable up at ``phase`` (cycles), linearly interpolated."""
    size = len(table)
    position = (phase - np.floor(phase)) * size
    index = position.astype(np.int32)
    fraction = (position - index).astype(np.float32)
    extended = np.append(table, table[:2])
    return extended[index] + fraction * np.diff(extended)[index]


def morph(tables: Sequence[Audio], phase: Curve, position: Curve) -> Audio:
    """Look ``phase`` up in several wavetables, cross-faded by ``position``: 0 is the first, 1 the second, and so on."""
    weights = (np.maximum(0, 1 - np.abs(position - index)).astype(np.float32) for index in range(len(tables)))
    mixed: Audio = sum(read_table(table, phase) * weight for table, weight in zip(tables, weights, strict=True))
    return mixed


def voice_table(f0: float, peaks: tuple[tuple[float, float, float], ...], slope: float = 0.5) -> Audio:
    """Return one period of a voice at ``f0`` that the resonances of its throat shape."""
    k = np.arange(1, max(2, int(16_000 / f0)) + 1)
    return wavetable(formants(k * f0, peaks) * k**-slope)


def sine(phase: Curve) -> Audio:
    # Wrapped before the cast: single precision holds one turn well, and its sine is much faster.
    wave: Audio = np.sin((phase - np.floor(phase)).astype(np.float32) * np.float32(2 * np.pi))
    return wave


def harmonics(s: Scene, f0: float, slope: float, top: float = 18_000.0) -> Curve:
    """Return amplitudes 1/k**slope of all harmonics of ``f0`` below ``top``, each varied at random by a few dB."""
    count = max(1, int(min(top, 0.45 * s.sample_rate) / f0))
    k = np.arange(1, count + 1)
    return k ** (-slope) * np.exp(0.25 * s.rng.standard_normal(count))


def formants(f: Curve, peaks: tuple[tuple[float, float, float], ...]) -> Curve:
    """Sum of resonances given as (frequency, bandwidth, gain)."""
    total: Curve = sum(gain / np.sqrt(1.0 + ((f - centre) / (0.5 * width)) ** 2) for centre, width, gain in peaks)
    return total


def modes(s: Scene, frequencies: Curve, amplitudes: Curve, t60s: Curve, seconds: float) -> Audio:
    """Return a sum of decaying sinusoids (samples,): the ring of a struck body."""
    n = s.samples(seconds)
    impulse = np.zeros(n)
    impulse[0] = 1.0
    out = np.zeros(n)
    for frequency, amplitude, t60 in zip(frequencies, amplitudes, t60s, strict=True):
        if frequency > 0.45 * s.sample_rate:
            continue
        # The impulse response of a two-pole resonator is the decaying sine, and is far cheaper than sin() and exp().
        radius = np.exp(-6.91 / (t60 * s.sample_rate))
        omega = 2 * np.pi * frequency / s.sample_rate
        out += lfilter([amplitude * np.sin(omega) * radius], [1.0, -2 * radius * np.cos(omega), radius**2], impulse)
    # The sines start together at phase 0. A short fade at the end keeps truncated rings from clicking.
    tail = min(n, s.samples(0.01))
    out[-tail:] *= np.linspace(1, 0, tail)
    return (out / max(1e-9, float(np.abs(out).max()))).astype(np.float32)


def string(s: Scene, f0: float, amplitudes: Curve, t60s: Curve, seconds: float) -> Audio:
    """Return a plucked or struck string (samples,): harmonics with random phases, each decaying at its own rate.

    This is the Karplus-Strong loop, written as one inverse FFT per period. The loop filter is raised to the period's
    number.
    """
    period = max(8, round(s.sample_rate / f0))
    count = int(np.ceil(seconds * f0)) + 2
    bins = min(len(amplitudes), int(0.42 * period))
    spectrum = np.zeros((count, period // 2 + 1), np.complex64)
    k = np.arange(count)[:, None]
    level = amplitudes[:bins] * np.exp(-6.91 * k / (f0 * t60s[:bins]))
    spectrum[:, 1 : bins + 1] = level * np.exp(2j * np.pi * s.rng.random(bins))
    flat: Wave = fft.irfft(spectrum, period, axis=-1).ravel()
    n = s.samples(seconds)
    # The period is a whole number of samples. Reading at a slightly different speed restores the exact pitch.
    position = np.arange(n) * (f0 * period / s.sample_rate)
    index = position.astype(np.int32)
    out = flat[index] + (position - index).astype(np.float32) * (flat[index + 1] - flat[index])
    fade = min(n, s.samples(0.02))
    out[-fade:] *= np.linspace(1, 0, fade)
    return (out / max(1e-9, float(np.abs(out).max()))).astype(np.float32)


# ---- events --------------------------------------------------------------------------------------------------------


def onsets(s: Scene, rate: float, jitter: float = 0.05) -> Curve:
    """Return event times at about ``rate`` a second, jittered by a share of the period. The first is within 60 ms."""
    first = s.uniform(0.005, 0.06)
    times = first + np.arange(0, max(0.0, s.seconds - first), 1.0 / rate)
    times[1:] += jitter / rate * s.rng.standard_normal(len(times) - 1)
    return np.clip(times, 0, s.seconds - 0.01)


def scattered(s: Scene, rate: float) -> Curve:
    """Return Poisson event times at ``rate`` a second. One event is always at the very start."""
    count = max(1, int(s.rng.poisson(rate * s.seconds)))
    times = s.rng.uniform(0, s.seconds, count)
    times[0] = s.uniform(0.0, 0.05)
    return times


def add(s: Scene, out: Audio, time: float, event: Wave, gain: float = 1.0, pan: float = 0.0) -> None:
    """Mix a mono or stereo event into ``out`` at ``time``; pan runs from -1 (left) to 1 (right)."""
    start = int(time * s.sample_rate)
    length = min(event.shape[-1], s.n - start)
    if length <= 0:
        return
    angle = (pan + 1) * np.pi / 4
    sides = np.array([[np.cos(angle)], [np.sin(angle)]], np.float32) * np.float32(gain * np.sqrt(2))
    out[:, start : start + length] += sides * event[..., :length]


def cloud(s: Scene, grains: Audio, times: Curve, gains: Curve, spread: float = 0.8) -> Audio:
    """Return very many short events (2, n). Each takes a random row of ``grains`` (kinds, length) and a random pan."""
    length = grains.shape[1]
    start = (times * s.sample_rate).astype(np.int64)
    index = (start[:, None] + np.arange(length)).ravel()
    picked = grains[s.rng.integers(len(grains), size=len(times))] * gains[:, None].astype(np.float32)
    angle = (s.rng.uniform(-spread, spread, len(times)) + 1) * np.pi / 4
    sides = []
    for side in (np.cos(angle), np.sin(angle)):
        weights = (picked * side[:, None].astype(np.float32)).ravel()
        sides.append(np.bincount(index, weights, minlength=s.n)[: s.n])
    return np.stack(sides).astype(np.float32)


def walk(s: Scene, count: int, root: float) -> Curve:
    """Return ``count`` frequencies of a random melody around ``root`` in a random scale."""
    scales = ((0, 2, 4, 7, 9), (0, 3, 5, 7, 10), (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10))
    scale = scales[int(s.rng.integers(len(scales)))]
    steps = np.cumsum(s.rng.integers(-2, 3, count))
    # The walk is reflected into about one octave, so that a clip stays in the register that its caption names.
    steps = np.abs((steps + len(scale)) % (2 * len(scale)) - len(scale))
    semitones = np.array([12 * (step // len(scale)) + scale[step % len(scale)] for step in steps])
    return root * 2.0 ** (semitones / 12)


# ---- filters and rooms ---------------------------------------------------------------------------------------------


def butterworth(s: Scene, x: Wave, kind: str, cutoff: float, order: int = 2) -> Audio:
    """Butterworth ``"low"`` or ``"high"`` pass at ``cutoff``."""
    sos = butter(order, min(cutoff, 0.45 * s.sample_rate), kind, fs=s.sample_rate, output="sos")
    filtered: Wave = sosfilt(sos, x, axis=-1)
    return filtered.astype(np.float32)


def reverberate(s: Scene, x: Wave, t60: float, wet: float, damping: float = 6_000.0) -> Audio:
    """Add a room: exponentially decaying stereo noise convolved with (2, n) audio. ``wet`` is relative RMS."""
    length = s.samples(min(t60, s.seconds + 0.1))
    t = np.arange(length, dtype=np.float32) / s.sample_rate
    response = s.rng.standard_normal((2, length), dtype=np.float32) * np.exp(-6.91 * t / t60)
    pole = np.exp(-2 * np.pi * damping / s.sample_rate)
    response = lfilter([1 - pole], [1, -pole], response, axis=-1).astype(np.float32)
    response[:, : s.samples(s.uniform(0.002, 0.02))] = 0
    size = fft.next_fast_len(s.n + length, real=True)
    tail: Wave = fft.irfft(fft.rfft(x, size, axis=-1) * fft.rfft(response, size, axis=-1), size, axis=-1)[:, : s.n]
    scale = np.sqrt(np.mean(x**2) / max(1e-12, float(np.mean(tail**2))))
    out: Wave = x + wet * scale * tail
    return out.astype(np.float32)


def distant(s: Scene, x: Wave) -> Audio:
    """Far away: air takes the treble, the ground and walls add diffuse reflections, the image narrows."""
    dulled = butterworth(s, x, "low", s.log_uniform(1_500, 2_800), order=2)
    return reverberate(s, narrow(dulled, 0.4), s.uniform(0.8, 1.6), s.uniform(0.6, 1.0), damping=2_500)
