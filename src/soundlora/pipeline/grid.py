"""Grids: sounds of one setting along the rows and of another along the columns, in a folder with a page to hear them.

Each sound is written as soon as it is made, so a grid that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import torch

from soundlora.audio.formats import ENDINGS
from soundlora.audio.spectrogram import side_by_side
from soundlora.errors import InputError, Interrupted, about
from soundlora.pipeline.arguments import checked_arguments
from soundlora.pipeline.first_look import look_at_place
from soundlora.pipeline.generate import Generator
from soundlora.pipeline.generation import Generation, data_uri
from soundlora.pipeline.given_sound import Source, check_source
from soundlora.pipeline.grid_axes import Axis, Cell, axis_of, cells_of
from soundlora.pipeline.grid_page import grid_page
from soundlora.pipeline.lora_use import LoraFile
from soundlora.progress import OnProgress, Progress, fetch_news
from soundlora.system.cache_root import expanded
from soundlora.system.whole_files import clear_left, write_whole, writing
from soundlora.weights.base import open_base
from soundlora.wording import setting, using

_SHOWN_IN_A_NOTEBOOK = 24
"""The most sounds of which a notebook gets a copy."""
MIME = {".wav": "audio/wav", ".flac": "audio/flac", ".ogg": "audio/ogg", ".mp3": "audio/mpeg"}


@dataclass(frozen=True)
class Grid:
    """A grid in its folder: `index.html` to hear it, `grid.json` with every setting, and a file for each sound.

    cells: a mapping for each sound, row by row, with its `row` and `column` from 0, their `labels`, its settings, and
    the names of its files in the folder, `sound` and `picture`. Its `seconds` is None while it isn't made.
    """

    folder: Path
    rows: Axis | None
    columns: Axis | None
    cells: list[dict[str, Any]]

    @property
    def page(self) -> Path:
        """The page that plays the sounds, from the disk."""
        return self.folder / "index.html"

    def _repr_html_(self) -> str:
        """Return what a notebook shows: spectrograms and players in a table, or where the page is if they are many."""
        where = f"<p>{len(self.cells)} sounds: {escape(str(self.page))}</p>"
        if len(self.cells) > _SHOWN_IN_A_NOTEBOOK:
            return where
        width = len(self.columns.labels) if self.columns else 1
        head = "".join(f"<th>{escape(label)}</th>" for label in (self.columns.labels if self.columns else ("",)))
        lines = [
            f"<tr><th>{escape(cells[0]['labels'][0])}</th>{''.join(map(self._shown, cells))}</tr>"
            for cells in (self.cells[first : first + width] for first in range(0, len(self.cells), width))
        ]
        return f"<table><tr><th></th>{head}</tr>{''.join(lines)}</table>{where}"

    def _shown(self, cell: dict[str, Any]) -> str:
        if cell["seconds"] is None:
            return "<td>not made yet</td>"
        picture, sound = self.folder / cell["picture"], self.folder / cell["sound"]
        return (
            f'<td><img src="{data_uri("image/png", picture.read_bytes())}" width="240" height="96" alt="Spectrogram" '
            f'style="display: block"><audio controls src="{data_uri(MIME[sound.suffix], sound.read_bytes())}" '
            'style="width: 240px"></audio></td>'
        )


@checked_arguments
def grid(
    rows: Mapping[str, Any] | None = None,
    columns: Mapping[str, Any] | None = None,
    *,
    out: str | os.PathLike[str],
    prompt: str | None = None,
    lora: str | os.PathLike[str] | None = None,
    strength: float | None = None,
    loras: Sequence[LoraFile] = (),
    base: str = "nano",
    text_encoder: str | os.PathLike[str] | None = None,
    device: torch.device | str | None = None,
    duration: float | None = None,
    seed: int | None = None,
    steps: int | None = None,
    cfg: float | None = None,
    stg: float | None = None,
    negative_prompt: str | None = None,
    source: Source | None = None,
    force: bool = False,
    format: str = "wav",
    overwrite: bool = False,
    on_progress: OnProgress | None = None,
) -> Grid:
    """Make a sound for each value of one setting (rows) with each of another (columns), into the folder `out`.

    rows, columns: one setting with its values, as in {"strength": [0, 0.5, 1]}. It is prompt, seed, strength (of LoRAs
        that have none of their own), checkpoint (files, or a run folder for all of its), lora (files or `LoraUse`, None
        for the base alone; added to `lora` or `loras`), steps, cfg or stg. One of the two may be left out.
    format: "wav", "flac", "ogg" or "mp3". overwrite: make a grid anew that is there. Without it, the same grid goes on
        where it stopped.
    What else is given holds for every sound, and means what it means for `generate`.
    Raises InputError for what can't vary, and for a folder that holds something else, Interrupted when it was stopped,
    and as `generate` does.
    """
    axes = axis_of("rows", rows), axis_of("columns", columns)
    fixed = {"prompt": prompt, "strength": strength, "duration": duration, "seed": seed, "steps": steps, "cfg": cfg}
    fixed |= {"stg": stg, "negative_prompt": negative_prompt}
    cells = cells_of(*axes, fixed, lora, loras)
    if source is not None:
        check_source(source, duration)
    if f".{format}" not in ENDINGS:
        raise InputError(
            f"{setting('format')} is {format!r}, but it must be one of {', '.join(e[1:] for e in ENDINGS)}.",
            field="format",
        )
    tell = on_progress or (lambda progress: None)
    folder = expanded(out)
    look_at_place(folder)
    with about("base"):
        opened = open_base(base, Path(text_encoder) if text_encoder else None, fetch_news(tell))
    made = _Folder(folder, axes, cells, _plan(axes, fixed, cells, source, opened.hash, format), f".{format}")
    made.take_up(overwrite)
    missing = made.missing()
    try:
        if missing:
            _make(missing, made, source, tell, base, text_encoder=text_encoder, device=device, force=force)
    except KeyboardInterrupt:
        done = len(cells) - len(made.missing())
        raise Interrupted(
            f"Stopped after {done} of {len(cells)} sounds; they are in {folder}, and the same grid goes on there.",
            folder,
        ) from None
    return Grid(folder, *axes, made.entries)


def _make(
    cells: list[Cell], made: _Folder, source: Source | None, tell: OnProgress, base: str, **settings: Any
) -> None:
    """Make sounds and write each. Cells with the same LoRAs come one after the other."""
    order = {loras: number for number, loras in reversed([*enumerate(str(cell.loras) for cell in cells)])}
    cells = sorted(cells, key=lambda cell: order[str(cell.loras)])
    generator = Generator(base, cells[0].loras, on_progress=tell, **settings)
    loras, told = cells[0].loras, set[str]()
    for number, cell in enumerate(cells, 1):
        if cell.loras != loras:
            generator.exchange(cell.loras, force=settings["force"])
            loras = cell.loras
        for note in generator.warnings + generator.advice(
            cell.settings["prompt"], cell.settings["duration"], cell.settings["steps"]
        ):
            if note not in told:
                told.add(note)
                tell(Progress("sampling", note=True, message=note))
        sound = generator(
            **cell.settings,
            source=source,
            on_progress=lambda news, n=number: tell(replace(news, message=f"sound {n} of {len(cells)}")),  # type: ignore[misc]
        )
        path = made.keep(cell, sound)
        tell(Progress("saving", number, len(cells), message=path.name))


class _Folder:
    """The folder of a grid. plan: all that decides how its sounds sound."""

    def __init__(
        self,
        path: Path,
        axes: tuple[Axis | None, Axis | None],
        cells: list[Cell],
        plan: dict[str, Any],
        ending: str,
    ) -> None:
        self.path, self.axes, self.cells, self.plan = path, axes, cells, plan
        self.table = path / "grid.json"
        self.entries: list[dict[str, Any]] = [
            {
                "row": cell.row,
                "column": cell.column,
                "labels": list(cell.labels),
                **cell.settings,
                "loras": [_said_of(use) for use in cell.loras],
                "sound": f"{cell.stem}{ending}",
                "picture": f"{cell.stem}.png",
                "seconds": None,
            }
            for cell in cells
        ]

    def take_up(self, overwrite: bool) -> None:
        """Find what is made already, or begin. Raises InputError where the folder holds something else."""
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            there = any(self.path.iterdir())
        before = _read(self.table)
        if before is not None:
            clear_left(self.path)
        same = (
            before is not None and before["plan"] == self.plan and _settings(before["cells"]) == _settings(self.entries)
        )
        if before is not None and same and not overwrite:
            for entry, old in zip(self.entries, before["cells"], strict=True):
                if all((self.path / old[kind]).is_file() for kind in ("sound", "picture")):
                    entry["seconds"] = old["seconds"]
        elif there and not overwrite:
            holds = "is not empty"
            if before is not None:
                other = [name for name in self.plan if before["plan"].get(name) != self.plan[name]]
                holds = f"holds another grid; what differs is {', '.join(other) or 'the settings of its sounds'}"
            raise InputError(
                f"{self.path} {holds}; give another folder with {using('out')}, or replace what is there with "
                f"{using('overwrite', True)}.",
                field="out",
            )
        elif before is not None:
            for old in before["cells"]:
                for kind in ("sound", "picture"):
                    (self.path / Path(old[kind]).name).unlink(missing_ok=True)
        self._write()

    def missing(self) -> list[Cell]:
        """Return the cells that are not made yet."""
        return [cell for cell, entry in zip(self.cells, self.entries, strict=True) if entry["seconds"] is None]

    def keep(self, cell: Cell, sound: Generation) -> Path:
        """Write a sound, its picture, and what is known of the grid now. Return the sound's path."""
        entry = self.entries[self.cells.index(cell)]
        path = sound.save(self.path / entry["sound"])
        write_whole(self.path / entry["picture"], side_by_side([(np.asarray(sound.waveform), sound.sample_rate)]))
        entry["seconds"] = round(sound.seconds, 3)
        self._write()
        return path

    def _write(self) -> None:
        table = {"plan": self.plan, "cells": self.entries}
        write_whole(self.table, json.dumps(table, indent=1, ensure_ascii=False).encode())
        write_whole(self.path / "index.html", grid_page(*self.axes, self.entries, self.plan).encode())


