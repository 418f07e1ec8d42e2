"""Engines, signals and electrical sounds."""

from __future__ import annotations

import numpy as np
from scipy.signal import oaconvolve

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
    formants,
    harmonics,
    modes,
    moving_noise,
    narrow,
    noise,
    onsets,
    read_table,
    scattered,
    sine,
    swell,
    wander,
    wavetable,
    white,
)
from .registry import BRIGHTNESS, DISTANCE, INTENSITY, PITCH, SPACE, SPEED, family


@family("car engine", speed=SPEED, distance=DISTANCE)
def car(s: Scene, a: dict[str, str]) -> Audio:
    t = s.time()
    if a["speed"] == "fast":
        revs = s.uniform(95, 150) * 2 ** (0.35 * wander(s, 0.7, t))
    else:
        revs = s.uniform(24, 36) * (1 + 0.03 * wander(s, 1.5, t))
    firing = float(revs.mean())
    jitter = 1 + 0.012 * wander(s, 25.0, t)
    # The four firings of a cycle are never alike. The table spans four, so that the engine keeps its uneven beat.
    count = int(9_000 / (firing / 4))
    k = np.arange(1, count + 1)
    comb = np.where(k % 4 == 0, 1.0, np.where(k % 2 == 0, 0.22, 0.1))
    body = formants(k * firing / 4, ((95.0, 60, 1.0), (240.0, 120, 0.5), (700.0, 500, 0.15), (1_800.0, 1_500, 0.05)))
    table = wavetable(comb * body * np.exp(0.5 * s.rng.standard_normal(count)), s.rng.uniform(0, 6.28, count))
    phase = cycles(s, revs * jitter / 4)
    tone = read_table(table, phase)
    breath = noise(s, lambda f: bump(f, 700.0 if a["speed"] == "fast" else 350.0, 1.0) + 0.01 * band(f, 2e3, 9e3))
    pulse: Audio = (0.6 + 0.4 * np.cos(2 * np.pi * 4 * phase)).astype(np.float32)
    return tone + narrow(breath, 0.6) * pulse * s.uniform(0.02, 0.05)


@family("motorbike", speed=SPEED, distance=DISTANCE)
def motorbike(s: Scene, a: dict[str, str]) -> Wave:
    t = s.time()
    if a["speed"] == "fast":
        revs = s.uniform(110, 170) * 2 ** (0.6 * wander(s, 0.9, t))
    else:
        revs = s.uniform(11, 17) * (1 + 0.08 * wander(s, 2.0, t))
    phase = cycles(s, revs * (1 + 0.02 * wander(s, 30.0, t)))
    fraction = (phase - np.floor(phase)).astype(np.float32)
    # Each turn has one sharp blast of random strength, which rings through the exhaust pipe's resonances.
    strength = s.rng.uniform(0.6, 1.0, int(phase[-1]) + 2)[phase.astype(int)]
    sharp = 9.0 if a["speed"] == "fast" else 22.0
    blast = (strength * np.minimum(1, fraction * 60)).astype(np.float32) * np.exp(np.float32(-sharp) * fraction)
    raw = blast * (0.45 + 0.55 * white(s))
    pipe = s.log_uniform(380, 620)
    out = 1.3 * butterworth(s, raw, "low", pipe * 1.4) + 0.5 * butterworth(s, raw, "high", 1_500, 1)
    ring = np.zeros(s.n, np.float32)
    turns = np.flatnonzero(np.diff(np.floor(phase)))
    ring[turns] = s.rng.uniform(0.5, 1.0, len(turns))
    thud = modes(s, np.array([pipe * 0.35, pipe, pipe * 2.3]), np.array([1.0, 0.7, 0.4]), np.full(3, 0.06), 0.08)
    rung = oaconvolve(ring, thud)[: s.n].astype(np.float32)
    roar: Wave = np.tanh(1.2 * (out + 0.7 * rung))
    return roar[None, :].repeat(2, 0) + noise(s, lambda f: bump(f, 5e3, 1.0)) * 0.008


