from __future__ import annotations

import gzip
import json
import math
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from file_server import Asked, FileServer
from safetensors.torch import load_file
from support import FIXTURES, TINY_CHECKPOINT, TINY_ENCODER, BaseNames, Metadata, Tensors, rewrite, sparse_checkpoint

from soundlora.errors import InputError, Interrupted, MachineError
from soundlora.system.whole_files import partial
from soundlora.weights import ranges
from soundlora.weights.base import open_base
from soundlora.weights.checkpoint import Checkpoint
from soundlora.weights.fetch import fetch_base
from soundlora.weights.fetched import all_fetched, fetched

PATH = "/files/tiny.safetensors"
HUB_PATH = "/Lightricks/LTX-2.3/resolve/{}/ltx-2.3-22b-dev.safetensors"
WHOLE = Checkpoint(TINY_CHECKPOINT)
AUDIO = {name: WHOLE.tensors[name] for name in WHOLE.layout.audio}
HEADER_END = min(info.start for info in WHOLE.tensors.values())
AUDIO_BYTES = sum(info.end - info.start for info in AUDIO.values())


@pytest.fixture
def url(file_server: FileServer) -> str:
    file_server.files[PATH] = TINY_CHECKPOINT.read_bytes()
    return file_server.url + PATH


def weights_asked_for(server: FileServer) -> list[tuple[int, int]]:
    return [(start, end) for start, end in server.data if start >= HEADER_END]


def stop_at(share: float) -> Callable[[int, int], None]:
    def on_bytes(done: int, size: int) -> None:
        if done >= share * size:
            raise KeyboardInterrupt

    return on_bytes


def assert_is_the_audio_half(path: Path) -> None:
    half = load_file(path)
    whole = load_file(TINY_CHECKPOINT)
    assert half.keys() == AUDIO.keys()
    assert all(torch.equal(half[name], whole[name]) for name in half)
    assert Checkpoint(path).metadata == WHOLE.metadata
    assert {file.name for file in path.parent.iterdir()} == {".lock", "source.json", path.name}


def test_the_audio_half_comes_with_the_metadata_and_the_hash_of_the_whole(file_server: FileServer, url: str) -> None:
    told: list[tuple[int, int]] = []
    path = fetch_base(url, lambda done, size: told.append((done, size)))
    assert_is_the_audio_half(path)
    assert Checkpoint(path).fingerprint == WHOLE.fingerprint
    assert path.name == "tiny.safetensors"
    size = path.stat().st_size
    assert told[-1] == (size, size)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_of_the_file_nothing_but_header_and_audio_is_asked_for(
    file_server: FileServer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "_GAP", 0)
    assert_is_the_audio_half(fetch_base(url))
    wanted = weights_asked_for(file_server)
    assert file_server.data[0] == (8, HEADER_END)
    assert sum(end - start for start, end in wanted) == AUDIO_BYTES
    assert len(wanted) == 6
    assert wanted == sorted(wanted)


