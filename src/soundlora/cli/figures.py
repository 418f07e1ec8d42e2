"""soundlora figures: how near sets of sounds are to some clips."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from soundlora.cli.generate_flags import DeviceOption
from soundlora.cli.output import print_json
from soundlora.errors import InputError

if TYPE_CHECKING:
    from soundlora.pipeline.figures import Figure
    from soundlora.training.distances import Estimate

_NOTE = (
    "A distance is that from the clips; in the clips' column it is that of one half of them from the other. ± is 1.96 "
    "standard errors."
)


def figures(
    clips: Annotated[Path, typer.Argument(help="Folder of clips.")],
    sounds: Annotated[list[Path], typer.Argument(help="Folder of sounds, or several.", metavar="SOUNDS...")],
    base: Annotated[str, typer.Option(help="Base whose encoder is used: that of the sounds is best.")] = "nano",
    judge: Annotated[Path | None, typer.Option(help="Folder with a CLAP model, which hears them, too.")] = None,
    device: DeviceOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Compare folders of sounds with clips: level, onsets, pitch, width, spectrum, and distances of whole sets.

    A folder has two sounds at least; eight or more give intervals worth reading. Captions are .txt files beside sounds.
    """
    from soundlora.pipeline.figures import figures as compared

    names = [folder.name or str(folder) for folder in sounds]
    if len(set(names)) < len(names):
        names = [str(folder) for folder in sounds]
    if len(set(names)) < len(names):
        raise InputError("A folder of sounds is named twice.")
    found = compared(clips, dict(zip(names, sounds, strict=True)), base=base, judge=judge, device=device)
    if as_json:
        print_json({"figures": [asdict(figure) for figure in found]})
        return
    _table(found, names)


def _table(found: list[Figure], names: list[str]) -> None:
    rows = [["", "clips", *names]]
    for figure in found:
        label = f"{figure.name}, {figure.unit}" if figure.unit else figure.name
        rows.append([label, *(_shown(each) for each in (figure.clips, *(figure.sets[name] for name in names)))])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for label, *values in rows:
        print(label.ljust(widths[0]), *(value.rjust(width) for value, width in zip(values, widths[1:], strict=True)))
    print(_NOTE)


def _shown(estimate: Estimate | None) -> str:
    if estimate is None:
        return "–"
    interval = "" if estimate.interval is None else f" ± {estimate.interval:.2g}"
    return f"{estimate.value:.3g}{interval}"