@family("helicopter", speed=SPEED, distance=DISTANCE)
def helicopter(s: Scene, a: dict[str, str]) -> Audio:
    t = s.time()
    rate = s.uniform(19, 25) if a["speed"] == "fast" else s.uniform(8, 11)
    phase = cycles(s, rate * (1 + 0.02 * wander(s, 0.5, t)))
    fraction = (phase - np.floor(phase)).astype(np.float32)
    chop: Curve = np.exp(-5 * fraction) * np.minimum(1, fraction * 25)
    strength = s.rng.uniform(0.85, 1.0, int(phase[-1]) + 2)[phase.astype(int)]
    low = noise(s, lambda f: bump(f, 90.0, 0.9) + 0.3 * bump(f, 400.0, 1.2) + 0.05 * bump(f, 2_500.0, 1.0))
    blades: Audio = narrow(low, 0.5) * (0.06 + strength * chop).astype(np.float32)
    turbine = s.uniform(2_200, 4_200)
    whine = sine(cycles(s, turbine * (1 + 0.002 * wander(s, 2.0, t)))) + 0.4 * sine(cycles(s, turbine * 2.37))
    hiss = noise(s, lambda f: bump(f, turbine * 1.3, 0.9))
    return blades + s.uniform(0.06, 0.1) * whine + 0.03 * hiss


@family("siren", speed=SPEED, pitch=PITCH, distance=DISTANCE)
def siren(s: Scene, a: dict[str, str]) -> Audio:
    t = s.time()
    rate = s.uniform(2.6, 4.0) if a["speed"] == "fast" else s.uniform(0.25, 0.45)
    low = s.uniform(850, 1_050) if a["pitch"] == "high" else s.uniform(330, 450)
    turn = t * rate + s.rng.random()
    if a["speed"] == "slow" and s.chance(0.5):
        # Two tones are held in turn. Faster ones would be an arpeggio.
        position = (turn % 1.0 < 0.5).astype(float)
        span = s.uniform(0.35, 0.5)
    else:
        position = 0.5 - 0.5 * np.cos(2 * np.pi * turn)
        span = s.uniform(0.75, 1.0)
    amplitudes = harmonics(s, low * 2, 1.4, 16_000)
    amplitudes[1::2] *= 0.3
    table = wavetable(amplitudes)
    tone = read_table(table, cycles(s, low * 2 ** (span * position)))
    drift = 0.3 * wander(s, 0.3, t)
    sides = np.stack([1 - drift, 1 + drift]).astype(np.float32)
    return tone * sides + noise(s, lambda f: bump(f, 300.0, 1.5)) * s.uniform(0.002, 0.01)


@family("alarm beeps", speed=SPEED, pitch=PITCH, space=SPACE)
def alarm(s: Scene, a: dict[str, str]) -> Audio:
    out = s.silence()
    pitch = s.uniform(2_400, 3_600) if a["pitch"] == "high" else s.uniform(600, 950)
    rate = s.uniform(5.5, 8.0) if a["speed"] == "fast" else s.uniform(1.1, 1.6)
    length = s.uniform(0.4, 0.6) / rate
    t = s.time(length)
    k = np.arange(1, max(2, int(17_000 / pitch)) + 1)
    table = wavetable(np.where(k % 2 == 1, 1.0, s.uniform(0, 0.4)) / k ** s.uniform(0.8, 1.6))
    second = pitch * (s.uniform(1.15, 1.5) if s.chance(0.3) else 1.0)
    envelope = swell(t, t[-1], 0.004, 0.008).astype(np.float32)
    pan = s.uniform(-0.4, 0.4)
    for index, time in enumerate(onsets(s, rate, 0.0)):
        add(s, out, time, read_table(table, cycles(s, second if index % 2 else pitch, len(t))) * envelope, 1.0, pan)
    return out


