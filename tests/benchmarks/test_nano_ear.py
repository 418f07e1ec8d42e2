"""What nano's parts lose: the table of it, and the reader of mels that no vocoder plays."""

from __future__ import annotations

import ear_figures as ear
import pytest
import torch
from nano_ear import CODEC, COLUMNS, LORAS, GriffinLim, figures_of, table

from soundlora.model.mel import log_mel, resample
from soundlora.weights.base import open_base


def test_every_column_has_a_figure_that_the_history_takes_and_the_codec_has_goals() -> None:
    rows = {"16 kHz": dict.fromkeys(COLUMNS, 0.25), CODEC: dict.fromkeys(COLUMNS, 80.0), LORAS: {"attack": 15.0}}
    figures = {figure.name: figure for figure in figures_of(rows)}
    assert len(figures) == 2 * len(COLUMNS) + 1
    assert figures[f"{CODEC} | silence between hits"].verdict == "reached"
    assert figures[f"{CODEC} | attack"].verdict == "missed"
    assert figures[f"{LORAS} | attack"].verdict == "reached"
    assert figures["16 kHz | attack"].verdict == ""


def test_the_table_has_a_row_a_part_and_leaves_out_what_was_not_measured() -> None:
    lines = table({"16 kHz": {"width": 0.251, "attack": 2.4}}).splitlines()
    assert len(lines) == 3
    assert len({line.count("|") for line in lines}) == 1
    cells = [cell.strip() for cell in lines[2].strip("|").split("|")]
    assert cells[0] == "16 kHz"
    assert [cell for cell in cells[1:] if cell] == ["2", "0.25"]


def test_a_mel_is_read_to_sound_that_has_it_with_one_phase_in_both_channels() -> None:
    config = open_base("nano").config.audio
    read = GriffinLim(config.n_fft, config.hop, config.mel_bins, config.sample_rate)
    noise = torch.from_numpy(ear.wide(1, 1.0, 0.6))
    mel = log_mel(resample(noise, ear.RATE, config.sample_rate)[None], config)
    sound = read(mel)
    assert torch.equal(sound[0, 0], sound[0, 1])
    again = log_mel(sound, config)[:, :, : mel.shape[2]]
    inner = slice(8, -8)
    assert float((again - mel)[:, :, inner].abs().mean()) < 0.35
    assert float(sound.square().mean().sqrt()) == pytest.approx(float(noise.square().mean().sqrt()), rel=0.3)
