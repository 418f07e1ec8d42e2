"""Brings the laboratory to docs/what_helps.md: its tables between marks, and its picture.

    .venv/bin/python benchmarks/what_helps.py [--check]

The tables come from lab.jsonl and ears.jsonl. The paragraphs between them are written by hand; a test sees that every
difference they name stands in a table. With --check nothing is written, and a page that differs ends with 1. The
picture needs matplotlib, which `scripts/setup plots` installs.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import ears
import lab
import numpy as np
from agreement import FARTHER, NEARER, NOISE, Agreement, Results, agreement, by_sound, said
from ear_networks import EARS
from report import aligned

from soundlora.pipeline.presets import PRESETS

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE, PICTURE = DOCS / "what_helps.md", DOCS / "images" / "what_helps.png"
END = "<!-- end of figures -->"
LEAST = 8  # pairs: each sound once
_BLOCK = re.compile(r"<!-- figures: (\w+) -->\n.*?" + re.escape(END), re.DOTALL)
_SCORES = [f"score at {strength:g}" for strength in lab.STRENGTHS]
_FULL = f"{lab.STRENGTHS[0]:g}"

Difference = tuple[float, float]
"""How much more a figure is than with the defaults, and its interval."""


def rewritten(page: str, results: Results, heard: Results) -> str:
    """The page with all its marked parts made anew. Raises KeyError for a mark that asks for what there isn't."""
    blocks = {
        "runs": runs(results, heard),
        "levels": levels_table(results, heard),
        "presets": presets_table(results),
        "agreement": agreement_table(results, heard),
        "words": words_table(results, heard),
        "worth": worth_table(heard),
    }
    return _BLOCK.sub(lambda match: f"<!-- figures: {match[1]} -->\n{blocks[match[1]]}\n{END}", page)


def differences(results: Results, figure: str) -> dict[str, Difference]:
    """Return the levels that were tried with every sound."""
    compared = lab.compared({key: each for key, each in results.items() if figure in each}, figure)
    return {level: (mean, interval) for level, (mean, interval, pairs) in compared.items() if pairs >= LEAST}


def runs(results: Results, heard: Results) -> str:
    plain = [figures for key, figures in results.items() if key[0] == lab.DEFAULTS]
    pairs = [count for _, _, count in lab.compared(results, _SCORES[0]).values() if count >= LEAST]
    means = [float(np.mean([figures[name] for figures in plain])) for name in (*_SCORES, "moved")]
    least, most = min(pairs, default=0), max(pairs, default=0)
    levels = sum(map(len, lab.FACTORS.values())) - 1
    return "\n".join(
        [
            f"There are {len(results)} runs, {least if least == most else f'{least} to {most}'} pairs a level, and "
            f"{len(pairs)} of {levels} levels have every sound.",
            f"The ears have heard {len(results.keys() & heard.keys())} of these runs.",
            f"With the defaults the score is {means[0]:.2f} at strength {lab.STRENGTHS[0]:g} and {means[1]:.2f} at "
            f"{lab.STRENGTHS[1]:g}, and other prompts are moved by {means[2]:.2f}.",
        ]
    )


def levels_table(results: Results, heard: Results) -> str:
    scores = [differences(results, name) for name in (*_SCORES, "moved")]
    by_ear = [differences(heard, f"{ear} at {_FULL}") for ear in EARS]
    cells = [["level", *_SCORES, "moved", *EARS]]
    for level in scores[0]:
        cells.append(
            [
                level,
                *(shown(table[level]) for table in scores),
                *(said(*table[level]) if level in table else "" for table in by_ear),
            ]
        )
    return aligned(cells)


def shown(difference: Difference) -> str:
    text = f"{difference[0]:+.2f} ± {difference[1]:.2f}"
    return f"{NOISE}, {text}" if said(*difference) == NOISE else text


PRESET_SOUNDS = {
    "voice": ("targets: attention", ["announcements", "talk box"]),
    "foley": ("rank: 128", ["zaps", "boings"]),
    "ambience": ("rank: 128", ["chatter"]),
    "instrument": ("rank: 128", ["gongs", "tabla"]),
    "one-shots": ("rank: 128", ["zaps", "blips", "tabla"]),
}
"""The level of the laboratory that a preset has, and the sounds that are most like its kind."""


def presets_table(results: Results) -> str:
    """What each preset sets, and how the sounds of its kind came out with it."""
    cells = [["preset", "settings", "sounds", *_SCORES]]
    for preset, (level, sounds) in PRESET_SOUNDS.items():
        found = [by_sound(results, score).get(level, {}) for score in _SCORES]
        means = [f"{np.mean([each[name] for name in sounds]):+.2f}" if each else "" for each in found]
        flags = " ".join(f"`--{key} {_plain(value)}`" for key, value in PRESETS[preset].items())
        cells.append([f"`{preset}`", flags, ", ".join(sounds), *means])
    return aligned(cells)


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def agreement_table(results: Results, heard: Results) -> str:
    """How alike the levels are ranked by log-mel and by each ear; and by log-mel with one seed and with the others."""
    sure = [level for level, each in differences(results, _SCORES[0]).items() if said(*each) != NOISE]
    judged = by_sound({key: results[key] for key in heard if key in results}, _SCORES[0])
    pairs = {ear: (judged, by_sound(heard, f"{ear} at {_FULL}")) for ear in EARS}
    first, others = ({key: each for key, each in results.items() if (key[3] == 0) is zero} for zero in (True, False))
    pairs["itself, the first seed against the others"] = by_sound(first, _SCORES[0]), by_sound(others, _SCORES[0])
    cells = [["log-mel against", "all levels", "those beyond noise"]]
    for name, (one, other) in pairs.items():
        cells.append([name, written(agreement(one, other)), written(agreement(one, other, sure))])
    return aligned(cells)


