"""Weather, water, fire and animals."""

from __future__ import annotations

import numpy as np

from .dsp import (
    Audio,
    Curve,
    Scene,
    Wave,
    add,
    band,
    bump,
    butterworth,
    cloud,
    cycles,
    decay,
    formants,
    harmonics,
    morph,
    moving_noise,
    noise,
    onsets,
    read_table,
    scattered,
    sine,
    swell,
    voice_table,
    wander,
    wavetable,
    white,
)
from .registry import DISTANCE, INTENSITY, PITCH, SPACE, SPEED, family


def _ring_grains(s: Scene, kinds: int, seconds: float, low: float, high: float, t60: tuple[float, float]) -> Audio:
    """Return short decaying sines of random pitch, (kinds, samples)."""
    t = s.time(seconds)[None, :]
    pitch = np.exp(s.rng.uniform(np.log(low), np.log(high), (kinds, 1)))
    ring = np.exp(s.rng.uniform(np.log(t60[0]), np.log(t60[1]), (kinds, 1)))
    grains: Wave = np.sin(2 * np.pi * pitch * t) * np.exp(-6.91 * t / ring) * (1 - t / t[0, -1])
    return grains.astype(np.float32)


@family("rain", intensity=INTENSITY, distance=DISTANCE)
def rain(s: Scene, a: dict[str, str]) -> Wave:
    heavy = a["intensity"] == "heavy"
    rate = s.uniform(400, 700) if heavy else s.uniform(25, 50)
    ticks = _ring_grains(s, 48, 0.005, 2_500, 12_000, (0.002, 0.006))
    times = scattered(s, rate)
    drops = cloud(s, ticks, times, s.rng.exponential(0.5, len(times)) + 0.1)
    plops = _ring_grains(s, 24, 0.02, 500, 1_800, (0.008, 0.03))
    times = scattered(s, rate * 0.12)
    drops += 0.6 * cloud(s, plops, times, s.rng.exponential(0.5, len(times)) + 0.1)
    # A hump around 4 kHz that falls off on both sides tells pouring rain from flat noise.
    bed = noise(s, lambda f: bump(f, 3_500.0, 1.0) + 0.1 * band(f, 200, 14_000, 1.0))
    flow = 1 + 0.2 * wander(s, 0.8, s.time())
    return (drops + bed * flow.astype(np.float32) * (s.uniform(0.12, 0.2) if heavy else s.uniform(0.008, 0.015))) * 0.5


@family("wind", intensity=INTENSITY, pitch=PITCH)
def wind(s: Scene, a: dict[str, str]) -> Audio:
    heavy = a["intensity"] == "heavy"
    centre = s.log_uniform(750, 1_100) if a["pitch"] == "high" else s.log_uniform(180, 270)
    seed_curve = wander(s, 0.9 if heavy else 0.45, np.arange(0, s.seconds + 1, 0.02))
    whistle = s.uniform(0.3, 1.0)

    def gain(t: np.ndarray, f: np.ndarray) -> np.ndarray:
        gust = np.interp(t, np.arange(len(seed_curve)) * 0.02, seed_curve)
        level = 10 ** ((9 if heavy else 5) * gust / 20)
        moving = centre * 2 ** ((0.55 if heavy else 0.35) * gust)
        # Wind howls in two narrow bands that follow the gusts, over a soft body.
        body = 0.6 * bump(f, moving, 0.5) + bump(f, moving, 0.08) + whistle * bump(f, moving * 2.3, 0.06)
        roar = (0.8 if heavy else 0.1) * bump(f, centre * 0.4, 0.5)
        air = (0.06 if heavy else 0.01) * bump(f, centre * 6 * 2 ** (0.5 * gust), 0.9)
        magnitude: Curve = level * (body + roar + air)
        return magnitude

    return moving_noise(s, gain)


