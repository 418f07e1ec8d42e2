"""Stage 8 teaches the transformer to predict by itself what it predicts with guidance.

    python recipes/nano/distil.py [steps] [--bf16]

Without guidance a model of this size does not follow a prompt enough. Guidance spoils LoRAs, because they also change
the prediction without a prompt, which guidance moves away from. The guided pretrained model is therefore the teacher of
one that needs no guidance. Predictions for the empty prompt stay as they were.
"""

from __future__ import annotations

import argparse

import torch
from captioned import SETS
from pretrain import SHAPES, Captioned, draw_batch, follow, heard_error, text_to_latents
from runs import Stage
from sizes import AUDIO, MODEL
from torch import Tensor

from soundlora.model.latents import positions
from soundlora.model.rope import Rope
from soundlora.model.transformer import AudioTransformer, denoised
from soundlora.sampling.guidance import Guidance

# The teacher has this guidance. Rescaling pulls its sounds back to the contrast that they have without guidance.
GUIDANCE = Guidance(cfg=3.0, stg=0.0, rescale=0.7)


def guided(
    teacher: AudioTransformer, x: Tensor, sigma: Tensor, context: Tensor, empty: Tensor, prompted: Tensor, rope: Rope
) -> Tensor:
    """Return the teacher's velocity (B, T, C), guided where `prompted` (B,) is true and plain elsewhere."""
    conditional = teacher(x, sigma[:, None], sigma, context, rope).float()
    plain = teacher(x, sigma[:, None], sigma, empty.expand_as(context), rope).float()
    # Sounds are combined one by one, because contrast belongs to a sound and not to a batch.
    clean = [denoised(x, velocity, sigma[:, None]).split(1) for velocity in (conditional, plain)]
    guided_clean = torch.cat([GUIDANCE.combine(c, p, None) for c, p in zip(*clean, strict=True)])
    return torch.where(prompted[:, None, None], (x - guided_clean) / sigma[:, None, None], plain)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("steps", type=int, nargs="?", default=1200)
    parser.add_argument("--rate", type=float, default=4e-4)
    parser.add_argument("--seed", type=int, default=8, help="of clips, captions and noise; another for another fall")
    parser.add_argument("--bf16", action="store_true", help="products in bf16, for processors that have it")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    sets = [Captioned(number) for number in range(len(SETS))]
    teacher, average = (text_to_latents("dit").requires_grad_(False) for _ in range(2))
    model = AudioTransformer(MODEL.transformer)
    model.load_state_dict(teacher.model.state_dict())
    stage = Stage("guided", {"model": model, "average": average}, arguments.steps, rate=arguments.rate)
    ropes = {n: model.rope(positions(n, AUDIO)) for _, n, _ in SHAPES}
    online = dict(model.named_parameters())
    with torch.no_grad():
        empty = teacher.text([""])
    while not stage.done:
        batch = draw_batch(sets, arguments.seed, stage.step)
        x, sigma, rope = batch.noisy, batch.sigma, ropes[batch.clean.shape[1]]
        with torch.autocast("cpu", torch.bfloat16, enabled=arguments.bf16):
            with torch.no_grad():
                context = teacher.text(batch.captions)
                prompted = torch.tensor([bool(caption) for caption in batch.captions])
                target = guided(teacher.model, x, sigma, context, empty, prompted, rope)
            velocity = model(x, sigma[:, None], sigma, context, rope)
        loss = heard_error(velocity, target)
        stage.update(loss, {"loss": loss.item()}, log_every=50, save_every=100)
        follow(average.model, online, stage.step)
    stage.save()


if __name__ == "__main__":
    main()