@family("electric hum", pitch=PITCH, intensity=INTENSITY)
def hum(s: Scene, a: dict[str, str]) -> Audio:
    t = s.time()
    heavy = a["intensity"] == "heavy"
    mains = float(s.rng.choice([50.0, 60.0])) * (s.uniform(3.9, 4.1) if a["pitch"] == "high" else 1.0)
    amplitudes = harmonics(s, mains, 0.55 if heavy else 1.8, mains * (60 if heavy else 20))
    k = np.arange(1, len(amplitudes) + 1)
    table = wavetable(amplitudes * np.where(k % 2 == 0, 1.0, 0.5), s.rng.uniform(0, 6.28, len(k)))
    tone = read_table(table, cycles(s, mains * (1 + 0.0005 * wander(s, 1.0, t))))
    beat = (1 + s.uniform(0.02, 0.15) * wander(s, 2.0, t)).astype(np.float32)
    tone = np.tanh(2.5 * tone) if heavy else tone
    return tone * beat + noise(s, lambda f: band(f, 100, 15_000, 1.0)) * (0.02 if heavy else 0.004)


@family("telephone ring", speed=SPEED, pitch=PITCH, space=SPACE)
def telephone(s: Scene, a: dict[str, str]) -> Audio:
    out = s.silence()
    high = a["pitch"] == "high"
    ring, pause = (
        (s.uniform(0.3, 0.4), s.uniform(0.15, 0.25))
        if a["speed"] == "fast"
        else (s.uniform(1.2, 1.6), s.uniform(0.7, 0.9))
    )
    pitches = s.uniform(1_500, 2_200) if high else s.uniform(430, 620)
    pair = (pitches, pitches * s.uniform(1.18, 1.3))
    trill = s.uniform(18, 26)
    for time in onsets(s, 1 / (ring + pause), 0.0):
        t = s.time(min(ring + 0.25, s.seconds))
        # A clapper swings between two gongs. Each hit rings on under the next one.
        swing = (t * trill) % 1.0
        hits = [np.exp(-5 * ((swing + shift) % 1.0)) for shift in (0.0, 0.5)]
        stop = np.where(t < ring, 1.0, np.exp(-(t - ring) / 0.05)) * np.minimum(1, t / 0.002)
        tone = sum(
            (0.35 + hit)
            * (
                sine(cycles(s, pitch, len(t)))
                + 0.35 * sine(cycles(s, pitch * 2.71, len(t)))
                + 0.2 * sine(cycles(s, pitch * 5.15, len(t)))
            )
            for hit, pitch in zip(hits, pair, strict=True)
        )
        add(s, out, time, (tone * stop).astype(np.float32), 0.5)
    return out


@family("clock ticking", speed=SPEED, space=SPACE)
def clock(s: Scene, a: dict[str, str]) -> Audio:
    out = s.silence()
    rate = s.uniform(4.5, 6.0) if a["speed"] == "fast" else s.uniform(1.0, 1.4)
    ticks = []
    for _ in range(2):
        click = modes(s, s.rng.uniform(2_500, 9_000, 6), s.rng.uniform(0.3, 1, 6), s.rng.uniform(0.006, 0.03, 6), 0.06)
        case = modes(s, s.rng.uniform(350, 1_100, 3), s.rng.uniform(0.3, 1, 3), s.rng.uniform(0.02, 0.06, 3), 0.06)
        ticks.append(click + s.uniform(0.3, 0.7) * case)
    pan = s.uniform(-0.3, 0.3)
    for index, time in enumerate(onsets(s, rate, 0.01)):
        escape = 0.3 * ticks[1 - index % 2] if s.chance(0.5) else None
        add(s, out, time, ticks[index % 2], s.uniform(0.85, 1.0), pan)
        if escape is not None:
            add(s, out, time + 0.018, escape, 1.0, pan)
    return out + noise(s, lambda f: band(f, 100, 4_000, 1.0)) * s.log_uniform(0.001, 0.004)


