"""A base is neither fetched nor loaded before what is wrong beside it has been said."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support import FIXTURES, BaseNames, zip_of
from typer.testing import CliRunner

from soundlora.cli.app import app
from soundlora.dataset import check_source
from soundlora.errors import InputError, MachineError
from soundlora.pipeline.first_look import look_at_place, look_at_room
from soundlora.pipeline.train import train
from soundlora.training.memory_plan import Settings, plan
from soundlora.weights.base import Base
from soundlora.weights.full_size import LTX_2_3

LORAS = FIXTURES / "loras"


class BaseTouchedError(Exception):
    """The base was asked for."""


@pytest.fixture
def no_base(monkeypatch: pytest.MonkeyPatch) -> None:
    def touch(*arguments: object) -> None:
        raise BaseTouchedError

    monkeypatch.setattr("soundlora.pipeline.train.open_base", touch)


def cut_zip(path: Path) -> Path:
    path.write_bytes(zip_of(path, a_wav=bytes(1000)).read_bytes()[:100])
    return path


@pytest.mark.usefixtures("no_base")
@pytest.mark.parametrize(
    ("made", "words", "field"),
    [
        (lambda path: path / "missing.zip", "does not exist", "data"),
        (lambda path: zip_of(path / "a.zip", notes_pdf=b"%"), "a.zip holds no audio file", "data"),
        (lambda path: path, "holds no audio file", "data"),
        (lambda path: cut_zip(path / "a.zip"), "a.zip is cut off or damaged", "data"),
    ],
)
def test_a_data_set_is_looked_at_first(made: Callable[[Path], Path], words: str, field: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words) as caught:
        train(made(tmp_path), base="Lightricks/LTX-2.3", out=tmp_path / "run")
    assert caught.value.field == field
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("no_base")
@pytest.mark.parametrize(("template", "words"), [("{caption} {roof}", "known ones are trigger, "), ("{", "its braces")])
def test_a_template_is_looked_at_first(template: str, words: str, clips_zip: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words) as caught:
        train(clips_zip, base="Lightricks/LTX-2.3", out=tmp_path / "run", caption_template=template)
    assert caught.value.field == "caption_template"
    with pytest.raises(BaseTouchedError):
        train(clips_zip, base="Lightricks/LTX-2.3", out=tmp_path / "run", caption_template="{caption} {genre}")


@pytest.mark.usefixtures("no_base")
def test_a_lora_to_begin_with_is_looked_at_first(clips_zip: Path, tmp_path: Path) -> None:
    for name, words in (("missing.safetensors", "no LoRA at"), ("login_page.safetensors", "web page")):
        with pytest.raises(InputError, match=words) as caught:
            train(clips_zip, base="Lightricks/LTX-2.3", init_lora=LORAS / name, out=tmp_path / "run")
        assert caught.value.field == "init_lora"
    with pytest.raises(BaseTouchedError):
        train(clips_zip, init_lora=LORAS / "plain.safetensors", out=tmp_path / "run")


@pytest.mark.usefixtures("no_base")
def test_a_folder_that_cannot_be_made_is_found_first(clips_zip: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="file is a file; give another folder"):
        train(clips_zip, out=tmp_path / "file" / "run")
    with pytest.raises(MachineError, match=r"file/a.wav can't be written \(Not a directory\)"):
        look_at_place(tmp_path / "file" / "a.wav")


def test_a_zip_within_is_not_unpacked_to_be_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    within = zip_of(tmp_path / "in.zip", a_wav=b"x").read_bytes()
    for broken in (within, b"Rar!"):
        zip_of(tmp_path / "a.zip", in_zip=broken)
        monkeypatch.setattr("soundlora.dataset.archive.save", lambda *arguments: pytest.fail("it was unpacked"))
        check_source(tmp_path / "a.zip")


def test_a_place_that_may_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    look_at_place(tmp_path / "a" / "b" / "c")
    look_at_place(tmp_path)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(MachineError, match=r"a/b can't be written \(Permission denied\)"):
        look_at_place(tmp_path / "a" / "b")


def test_a_relative_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    look_at_place(Path("sound.wav"))
    look_at_place(Path("a/b"))


def test_a_disk_without_room_for_the_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = plan(LTX_2_3, Settings())
    usage = shutil.disk_usage(tmp_path)
    look_at_room(tmp_path / "a" / "run", planned)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=planned.adapter - 1))
    with pytest.raises(MachineError, match=r"state takes 1\.\d GB, but .*a/run has 1\.\d GB free; make room") as caught:
        look_at_room(tmp_path / "a" / "run", planned)
    assert caught.value.lack == "disk"
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=planned.adapter))
    look_at_room(tmp_path / "a" / "run", planned)


def test_room_is_looked_at_before_the_base_is_loaded(
    clips_zip: Path, quick_base: BaseNames, shared_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    monkeypatch.setattr(Base, "transformer", lambda *arguments: pytest.fail("the base was loaded"))
    with pytest.raises(MachineError, match=r"The training's state takes 0\.0 GB"):
        train(clips_zip, **quick_base.arguments, duration=0.5, steps=2, cache=shared_cache, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_generation_looks_at_its_place_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("soundlora.weights.base.open_base", lambda *arguments: pytest.fail("the base was opened"))
    (tmp_path / "file").write_bytes(b"")
    for out, words in ((tmp_path / "none" / "a.wav", "there is no folder"), (tmp_path, "is a folder")):
        result = CliRunner().invoke(app, ["generate", "--prompt", "rain", "--out", str(out)])
        assert words in str(result.exception)
