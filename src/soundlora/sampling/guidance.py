"""The denoising loop: Euler steps with classifier-free and spatio-temporal guidance."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from soundlora.errors import InputError
from soundlora.model.rope import Rope
from soundlora.model.transformer import AudioTransformer, bypass_blocks, denoised


@dataclass(frozen=True)
class Guidance:
    """Scales of guidance. cfg = 1 and stg = 0 switch the two off and save their forward passes."""

    cfg: float = 7.0
    stg: float = 1.0
    stg_blocks: Collection[int] | None = (28,)  # None: all blocks
    rescale: float = 0.7

    def combine(self, conditional: Tensor, negative: Tensor | None, perturbed: Tensor | None) -> Tensor:
        """Guided prediction from predictions of the clean latents, all (B, T, C), in fp32.

        `rescale` pulls the standard deviation, taken over the whole tensor, back to that of the conditional prediction.
        """
        c = conditional.float()
        guided = c
        if negative is not None:
            guided = guided + (self.cfg - 1) * (c - negative.float())
        if perturbed is not None:
            guided = guided + self.stg * (c - perturbed.float())
        if self.rescale:
            guided = guided * (self.rescale * c.std() / guided.std() + 1 - self.rescale)
        return guided


@torch.inference_mode()
def denoise(
    model: AudioTransformer,
    x: Tensor,
    sigmas: Tensor,
    rope: Rope,
    context: Tensor,
    negative_context: Tensor | None,
    guidance: Guidance,
    on_step: Callable[[int, Tensor, Tensor], None] | None = None,
) -> Tensor:
    """From noise x (1, T, C) to clean latents of the same shape and type.

    context, negative_context: (1, S, D); the negative one may be None where cfg is 1.
    on_step(step, guided prediction, x after the step) is called after every step.
    Raises InputError when the guidance names blocks that the model doesn't have.

    The passes of a step run as one batch: the results are the same, and a small model is bound by its number of calls.
    Those with the same prompt share its keys and values, which are half of a pass's work.
    """
    use_negative = guidance.cfg != 1 and negative_context is not None
    use_perturbed = guidance.stg != 0
    layers = model.config.layers
    if use_perturbed and any(not 0 <= block < layers for block in guidance.stg_blocks or ()):
        raise InputError(
            f"stg_blocks is {sorted(guidance.stg_blocks or ())}, but the blocks of this base are 0 to {layers - 1}; "
            "name some of those."
        )
    contexts, rows = [context], [0]
    if use_negative:
        assert negative_context is not None
        contexts.append(negative_context)
        rows.append(1)
    if use_perturbed:
        rows.append(0)
    passes = len(rows)
    shared = torch.cat(contexts)
    context_of = torch.tensor(rows, device=x.device) if len(contexts) < passes else None
    perturb = torch.zeros(passes, dtype=torch.bool, device=x.device)
    perturb[-1] = True
    bypass = bypass_blocks(guidance.stg_blocks, layers, perturb) if use_perturbed else None
    sigmas = sigmas.to(x.device)
    for step in range(len(sigmas) - 1):
        sigma = sigmas[step].expand(passes)
        batch = x.expand(passes, -1, -1)
        of_contexts = sigma[: len(contexts)]
        velocity = model(batch, sigma[:, None], of_contexts, shared, rope, bypass=bypass, context_of=context_of)
        predictions = denoised(batch, velocity, sigma[:, None]).chunk(passes)
        conditional = predictions[0]
        guided = guidance.combine(
            conditional,
            predictions[1] if use_negative else None,
            predictions[-1] if use_perturbed else None,
        ).to(x.dtype)
        slope = ((x.float() - guided.float()) / sigmas[step]).to(x.dtype)
        x = (x.float() + slope.float() * (sigmas[step + 1] - sigmas[step])).to(x.dtype)
        if on_step is not None:
            on_step(step, guided, x)
    return x
