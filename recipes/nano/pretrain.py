"""Stage 7 trains the transformer and the text path together, by flow matching on captioned latents.

    python recipes/nano/pretrain.py [steps] [--warm stage]
    torchrun --nproc-per-node 2 recipes/nano/pretrain.py      # twice the batch

--warm takes the first weights from an earlier stage file, such as `first` for work/first.pt.

Gemma, projection, connector and transformer are trained end to end. Every step draws new captions for its clips, and
leaves one in ten empty, so that guidance has an unconditional prediction to lean on.

The flow loss alone does not find the text path for thousands of steps, because a caption's few tokens drown among 128
registers. Two things help. Registers begin small, so that the connector fills them with the caption. A linear head,
which is thrown away afterwards, has to name the family from the mean of the context.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from captioned import SETS
from runs import Stage, load_modules, process
from sizes import AUDIO, CONTEXT_LENGTH, MODEL, WORK
from sounds import FAMILIES, caption, mixture_caption
from text import gemma_config, make_tokenizer
from torch import Tensor, nn
from transformers import Gemma3TextModel

from soundlora.model.attention import Attention, FeedForward
from soundlora.model.connector import AudioConnector, FeatureProjection
from soundlora.model.latents import positions
from soundlora.model.transformer import AudioTransformer, Block
from soundlora.sampling.schedule import MAX_SHIFT
from soundlora.training.flow import loss_per_sample, noisy, sample_sigma, step_generator

# Each entry is (set, latents, clips): crops of half a second to 10 s. All steps cost about the same.
SHAPES = ((0, 126, 10), (0, 63, 20), (0, 126, 10), (0, 26, 40), (0, 126, 10), (1, 251, 5), (0, 63, 20), (0, 13, 60))
EMPTY_CAPTIONS = 0.1
EMA_DECAY = 0.999
SAMPLED = 0.5  # share of the noise levels that are drawn as sampling passes them, most of them high
FAMILY_WEIGHT = 0.1  # weight of the head's cross-entropy beside the flow loss
# These weight the squared errors of each latent channel, and are about one on average. A unit of the first channel, the
# loudness, changes a log-mel by 0.4 nats, and one of the last by 0.01. The weights go with the roots of these, so that
# fine texture is learnt, too.
HEARD = (4.1, 1.2, 0.9, 0.75, 0.42, 0.25, 0.2, 0.15)
# A model of this size learns these families last. They are drawn HARD_DRAWN times as often as the others.
HARD = {
    *("alarm beeps", "arpeggio synth", "cello", "drill", "flute", "footsteps", "helicopter", "organ", "plucked string"),
    *("pouring water", "rain", "shaker", "siren", "trumpet", "vocal ahh"),
}
HARD_DRAWN = 2.0


class TextPath(nn.Module):
    """Turns captions into contexts. Captions of a batch are padded, and no result depends on the padding."""

    def __init__(self) -> None:
        super().__init__()
        self.gemma = Gemma3TextModel(gemma_config())
        self.projection = FeatureProjection(MODEL.text, gemma_config().num_hidden_layers + 1)
        self.connector = AudioConnector(MODEL.text)
        self.tokenizer = make_tokenizer(WORK / "tokenizer.json")
        nn.init.normal_(self.connector.learnable_registers, std=0.02)

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


class TextToLatents(nn.Module):
    """What is trained together."""

    def __init__(self) -> None:
        super().__init__()
        self.model = AudioTransformer(MODEL.transformer)
        self.text = TextPath()


def text_to_latents(stage: str | None = None) -> TextToLatents:
    """With the averaged weights of a stage, if it is named."""
    both = TextToLatents()
    if stage:
        both.load_state_dict(load_modules(stage)["average"])
    return both


def initialise(model: AudioTransformer) -> None:
    """Set the modulation to identity: scales and shifts to zero, gates of the residual branches to one."""
    for name, parameter in model.named_parameters():
        if name.endswith("weight") and parameter.dim() == 2:
            nn.init.trunc_normal_(parameter, std=0.02)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
    with torch.no_grad():
        model.audio_adaln_single.linear.weight.mul_(0.1)
        assert model.audio_prompt_adaln_single is not None
        model.audio_prompt_adaln_single.linear.weight.mul_(0.1)
        for block in model.transformer_blocks:
            assert isinstance(block, Block)
            block.audio_scale_shift_table[[2, 5, 8]] = 1.0
            for part in block.children():
                if isinstance(part, Attention):
                    part.get_parameter("to_out.0.weight").mul_(0.3)
                elif isinstance(part, FeedForward):
                    part.get_parameter("net.2.weight").mul_(0.3)
        model.audio_proj_out.weight.zero_()


class Captioned:
    """Clips of one length as latents, with the content of their captions."""

    def __init__(self, number: int) -> None:
        self.latents = torch.from_numpy(np.load(SETS[number].latents_path))
        self.items: list[dict[str, Any]] = json.loads(SETS[number].items_path.read_text())
        drawn = np.array([HARD_DRAWN if any(f in HARD for f, _ in item["parts"]) else 1.0 for item in self.items])
        # The caption of a sequence does not hold for a part of it.
        croppable = drawn * np.array([item["kind"] != "then" for item in self.items])
        self.drawn, self.croppable = drawn / drawn.sum(), croppable / croppable.sum()

    def draw(self, length: int, count: int, rng: np.random.Generator) -> tuple[Tensor, list[dict[str, Any]]]:
        """Return `count` crops (count, length, 128), and their clips' items."""
        longest = self.latents.shape[1]
        chosen = rng.choice(len(self.items), count, p=self.drawn if length == longest else self.croppable)
        # Half of the crops keep the clip's start, with its causal first latent.
        starts = np.where(rng.random(count) < 0.5, 0, rng.integers(0, longest - length + 1, count))
        crops = [self.latents[i, s : s + length] for i, s in zip(chosen, starts, strict=True)]
        return torch.stack(crops).float(), [self.items[i] for i in chosen]