def test_small_gaps_are_read_over_and_large_ones_are_not(
    file_server: FileServer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the tiny checkpoint are 72, 99, 120, 186 and 211 kB long."""
    asked = []
    for number, gap in enumerate((0, 150_000, 1_000_000)):
        file_server.files[f"/{number}.safetensors"] = TINY_CHECKPOINT.read_bytes()
        file_server.asked.clear()
        monkeypatch.setattr(ranges, "_GAP", gap)
        assert_is_the_audio_half(fetch_base(f"{file_server.url}/{number}.safetensors"))
        asked.append(weights_asked_for(file_server))
    assert [len(ranges) for ranges in asked] == [6, 3, 1]


def test_what_is_in_the_cache_is_not_asked_for_again(file_server: FileServer, url: str) -> None:
    path = fetch_base(url)
    file_server.asked.clear()
    assert fetch_base(url) == path
    assert file_server.asked == []
    path.unlink()
    assert_is_the_audio_half(fetch_base(url))


def test_drops_in_the_middle_of_ranges_leave_no_trace(
    file_server: FileServer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "_GAP", 10_000)
    file_server.drops = [500, 5000, 20_000, 1, 40_000, 7]
    assert_is_the_audio_half(fetch_base(url))
    assert file_server.drops == []


def test_ctrl_c_keeps_what_came_and_the_next_fetch_goes_on_there(file_server: FileServer, url: str) -> None:
    with pytest.raises(Interrupted, match=r"Stopped; 1\.\d MB of 2\.\d MB of http.* the same command goes on"):
        fetch_base(url, stop_at(0.5))
    (entry,) = all_fetched()
    assert not entry.complete
    kept = entry.on_disk
    assert kept >= 0.5 * entry.size
    file_server.asked.clear()
    told: list[int] = []
    assert_is_the_audio_half(fetch_base(url, lambda done, size: told.append(done)))
    assert told[0] == kept
    ((start, _),) = weights_asked_for(file_server)
    assert kept + sum(max(info.end - max(info.start, start), 0) for info in AUDIO.values()) == entry.size


def test_killed_it_goes_on_from_what_was_safely_on_the_disk(
    file_server: FileServer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGKILL leaves the process no time to write anything."""
    code = (
        "import sys; from soundlora.weights import fetch, ranges; ranges._SYNC = 50_000; fetch.fetch_base(sys.argv[1])"
    )
    process = subprocess.Popen([sys.executable, "-c", code, url])
    entry = fetched(url, "base")
    note = entry.folder / "tiny.safetensors.partial.json"
    safe: list[int] = []

    def kill() -> None:
        while json.loads(note.read_bytes())["done"] < 1_000_000:
            time.sleep(0.01)
        process.kill()
        process.wait()
        safe.append(json.loads(note.read_bytes())["done"])

    file_server.on_drop = kill
    file_server.drops = [2_000_000]
    assert process.wait(timeout=300) == -9
    partial(note, "0a1b2c3d").write_bytes(b"the kill may come while the note is written")
    file_server.asked.clear()
    told: list[int] = []
    assert_is_the_audio_half(fetch_base(url, lambda done, size: told.append(done)))
    assert told[0] == safe[0] >= 1_000_000


def test_a_connection_that_fails_for_good_keeps_what_came(file_server: FileServer, url: str) -> None:
    def fail_from_now_on() -> None:
        file_server.statuses = [(503, {})] * 6

    file_server.drops, file_server.on_drop = [2_000_000], fail_from_now_on
    with pytest.raises(MachineError, match=r"failed 6 times in a row \(it answers 503\); 1\.\d MB of 2\.\d MB"):
        fetch_base(url)
    assert_is_the_audio_half(fetch_base(url))


def test_nothing_kept_is_said_too(file_server: FileServer, url: str) -> None:
    file_server.statuses = [(503, {})] * 6
    with pytest.raises(MachineError, match=r"nothing of http.* was fetched, try the same command again\."):
        fetch_base(url)


def test_a_file_that_changed_meanwhile_is_not_mixed_with_the_old_one(
    file_server: FileServer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Interrupted):
        fetch_base(url, stop_at(0.5))
    file_server.files[PATH] = file_server.files[PATH][:-1] + b"!"
    folder = fetched(url, "base").folder
    with pytest.raises(MachineError, match=rf"tiny\.safetensors has changed on the server.*delete the folder {folder}"):
        fetch_base(url)
    shutil.rmtree(folder)
    fetch_base(url)


def test_a_file_that_changes_between_two_ranges_is_noticed(
    file_server: FileServer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "_GAP", 0)

    def change(asked: Asked) -> None:
        if len(weights_asked_for(file_server)) == 5:
            file_server.files[PATH] = file_server.files[PATH][:-1] + b"!"

    file_server.on_answer = change
    with pytest.raises(MachineError, match="has changed on the server"):
        fetch_base(url)


def test_a_partial_file_that_begins_otherwise_is_begun_anew(file_server: FileServer, url: str) -> None:
    with pytest.raises(Interrupted):
        fetch_base(url, stop_at(0.5))
    partial = fetched(url, "base").folder / "tiny.safetensors.partial"
    partial.write_bytes(b"?" + partial.read_bytes()[1:])
    assert_is_the_audio_half(fetch_base(url))


# ----------------------------------------------------------------------------------------------------------------------
# refusals


def other(file_server: FileServer, tmp_path: Path, change: Callable[[Tensors, Metadata], None]) -> None:
    file_server.files[PATH] = rewrite(tmp_path / "other.safetensors", change).read_bytes()


def test_the_header_is_checked_as_a_local_files_before_any_weight_is_asked_for(
    file_server: FileServer, url: str, tmp_path: Path
) -> None:
    name = next(iter(AUDIO))
    changes: dict[str, Callable[[Tensors, Metadata], None]] = {
        "carries no 'config' metadata": lambda tensors, metadata: metadata.__delitem__("config"),
        "lacks 1 of the": lambda tensors, metadata: tensors.__delitem__(name),
        "is a distilled checkpoint": lambda tensors, metadata: metadata.update(title="Distilled"),
    }
    for words, change in changes.items():
        other(file_server, tmp_path, change)
        with pytest.raises(InputError, match=words) as error:
            fetch_base(url)
        assert url in str(error.value)
    assert len(file_server.asked) == 2 * len(changes)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<html>" * 50, "is not a safetensors file"),
        (b"<a>", "is not a safetensors file"),
        (b"", "is empty"),
        (TINY_CHECKPOINT.read_bytes()[:-5], "it was not uploaded whole"),
    ],
)
def test_what_is_no_whole_safetensors_file_is_refused(
    file_server: FileServer, url: str, content: bytes, words: str
) -> None:
    file_server.files[PATH] = content
    with pytest.raises(InputError, match=words):
        fetch_base(url)
    assert not list(all_fetched())