@family("thunder", intensity=INTENSITY, distance=DISTANCE)
def thunder(s: Scene, a: dict[str, str]) -> Audio:
    heavy = a["intensity"] == "heavy"
    strikes = onsets(s, 1 / s.uniform(2.0, 3.2), 0.15)
    roll = wander(s, 7.0, np.arange(0, s.seconds + 1, 0.01))
    top = s.log_uniform(280, 500) if heavy else s.log_uniform(110, 200)
    lengths = s.rng.uniform(2.5, 4.5, len(strikes))

    def gain(t: np.ndarray, f: np.ndarray) -> np.ndarray:
        shake = 1 + 0.8 * np.interp(t, np.arange(len(roll)) * 0.01, roll)
        total = np.full(np.broadcast_shapes(t.shape, f.shape), 0.01) * bump(f, 70.0, 1.0)
        for strike, length in zip(strikes, lengths, strict=True):
            age = np.maximum(t - strike, 0)
            level = (t >= strike - 0.02) * np.exp(-4.5 * age / length)
            # The long way of the late reflections absorbs treble, so the roll darkens while it fades.
            total = total + level * shake * band(f, 28.0, top * (0.25 + 4 * np.exp(-4 * age)), 1.6)
        return total

    out = moving_noise(s, gain)
    if heavy:
        for strike in strikes:
            for _ in range(int(s.rng.integers(4, 10))):
                t = s.time(s.uniform(0.1, 0.3))
                snap = white(s, len(t)) * decay(t, s.uniform(0.08, 0.3)).astype(np.float32)
                add(s, out, strike + s.rng.exponential(0.09), snap, s.uniform(0.1, 0.5), s.uniform(-0.6, 0.6))
    rolling: Wave = np.tanh(out * 1.5)
    return rolling.astype(np.float32)


@family("ocean waves", speed=SPEED, intensity=INTENSITY)
def ocean(s: Scene, a: dict[str, str]) -> Audio:
    heavy = a["intensity"] == "heavy"
    period = s.uniform(1.3, 1.7) if a["speed"] == "fast" else s.uniform(3.2, 4.4)
    start = s.uniform(0.3, 0.6)
    drift = 0.06 * wander(s, 0.5, np.arange(0, s.seconds + 1, 0.05))
    height = wander(s, 1 / period, np.arange(0, s.seconds + 1, 0.05))

    def gain(t: np.ndarray, f: np.ndarray) -> np.ndarray:
        grid = np.arange(len(drift)) * 0.05
        phase = (t / period + start + np.interp(t, grid, drift)) % 1.0
        # A breaker builds up slowly, crashes, and hisses back over the sand.
        crash = np.where(phase < 0.55, (phase / 0.55) ** 3, np.exp(-2.6 * (phase - 0.55) / 0.45))
        level = 0.06 + crash * (1 + 0.3 * np.interp(t, grid, height))
        top = (900 if heavy else 700) * (9 if heavy else 6) ** crash
        foam = 0.35 * crash * bump(f, 6_500.0, 0.8)
        magnitude: Curve = level * (band(f, 60.0 if heavy else 350.0, top, 1.0) + foam)
        return magnitude

    return moving_noise(s, gain)


@family("stream", intensity=INTENSITY, distance=DISTANCE)
def stream(s: Scene, a: dict[str, str]) -> Audio:
    heavy = a["intensity"] == "heavy"
    t = s.time(0.03)[None, :]
    kinds = 40
    pitch = np.exp(s.rng.uniform(np.log(450), np.log(1_800 if heavy else 3_200), (kinds, 1)))
    rise = s.rng.uniform(0.0, 12.0, (kinds, 1))
    ring = np.exp(s.rng.uniform(np.log(0.008), np.log(0.04), (kinds, 1)))
    grains = np.sin(2 * np.pi * pitch * (t + rise * t * t)) * np.exp(-6.91 * t / ring) * (1 - t / t[0, -1])
    times = scattered(s, s.uniform(130, 200) if heavy else s.uniform(35, 60))
    out = cloud(s, grains.astype(np.float32), times, s.rng.exponential(0.5, len(times)) + 0.1)
    ripple = 1 + 0.3 * wander(s, 5.0, s.time())
    bed = noise(s, lambda f: bump(f, 900.0, 0.8) + 0.05 * band(f, 3_000, 12_000, 1.0))
    return out + bed * ripple.astype(np.float32) * (s.uniform(0.15, 0.25) if heavy else s.uniform(0.02, 0.04))


