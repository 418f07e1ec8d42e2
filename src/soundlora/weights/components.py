"""The files of a base on this machine: which part of it lies in which of them, and where those that are missing lie.

A base is one file, or one a component. The components are found by what is in them in a folder that the user names,
and by their official names in the folders of ComfyUI and in the hub's own cache, so that nothing is fetched twice.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TypeVar, get_args

from soundlora.errors import InputError
from soundlora.model.encoder_files import (
    EMBEDDING,
    PACKED_ASSET,
    PACKED_CONFIG,
    PACKED_TOKENIZER,
    name_prefix,
    weight_files,
)
from soundlora.model.gemma import tensor_shapes
from soundlora.model.gemma_config import parse_gemma_config
from soundlora.model.tensor_file import TensorFile, TensorHeader
from soundlora.model.text_encoder import SMALL_FILES
from soundlora.net.addresses import is_bucket, is_url
from soundlora.net.hub import hub_cache
from soundlora.system.cache_root import expanded
from soundlora.weights.checkpoint import CHECKPOINT_ADVICE, DURATION, PROJECTION_WEIGHT
from soundlora.weights.fetched import fetched, is_hub_name
from soundlora.weights.generations import (
    MODEL_FOLDERS,
    SUPPORTED,
    Generation,
    HubFile,
    Part,
    generation_of,
    of_repository,
    parse_version,
)
from soundlora.wording import using

_COMFYUI = ("~/ComfyUI/models", "~/comfy/ComfyUI/models")
_PREFIXES: dict[Part, str] = {
    "transformer": "model.diffusion_model.",
    "audio VAE": "audio_vae.",
    "text projection": PROJECTION_WEIGHT,
}

_P = TypeVar("_P", bound=PurePath)


@dataclass(frozen=True)
class BaseFiles:
    """The files of a base: those that hold all but the text encoder, and the other two where they were found."""

    checkpoint: tuple[Path, ...]
    encoder: Path | None = None
    duration_head: Path | None = None


def parts_in(header: TensorHeader) -> set[Part]:
    """Return the parts of a base that a file holds by its header."""
    parts: set[Part] = {
        part for part, prefix in _PREFIXES.items() if any(name.startswith(prefix) for name in header.tensors)
    }
    if any(name.endswith(DURATION) for name in header.tensors):
        parts.add("duration head")
    if PACKED_CONFIG in header.metadata and any(name.endswith(EMBEDDING) for name in header.tensors):
        parts.add("text encoder")
    return parts


def wanted_tensors(header: TensorHeader, audio: Collection[str], source: str) -> set[str]:
    """Return the names of a file's tensors that a base needs: those in `audio`, the text model's, the duration head's.

    source: path or URL of the file. Raises InputError when the text encoder's config or tensors make no text model.
    """
    parts = parts_in(header)
    wanted = {name for name in header.tensors if name in audio}
    if "duration head" in parts:
        wanted |= {name for name in header.tensors if DURATION.split(".")[0] in name}
    if "text encoder" in parts:
        try:
            config = parse_gemma_config(json.loads(header.metadata[PACKED_CONFIG]))
        except (ValueError, KeyError, TypeError):
            raise InputError(f"The {PACKED_CONFIG!r} metadata of {source} can't be read; take another file.") from None
        prefix = name_prefix(header.tensors, source)
        wanted |= tensor_shapes(config, prefix).keys() | {prefix + EMBEDDING, PACKED_TOKENIZER}
        wanted |= {name for name in header.tensors if name.startswith(PACKED_ASSET)}
        missing = sorted(wanted - header.tensors.keys())
        if missing:
            raise InputError(f"{source} lacks {len(missing)} tensors ({missing[0]}, …); take another file.")
    return wanted


def find_files(given: Sequence[Path], encoder: Path | None = None) -> BaseFiles:
    """Return the files of a base, of which the user gave some or one folder.

    encoder: the text encoder's file or folder, if that was given too. Raises InputError when a part is in none of the
    files and nowhere else where it is looked for, or in two.
    """
    if len(given) == 1 and given[0].is_dir():
        given = _files_in(given[0])
    found: dict[Part, Path] = {}
    headers = {path: TensorFile(path, CHECKPOINT_ADVICE).header for path in given}
    for path, header in headers.items():
        for part in parts_in(header):
            found.setdefault(part, path)
    generation = _generation(headers.values())
    if generation is not None and len(generation.files) > 1:
        if encoder is not None and encoder.is_file():
            for part in parts_in(TensorFile(encoder, CHECKPOINT_ADVICE).header):
                found.setdefault(part, encoder)
        folders = [*_around(given), *search_folders(generation)]
        for file in generation.files:
            there = None if all(part in found for part in file.parts) else find_file(file, folders)
            for part in file.parts if there is not None else ():
                found.setdefault(part, there)  # type: ignore[arg-type]
        _check_found(generation, found, given)
    wanted: tuple[Part, ...] = ("transformer", "text projection", "audio VAE")
    paths = dict.fromkeys([*given[:1], *(found[part] for part in wanted if part in found)])
    return BaseFiles(tuple(paths), found.get("text encoder"), found.get("duration head"))


def located(generation: Generation) -> dict[HubFile, Path | None]:
    """Return where each published file of a generation lies on this machine, in any folder that is searched."""
    folders = search_folders(generation)
    return {file: find_file(file, folders) for file in generation.files}


def is_here(name: str) -> bool:
    """Say whether the base that a user names can be opened without asking a server."""
    if expanded(name).exists() or not (is_url(name) or is_hub_name(name) or is_bucket(name)):
        return True
    generation = of_repository(name)
    if generation is None:
        return fetched(name, "base").complete
    return all(path is not None for file, path in located(generation).items() if not file.optional)


def elsewhere(generation: Generation) -> list[Path]:
    """Return the published files of a generation that other programs keep on this machine."""
    own = fetched(generation.repository, "base").folder
    return [path for path in located(generation).values() if path is not None and not path.is_relative_to(own)]


def find_file(file: HubFile, folders: Iterable[Path]) -> Path | None:
    """Return where a published file lies, or None."""
    places = (place for folder in folders for place in (folder / file.path, folder / file.name))
    return next((place for place in places if place.is_file()), None)


def search_folders(generation: Generation) -> list[Path]:
    """Return the folders in which published files are looked for: soundlora's cache, ComfyUI's, and the hub's."""
    named = os.environ.get("SOUNDLORA_MODELS")
    comfy = [expanded(folder) for folder in (named.split(os.pathsep) if named else _COMFYUI) if folder]
    roots = [fetched(generation.repository, "base").folder, *comfy]
    snapshot = hub_snapshot(generation.repository)
    return [folder for root in [*roots, *([snapshot] if snapshot else [])] for folder in _with_sorted(root)]


