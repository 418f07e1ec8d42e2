"""Made-up results of the laboratory and its ears."""

from __future__ import annotations

import numpy as np

Results = dict[tuple[str, str, str, int], dict[str, float]]

SOUNDS = ["zaps", "boings", "chatter", "gongs", "tabla", "blips", "talk box", "announcements"]
EFFECTS = {"rank": {"4": 0.2, "8": 0.1, "128": -0.1}, "rate": {"5e-5": 0.3, "1e-3": -0.2}, "averaging": {"none": 0.0}}


def made_up(names: list[str], signs: list[float], noise: float = 0.02, seeds: int = 2) -> Results:
    """Return results whose figures differ from the defaults' by `EFFECTS`, each with a sign of its own."""
    rng = np.random.default_rng(3)
    levels = [("defaults", "defaults", 0.0)]
    levels += [(factor, level, effect) for factor, each in EFFECTS.items() for level, effect in each.items()]
    return {
        (factor, level, sound, seed): {
            name: 0.5 + sign * effect + float(rng.normal(0, noise)) for name, sign in zip(names, signs, strict=True)
        }
        for factor, level, effect in levels
        for sound in SOUNDS
        for seed in range(seeds)
    }
