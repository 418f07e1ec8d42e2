"""The denoising loop: Euler steps with classifier-free and spatio-temporal guidance.

In shapes B is sounds, T latents of each, C their channels, S tokens of the context, D its width, P the forward passes
of a step, and K the different contexts among them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from soundlora.errors import InputError
from soundlora.model.condition import timesteps
from soundlora.model.rope import Rope
from soundlora.model.transformer import AudioTransformer, bypass_blocks, denoised


@dataclass(frozen=True)
class Guidance:
    """Scales of guidance. cfg = 1 and stg = 0 switch the two off and save their forward passes.

    cfg: classifier-free guidance (Ho & Salimans 2022, arXiv:2207.12598), away from the negative prompt.
    stg: spatio-temporal guidance (Hyung et al. 2024, arXiv:2411.18664), away from a pass in which `stg_blocks` skip
        their self-attention.
    rescale: how far the standard deviation is pulled back, from 0 to 1 (Lin et al. 2023, arXiv:2305.08891).
    """

    cfg: float = 7.0
    stg: float = 1.0
    stg_blocks: Collection[int] | None = (28,)  # None: all blocks
    rescale: float = 0.7

    def combine(self, conditional: Tensor, negative: Tensor | None, perturbed: Tensor | None) -> Tensor:
        """Return the guided prediction, fp32, of predictions of the clean latents; all are (B, T, C).

        c + (cfg − 1)·(c − negative) + stg·(c − perturbed) is the guided prediction. `rescale` pulls the standard
        deviation of each sound back to that of its conditional prediction c.
        """
        c = conditional.float()
        guided = c
        if negative is not None:
            guided = guided + (self.cfg - 1) * (c - negative.float())
        if perturbed is not None:
            guided = guided + self.stg * (c - perturbed.float())
        if self.rescale:
            guided = guided * (self.rescale * _spread(c) / _spread(guided) + 1 - self.rescale)
        return guided


def _spread(x: Tensor) -> Tensor:
    """Return the standard deviation of each sound of x (B, T, C), (B, 1, 1)."""
    # Each is summed as if it were alone, so that a sound is the same to the bit, whichever others are made with it.
    return torch.stack([sound.std() for sound in x])[:, None, None]


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
    given: Tensor | None = None,
    before_step: Callable[[int], bool] | None = None,
) -> Tensor:
    """Turn noise x (B, T, C) into clean latents of the same shape and type, with one context for all B sounds.

    sigmas: (steps + 1,), falling noise levels, the last of which is 0.
    rope: the model's tables for the latents' positions.
    context, negative_context: (1, S, D); the negative one may be None where cfg is 1.
    on_step(step, guided prediction, x after the step) is called after every step.
    before_step(step) is called before every step; it returns whether it has changed the model's weights.
    given: (1, T) bool, where x holds clean latents that stay as they are; all passes see them.
    Raises InputError when the guidance names blocks that the model doesn't have.

    The passes of a step run as one batch: the results are the same, and a small model is bound by its number of calls.
    Passes with the same prompt share its keys and values, which are half of a pass's work. Where the noise level does
    not modulate a prompt, they are computed once for all steps between which the weights stay.
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
    passes, count = len(rows), len(x)
    shared = torch.cat(contexts)  # (K, S, D)
    context_of = None
    if len(contexts) < passes * count:
        context_of = torch.tensor(rows, device=x.device).repeat_interleave(count)  # (P·B,)
    perturb = torch.zeros(passes * count, dtype=torch.bool, device=x.device)  # (P·B,)
    perturb[-count:] = True
    bypass = bypass_blocks(guidance.stg_blocks, layers, perturb) if use_perturbed else None
    projected: Tensor | None = None
    sigmas = sigmas.to(x.device)
    clean = x
    for step in range(len(sigmas) - 1):
        changed = before_step is not None and before_step(step)
        # A prompt that is the same at every noise level has the same keys and values in every step.
        if model.text_lasts and (changed or step == 0):
            projected = model.project_text(shared, whole=True)
        sigma = sigmas[step].expand(passes * count)  # (P·B,)
        batch = x.expand(passes, -1, -1) if count == 1 else x.repeat(passes, 1, 1)  # (P·B, T, C)
        of_contexts = sigma[: len(contexts)]  # (K,)
        # (P·B, T, C)
        velocity = model(
            batch,
            sigma[:, None],
            of_contexts,
            shared,
            rope,
            bypass=bypass,
            context_of=context_of,
            projected=projected,
            whole=projected is not None,
            given=given,
        )
        predictions = denoised(batch, velocity, timesteps(sigma, given)).chunk(passes)  # P times (B, T, C)
        conditional = predictions[0]
        guided = guidance.combine(
            conditional,
            predictions[1] if use_negative else None,
            predictions[-1] if use_perturbed else None,
        ).to(x.dtype)
        if given is not None:
            guided = torch.where(given[..., None], clean, guided)
        slope = ((x.float() - guided.float()) / sigmas[step]).to(x.dtype)  # (B, T, C)
        x = (x.float() + slope.float() * (sigmas[step + 1] - sigmas[step])).to(x.dtype)  # (B, T, C)
        if on_step is not None:
            on_step(step, guided, x)
    return x