def hub_snapshot(repository: str) -> Path | None:
    """Return the folder in which the hub's own library keeps a repository as it is now, or None."""
    home = hub_cache() / f"models--{repository.replace('/', '--')}"
    try:
        commit = (home / "refs" / "main").read_text().strip()
        found = home / "snapshots" / commit
        return found if commit and found.is_dir() else None
    except OSError:
        return None


def encoder_snapshot(repository: str) -> Path | None:
    """Return the folder of a text encoder in the hub's own cache, or None when there is none or not all of it."""
    folder = hub_snapshot(repository)
    if folder is None or not all((folder / name).is_file() for name in SMALL_FILES):
        return None
    return folder if all((folder / name).is_file() for name in weight_files(folder)) else None


def _files_in(folder: Path) -> list[Path]:
    """Return the files in a folder, or in those that the hub sorts into, that hold a base; each part once."""
    everything = [path for place in _with_sorted(folder) for path in sorted(place.glob("*.safetensors"))]
    if not everything:
        raise InputError(
            f"The base folder {folder} holds no .safetensors file; give the path of one checkpoint file with "
            f"{using('base')}."
        )
    if len(everything) == 1:
        return everything
    return chosen_files(folder, {path: TensorFile(path, CHECKPOINT_ADVICE).header for path in everything})


def chosen_files(folder: Path | str, headers: Mapping[_P, TensorHeader]) -> list[_P]:
    """Return those of the files in a folder that hold a base. Raises InputError where two hold the same part."""
    official = {file.name for generation in SUPPORTED for file in generation.files}
    holding: dict[Part, list[_P]] = {part: [] for part in get_args(Part)}
    for path, header in headers.items():
        for part in parts_in(header):
            holding[part].append(path)
    chosen: list[_P] = []
    for part, paths in holding.items():
        one = [path for path in paths if path.name in official] or paths
        if len(one) > 1:
            raise InputError(
                f"The base folder {folder} holds {len(one)} .safetensors files with the {part} "
                f"({', '.join(path.name for path in one)}); give the path of one checkpoint file with {using('base')}."
            )
        chosen += [path for path in one if path not in chosen]
    return chosen


def _generation(headers: Iterable[TensorHeader]) -> Generation | None:
    """Return the generation of the file with the transformer, or of the first one that says its own."""
    for header in sorted(headers, key=lambda header: "transformer" not in parts_in(header)):
        version = parse_version(header.metadata.get("model_version", ""))
        if version is not None:
            return generation_of(version, header.tensors)
    return None


def _around(given: Sequence[Path]) -> Iterator[Path]:
    for path in given:
        yield path.parent
        if path.parent.name in MODEL_FOLDERS:
            yield from _with_sorted(path.parent.parent)


def _with_sorted(root: Path) -> list[Path]:
    return [root, *(root / name for name in MODEL_FOLDERS)]


def _check_found(generation: Generation, found: dict[Part, Path], given: Sequence[Path]) -> None:
    for file in generation.files:
        missing = [part for part in file.parts if part not in found and part != "text encoder"]
        if missing and not file.optional:
            raise InputError(
                f"There is no {missing[0]} in {' and '.join(map(str, given))}, and {generation.title}'s {file.name} "
                "was found nowhere else; give all files with commas between them, or the folder that holds them, with "
                f"{using('base')}."
            )