@family("fire crackling", intensity=INTENSITY, distance=DISTANCE)
def fire(s: Scene, a: dict[str, str]) -> Audio:
    heavy = a["intensity"] == "heavy"
    t = s.time(0.012)[None, :]
    kinds = 32
    ring = np.exp(s.rng.uniform(np.log(0.001), np.log(0.012), (kinds, 1)))
    grains = s.rng.standard_normal((kinds, t.shape[1]), dtype=np.float32) * np.exp(-6.91 * t / ring).astype(np.float32)
    activity = np.clip(wander(s, 3.0, scattered(s, 120 if heavy else 22)), -1, 1)
    times = s.rng.uniform(0, s.seconds, len(activity))
    # Crackles come in flurries, so each burst pulls some of the single cracks towards itself.
    bursts = s.rng.uniform(0, s.seconds, max(1, int(s.seconds * (4 if heavy else 1.5))))
    bursts[0] = s.uniform(0, 0.1)
    pulled = s.rng.random(len(times)) < 0.6
    near = s.rng.choice(bursts, len(times)) + s.rng.exponential(0.06, len(times))
    times = np.clip(np.where(pulled, near, times), 0, s.seconds - 0.001)
    levels = np.exp(s.rng.normal(-2.0, 0.9, len(times)))
    out = cloud(s, grains, times, np.minimum(levels, 1.2))
    flicker = (1 + 0.6 * wander(s, 9.0, s.time())).astype(np.float32)
    roar = noise(s, lambda f: bump(f, 120.0, 1.1) + 0.06 * band(f, 1_000, 9_000, 1.0))
    return out + roar * flicker * (s.uniform(0.06, 0.11) if heavy else s.uniform(0.006, 0.012))


@family("birds chirping", speed=SPEED, pitch=PITCH)
def birds(s: Scene, a: dict[str, str]) -> Audio:
    out = s.silence()
    singers = int(s.rng.integers(1, 4))
    for _ in range(singers):
        high = a["pitch"] == "high"
        root = s.log_uniform(4_200, 6_500) if high else s.log_uniform(1_500, 2_300)
        pan, level = s.uniform(-0.8, 0.8), s.uniform(0.4, 1.0)
        shapes = s.rng.uniform(0.15, 0.4, (int(s.rng.integers(1, 4)), 3))
        # Every syllable glides clearly up or down. Insects hold their pitch, but birds never do.
        shapes *= s.rng.choice([-1, 1], shapes.shape) * np.array([0.6, 1.0, 1.0])
        rate = s.uniform(7, 11) if a["speed"] == "fast" else s.uniform(1.6, 2.4)
        times = onsets(s, rate / np.sqrt(singers), 0.12)
        # Songs have short rests, but the first notes are always there.
        rests = (wander(s, 0.9, times) < -0.55) & (times > 0.3)
        for time in times[~rests]:
            sweep = shapes[int(s.rng.integers(len(shapes)))]
            length = s.uniform(0.05, 0.09) if a["speed"] == "fast" else s.uniform(0.12, 0.25)
            x = np.linspace(0, 1, s.samples(length))
            trill = s.uniform(0, 0.05) * np.sin(2 * np.pi * s.uniform(2, 5) * x)
            pitch = root * 2 ** (sweep[0] + sweep[1] * (x - 0.5) * 2 + sweep[2] * np.sin(np.pi * x) + trill)
            phase = cycles(s, pitch)
            note = (sine(phase) + 0.12 * sine(2 * phase)) * np.sin(np.pi * x).astype(np.float32)
            add(s, out, time, note, level * s.uniform(0.6, 1.0), pan)
    return out + noise(s, lambda f: band(f, 300, 6_000, 1.0)) * s.log_uniform(0.001, 0.006)


