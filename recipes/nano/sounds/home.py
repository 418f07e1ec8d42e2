"""Body sounds and sounds of a house."""

from __future__ import annotations

import numpy as np
from scipy.signal import oaconvolve

from .dsp import (
    Audio,
    Curve,
    Scene,
    add,
    band,
    bump,
    butterworth,
    cycles,
    decay,
    formants,
    modes,
    morph,
    moving_noise,
    noise,
    onsets,
    read_table,
    sine,
    swell,
    voice_table,
    wander,
    wavetable,
    white,
)
from .registry import INTENSITY, PITCH, SPACE, SPEED, family


@family("footsteps", speed=SPEED, surface=("hard floor", "gravel"), space=SPACE)
def footsteps(s: Scene, a: dict[str, str]) -> Audio:
    out = s.silence()
    gravel = a["surface"] == "gravel"
    rate = s.uniform(2.9, 3.6) if a["speed"] == "fast" else s.uniform(1.2, 1.6)
    body = s.uniform(110, 180)
    for index, time in enumerate(onsets(s, rate, 0.05)):
        pan = (0.2 if index % 2 else -0.2) + s.uniform(-0.05, 0.05)
        level = s.uniform(0.75, 1.0)
        if gravel:
            t = s.time(s.uniform(0.16, 0.24))
            # Many slipping stones make a crunch, which is noise with a random, spiky envelope.
            grit = np.maximum(0, wander(s, 260.0, t)) ** 2 + 0.1
            crunch = noise(s, lambda f: bump(f, 3_500.0, 1.1) + 0.1 * band(f, 6e3, 16e3), len(t), 1)[0]
            step = crunch * (grit * swell(t, t[-1], 0.03, 0.12)).astype(np.float32)
            add(s, out, time, step, level, pan)
            continue
        for delay, strength in ((0.0, 1.0), (s.uniform(0.05, 0.09), 0.4)):
            pitches = np.array([body, body * 2.1, 480.0, 1_150.0, 2_400.0]) * s.rng.uniform(0.92, 1.08, 5)
            heel = modes(
                s, pitches, np.array([1.0, 0.7, 0.5, 0.35, 0.2]), np.array([0.09, 0.07, 0.05, 0.03, 0.02]), 0.1
            )
            t = s.time(0.03)
            click = 0.35 * white(s, len(t)) * decay(t, 0.015).astype(np.float32)
            add(s, out, time + delay, heel, level * strength, pan)
            add(s, out, time + delay, click, level * strength, pan)
    return out


@family("door knocks", speed=SPEED, intensity=INTENSITY, space=SPACE)
def knocks(s: Scene, a: dict[str, str]) -> Audio:
    out = s.silence()
    heavy = a["intensity"] == "heavy"
    fast = a["speed"] == "fast"
    rate = s.uniform(6.0, 8.0) if fast else s.uniform(1.5, 2.0)
    group, pause = int(s.rng.integers(4, 7)) if fast else int(s.rng.integers(3, 5)), s.uniform(0.25, 0.45)
    panel = s.uniform(90, 140) if heavy else s.uniform(260, 380)
    ratios = np.array([1.0, 1.63, 2.4, 3.7, 5.9, 9.3, 15.0])
    tilt = ratios ** (-0.7 if heavy else -1.4)
    pan, time, index = s.uniform(-0.4, 0.4), s.uniform(0.01, 0.05), 0
    while time < s.seconds - 0.05:
        pitches = panel * ratios * s.rng.uniform(0.97, 1.03, 7)
        event = modes(s, pitches, tilt, s.rng.uniform(0.05, 0.12, 7) * (1.4 if heavy else 0.7) / ratios**0.35, 0.2)
        t = s.time(0.02)
        snap = white(s, len(t)) * decay(t, 0.012).astype(np.float32)
        level = s.uniform(0.8, 1.0)
        add(s, out, time, np.tanh(3 * event).astype(np.float32) if heavy else event, level, pan)
        add(s, out, time, snap, level * (0.25 if heavy else 0.06), pan)
        index += 1
        time += (1 + s.uniform(-0.08, 0.08)) / rate + (pause if index % group == 0 else 0.0)
    return out