def caption_of(item: dict[str, Any], rng: np.random.Generator) -> str:
    """Return a new caption each time. One in ten is empty."""
    if rng.random() < EMPTY_CAPTIONS:
        return ""
    if item["kind"] == "alone":
        ((family, attributes),) = item["parts"]
        return caption(family, attributes, rng)
    return mixture_caption(item["parts"], item["kind"], rng)


def noise_levels(count: int, length: int, generator: torch.Generator) -> Tensor:
    """Return noise levels (count,): half as LoRAs are trained, half as sampling passes them.

    The envelope of a sound is settled above 0.9, where LoRA training draws only one level in twenty.
    """
    trained = sample_sigma(count, length, generator)
    sampled = torch.sigmoid(torch.randn(count, generator=generator) + MAX_SHIFT)
    return torch.where(torch.rand(count, generator=generator) < SAMPLED, sampled, trained)


def heard_error(velocity: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared error of velocities (B, T, C), weighted by how much each latent channel is heard."""
    channels = (velocity.float() - target).square().unflatten(-1, (len(HEARD), -1)).mean(dim=(0, 1, 3))
    error: Tensor = (channels * torch.tensor(HEARD)).mean()
    return error


@dataclass(frozen=True)
class Batch:
    """A step learns from this batch. Everything in it follows from (seed, step)."""

    clean: Tensor  # (B, T, 128)
    noise: Tensor
    sigma: Tensor  # (B,)
    items: list[dict[str, Any]]
    captions: list[str]

    @property
    def noisy(self) -> Tensor:
        return noisy(self.clean, self.noise, self.sigma)


def draw_batch(sets: Sequence[Captioned], seed: int, step: int) -> Batch:
    seed += 1000 * process()  # Processes that share a stage have different seeds.
    rng = np.random.default_rng((seed, step))
    number, length, count = SHAPES[step % len(SHAPES)]
    clean, items = sets[number].draw(length, count, rng)
    captions = [caption_of(item, rng) for item in items]
    generator = step_generator(seed + 1, step)
    sigma = noise_levels(count, length, generator)
    return Batch(clean, torch.randn(clean.shape, generator=generator), sigma, items, captions)


@torch.no_grad()
def follow(average: nn.Module, online: dict[str, nn.Parameter], step: int) -> None:
    """Move an average of weights towards those that learn. After few steps it is an average of few."""
    decay = min(EMA_DECAY, (step + 1) / (step + 10))
    for name, parameter in average.named_parameters():
        parameter.lerp_(online[name], 1 - decay)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("steps", type=int, nargs="?", default=10_000)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--warm")
    parser.add_argument("--seed", type=int, default=4, help="of clips, captions and noise; another for another fall")
    parser.add_argument("--bf16", action="store_true", help="products in bf16, for processors that have it")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    sets = [Captioned(number) for number in range(len(SETS))]
    both, average = text_to_latents(arguments.warm), text_to_latents()
    model, text = both.model, both.text
    if not arguments.warm:
        initialise(model)
    head = nn.Linear(MODEL.text.width, len(FAMILIES))
    average.load_state_dict(both.state_dict())
    average.requires_grad_(False)
    modules = {"model": model, "text": text, "head": head, "average": average}
    stage = Stage("dit", modules, arguments.steps, rate=arguments.rate)
    online = dict(both.named_parameters())
    ropes = {n: model.rope(positions(n, AUDIO)) for _, n, _ in SHAPES}
    while not stage.done:
        batch = draw_batch(sets, arguments.seed, stage.step)
        clean, noise, sigma, items, captions = batch.clean, batch.noise, batch.sigma, batch.items, batch.captions
        rope = ropes[clean.shape[1]]
        with torch.autocast("cpu", torch.bfloat16, enabled=arguments.bf16):
            context = text(captions)
            velocity = model(batch.noisy, sigma[:, None], sigma, context, rope)
        plain = loss_per_sample(velocity.detach(), clean, noise).mean()  # LoRAs are trained by this loss.
        loss = heard_error(velocity, noise - clean)
        named = [n for n, item in enumerate(items) if captions[n] and item["kind"] == "alone"]
        labels = torch.tensor([FAMILIES.index(items[n]["parts"][0][0]) for n in named], dtype=torch.long)
        # A batch of few long clips may have no captioned clip of a single family.
        wrong = F.cross_entropy(head(context.float().mean(dim=1))[named], labels) if named else loss.new_zeros(())
        stage.update(
            loss + FAMILY_WEIGHT * wrong,
            {"loss": loss.item(), "plain": plain.item(), "family": wrong.item()},
            log_every=100,
            save_every=100,
        )
        follow(average, online, stage.step)
    stage.save()


if __name__ == "__main__":
    main()