@family("static noise", brightness=BRIGHTNESS, texture=("steady", "crackling"))
def static(s: Scene, a: dict[str, str]) -> Audio:
    tilt = s.uniform(-0.1, 0.4) if a["brightness"] == "bright" else s.uniform(-1.1, -0.7)
    out = noise(s, lambda f: np.maximum(f, 30.0) ** tilt)
    if a["texture"] == "crackling":
        t = s.time(0.006)[None, :]
        ring = s.rng.uniform(0.0005, 0.006, (16, 1))
        grains = s.rng.standard_normal((16, t.shape[1])) * np.exp(-6.91 * t / ring)
        times = scattered(s, s.uniform(40, 90))
        gate = np.where(wander(s, 14.0, s.time()) > 0.1, 1.0, 0.25).astype(np.float32)
        out = out * gate + cloud(s, grains.astype(np.float32), times, s.rng.exponential(2.5, len(times)))
        return np.clip(out, -6, 6)
    return narrow(out, s.uniform(0, 1))


@family("applause", intensity=INTENSITY, space=SPACE)
def applause(s: Scene, a: dict[str, str]) -> Audio:
    heavy = a["intensity"] == "heavy"
    rate = s.uniform(150, 230) if heavy else s.uniform(18, 26)
    t = s.time(0.022)[None, :]
    centre = s.rng.uniform(900, 1_900, (24, 1))
    burst = s.rng.standard_normal((24, t.shape[1])) * np.exp(-6.91 * t / s.rng.uniform(0.01, 0.03, (24, 1)))
    spectrum = np.fft.rfft(burst, axis=-1)
    f = np.fft.rfftfreq(t.shape[1], 1 / s.sample_rate)[None, :]
    grains = np.fft.irfft(spectrum * (bump(f, centre, 0.5) + 0.07 * band(f, 500, 9_000, 1.0)), t.shape[1], axis=-1)
    if heavy:
        times = scattered(s, rate)
    else:
        people = int(s.rng.integers(4, 8))
        times = np.concatenate([onsets(s, rate / people, 0.12) + s.uniform(0, people / rate) for _ in range(people)])
        times = times[times < s.seconds]
    out = cloud(s, grains.astype(np.float32), times, s.rng.uniform(0.4, 1.0, len(times)))
    if not heavy:
        return out
    crowd = moving_noise(s, lambda t, f: (1 + 0.3 * np.sin(9 * t)) * bump(f, 1_200.0, 0.7))
    return out + crowd * (0.4 * np.std(out) / max(np.float32(1e-9), np.std(crowd)))


@family("vacuum cleaner", pitch=PITCH, intensity=INTENSITY)
def vacuum(s: Scene, a: dict[str, str]) -> Audio:
    heavy = a["intensity"] == "heavy"
    motor = s.log_uniform(620, 800) if a["pitch"] == "high" else s.log_uniform(150, 200)
    grid = np.arange(0, s.seconds + 1, 0.02)
    # The nozzle goes to and fro, and the carpet loads the motor and tunes the hose.
    stroke = np.sin(2 * np.pi * s.uniform(0.6, 0.9) * grid + s.uniform(0, 6.28)) + 0.3 * wander(s, 1.5, grid)
    load = np.interp(s.time(), grid, stroke)
    amplitudes = harmonics(s, motor, 0.9, 12_000)
    whine = read_table(
        wavetable(amplitudes, s.rng.uniform(0, 6.28, len(amplitudes))), cycles(s, motor * 2 ** (0.04 * load))
    )
    hose = 5 * motor if heavy else 3 * motor

    def gain(t: np.ndarray, f: np.ndarray) -> np.ndarray:
        tuned = hose * 2 ** (0.35 * np.interp(t, grid, stroke))
        return bump(f, tuned, 0.25) + 0.35 * band(f, 1.5 * motor, 6 * motor, 1.0)

    air = moving_noise(s, gain)
    sound = whine + air * ((0.5 if heavy else 0.12) / max(1e-9, float(np.std(air))))
    return np.tanh(0.8 * sound) if heavy else sound


