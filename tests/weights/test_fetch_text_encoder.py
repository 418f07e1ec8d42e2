from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from file_server import FileServer
from safetensors.torch import load_file, save_file
from support import TINY_CHECKPOINT, TINY_ENCODER

from soundlora.errors import InputError, Interrupted, MachineError
from soundlora.model.text_encoder import GEMMA, fingerprint
from soundlora.weights.base import open_base
from soundlora.weights.fetch import fetch_text_encoder
from soundlora.weights.fetched import all_fetched, fetched

NAME = "google/gemma-tiny"


def put(server: FileServer, name: str, files: dict[str, bytes], revision: str = "main") -> None:
    server.files |= {f"/{name}/resolve/{revision}/{file}": content for file, content in files.items()}


@pytest.fixture
def files() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in TINY_ENCODER.iterdir()}


@pytest.fixture
def sharded(tmp_path: Path, files: dict[str, bytes]) -> dict[str, bytes]:
    """The same weights in two files with an index."""
    tensors = load_file(TINY_ENCODER / "model.safetensors")
    names = sorted(tensors)
    shards = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    del files["model.safetensors"]
    for shard, held in shards.items():
        save_file({name: tensors[name] for name in held}, tmp_path / shard)
        files[shard] = (tmp_path / shard).read_bytes()
    weight_map = {name: shard for shard, held in shards.items() for name in held}
    files["model.safetensors.index.json"] = json.dumps({"weight_map": weight_map}).encode()
    return files


def test_what_is_read_of_a_text_encoder_is_fetched(file_server: FileServer, files: dict[str, bytes]) -> None:
    put(file_server, NAME, files)
    told: list[tuple[int, int]] = []
    folder = fetch_text_encoder(NAME, lambda done, size: told.append((done, size)))
    wanted = ("config.json", "tokenizer.json", "model.safetensors")
    assert {path.name for path in folder.iterdir()} == {*wanted, "source.json", ".lock"}
    assert all((folder / name).read_bytes() == files[name] for name in wanted)
    size = sum(len(files[name]) for name in wanted)
    assert told[-1] == (size, size)
    assert fingerprint(folder) == fingerprint(TINY_ENCODER)


def test_shards_are_fetched_one_after_another_and_not_again(file_server: FileServer, sharded: dict[str, bytes]) -> None:
    put(file_server, NAME, sharded)
    first, total = len(sharded["model-1.safetensors"]), len(sharded["model-2.safetensors"])

    def stop_in_the_second(done: int, size: int) -> None:
        if done > size - total:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match=f"of {NAME} are kept in .*, and the same command goes on"):
        fetch_text_encoder(NAME, stop_in_the_second)
    (entry,) = all_fetched()
    assert not entry.complete
    kept = entry.on_disk
    assert kept > first
    file_server.asked.clear()
    told: list[int] = []
    folder = fetch_text_encoder(NAME, lambda done, size: told.append(done))
    assert told[0] == kept
    assert not any("model-1" in asked.path or "config" in asked.path for asked in file_server.asked)
    assert all((folder / name).read_bytes() == sharded[name] for name in sharded if name != "tokenizer_config.json")
    file_server.asked.clear()
    assert fetch_text_encoder(NAME) == folder
    assert file_server.asked == []


def test_all_files_come_from_one_commit(file_server: FileServer, files: dict[str, bytes]) -> None:
    put(file_server, NAME, {"config.json": files.pop("config.json")})
    put(file_server, NAME, files, "c0ffee")
    file_server.headers[f"/{NAME}/resolve/main/config.json"] = {"X-Repo-Commit": "c0ffee"}
    assert fingerprint(fetch_text_encoder(NAME)) == fingerprint(TINY_ENCODER)


def test_weights_with_another_hash_than_the_hubs_are_thrown_away(
    file_server: FileServer, files: dict[str, bytes]
) -> None:
    put(file_server, NAME, files)
    path = f"/{NAME}/resolve/main/model.safetensors"
    right = {"X-Linked-Etag": f'"{hashlib.sha256(files["model.safetensors"]).hexdigest()}"'}
    file_server.headers[path] = right
    file_server.files[path] = files["model.safetensors"][:-1] + b"!"
    with pytest.raises(MachineError, match=r"model\.safetensors came with other bytes .* and was deleted; .* are kept"):
        fetch_text_encoder(NAME)
    assert not list(fetched(NAME, "text encoder").folder.glob("model*"))
    put(file_server, NAME, files)
    fetch_text_encoder(NAME)


def test_a_licence_not_accepted_is_said_with_where_to_do_so(
    file_server: FileServer, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(file_server, GEMMA, files)
    gated = (401, {"X-Error-Code": "GatedRepo"})
    file_server.refused = dict.fromkeys(file_server.files, gated)
    with pytest.raises(InputError, match=rf"accept the licence on {file_server.url}/{GEMMA}, .*set HF_TOKEN"):
        open_base(str(TINY_CHECKPOINT), Path(GEMMA))
    monkeypatch.setenv("HF_TOKEN", "wrong")
    with pytest.raises(InputError, match="HF_TOKEN does not open it"):
        open_base(str(TINY_CHECKPOINT), Path(GEMMA))
    monkeypatch.setenv("HF_TOKEN", file_server.token)
    opened = open_base(str(TINY_CHECKPOINT), Path(GEMMA))
    assert opened.hash == open_base(str(TINY_CHECKPOINT), TINY_ENCODER).hash


def test_the_official_one_is_found_once_it_has_been_fetched(file_server: FileServer, files: dict[str, bytes]) -> None:
    with pytest.raises(InputError, match=rf"LTX 2\.3 needs {GEMMA}: .* with text_encoder="):
        open_base(str(TINY_CHECKPOINT))
    put(file_server, GEMMA, files)
    folder = fetch_text_encoder(GEMMA)
    assert open_base(str(TINY_CHECKPOINT)).text_encoder_path == folder


def test_a_folder_that_is_there_is_no_hub_name(
    file_server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "google").mkdir()
    (tmp_path / NAME).symlink_to(TINY_ENCODER)
    monkeypatch.chdir(tmp_path)
    assert open_base(str(TINY_CHECKPOINT), Path(NAME)).text_encoder_path == Path(NAME)
    assert file_server.asked == []


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json"])
def test_a_repository_that_is_no_text_encoder_is_refused(
    file_server: FileServer, files: dict[str, bytes], missing: str
) -> None:
    del files[missing]
    put(file_server, NAME, files)
    with pytest.raises(InputError, match=rf"{NAME} on http.* has no {missing}, so it is no text encoder; give {GEMMA}"):
        fetch_text_encoder(NAME)


def test_another_model_is_refused_before_its_weights_are_asked_for(
    file_server: FileServer, files: dict[str, bytes]
) -> None:
    put(file_server, NAME, files | {"config.json": b'{"model_type": "t5"}'})
    with pytest.raises(InputError, match="is of type 't5', not Gemma 3"):
        fetch_text_encoder(NAME)
    assert not any(".safetensors" in asked.path and ".json" not in asked.path for asked in file_server.asked)


@pytest.mark.parametrize("shard", ["../../out.safetensors", "..", "/etc/a.safetensors", "a.bin", 7])
def test_an_index_can_not_lead_out_of_the_folder(
    file_server: FileServer, files: dict[str, bytes], shard: object
) -> None:
    put(file_server, NAME, files | {"model.safetensors.index.json": json.dumps({"weight_map": {"a": shard}}).encode()})
    with pytest.raises(InputError, match="lists no files"):
        fetch_text_encoder(NAME)