@family("glass clink", speed=SPEED, pitch=PITCH, space=SPACE)
def glass(s: Scene, a: dict[str, str]) -> Audio:
    out = s.silence()
    root = s.log_uniform(3_200, 4_500) if a["pitch"] == "high" else s.log_uniform(1_100, 1_700)
    events = []
    for _ in range(3):
        ratios = np.array([1.0, 1.02, 2.32, 2.36, 4.25, 4.9, 6.63]) * s.rng.uniform(0.97, 1.03, 7)
        levels = s.rng.uniform(0.3, 1.0, 7) * ratios**-0.4
        events.append(modes(s, root * s.uniform(0.9, 1.1) * ratios, levels, s.uniform(0.15, 0.35) / ratios**0.5, 0.4))
    for time in onsets(s, s.uniform(3.5, 5.0) if a["speed"] == "fast" else s.uniform(1.0, 1.4), 0.18):
        pan = s.uniform(-0.4, 0.4)
        t = s.time(0.004)
        add(s, out, time, 0.5 * white(s, len(t)) * decay(t, 0.003, 2e-4).astype(np.float32), 1.0, pan)
        add(s, out, time, events[int(s.rng.integers(3))], s.uniform(0.5, 1.0), pan)
        if s.chance(0.3):
            add(s, out, time + s.uniform(0.03, 0.07), events[int(s.rng.integers(3))], s.uniform(0.2, 0.4), pan)
    return out


@family("heartbeat", speed=SPEED, intensity=INTENSITY)
def heartbeat(s: Scene, a: dict[str, str]) -> Audio:
    out = s.silence()
    heavy = a["intensity"] == "heavy"
    rate = s.uniform(2.0, 2.6) if a["speed"] == "fast" else s.uniform(0.85, 1.1)
    gap = min(0.34, 0.32 / rate)
    pitch = s.uniform(48, 62)
    for time in onsets(s, rate, 0.02):
        for delay, factor, level in ((0.0, 1.0, 1.0), (gap, 1.25, 0.65)):
            t = s.time(0.22)
            sweep = pitch * factor * (1 + 1.2 * np.exp(-t / 0.02))
            thump = sine(cycles(s, sweep) * 1.0) * (decay(t, 0.2, 0.012) * swell(t, t[-1], 0.005, 0.05))
            add(s, out, time + delay, thump.astype(np.float32), level * s.uniform(0.9, 1.0))
    if heavy:
        out = np.tanh(3.5 * out).astype(np.float32)
    flow = noise(s, lambda f: bump(f, 120.0, 0.8))
    return butterworth(s, out, "low", 900 if heavy else 220) + flow * (0.012 if heavy else 0.004)


@family("vocal ahh", pitch=PITCH, space=SPACE)
def vowel(s: Scene, a: dict[str, str]) -> Audio:
    high = a["pitch"] == "high"
    out = s.silence()
    f0 = s.log_uniform(300, 440) if high else s.log_uniform(85, 125)
    tract = s.uniform(1.2, 1.3) if high else s.uniform(0.88, 0.96)
    peaks = tuple(
        (centre * tract, width, level)
        for centre, width, level in (
            (730.0, 90, 1.0),
            (1_120.0, 110, 0.6),
            (2_550.0, 180, 0.16),
            (3_400.0, 250, 0.1),
            (4_600.0, 600, 0.03),
            (9_000.0, 6_000, 0.004),
        )
    )
    time, step = 0.01, 0
    while time < s.seconds - 0.05:
        length = min(s.uniform(1.4, 2.8), max(0.4, s.seconds - time))
        t = s.time(length)
        pitch = f0 * 2 ** (step / 12)
        k = np.arange(1, int(17_000 / pitch) + 1)
        table = wavetable(formants(k * pitch, peaks) * k**-0.3, s.rng.uniform(0, 1.5, len(k)))
        depth = s.uniform(0.004, 0.014) * np.clip(t / 0.5, 0, 1)
        vibrato = 1 + depth * np.sin(2 * np.pi * s.uniform(4.8, 6.2) * t) + 0.004 * wander(s, 12.0, t)
        scoop = 1 - 0.04 * np.exp(-t / 0.06)
        breath = noise(s, lambda f: formants(f, peaks) + 0.03 * band(f, 3e3, 12e3), len(t), 1)[0]
        voice = read_table(table, cycles(s, pitch * vibrato * scoop)) + s.uniform(0.01, 0.03) * breath
        add(s, out, time, voice * swell(t, t[-1], 0.06, 0.12).astype(np.float32), s.uniform(0.85, 1.0))
        time += length + s.uniform(0.0, 0.12)
        step = int(s.rng.choice([-4, -3, -2, 0, 2, 3, 4]))
    return out