@family("train", speed=SPEED, distance=DISTANCE)
def train(s: Scene, a: dict[str, str]) -> Audio:
    fast = a["speed"] == "fast"
    rate = s.uniform(2.4, 2.9) if fast else s.uniform(0.75, 0.95)
    roll = noise(s, lambda f: bump(f, 75.0, 0.7) + (0.3 if fast else 0.12) * bump(f, 700.0, 0.9))
    out = narrow(roll, 0.6) * (1 + 0.4 * wander(s, 12.0, s.time())).astype(np.float32) * 0.07
    pitches = np.array([110.0, 230.0, 480.0, 950.0, 1_900.0, 3_400.0]) * s.uniform(0.85, 1.2)
    levels = np.array([1.0, 0.9, 0.8, 0.6, 0.4, 0.25])
    clacks = [modes(s, pitches * f, levels, np.array([0.16, 0.14, 0.1, 0.07, 0.05, 0.03]), 0.15) for f in (1.0, 0.88)]
    gap = s.uniform(0.2, 0.26) / rate
    for time in onsets(s, rate, 0.02):
        # Both axles of a bogie strike the joint of the rails one after the other.
        for delay, clack in zip((0.0, gap), clacks, strict=True):
            add(s, out, time + delay, clack, s.uniform(0.75, 1.0), s.uniform(-0.2, 0.2))
            tick = noise(s, lambda f: bump(f, 2_500.0, 1.0), s.samples(0.03), 1)[0]
            add(s, out, time + delay, tick * np.linspace(1, 0, len(tick), dtype=np.float32) ** 3, 0.12)
    return out


@family("drill", pitch=PITCH, space=SPACE)
def drill(s: Scene, a: dict[str, str]) -> Audio:
    out = s.silence()
    root = s.log_uniform(560, 760) if a["pitch"] == "high" else s.log_uniform(130, 180)
    amplitudes = harmonics(s, root, 0.7, 14_000)
    table = wavetable(amplitudes, s.rng.uniform(0, 6.28, len(amplitudes)))
    teeth, time, pan = s.uniform(8, 14), 0.01, s.uniform(-0.3, 0.3)
    while time < s.seconds - 0.1:
        length = s.uniform(0.7, 1.5)
        t = s.time(length)
        # The motor spins up, sags under the load of the bit and runs down.
        spin = (1 - 0.75 * np.exp(-t / 0.07)) * np.clip((length - t) / 0.25, 0.25, 1)
        sag = 1 - 0.12 * swell(t, length, 0.35, 0.3) + 0.02 * wander(s, 8.0, t)
        phase = cycles(s, root * spin * sag)
        chatter = (0.75 + 0.25 * sine(phase / teeth)) * swell(t, length, 0.02, 0.1).astype(np.float32)
        dust = noise(s, lambda f: bump(f, 9 * root, 0.7), len(t), 1)[0] * swell(t, length, 0.3, 0.3).astype(np.float32)
        add(s, out, time, (read_table(table, phase) + 0.08 * dust) * chatter, s.uniform(0.85, 1.0), pan)
        time += length + s.uniform(0.05, 0.2)
    return out


@family("airplane", pitch=PITCH, distance=DISTANCE)
def airplane(s: Scene, a: dict[str, str]) -> Wave:
    high = a["pitch"] == "high"
    centre = s.log_uniform(1_000, 1_400) if high else s.log_uniform(150, 210)
    passing = s.uniform(0.3, 0.7) * s.seconds
    length = s.uniform(2.0, 4.0)

    def gain(t: np.ndarray, f: np.ndarray) -> np.ndarray:
        away = (t - passing) / length
        # The echo from the ground comes later when the plane stands higher. Its comb sweeps down and up again.
        delay = 2.2e-3 / np.sqrt(1 + 2.5 * away**2)
        comb = 1 + 0.85 * np.cos(2 * np.pi * f * delay)
        level = 1 / (1 + 0.6 * away**2)
        return level * comb * (bump(f, centre, 1.1) + 0.12 * bump(f, 4 * centre, 0.8))

    roar = moving_noise(s, gain)
    away = (s.time() - passing) / length
    fan = 2.6 * centre * (1 - 0.12 * away / np.sqrt(1 + away**2))
    whine = (sine(cycles(s, fan)) + 0.5 * sine(cycles(s, 2.02 * fan))) / (1 + 0.6 * away**2).astype(np.float32)
    return roar / max(1e-9, float(np.std(roar))) + (0.9 if high else 0.5) * whine
