"""Drums, bells and pitched instruments."""

from __future__ import annotations

import numpy as np

from .dsp import (
    Audio,
    Curve,
    Scene,
    add,
    band,
    bump,
    butterworth,
    cloud,
    cycles,
    decay,
    formants,
    harmonics,
    modes,
    morph,
    noise,
    onsets,
    read_table,
    reverberate,
    sine,
    string,
    swell,
    walk,
    wander,
    wavetable,
    white,
)
from .registry import BRIGHTNESS, DISTANCE, INTENSITY, PITCH, SPACE, SPEED, family


def _pattern(s: Scene, rate: float, extras: float) -> list[tuple[float, float]]:
    """Return (time, level) of drum hits: a steady beat at ``rate``, with soft hits between the beats."""
    beats = onsets(s, rate, 0.01)
    offbeats = s.rng.random(4) < extras
    hits = [(float(time), s.uniform(0.85, 1.0)) for time in beats]
    for index, time in enumerate(beats):
        if offbeats[index % 4]:
            hits.append((float(time) + 0.5 / rate, s.uniform(0.5, 0.8)))
    return hits


@family("kick drum", speed=SPEED, intensity=INTENSITY)
def kick(s: Scene, a: dict[str, str]) -> Audio:
    out = s.silence()
    heavy = a["intensity"] == "heavy"
    rate = s.uniform(2.4, 3.2) if a["speed"] == "fast" else s.uniform(1.0, 1.3)
    low, top, fall = s.uniform(42, 58), s.uniform(110, 220), s.uniform(0.015, 0.04)
    t = s.time(s.uniform(0.3, 0.5))
    sweep = low + (top * (2.2 if heavy else 0.8)) * np.exp(-t / fall)
    body = np.sin(2 * np.pi * np.cumsum(sweep) / s.sample_rate) * decay(t, t[-1] * 1.1, 0.001)
    snap = white(s, len(t)) * decay(t, 0.02, 2e-4)
    drum = np.tanh(3.5 * body) + 0.35 * snap if heavy else body + 0.03 * snap
    drum = (drum * swell(t, t[-1], 1e-4, 0.05)).astype(np.float32)
    for time, level in _pattern(s, rate, s.uniform(0, 0.4)):
        add(s, out, time, drum, level)
    return out if heavy else butterworth(s, out, "low", 700, 1)


@family("snare drum", speed=SPEED, space=SPACE)
def snare(s: Scene, a: dict[str, str]) -> Audio:
    out = s.silence()
    rate = s.uniform(4.5, 7.0) if a["speed"] == "fast" else s.uniform(1.0, 1.5)
    t = s.time(0.28)
    pitch, ring, wires = s.uniform(170, 260), s.uniform(0.1, 0.2), s.uniform(0.16, 0.3)
    tone = modes(s, pitch * np.array([1.0, 1.59, 2.14]), np.array([1.0, 0.6, 0.3]), np.full(3, ring), 0.28)
    pan = s.uniform(-0.3, 0.3)
    for time, level in _pattern(s, rate, 0.3):
        rattle = noise(s, lambda f: band(f, 1_400, 13_000, 1.0) + 0.4 * bump(f, 5_000, 0.8), len(t), 1)[0]
        hit = 0.8 * tone + 0.4 * level * rattle * decay(t, wires, 5e-4).astype(np.float32)
        add(s, out, time, hit * level, 1.0, pan)
    return out


@family("hi-hat", speed=SPEED, length=("closed", "open"))
def hi_hat(s: Scene, a: dict[str, str]) -> Audio:
    out = s.silence()
    rate = s.uniform(7.0, 10.0) if a["speed"] == "fast" else s.uniform(2.0, 3.0)
    t60 = s.uniform(0.45, 0.8) if a["length"] == "open" else s.uniform(0.04, 0.08)
    t = s.time(min(0.7, t60))
    metal = sum(np.sign(sine(cycles(s, pitch, len(t)))) for pitch in s.uniform(380, 560) * s.rng.uniform(1, 3.4, 6))
    pan = s.uniform(-0.4, 0.4)
    accents = s.rng.uniform(0.45, 1.0, 4)
    envelope = decay(t, t60, 5e-4) * swell(t, t[-1], 1e-4, 0.02)
    bright = butterworth(s, (metal * 0.4 + white(s, len(t))).astype(np.float32), "high", s.uniform(6_000, 8_500), 3)
    for index, time in enumerate(onsets(s, rate, 0.02)):
        # Starting at another place of the same ring keeps repeated hits from being identical.
        hit = np.roll(bright, int(s.rng.integers(len(bright)))) * envelope.astype(np.float32)
        add(s, out, time, hit, float(accents[index % 4]) * s.uniform(0.85, 1.0), pan)
    return out