def test_another_kind_of_file_is_refused(file_server: FileServer, url: str) -> None:
    file_server.files["/model.gguf"] = b"GGUF" * 10
    with pytest.raises(InputError, match=r"model\.gguf is no \.safetensors file"):
        fetch_base(file_server.url + "/model.gguf")


def test_a_disk_too_small_is_noticed_before(file_server: FileServer, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=60_000_000))
    with pytest.raises(MachineError, match=r"2\.\d MB of http.* has 60\.0 MB free; .*SOUNDLORA_CACHE"):
        fetch_base(url)
    assert weights_asked_for(file_server) == []


def test_of_two_that_fetch_the_same_one_waits_for_the_other(file_server: FileServer, url: str) -> None:
    halfway, watched = threading.Event(), threading.Event()
    seen: list[tuple[int, int]] = []

    def pause(done: int, size: int) -> None:
        if done > size / 2:
            halfway.set()
            assert watched.wait(60)

    def watch(done: int, size: int) -> None:
        seen.append((done, size))
        watched.set()

    with ThreadPoolExecutor() as pool:
        first = pool.submit(fetch_base, url, pause)
        assert halfway.wait(60)
        second = pool.submit(fetch_base, url, watch)
        assert first.result() == second.result()
    assert 0 < seen[0][0] <= seen[0][1] == first.result().stat().st_size
    assert len(weights_asked_for(file_server)) == 1
    assert_is_the_audio_half(first.result())


def test_a_cache_that_can_not_be_written_is_a_sentence(
    file_server: FileServer, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SOUNDLORA_CACHE", str(tmp_path / "file"))
    with pytest.raises(MachineError, match=r"can't be written to \(Not a directory\).*SOUNDLORA_CACHE"):
        fetch_base(url)


# ----------------------------------------------------------------------------------------------------------------------
# the hub


def test_the_official_base_is_found_by_its_name(file_server: FileServer) -> None:
    file_server.files[HUB_PATH.format("main")] = TINY_CHECKPOINT.read_bytes()
    base = open_base("Lightricks/LTX-2.3", TINY_ENCODER)
    assert base.name == "Lightricks/LTX-2.3"
    assert base.checkpoint.path.name == "ltx-2.3-22b-dev.safetensors"
    assert base.hash == open_base(str(TINY_CHECKPOINT), TINY_ENCODER).hash
    assert_is_the_audio_half(base.checkpoint.path)


def test_a_fetch_taken_up_again_stays_with_its_commit(file_server: FileServer) -> None:
    for revision in ("main", "c0ffee"):
        path = HUB_PATH.format(revision)
        file_server.files[path] = TINY_CHECKPOINT.read_bytes()
        file_server.headers[path] = {"X-Repo-Commit": "c0ffee"}
    with pytest.raises(Interrupted):
        fetch_base("Lightricks/LTX-2.3", stop_at(0.5))
    file_server.files[HUB_PATH.format("main")] = b"a later commit"
    assert_is_the_audio_half(fetch_base("Lightricks/LTX-2.3"))


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (["a.safetensors", "b.safetensors"], r"holds 2 \.safetensors files \(a\.safetensors, b\.safetensors, …\)"),
        (["README.md"], r"holds no \.safetensors file"),
    ],
)
def test_a_repository_without_one_checkpoint_is_refused(file_server: FileServer, files: list[str], words: str) -> None:
    listing = {"siblings": [{"rfilename": name} for name in files]}
    file_server.files["/api/models/someone/tuned"] = json.dumps(listing).encode()
    with pytest.raises(InputError, match=words):
        open_base("someone/tuned")


