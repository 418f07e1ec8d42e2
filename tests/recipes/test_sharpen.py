"""The vocoder's front learns, and what was written down beside it stays to the bit."""

from __future__ import annotations

import torch
from front import Front
from lines import LINES
from sharpen import FRAMES, heard, keep_the_rest, learnt_parts, losses
from sizes import AUDIO


def test_a_step_changes_only_what_is_to_learn() -> None:
    torch.manual_seed(0)
    front = Front()
    parts = learnt_parts(front)
    keep_the_rest(front, parts)
    before = {name: parameter.detach().clone() for name, parameter in front.named_parameters()}
    learning = [parameter for parameter in front.parameters() if parameter.requires_grad]
    adamw = torch.optim.AdamW(learning, lr=1e-3, weight_decay=0.0)
    mel = torch.randn(1, 2, 24, AUDIO.mel_bins) - 4
    for _ in range(2):  # the second layer begins at zero, so the first one learns from the second step on
        parts_of_loss = losses(heard(front, mel, torch.zeros(LINES)), mel + 0.5).values()
        sum(parts_of_loss, torch.zeros(())).backward()
        adamw.step()
        adamw.zero_grad()
    for name, parameter in front.named_parameters():
        changed = parameter.detach() != before[name]
        if parameter in parts:
            assert changed[parts[parameter]].float().mean() > 0.5, name
            changed[parts[parameter]] = False
        assert not changed.any(), name


def test_a_mel_that_is_as_asked_for_costs_nothing_and_a_flat_one_lacks_its_deviation() -> None:
    mel = torch.randn(2, 2, FRAMES, AUDIO.mel_bins) - 4
    assert all(value == 0 for value in losses(mel, mel).values())
    flat = losses(mel.mean(dim=2, keepdim=True).expand_as(mel), mel)
    assert 0.9 < float(flat["statistics"]) - 2 * 1.13 < 1.1  # a deviation of 1, a mean slope of 2/√π