@family("sine tone", pitch=PITCH, motion=("steady", "wavering"))
def sine_tone(s: Scene, a: dict[str, str]) -> Audio:
    t = s.time()
    pitch = s.log_uniform(1_800, 6_000) if a["pitch"] == "high" else s.log_uniform(90, 380)
    if a["motion"] == "wavering":
        bend = 2 ** (s.uniform(0.8, 2.0) / 12 * np.sin(2 * np.pi * s.uniform(3, 7) * t + s.uniform(0, 6.28)))
        return sine(cycles(s, pitch * bend))[None, :].repeat(2, 0)
    return sine(cycles(s, pitch))[None, :].repeat(2, 0)


@family("organ", pitch=PITCH, space=SPACE)
def organ(s: Scene, a: dict[str, str]) -> Audio:
    out = s.silence()
    root = s.log_uniform(420, 620) if a["pitch"] == "high" else s.log_uniform(95, 140)
    amplitudes = np.zeros(max(40, int(30_000 / root)))
    # Drawbars sound at 16', 8', 5 1/3', 4', 2 2/3', 2', 1 3/5', 1 1/3' and 1'. The table's period is the 16' pipe.
    for harmonic, level in zip((1, 2, 3, 4, 6, 8, 10, 12, 16), s.rng.uniform(0.1, 1.0, 9), strict=True):
        amplitudes[harmonic - 1] = level if harmonic > 1 else 0.4 * level
    amplitudes[16:] += 0.01 * s.rng.random(len(amplitudes) - 16)
    table = wavetable(amplitudes, s.rng.uniform(0, 6.28, len(amplitudes)))
    chords = ((0, 4, 7), (0, 3, 7), (0, 5, 9), (-1, 5, 7), (0, 4, 9))
    time = 0.01
    while time < s.seconds - 0.05:
        length = min(s.uniform(0.8, 1.8), max(0.3, s.seconds - time))
        t = s.time(length)
        chord = chords[int(s.rng.integers(len(chords)))]
        for note in chord:
            tone = read_table(table, cycles(s, root / 2 * 2 ** (note / 12), len(t)))
            add(s, out, time, tone * swell(t, t[-1], 0.012, 0.03).astype(np.float32), 0.4, s.uniform(-0.3, 0.3))
        time += length
    return out


@family("door creak", pitch=PITCH, speed=SPEED, space=SPACE)
def creak(s: Scene, a: dict[str, str]) -> Audio:
    out = s.silence()
    size = s.uniform(2.6, 3.3) if a["pitch"] == "high" else s.uniform(0.75, 1.0)
    rate = s.uniform(1.9, 2.5) if a["speed"] == "fast" else s.uniform(0.5, 0.65)
    pitches = size * np.array([420.0, 690.0, 1_180.0, 1_900.0, 2_700.0]) * s.rng.uniform(0.95, 1.05, 5)
    wood = modes(s, pitches, np.array([1.0, 0.9, 0.7, 0.5, 0.3]), np.array([0.03, 0.028, 0.024, 0.02, 0.015]), 0.05)
    pan = s.uniform(-0.4, 0.4)
    for time in onsets(s, rate, 0.08):
        length = s.uniform(0.72, 0.85) / rate
        t = s.time(length)
        # The hinge sticks and slips. Slips follow each other faster when it turns faster.
        turn = np.sin(np.pi * t / length) ** 0.7 + 0.25 * wander(s, 5.0, t)
        slips = np.diff(np.floor(cycles(s, size**0.5 * 26.0 * 2 ** (1.7 * turn))), prepend=0.0) > 0
        slips[0] = False
        force = slips * s.rng.uniform(0.5, 1.0, len(t)) * swell(t, length, 0.1, 0.2)
        add(s, out, time, oaconvolve(force, wood)[: len(t)].astype(np.float32), s.uniform(0.8, 1.0), pan)
    return out