@family("church bell", pitch=PITCH, speed=SPEED, distance=DISTANCE)
def church_bell(s: Scene, a: dict[str, str]) -> Audio:
    out = s.silence()
    strike = s.log_uniform(520, 800) if a["pitch"] == "high" else s.log_uniform(150, 240)
    rate = s.uniform(1.1, 1.5) if a["speed"] == "fast" else s.uniform(0.36, 0.5)
    ratios = np.array([0.5, 1.0, 1.2, 1.5, 2.0, 2.01, 2.65, 3.0, 4.1, 5.4, 6.8])
    ratios = ratios * s.rng.uniform(0.99, 1.01, len(ratios))
    t60s = np.array([9.0, 5.0, 4.5, 3.0, 3.2, 3.0, 1.8, 1.5, 1.0, 0.7, 0.5])
    levels = np.array([0.6, 0.7, 0.7, 0.3, 0.8, 0.5, 0.4, 0.4, 0.35, 0.25, 0.2]) * s.rng.uniform(0.6, 1.2, 11)
    length = min(4.0, s.seconds + 0.05)
    ring = modes(s, strike * ratios, levels, t60s, length)
    t = s.time(0.05)
    clang = noise(s, lambda f: bump(f, 3_500, 1.0), len(t), 1)[0] * decay(t, 0.05).astype(np.float32)
    pan = s.uniform(-0.3, 0.3)
    for time in onsets(s, rate, 0.05):
        level = s.uniform(0.7, 1.0)
        add(s, out, time, ring, level, pan)
        add(s, out, time, clang, 0.12 * level, pan)
    return out


@family("wind chimes", pitch=PITCH, speed=SPEED)
def chimes(s: Scene, a: dict[str, str]) -> Audio:
    out = s.silence()
    root = s.log_uniform(2_100, 2_900) if a["pitch"] == "high" else s.log_uniform(620, 850)
    notes = root * 2 ** (np.array([0, 2, 4, 7, 9, 12]) / 12) * s.rng.uniform(0.99, 1.01, 6)
    ratios = np.array([1.0, 2.76, 5.40, 8.93])
    tubes = []
    for note in notes:
        t60s = s.uniform(2.0, 3.5) / ratios**0.7
        tubes.append(
            modes(s, note * ratios, s.rng.uniform(0.5, 1.0, 4) / ratios**0.6, t60s, min(1.5, s.seconds + 0.05))
        )
    pans = s.rng.uniform(-0.7, 0.7, len(notes))
    for time in onsets(s, s.uniform(7, 11) if a["speed"] == "fast" else s.uniform(1.3, 1.9), 0.3):
        which = int(s.rng.integers(len(notes)))
        add(s, out, time, tubes[which], s.uniform(0.25, 1.0), float(pans[which]))
    return reverberate(s, out, s.uniform(0.6, 1.2), 0.15) if s.chance(0.5) else out


@family("plucked string", pitch=PITCH, speed=SPEED, space=SPACE)
def plucked(s: Scene, a: dict[str, str]) -> Audio:
    out = s.silence()
    root = s.log_uniform(420, 620) if a["pitch"] == "high" else s.log_uniform(85, 130)
    times = onsets(s, s.uniform(5.0, 7.0) if a["speed"] == "fast" else s.uniform(1.1, 1.7), 0.02)
    position = s.uniform(0.12, 0.35)
    ring, damping = s.uniform(1.5, 3.5), s.uniform(0.6, 1.2)
    pan = s.uniform(-0.3, 0.3)
    for time, pitch in zip(times, walk(s, len(times), root), strict=True):
        k = np.arange(1, max(2, int(16_000 / pitch)) + 1)
        # Plucking at a fraction of the string removes the harmonics with a node there.
        amplitudes = np.abs(np.sin(np.pi * k * position)) / k**1.1 * s.rng.uniform(0.5, 1.0, len(k))
        note = string(s, float(pitch), amplitudes, ring / k**damping, 1.3)
        add(s, out, time, note, s.uniform(0.6, 1.0), pan)
    return out


