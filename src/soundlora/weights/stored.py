"""Bases that lie in a folder of S3: the files that hold their parts, and the folder of a text encoder beside them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from soundlora.errors import InputError
from soundlora.model.encoder_files import INDEX
from soundlora.model.text_encoder import SMALL_FILES
from soundlora.net.remote_file import DroppedError
from soundlora.net.storage import Storage, StorageError
from soundlora.net.stored_file import StoredFile
from soundlora.weights.generations import ENCODER_FOLDER, MODEL_FOLDERS

_SUMS = "SHA256SUMS"
_SMALL = 1024 * 1024  # bytes; the most that the list of hashes may have


@dataclass(frozen=True)
class StoredBase:
    """Objects by their paths in the folder. `weights` may hold parts of a base; `encoder` is a text encoder."""

    weights: dict[PurePosixPath, StoredFile]
    encoder: dict[PurePosixPath, StoredFile]


def stored_base(name: str) -> StoredBase:
    """Look at what lies at s3://bucket/folder, or at s3://bucket/folder/file.safetensors and beside it.

    Files whose hashes stand in the folder's SHA256SUMS are checked by them when they are fetched whole. Raises
    InputError where there is no base, and DroppedError where the storage can't be reached.
    """
    folder, _, file = name.rpartition("/") if name.endswith(".safetensors") else (name, "", "")
    storage = Storage(folder)
    try:
        sizes = {PurePosixPath(key): size for key, size in storage.list("")}
        sums = _sums(storage, sizes.get(PurePosixPath(_SUMS), 0))
    except StorageError as error:
        raise DroppedError(f"{folder} failed ({error})") from None

    def opened(path: PurePosixPath) -> StoredFile:
        return StoredFile(storage, str(path), sums.get(str(path), ""))

    weights = [PurePosixPath(file)] if file else sorted(path for path in sizes if _may_be_of_a_base(path))
    if not weights:
        raise InputError(f"There is no .safetensors file at {name}; give the folder or the file of a base.")
    encoder = sorted(path for path in sizes if _is_of_an_encoder(path))
    return StoredBase({path: opened(path) for path in weights}, {path: opened(path) for path in encoder})


def _may_be_of_a_base(path: PurePosixPath) -> bool:
    sorted_in = len(path.parts) == 2 and path.parts[0] in MODEL_FOLDERS
    return path.suffix == ".safetensors" and (len(path.parts) == 1 or sorted_in)


def _is_of_an_encoder(path: PurePosixPath) -> bool:
    wanted = path.name in (*SMALL_FILES, INDEX) or path.suffix == ".safetensors"
    return path.parent == PurePosixPath(ENCODER_FOLDER) and wanted


def _sums(storage: Storage, size: int) -> dict[str, str]:
    """Return the hashes of the folder's list by path, none where there is no list."""
    if not 0 < size <= _SMALL:
        return {}
    lines = b"".join(storage.stream(_SUMS)).decode("utf-8", "replace").splitlines()
    pairs = (line.split(maxsplit=1) for line in lines)
    return {pair[1].removeprefix("*").removeprefix("./"): pair[0].lower() for pair in pairs if len(pair) == 2}