@family("pouring water", pitch=PITCH, speed=SPEED)
def pouring(s: Scene, a: dict[str, str]) -> Audio:
    high = a["pitch"] == "high"
    rate = s.uniform(9.0, 11.5) if a["speed"] == "fast" else s.uniform(2.6, 3.4)
    empty = s.log_uniform(900, 1_200) if high else s.log_uniform(200, 280)
    fill, start = s.uniform(3.0, 5.0), s.uniform(0.0, 0.3)
    times = onsets(s, rate, 0.12)

    def gain(t: np.ndarray, f: np.ndarray) -> np.ndarray:
        # The air left in the vessel sings higher the fuller it is.
        air = empty * 2.6 ** ((t / fill + start) % 1.0)
        magnitude: Curve = (
            bump(f, air, 0.1) + 0.4 * bump(f, 2.9 * air, 0.1) + 0.12 * band(f, 3 * empty, 12 * empty, 1.0)
        )
        return magnitude

    flow = moving_noise(s, gain)
    grid = np.arange(0, s.seconds + 0.01, 0.005)
    age = np.clip((grid - times[:, None]) * rate / 0.7, 0, 1)
    gulps = np.interp(s.time(), grid, (s.rng.uniform(0.6, 1.0, (len(times), 1)) * np.sin(np.pi * age)).sum(axis=0))
    out: Audio = flow * ((0.07 + 0.28 * gulps) / max(1e-9, float(np.std(flow)))).astype(np.float32)
    for time in times:
        t = s.time(min(0.12, 0.8 / rate))
        air = 0.6 * empty * 2.6 ** ((time / fill + start) % 1.0)
        gulp = sine(cycles(s, air * (1 + 4 * t))) * swell(t, t[-1], 0.02, 0.05).astype(np.float32)
        add(s, out, time, gulp, s.uniform(0.5, 0.9), s.uniform(-0.2, 0.2))
    return out


@family("crowd murmur", pitch=PITCH, intensity=INTENSITY)
def crowd(s: Scene, a: dict[str, str]) -> Audio:
    out = s.silence()
    high, heavy = a["pitch"] == "high", a["intensity"] == "heavy"
    grid = np.arange(0, s.seconds + 0.1, 0.01)
    vowels = (
        ((300, 90, 1.0), (2_200, 250, 0.5)),
        ((700, 110, 1.0), (1_250, 160, 0.7)),
        ((400, 90, 1.0), (850, 120, 0.5)),
    )
    tract = 1.6 if high else 0.85
    mouths = [tuple((tract * f, width, level) for f, width, level in peaks) for peaks in vowels]
    for _ in range(9 if heavy else 2):
        root = s.log_uniform(260, 400) if high else s.log_uniform(85, 125)
        tables = [voice_table(root, peaks, 0.4) for peaks in mouths]
        # Each speaker has syllables within sentences, an intonation, and vowels.
        syllables = np.clip(0.3 + 1.6 * wander(s, s.uniform(5, 8), grid), 0, 1)
        sentences = np.clip(1.2 + 4 * wander(s, 0.8, grid), 0.05, 1)
        curves = (root * 2 ** (0.3 * wander(s, 3.0, grid)), 1 + wander(s, 6.0, grid), syllables * sentences)
        pitch, vowel, level = (np.interp(s.time(), grid, curve) for curve in curves)
        voice = morph(tables, cycles(s, pitch), vowel) * level.astype(np.float32)
        add(s, out, 0.0, voice, s.uniform(0.4, 1.0), s.uniform(-0.9, 0.9))
    hiss = noise(s, lambda f: band(f, 600 * tract, 4_000, 1.0))
    return out + hiss * float(np.std(out)) * (0.15 if heavy else 0.03)