def _plan(
    axes: tuple[Axis | None, Axis | None],
    fixed: Mapping[str, Any],
    cells: list[Cell],
    source: Source | None,
    base_hash: str,
    format: str,
) -> dict[str, Any]:
    """Return all that decides how the sounds sound, as JSON has it: a LoRA of the same name may have changed."""
    files = sorted({expanded(use.path) for cell in cells for use in cell.loras})
    plan = {
        **{which: axis and {axis.name: axis.labels} for which, axis in zip(("rows", "columns"), axes, strict=True)},
        **{name: value for name, value in fixed.items() if value is not None},
        "base_hash": base_hash,
        "loras": {str(file): _hash(file) for file in files},
        "uses": sorted({use.label for cell in cells for use in cell.loras}),
        "source": source and {**asdict(source), "audio": [source.path.name, _hash(source.path)]},
        "format": format,
    }
    found: dict[str, Any] = json.loads(json.dumps(plan, default=str))
    return found


def _hash(path: Path) -> str | None:
    """Return the hex SHA-256 of a file, None of what is none: a LoRA that isn't there is told of when it is read."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(table: Path) -> dict[str, Any] | None:
    """Return what a folder's grid.json says, None where there is none that a grid has written."""
    try:
        found = json.loads(table.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and {"plan", "cells"} <= set(found) else None


def _settings(entries: list[dict[str, Any]]) -> Any:
    """Return entries as JSON has them, without what is known once a sound is made."""
    return json.loads(json.dumps([{name: each[name] for name in each if name != "seconds"} for each in entries]))


def _said_of(use: Any) -> dict[str, Any]:
    return {"path": str(use.path), "strength": use.strength, "parts": dict(use.shares), "steps": list(use.steps)}
