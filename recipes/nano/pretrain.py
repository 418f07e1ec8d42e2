"""Stage 6: the transformer and the text path, together, by flow matching on captioned latents.

    python recipes/nano/pretrain.py [steps]

Gemma, projection, connector and transformer are trained end to end. Every step draws new captions for its clips, and
leaves one in ten empty, so that guidance has an unconditional prediction to lean on.
"""

from __future__ import annotations

import json
import sys

import numpy as np
import torch
from captioned import HELD_OUT
from runs import Stage
from sizes import CONFIG, CONTEXT_LENGTH, WORK
from sounds import FAMILIES, caption
from text import gemma_config, make_tokenizer
from torch import Tensor, nn
from transformers import Gemma3TextModel

from soundlora.model.attention import Attention, FeedForward
from soundlora.model.config import parse_config
from soundlora.model.connector import AudioConnector, FeatureProjection
from soundlora.model.latents import positions
from soundlora.model.transformer import AudioTransformer
from soundlora.training.flow import loss_per_sample, noisy, sample_sigma, step_generator

# (latents, clips): most steps see half clips, which are cheaper; some whole ones, for which nano is used most.
SHAPES = ((63, 16), (63, 16), (126, 8), (26, 32))
EMPTY_CAPTIONS = 0.1
EMA_DECAY = 0.999


class TextPath(nn.Module):
    """Captions → contexts, with padding inside the batch that no result depends on."""

    def __init__(self) -> None:
        super().__init__()
        config = parse_config(CONFIG, {"context_length": CONTEXT_LENGTH}).text
        self.gemma = Gemma3TextModel(gemma_config())
        self.projection = FeatureProjection(config, gemma_config().num_hidden_layers + 1)
        self.connector = AudioConnector(config)
        self.tokenizer = make_tokenizer(WORK / "tokenizer.json")
        nn.init.normal_(self.connector.learnable_registers, std=1.0)

    def forward(self, captions: list[str]) -> Tensor:
        rows = [self.tokenizer.encode(text).ids for text in captions]
        width = max(map(len, rows))
        ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
        states = self.gemma(input_ids=ids, attention_mask=mask, output_hidden_states=True, use_cache=False)
        features = self.projection(torch.stack(states.hidden_states, dim=-1), mask)
        filled = [
            self.connector.with_registers(f[: len(row)], CONTEXT_LENGTH) for f, row in zip(features, rows, strict=True)
        ]
        return self.connector.run(torch.stack(filled))


def initialise(model: AudioTransformer) -> None:
    """Modulation starts at identity: scales and shifts zero, gates of the residual branches one."""
    for name, parameter in model.named_parameters():
        if name.endswith("weight") and parameter.dim() == 2:
            nn.init.trunc_normal_(parameter, std=0.02)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
    with torch.no_grad():
        model.audio_adaln_single.linear.weight.mul_(0.1)
        model.audio_prompt_adaln_single.linear.weight.mul_(0.1)
        for block in model.transformer_blocks:
            block.audio_scale_shift_table[[2, 5, 8]] = 1.0
            for part in block.children():
                if isinstance(part, Attention):
                    part.to_out[0].weight.mul_(0.3)
                elif isinstance(part, FeedForward):
                    part.net[2].weight.mul_(0.3)
        model.audio_proj_out.weight.zero_()


def main() -> None:
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 7000
    torch.manual_seed(0)
    config = parse_config(CONFIG, {"context_length": CONTEXT_LENGTH})
    latents = torch.from_numpy(np.load(WORK / "captioned_latents.npy"))
    items = json.loads((WORK / "captioned.json").read_text())
    train = np.arange(len(items) - HELD_OUT * len(FAMILIES))
    model, text = AudioTransformer(config.transformer), TextPath()
    initialise(model)
    average = nn.ModuleDict({"model": AudioTransformer(config.transformer), "text": TextPath()})
    average.load_state_dict(nn.ModuleDict({"model": model, "text": text}).state_dict())
    average.requires_grad_(False)
    stage = Stage("dit", {"model": model, "text": text, "average": average}, steps, rate=1e-3, warmup=200)
    online = dict(nn.ModuleDict({"model": model, "text": text}).named_parameters())
    ropes = {n: model.rope(positions(n, config.audio)) for n, _ in SHAPES}
    while not stage.done:
        rng = np.random.default_rng((4, stage.step))
        length, count = SHAPES[stage.step % len(SHAPES)]
        chosen = rng.choice(train, count)
        # Half of the crops keep the clip's start, with its causal first latent.
        starts = np.where(rng.random(count) < 0.5, 0, rng.integers(0, latents.shape[1] - length + 1, count))
        clean = torch.stack([latents[i, s : s + length] for i, s in zip(chosen, starts, strict=True)]).float()
        captions = [
            "" if rng.random() < EMPTY_CAPTIONS else caption(items[i]["family"], items[i]["attributes"], rng)
            for i in chosen
        ]
        generator = step_generator(5, stage.step)
        sigma = sample_sigma(count, length, generator)
        noise = torch.randn(clean.shape, generator=generator)
        velocity = model(noisy(clean, noise, sigma), sigma[:, None], sigma, text(captions), ropes[length])
        loss = loss_per_sample(velocity, clean, noise).mean()
        stage.update(loss, {"loss": loss.item()}, log_every=100, save_every=500)
        with torch.no_grad():
            decay = min(EMA_DECAY, (stage.step + 1) / (stage.step + 10))
            for name, parameter in average.named_parameters():
                parameter.lerp_(online[name], 1 - decay)
    stage.save()


if __name__ == "__main__":
    main()