@family("string pad", pitch=PITCH, brightness=BRIGHTNESS)
def pad(s: Scene, a: dict[str, str]) -> Audio:
    out = s.silence()
    root = s.log_uniform(330, 480) if a["pitch"] == "high" else s.log_uniform(80, 120)
    slope = s.uniform(0.75, 0.95) if a["brightness"] == "bright" else s.uniform(1.7, 2.0)
    chords = ((0, 7, 12), (0, 4, 7), (0, 3, 7), (-2, 5, 10), (0, 5, 9))
    time = 0.0
    while time < s.seconds - 0.05:
        length = min(s.uniform(2.4, 4.0), s.seconds - time + 0.3)
        t = s.time(length)
        bow = swell(t, t[-1], min(0.35, length / 3), min(0.5, length / 3)).astype(np.float32)
        for semitones in chords[int(s.rng.integers(len(chords)))]:
            pitch = root * 2 ** (semitones / 12)
            table = wavetable(harmonics(s, pitch, slope, 16_000))
            for side in (-0.8, 0.8):
                # Each player drifts alone. The beating between the sides makes an ensemble.
                detune = (
                    1 + s.uniform(-0.004, 0.004) + 0.004 * np.sin(2 * np.pi * s.uniform(4.5, 6) * t + s.uniform(0, 6))
                )
                add(s, out, time, read_table(table, cycles(s, pitch * detune)) * bow, 0.4, side + s.uniform(-0.2, 0.2))
        time += length - 0.3
    return out


@family("flute", pitch=PITCH, speed=SPEED, space=SPACE)
def flute(s: Scene, a: dict[str, str]) -> Audio:
    out = s.silence()
    root = s.log_uniform(900, 1_250) if a["pitch"] == "high" else s.log_uniform(270, 370)
    times = onsets(s, s.uniform(4.0, 5.5) if a["speed"] == "fast" else s.uniform(0.9, 1.3), 0.03)
    ends = np.append(times[1:], s.seconds)
    for time, end, pitch in zip(times, ends, walk(s, len(times), root), strict=True):
        t = s.time(max(0.08, (end - time) * 1.02))
        k = np.arange(1, 9)
        level = np.array([1.0, 0.35, 0.18, 0.08, 0.04, 0.02, 0.012, 0.006]) * s.rng.uniform(0.6, 1.2, 8)
        table = wavetable(level[k * pitch < 18_000])
        vibrato = 1 + 0.006 * np.clip(t / 0.4, 0, 1) * np.sin(2 * np.pi * s.uniform(4.5, 5.8) * t)

        def around_pitch(f: Curve, pitch: float = pitch) -> Curve:
            return bump(f, pitch, 0.25) + 0.35 * band(f, 1_500, 14_000, 1.0)

        breath = noise(s, around_pitch, len(t), 1)[0]
        chiff = 0.03 + 0.15 * np.exp(-t / 0.03)
        tone = read_table(table, cycles(s, pitch * vibrato)) + breath * chiff.astype(np.float32) * 0.5
        add(s, out, time, tone * swell(t, t[-1], 0.035, 0.05).astype(np.float32), s.uniform(0.8, 1.0))
    return out