def test_a_repository_with_one_checkpoint_is_taken_at_that(file_server: FileServer) -> None:
    listing = {"siblings": [{"rfilename": "README.md"}, {"rfilename": "dev weights/tiny.safetensors"}]}
    file_server.files["/api/models/someone/tuned"] = json.dumps(listing).encode()
    file_server.files["/someone/tuned/resolve/main/dev%20weights/tiny.safetensors"] = TINY_CHECKPOINT.read_bytes()
    assert_is_the_audio_half(fetch_base("someone/tuned"))


def test_a_name_that_is_neither_here_nor_there_is_refused(file_server: FileServer) -> None:
    path = "/api/models/models/ltx"
    file_server.refused[path] = (401, {"X-Error-Code": "RepoNotFound"})
    with pytest.raises(InputError, match=r"There is no models/ltx on http.*, nor a file or folder of that name here"):
        open_base("models/ltx")


def test_a_folder_goes_before_a_hub_name(
    file_server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models" / "ltx").mkdir(parents=True)
    shutil.copy(TINY_CHECKPOINT, tmp_path / "models" / "ltx")
    monkeypatch.chdir(tmp_path)
    assert open_base("models/ltx", TINY_ENCODER).checkpoint.path == Path("models/ltx") / TINY_CHECKPOINT.name
    assert file_server.asked == []


def test_no_password_or_signature_is_kept(file_server: FileServer, url: str, quick_base: BaseNames) -> None:
    secret = url.replace("//", "//me:pass@") + "?key=hidden"
    base = open_base(secret, TINY_ENCODER)
    assert base.name == url
    (entry,) = all_fetched()
    assert (entry.folder / "source.json").read_text().count("pass") == 0
    assert fetch_base(url + "?key=another") == base.checkpoint.path


def test_of_the_full_size_file_8_5_gb_are_fetched_in_few_requests(tmp_path: Path) -> None:
    layout: dict[str, Any] = json.loads(gzip.decompress((FIXTURES / "full_size_layout.json.gz").read_bytes()))
    shapes = dict(sorted((name, shape) for part in layout["parts"].values() for name, shape in part.items()))
    sparse_checkpoint(tmp_path / "full.safetensors", shapes, layout["config"])
    checkpoint = Checkpoint(tmp_path / "full.safetensors")
    tensors = [checkpoint.tensors[name] for name in checkpoint.layout.audio]
    groups = list(ranges._groups(sorted((info.start, info.end) for info in tensors)))
    audio = sum(2 * math.prod(shape) for shape in checkpoint.layout.audio.values())
    assert sum(end - start for group in groups for start, end in group) == audio == 8_515_431_156
    assert sum(group[-1][1] - group[0][0] for group in groups) < 1.001 * audio
    assert len(groups) < 100


def test_offline_the_hub_is_not_asked_and_the_sentence_says_what_is_missing(
    file_server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(
        MachineError, match=r"The files of Lightricks/LTX-2\.3, a base, are not .* HF_HUB_OFFLINE is set"
    ):
        fetch_base("Lightricks/LTX-2.3")
    assert file_server.asked == []
    assert not fetched("Lightricks/LTX-2.3", "base").folder.exists()


def test_offline_says_how_much_of_a_begun_fetch_is_missing(
    file_server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_server.files[HUB_PATH.format("main")] = TINY_CHECKPOINT.read_bytes()
    with pytest.raises(Interrupted):
        fetch_base("Lightricks/LTX-2.3", stop_at(0.5))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(MachineError, match=r"[\d.]+ MB of the 2\.\d MB of Lightricks/LTX-2\.3 are not on this machine"):
        fetch_base("Lightricks/LTX-2.3")


def test_offline_forbids_the_hub_and_not_other_servers(
    file_server: FileServer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = fetch_base(url)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert fetch_base(url) == path
    path.unlink()
    assert_is_the_audio_half(fetch_base(url))
