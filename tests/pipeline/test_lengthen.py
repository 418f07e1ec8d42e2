"""A finished run is trained on."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from support import BaseNames

from soundlora import InputError, Interrupted, TrainingResult, lengthen, train
from soundlora.lora.file import read_lora
from soundlora.pipeline.lengthen import steps_done, total_steps
from soundlora.progress import Progress


@pytest.fixture
def settings(quick_base: BaseNames, clips_zip: Path, shared_cache: Path) -> dict[str, Any]:
    return {
        "data": clips_zip,
        **quick_base.arguments,
        "rank": 8,
        "duration": 0.5,
        "learning_rate": 1e-2,
        "cache": shared_cache,
        "validation_prompts": [],
    }


@pytest.fixture
def machine(quick_base: BaseNames, shared_cache: Path) -> dict[str, Any]:
    """What a run folder does not keep."""
    return {"text_encoder": quick_base.arguments["text_encoder"], "cache": shared_cache}


def content(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def metrics(result: TrainingResult) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (result.folder / "metrics.jsonl").read_text().splitlines()]


def notes(news: list[Progress]) -> list[str]:
    return [each.message for each in news if each.note]


def assert_same_tensors(one: Path, other: Path) -> None:
    ours, theirs = read_lora(one).pairs, read_lora(other).pairs
    assert ours.keys() == theirs.keys()
    for name, (a, b) in ours.items():
        assert torch.equal(a, theirs[name][0]), name
        assert torch.equal(b, theirs[name][1]), name


def test_60_steps_and_40_more_are_100_at_once_to_the_bit_where_the_rate_is_constant(
    settings: dict[str, Any], machine: dict[str, Any], tmp_path: Path
) -> None:
    shorter = train(out=tmp_path / "run", steps=60, schedule="constant", hold_out=1, **settings)
    before = content(shorter.folder)
    news: list[Progress] = []
    longer = lengthen(shorter.folder, "+40", on_progress=news.append, **machine)
    at_once = train(out=tmp_path / "once", steps=100, schedule="constant", hold_out=1, **settings)

    assert longer.folder == tmp_path / "run-100"
    assert longer.lora.name == at_once.lora.name == "clips-100.safetensors"
    assert longer.lora.read_bytes() == at_once.lora.read_bytes()
    assert metrics(longer) == metrics(at_once)
    assert not [note for note in notes(news) if "learning rate" in note]
    assert "going on from step 60 of 100" in notes(news)
    assert "notes" not in json.loads((longer.folder / "report.json").read_text())
    # What the shorter run had is in both folders, and nothing of it has changed.
    assert content(shorter.folder) == before
    assert {"clips-15.safetensors", "clips-60.safetensors", "clips-75.safetensors", "clips-100.safetensors"} <= {
        path.name for path in (longer.folder / "checkpoints").iterdir()
    }
    ours, theirs = ((result.folder / "held_out.jsonl").read_text().splitlines() for result in (longer, at_once))
    assert ours[-1] == theirs[-1]
    assert json.loads(ours[-1])["step"] == 100
    assert [json.loads(line)["step"] for line in ours].count(60) == 1, "the end of the shorter run stays measured"


def test_where_the_rate_falls_with_the_number_of_steps_the_run_says_what_is_different(
    settings: dict[str, Any], machine: dict[str, Any], tmp_path: Path
) -> None:
    shorter = train(out=tmp_path / "run", steps=8, **settings)
    news: list[Progress] = []
    longer = lengthen(shorter.folder, 12, tmp_path / "longer", on_progress=news.append, **machine)
    sentence = (
        "The learning rate fell over 8 steps up to step 8, and falls over 12 from there on, so the LoRA is not quite "
        "that of 12 steps at once; of a run with schedule='constant' it would be, to the bit."
    )
    assert sentence in notes(news)
    assert json.loads((longer.folder / "report.json").read_text())["notes"] == [sentence]
    rates = [line["learning_rate"] for line in metrics(longer)]
    assert rates[8:] == pytest.approx([1e-2 * (1 - 0.9 * step / 12) for step in range(8, 12)])
    assert rates[:8] == pytest.approx([1e-2 * (1 - 0.9 * step / 8) for step in range(8)])
    config = json.loads(longer.config.read_text())
    assert (config["number_of_steps"], config["lengthened"]) == (12, [{"step": 8, "of": 8}])
    assert "8 steps, then 12" in longer.card.read_text()
    # It can be lengthened once more.
    third = lengthen(longer.folder, "+2", tmp_path / "third", **machine)
    assert [line["step"] for line in metrics(third)] == list(range(1, 15))


def test_an_interruption_leaves_the_finished_run_whole_and_the_longer_one_resumable(
    settings: dict[str, Any], machine: dict[str, Any], tmp_path: Path
) -> None:
    shorter = train(out=tmp_path / "run", steps=6, **settings | {"validation_prompts": ["rain"]})
    before = content(shorter.folder)

    def stop(news: Progress) -> None:
        if news.stage == "training" and news.step == 9:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match=r"Stopped at step 9"):
        lengthen(shorter.folder, "+6", on_progress=stop, **machine)
    assert content(shorter.folder) == before
    with pytest.raises(InputError, match=r"already holds a run; .* go on with that run by resume=True"):
        lengthen(shorter.folder, "+6", **machine)
    resumed = lengthen(shorter.folder, "+6", resume=True, **machine)
    whole = lengthen(shorter.folder, "+6", tmp_path / "whole", **machine)
    for name in ("lora.safetensors", "metrics.jsonl", "config.json", "preview.wav"):
        assert (resumed.folder / name).read_bytes() == (whole.folder / name).read_bytes(), name
    assert {path.name for path in (whole.folder / "previews").iterdir()} >= {
        f"step_{step:06d}_prompt_0.wav" for step in (0, 2, 4, 6, 9, 12)
    }


def test_a_run_of_which_the_best_checkpoints_were_kept_goes_on_from_the_last_of_them(
    settings: dict[str, Any], machine: dict[str, Any], tmp_path: Path
) -> None:
    shorter = train(out=tmp_path / "run", steps=8, schedule="constant", **settings)
    for path in (shorter.folder / "checkpoints").glob("step_00000[678].pt"):
        path.unlink()
    news: list[Progress] = []
    longer = lengthen(shorter.folder, 10, on_progress=news.append, **machine)
    assert "going on from step 4 of 10" in notes(news)
    assert_same_tensors(longer.lora, train(out=tmp_path / "once", steps=10, schedule="constant", **settings).lora)


@pytest.mark.parametrize(
    ("steps", "sentence"),
    [
        (4, r"steps is 4, but the run has 4 steps already; ask for more, or for some on top, such as \+1000\."),
        ("+0", "steps is \\+0, but the run has 4 steps already"),
        ("more", "steps is 'more', but it must be a whole number, or one to add, such as \\+1000."),
        (True, "steps is True, but it must be a whole number"),
        (-5, "steps is -5, but it must be a whole number"),
    ],
)
def test_the_number_of_steps_must_be_more_than_what_is_done(steps: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        total_steps(steps, 4)


def test_what_can_not_be_lengthened_is_said_in_a_sentence_and_leaves_no_folder(
    settings: dict[str, Any], machine: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"holds no run; name the folder of a finished one\."):
        lengthen(tmp_path / "nothing", "+5")

    def stop(news: Progress) -> None:
        if news.stage == "training" and news.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        train(out=tmp_path / "begun", steps=4, on_progress=stop, **settings)
    with pytest.raises(InputError, match=r"has not finished; go on with it by resume=True"):
        lengthen(tmp_path / "begun", "+5")
    run = train(out=tmp_path / "run", steps=4, **settings).folder
    with pytest.raises(InputError, match=r"was started with rank = 8, not 16"):
        lengthen(run, "+5", rank=16, **machine)
    with pytest.raises(InputError, match=r"lengthen takes no argument 'stepz'"):
        lengthen(run, "+5", stepz=1)
    assert not (tmp_path / "run-9").exists()
    request = json.loads((run / "request.json").read_text())
    (run / "request.json").write_text(json.dumps(request | {"training_data_url": str(tmp_path / "gone")}))
    with pytest.raises(InputError, match=r"lay in .*gone, which is not there; say where they are with data\."):
        lengthen(run, "+5", **machine)
    assert lengthen(run, "+5", data=settings["data"], **machine).lora.name == "clips-9.safetensors"
    for path in (run / "checkpoints").glob("*.pt"):
        path.unlink()
    with pytest.raises(InputError, match=r"holds no state any more .* init_lora="):
        steps_done(run)


def test_a_run_that_began_with_a_lora_asks_for_it_once_more(
    settings: dict[str, Any], machine: dict[str, Any], tmp_path: Path
) -> None:
    first = train(out=tmp_path / "first", steps=2, **settings).lora
    run = train(out=tmp_path / "run", steps=4, init_lora=first, **settings).folder
    with pytest.raises(InputError, match=r"began with the LoRA clips-2\.safetensors; name it once more with"):
        lengthen(run, "+2", **machine)
    assert lengthen(run, "+2", init_lora=first, **machine).lora.name == "clips-6.safetensors"


def test_a_run_that_was_stopped_and_kept_is_lengthened_to_what_was_asked_at_first(
    settings: dict[str, Any], machine: dict[str, Any], tmp_path: Path
) -> None:
    asked: list[Progress] = []
    stopped = train(
        out=tmp_path / "run", steps=8, on_progress=asked.append, stop=lambda: asked[-1].step == 5, **settings
    )
    assert stopped.lora.name == "clips-5.safetensors"
    news: list[Progress] = []
    longer = lengthen(stopped.folder, 8, on_progress=news.append, **machine)
    assert not [note for note in notes(news) if "learning rate" in note]
    assert longer.lora.read_bytes() == train(out=tmp_path / "once", steps=8, **settings).lora.read_bytes()