@family("piano", pitch=PITCH, speed=SPEED, space=SPACE)
def piano(s: Scene, a: dict[str, str]) -> Audio:
    out = s.silence()
    root = s.log_uniform(600, 900) if a["pitch"] == "high" else s.log_uniform(70, 110)
    times = onsets(s, s.uniform(5.0, 7.0) if a["speed"] == "fast" else s.uniform(1.0, 1.5), 0.03)
    hammer = modes(s, np.array([90.0, 210.0, 560.0]), np.array([1.0, 0.6, 0.4]), np.array([0.1, 0.07, 0.04]), 0.1)
    dyad = s.chance(0.5)
    for time, pitch in zip(times, walk(s, len(times), root), strict=True):
        level = s.uniform(0.55, 1.0)
        pitches = (pitch, pitch * 2 ** (float(s.rng.choice([4, 7, 12])) / 12)) if dyad and s.chance(0.4) else (pitch,)
        for f0 in pitches:
            k = np.arange(1, max(2, int(14_000 / f0)) + 1)
            amplitudes = np.abs(np.sin(np.pi * k / 7.3)) / k**1.1 * np.exp(-k * f0 / (5_000 * level))
            t60s = (7.0 * (110 / f0) ** 0.5) / k**0.5
            # Low notes sit left and high ones right, as the player hears them.
            pan = float(np.clip(0.4 * np.log2(f0 / 261), -0.5, 0.5))
            for detune in (-0.0006, 0.0006):
                note = string(s, f0 * (1 + detune), amplitudes, t60s, min(1.2, s.seconds))
                note[:24] *= np.linspace(0, 1, 24)
                add(s, out, time, note, 0.6 * level, pan + detune * 300)
        add(s, out, time, hammer, 0.12 * level)
    return out


@family("synth bass", speed=SPEED, brightness=BRIGHTNESS)
def bass(s: Scene, a: dict[str, str]) -> Audio:
    out = s.silence()
    rate = s.uniform(5.5, 8.0) if a["speed"] == "fast" else s.uniform(1.2, 1.8)
    times = onsets(s, rate, 0.0)
    bright = a["brightness"] == "bright"
    root = s.log_uniform(38, 58)
    k = np.arange(1, int(15_000 / root) + 1)
    square = s.chance(0.5)
    source = np.where((k % 2 == 1) | (not square), 1.0 / k, 0.0)
    cutoff = s.uniform(2_500, 6_000) if bright else s.uniform(120, 220)
    open_table = wavetable(source / np.sqrt(1 + (k * root / cutoff) ** 4))
    shut_table = wavetable(source / np.sqrt(1 + (k * root / (cutoff * (0.35 if bright else 0.2) + 60)) ** 4))
    sweep = s.uniform(0.15, 0.35)
    length = s.uniform(0.6, 0.95) / rate
    for time, pitch in zip(times, walk(s, len(times), root), strict=True):
        t = s.time(length)
        phase = cycles(s, float(pitch), len(t))
        mix = np.exp(-t / sweep).astype(np.float32)
        note = read_table(open_table, phase) * mix + read_table(shut_table, phase) * (1 - mix)
        add(s, out, time, note * swell(t, t[-1], 0.004, 0.03).astype(np.float32), s.uniform(0.8, 1.0))
    return out