def written(found: Agreement | None) -> str:
    if found is None:
        return "too few levels"
    return f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f}), {found.levels} levels"


def words_table(results: Results, heard: Results) -> str:
    """What each ear says of the levels: how often its sign is that of log-mel, and its words by log-mel's words."""
    cells = [["ear", "same sign", *(f"{word} by log-mel" for word in _ORDER)]]
    judged = differences(results, _SCORES[0])
    for ear in EARS:
        table = differences(heard, f"{ear} at {_FULL}")
        both = [(judged[level], its) for level, its in table.items() if level in judged]
        words = [(said(*mine), said(*its)) for mine, its in both]
        counts = [[words.count((mine, its)) for its in _ORDER] for mine in _ORDER]
        same = sum((mine[0] < 0) == (its[0] < 0) for mine, its in both)
        cells.append([ear, f"{same} of {len(both)}", *(" / ".join(map(str, row)) for row in counts)])
    return aligned(cells)


_ORDER = (NEARER, NOISE, FARTHER)


def worth_table(heard: Results) -> str:
    """What ears are worth: the score of a perfect LoRA's takes, and how surely they tell the sounds apart."""
    rows = [figures for key, figures in heard.items() if key[0] == ears.REAL]
    cells = [["ear", "score of real clips", "clips told to be their own sound's"]]
    if not rows:
        return aligned(cells)
    for ear in (ears.LOG_MEL, *EARS):
        halves, told = (float(np.mean([row[f"{ear}, {name}"] for row in rows])) for name in ("halves", "told"))
        cells.append([ear, f"{halves:.2f}", f"{100 * told:.0f} %"])
    return aligned(cells)


def draw(results: Results, path: Path) -> None:
    """Draw each level's difference of scores with its interval, a factor a box."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    tables = [differences(results, name) for name in _SCORES]
    factors = {
        factor: found
        for factor, levels in lab.FACTORS.items()
        if (found := [level for level in levels if f"{factor}: {level}" in tables[0]])
    }
    counts = [len(levels) for levels in factors.values()]
    figure, axes = plt.subplots(
        len(factors),
        sharex=True,
        squeeze=False,
        figsize=(7, 0.9 + 0.27 * sum(counts) + 0.12 * len(counts)),
        gridspec_kw={"height_ratios": [count + 0.3 for count in counts], "hspace": 0.12},
    )
    for axis, (factor, levels) in zip(axes[:, 0], factors.items(), strict=True):
        axis.axvline(0, color="#888888", linewidth=0.8)
        for row, level in enumerate(levels):
            for table, marker, shift in zip(tables, ("o", "D"), (-0.14, 0.14), strict=True):
                mean, interval = table[f"{factor}: {level}"]
                colour = {NEARER: "#1a7f37", FARTHER: "#b3261e", NOISE: "#9a9a9a"}[said(mean, interval)]
                axis.errorbar(
                    mean, row + shift, xerr=interval, fmt=marker, color=colour, markersize=4 if marker == "o" else 3,
                    markerfacecolor=colour if marker == "o" else "white", linewidth=1.1,
                )  # fmt: skip
        axis.set_yticks(range(len(levels)), levels, fontsize=8)
        axis.set_ylim(len(levels) - 0.4, -0.6)
        axis.set_ylabel(factor, rotation=0, fontsize=8, fontweight="bold", labelpad=8, ha="left", va="center")
        axis.yaxis.set_label_coords(-0.36, 0.5)
        axis.tick_params(length=0, labelsize=8)
        axis.grid(axis="x", color="#eeeeee")
        axis.set_axisbelow(True)
        for side in axis.spines.values():
            side.set_color("#dddddd")
    axes[0, 0].set_title("Left of the line: nearer to the clips than with the defaults", fontsize=9)
    axes[-1, 0].set_xlabel("difference of the score: ● at strength 1, ◇ at 0.6; grey is noise", fontsize=8)
    figure.savefig(path, dpi=110, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; end with 1 when the page differs")
    arguments = parser.parse_args()
    results, heard = lab.found(), ears.found()
    before = PAGE.read_text(encoding="utf-8")
    after = rewritten(before, results, heard)
    if arguments.check:
        if before != after:
            print(f"{PAGE.name} differs from the results; run benchmarks/what_helps.py.", file=sys.stderr)
        return int(before != after)
    PAGE.write_text(after, encoding="utf-8")
    draw(results, PICTURE)
    print(f"{PAGE.name} and {PICTURE.name} written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