@family("crickets", speed=SPEED, pitch=PITCH)
def crickets(s: Scene, a: dict[str, str]) -> Audio:
    out = s.silence()
    for _ in range(int(s.rng.integers(1, 4))):
        carrier = s.uniform(5_200, 7_500) if a["pitch"] == "high" else s.uniform(2_600, 3_400)
        rate = s.uniform(5, 7.5) if a["speed"] == "fast" else s.uniform(1.3, 2.0)
        pulses = int(s.rng.integers(3, 6))
        pulse_rate = s.uniform(38, 55)
        t = s.time(pulses / pulse_rate)
        envelope = np.maximum(0, np.sin(np.pi * ((t * pulse_rate) % 1.0) * 1.35)) ** 1.5 * (0.6 + 0.4 * t / t[-1])
        phase = cycles(s, carrier * (1 + s.uniform(-0.01, 0.01) * t / t[-1]))
        chirp = (sine(phase) + 0.08 * sine(2 * phase) + 0.03 * sine(3 * phase)) * envelope.astype(np.float32)
        pan, level = s.uniform(-0.9, 0.9), s.uniform(0.25, 1.0)
        for time in onsets(s, rate, 0.03):
            add(s, out, time, chirp, level * s.uniform(0.85, 1.0), pan)
    return out + noise(s, lambda f: band(f, 200, 9_000, 1.0)) * s.log_uniform(0.002, 0.01)


@family("dog barking", pitch=PITCH, speed=SPEED, space=SPACE)
def dog(s: Scene, a: dict[str, str]) -> Audio:
    high = a["pitch"] == "high"
    out = s.silence()
    root = s.log_uniform(480, 680) if high else s.log_uniform(130, 200)
    tract = 1.5 if high else 0.85
    peaks = ((600 * tract, 250, 1.0), (1_250 * tract, 350, 0.7), (2_700 * tract, 700, 0.25), (5_000.0, 3_000, 0.04))
    amplitudes = harmonics(s, root, 0.5)
    table = wavetable(amplitudes * formants(root * np.arange(1, len(amplitudes) + 1), peaks))
    pan = s.uniform(-0.4, 0.4)
    for time in onsets(s, s.uniform(2.6, 3.8) if a["speed"] == "fast" else s.uniform(0.8, 1.05), 0.1):
        length = s.uniform(0.12, 0.18) if high else s.uniform(0.18, 0.3)
        x = np.linspace(0, 1, s.samples(length))
        # A bark opens with a fast upward sweep and drops again. Fast random pitch makes it rough.
        bend = 0.65 + 0.5 * np.sin(np.pi * np.minimum(1, x * 1.15) ** 0.6) + 0.04 * s.rng.standard_normal()
        rough = 1 + 0.05 * wander(s, 90.0, x * length)
        voice = read_table(table, cycles(s, root * bend * rough))
        breath = noise(s, lambda f: formants(f, peaks) * band(f, 300, 9_000, 1.0), len(x), 1)[0]
        envelope = np.minimum(1, x / 0.06) * (1 - x) ** 1.3
        add(s, out, time, (voice + 0.22 * breath) * envelope.astype(np.float32), s.uniform(0.75, 1.0), pan)
    return out


@family("bubbles", speed=SPEED, pitch=PITCH)
def bubbles(s: Scene, a: dict[str, str]) -> Audio:
    out = s.silence()
    low, high = (900, 2_200) if a["pitch"] == "high" else (180, 500)
    rate = s.uniform(16, 24) if a["speed"] == "fast" else s.uniform(3, 4.5)
    for time in onsets(s, rate, 0.35):
        t = s.time(s.uniform(0.06, 0.12))
        pitch = s.log_uniform(low, high) * (1 + s.uniform(3, 8) * t)
        event = sine(cycles(s, pitch)) * (decay(t, s.uniform(0.06, 0.16), 0.004) * swell(t, t[-1], 0.002, 0.01))
        add(s, out, time, event.astype(np.float32), s.uniform(0.3, 1.0), s.uniform(-0.7, 0.7))
    water = butterworth(s, out, "low", 6_000, 1)
    return water + noise(s, lambda f: bump(f, 500.0, 1.2)) * s.log_uniform(0.002, 0.01)