@family("tom drum", pitch=PITCH, speed=SPEED)
def tom(s: Scene, a: dict[str, str]) -> Audio:
    out = s.silence()
    root = s.log_uniform(260, 340) if a["pitch"] == "high" else s.log_uniform(105, 130)
    rate = s.uniform(5.0, 7.0) if a["speed"] == "fast" else s.uniform(1.2, 1.7)
    toms = []
    for step in (1.0, 0.84, 0.72):
        t = s.time(0.6)
        # The skin is stretched by the stroke, so the pitch starts above its rest.
        bend = 1 + 0.35 * np.exp(-t / 0.05)
        ring = sum(
            level * sine(cycles(s, root * step * ratio * bend)) * decay(t, t60, 0.002)
            for ratio, level, t60 in ((1.0, 1.0, 0.6), (1.59, 0.6, 0.4), (2.3, 0.4, 0.25), (3.6, 0.25, 0.12))
        )
        stick = 0.2 * white(s, len(t)) * decay(t, 0.015, 2e-4)
        toms.append(((ring + stick) * swell(t, t[-1], 1e-4, 0.05)).astype(np.float32))
    for index, time in enumerate(onsets(s, rate, 0.02)):
        which = (index // 2) % 3
        add(s, out, time, toms[which], s.uniform(0.75, 1.0), 0.5 - 0.5 * which)
    return out


@family("shaker", speed=SPEED, brightness=BRIGHTNESS)
def shaker(s: Scene, a: dict[str, str]) -> Audio:
    rate = s.uniform(8.0, 10.5) if a["speed"] == "fast" else s.uniform(2.2, 3.0)
    centre = s.log_uniform(8_500, 11_000) if a["brightness"] == "bright" else s.log_uniform(2_200, 2_900)
    t = s.time(0.006)[None, :]
    pitch = centre * 2 ** s.rng.uniform(-0.3, 0.3, (24, 1))
    grains = np.sin(2 * np.pi * pitch * t + s.rng.uniform(0, 6.28, (24, 1))) * np.exp(-6.91 * t / 0.005)
    strokes = onsets(s, rate, 0.02)
    length = min(0.16, 0.75 / rate)
    # A stroke is a swarm of beads that hit the shell. More hit it in the middle of the stroke than at its ends.
    beads = 90
    times = (strokes[:, None] + length * s.rng.beta(2.5, 2.5, (len(strokes), beads))).ravel()
    level = np.where(np.arange(len(strokes)) % 2 == 0, 1.0, 0.55)
    gains = np.repeat(level, beads) * s.rng.exponential(0.5, len(times))
    return cloud(s, grains.astype(np.float32), np.minimum(times, s.seconds - 0.001), gains, 0.2)


@family("harpsichord", pitch=PITCH, speed=SPEED, space=SPACE)
def harpsichord(s: Scene, a: dict[str, str]) -> Audio:
    out = s.silence()
    root = s.log_uniform(500, 700) if a["pitch"] == "high" else s.log_uniform(95, 135)
    times = onsets(s, s.uniform(6.0, 8.0) if a["speed"] == "fast" else s.uniform(1.1, 1.6), 0.02)
    click = modes(s, np.array([1_300.0, 2_900.0, 5_200.0]), np.array([0.6, 1.0, 0.8]), np.full(3, 0.012), 0.02)
    for time, pitch in zip(times, walk(s, len(times), root), strict=True):
        chord = (1.0, 1.5, 2.0) if s.chance(0.25) else (1.0,)
        for ratio in chord:
            # Two choirs of strings sound an octave apart. They are plucked near their ends, so their treble is strong.
            for octave, level in ((1.0, 1.0), (2.0, 0.7)):
                f0 = float(pitch) * ratio * octave
                k = np.arange(1, max(2, int(17_000 / f0)) + 1)
                amplitudes = np.abs(np.sin(np.pi * k * 0.11)) * k**-0.25 * s.rng.uniform(0.6, 1.0, len(k))
                add(s, out, time, string(s, f0, amplitudes, 1.8 / k**0.35, 0.9), level, 0.3 * (octave - 1.5))
        add(s, out, time, click, 0.4)
    return out


@family("trumpet", pitch=PITCH, speed=SPEED, space=SPACE)
def trumpet(s: Scene, a: dict[str, str]) -> Audio:
    out = s.silence()
    root = s.log_uniform(520, 650) if a["pitch"] == "high" else s.log_uniform(150, 200)
    times = onsets(s, s.uniform(4.5, 6.0) if a["speed"] == "fast" else s.uniform(1.0, 1.3), 0.02)
    ends = np.append(times[1:], s.seconds)
    pan = s.uniform(-0.3, 0.3)
    for time, end, pitch in zip(times, ends, walk(s, len(times), root), strict=True):
        length = max(0.08, 0.82 * (end - time))
        t = s.time(length)
        k = np.arange(1, int(16_000 / pitch) + 1)
        bell = formants(k * pitch, ((1_250.0, 900, 1.0), (2_600.0, 1_400, 0.6), (6_000.0, 4_000, 0.12)))
        tables = [wavetable(bell / k**slope) for slope in (2.2, 0.9, 0.1)]
        # A louder brass tone is brighter. Every tone opens with its attack and swells again.
        force = 2 * swell(t, length, 0.05, 0.08) * (0.75 + 0.25 * np.sin(np.pi * t / length))
        vibrato = 1 + 0.005 * np.clip(t / 0.5, 0, 1) * np.sin(2 * np.pi * 5.3 * t) - 0.03 * np.exp(-t / 0.02)
        tone = morph(tables, cycles(s, pitch * vibrato), force)
        add(s, out, time, tone * swell(t, length, 0.02, 0.05).astype(np.float32), s.uniform(0.8, 1.0), pan)
    return out


@family("cello", pitch=PITCH, speed=SPEED, space=SPACE)
def cello(s: Scene, a: dict[str, str]) -> Audio:
    out = s.silence()
    root = s.log_uniform(250, 330) if a["pitch"] == "high" else s.log_uniform(65, 85)
    times = onsets(s, s.uniform(3.6, 4.8) if a["speed"] == "fast" else s.uniform(0.8, 1.1), 0.03)
    ends = np.append(times[1:], s.seconds)
    # The upper strings sound through the bright resonances of the bridge, the lower ones through the body's air.
    size = 2.0 if a["pitch"] == "high" else 0.9
    peaks = ((220.0, 90, 1.0), (420.0, 150, 0.9), (900.0, 350, 0.6), (2_200.0, 1_200, 0.35), (5_000.0, 3_000, 0.06))
    body = tuple((size * centre, size * width, level) for centre, width, level in peaks)
    pan = s.uniform(-0.3, 0.3)
    for time, end, pitch in zip(times, ends, walk(s, len(times), root), strict=True):
        length = max(0.1, 0.97 * (end - time))
        t = s.time(length)
        k = np.arange(1, int(14_000 / pitch) + 1)
        table = wavetable((formants(k * pitch, body) + 0.1) / k**0.8 * s.rng.uniform(0.6, 1.0, len(k)))
        vibrato = 1 + 0.012 * np.clip(t / 0.25, 0, 1) * np.sin(2 * np.pi * s.uniform(5.2, 6.0) * t)
        scrape = noise(s, lambda f: formants(f, body) * band(f, 400, 7_000, 1.0), len(t), 1)[0]
        bow = 0.02 + 0.25 * np.exp(-t / 0.03)
        stroke = swell(t, length, min(0.09, length / 3), min(0.12, length / 3)) * (0.85 + 0.15 * wander(s, 3.0, t))
        tone = read_table(table, cycles(s, pitch * vibrato)) + scrape * bow.astype(np.float32)
        add(s, out, time, tone * stroke.astype(np.float32), s.uniform(0.8, 1.0), pan)
    return out


@family("arpeggio synth", pitch=PITCH, speed=SPEED, brightness=BRIGHTNESS)
def arpeggio(s: Scene, a: dict[str, str]) -> Audio:
    out = s.silence()
    root = s.log_uniform(520, 700) if a["pitch"] == "high" else s.log_uniform(110, 150)
    rate = s.uniform(9.0, 12.0) if a["speed"] == "fast" else s.uniform(2.2, 3.0)
    third = 4 if s.chance(0.5) else 3
    ladder = [0, third, 7, 12, 12 + third, 19, 24]
    steps = ladder + ladder[-2:0:-1] if s.chance(0.5) else ladder
    reach = 14.0 if a["brightness"] == "bright" else 1.0
    length = min(0.3, 0.8 / rate)
    for index, time in enumerate(onsets(s, rate, 0.0)):
        pitch = root * 2 ** (steps[index % len(steps)] / 12)
        t = s.time(length)
        k = np.arange(1, max(2, int(16_000 / pitch)) + 1)
        table = wavetable(k ** (-0.6 if reach > 2 else -1.0) / (1 + (k / reach) ** 4) ** 0.5)
        tone = sum(read_table(table, cycles(s, pitch * detune, len(t))) for detune in (0.996, 1.004))
        note = tone * (swell(t, length, 0.004, 0.03) * np.exp(-2 * t / length)).astype(np.float32)
        side = 0.5 if index % 2 else -0.5
        add(s, out, time, note, 1.0, side)
        # An echo on the beat thickens the pattern without adding events between its notes.
        add(s, out, time + 3 / rate, note, 0.3, -side)
    return out