@family("cat meow", pitch=PITCH, speed=SPEED, space=SPACE)
def cat(s: Scene, a: dict[str, str]) -> Audio:
    out = s.silence()
    high = a["pitch"] == "high"
    root = s.log_uniform(850, 1_100) if high else s.log_uniform(300, 400)
    rate = s.uniform(1.6, 2.1) if a["speed"] == "fast" else s.uniform(0.55, 0.7)
    tract = 1.4 if high else 0.65
    # The mouth opens from "mi" over "a" to "ow".
    mouths = (
        ((450 * tract, 150, 1.0), (2_600 * tract, 300, 0.8), (3_500.0, 500, 0.3)),
        ((1_000 * tract, 250, 1.0), (1_800 * tract, 300, 0.9), (3_300 * tract, 500, 0.4)),
        ((550 * tract, 150, 1.0), (900 * tract, 200, 0.4)),
    )
    tables = [voice_table(root, peaks, 0.4 if high else 0.9) for peaks in mouths]
    pan = s.uniform(-0.4, 0.4)
    for time in onsets(s, rate, 0.08):
        length = s.uniform(0.6, 0.75) / rate
        x = np.linspace(0, 1, s.samples(length))
        bend = 0.8 + 0.35 * np.sin(np.pi * x**0.6) - 0.25 * x**2 + 0.008 * wander(s, 40.0, x * length)
        voice = morph(tables, cycles(s, root * bend), np.interp(x, (0, 0.3, 0.65, 1), (0, 1, 1, 2)))
        breath = noise(s, lambda f: formants(f, mouths[1]) * band(f, 500, 9_000, 1.0), len(x), 1)[0]
        cry = (voice + 0.05 * breath) * swell(x, 1.0, 0.15, 0.4).astype(np.float32)
        add(s, out, time, cry, s.uniform(0.8, 1.0), pan)
    return out


@family("cow mooing", pitch=PITCH, speed=SPEED, distance=DISTANCE)
def cow(s: Scene, a: dict[str, str]) -> Audio:
    out = s.silence()
    high = a["pitch"] == "high"
    root = s.log_uniform(230, 300) if high else s.log_uniform(75, 100)
    rate = s.uniform(0.95, 1.2) if a["speed"] == "fast" else s.uniform(0.38, 0.46)
    tract = 1.5 if high else 0.8
    mouths = (
        ((250 * tract, 90, 1.0), (900 * tract, 300, 0.08)),
        ((480 * tract, 110, 1.0), (850 * tract, 150, 0.7), (2_300 * tract, 500, 0.15)),
    )
    tables = [voice_table(root, peaks, 0.3) for peaks in mouths]
    pan = s.uniform(-0.4, 0.4)
    for time in onsets(s, rate, 0.06):
        length = s.uniform(0.72, 0.85) / rate
        x = np.linspace(0, 1, s.samples(length))
        bend = 0.85 + 0.25 * np.sin(np.pi * np.minimum(1, 1.1 * x) ** 0.8) + 0.015 * wander(s, 25.0, x * length)
        # A closed hum opens and ends open. A rough throat shakes the level.
        moo = morph(tables, cycles(s, root * bend), np.clip((x - 0.15) / 0.3, 0, 1))
        rough = 1 + 0.35 * wander(s, 60.0, x * length)
        add(s, out, time, moo * (rough * swell(x, 1.0, 0.12, 0.25)).astype(np.float32), s.uniform(0.85, 1.0), pan)
    return out
