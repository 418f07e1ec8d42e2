"""The contexts of the captions that a base is checked with, as they are made and made another way.

In shapes N is captions, S tokens of the context, D its width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from soundlora.contract.training import DEFAULT_NEGATIVE_PROMPT
from soundlora.model.connector import AudioConnector
from soundlora.model.text_encoder import TextEncoder
from soundlora.pipeline.base_plain import connector_error, encoder_error, projection_error
from soundlora.pipeline.base_probe import Change, Probe
from soundlora.system.devices import compute_dtype
from soundlora.weights.base import Base

_LEVELS = (0.5, 0.8)  # at less noise the latents say what the caption does
_OTHERS = (1, 3)
_UNITS = (4096.0, 1 / 4096)  # the longest place is 4,096 in the config, and 1 where it says nothing


class Text:
    """What the text half makes of captions.

    contexts: (N + 1, S, D), the last that of the base's negative prompt, on the CPU. begin_well: how many captions'
    tokens have <bos> first and nowhere else. encoder_error, projection_error, connector_error: see `base_plain`.
    """

    @torch.no_grad()
    def __init__(self, base: Base, captions: Sequence[str], device: torch.device) -> None:
        """Raises as `Base.features` does."""
        dtype = compute_dtype(device)
        negative = base.config.sampling.negative_prompt
        texts = [*captions, DEFAULT_NEGATIVE_PROMPT if negative is None else negative]
        states: list[Tensor] = []

        def keep(layer: list[Tensor]) -> None:
            states.append(layer[0])

        self.features = base.features(texts, device, on_states=keep)
        encoder = TextEncoder(base.text_encoder_path, device, dtype, base.config.text.context_length)
        self.tokens = [encoder.tokenize(text) for text in texts]
        bos = encoder.tokenizer.token_to_id("<bos>")
        self.begin_well = sum(ids[:1] == [bos] and bos not in ids[1:] for ids in self.tokens)
        self.encoder_error = encoder_error(encoder.gemma, states)
        projection = base.checkpoint.load_projection(device, dtype)
        self.projection_error = projection_error(projection, torch.stack(states, dim=-1), self.features[0])
        del projection
        self.connector = base.checkpoint.load_connector(device, dtype)
        self.contexts = torch.stack([self.connector(one).cpu() for one in self.features])
        self.connector_error = connector_error(self.connector, self.features[0])

    @torch.no_grad()
    def ways(self) -> Iterator[tuple[str, Tensor]]:
        """Yield other ways to make contexts (N, S, D), in words, without the negative prompt's."""
        features, connector, config = self.features[:-1], self.connector, self.connector.config
        for factor in _UNITS:
            connector.config = replace(config, max_position=config.max_position * factor)
            yield f"a longest place of {connector.config.max_position:g}", _stacked(connector, features)
        connector.config = config
        filled = [connector.with_registers(one) for one in features]
        registers = connector.learnable_registers.to(filled[0].dtype)
        count = config.context_length

        def run(rows: list[Tensor]) -> Tensor:
            return torch.stack([connector.run(each[None])[0] for each in rows])

        turned = [torch.cat((whole[len(one) :], one)) for whole, one in zip(filled, features, strict=True)]
        yield "the caption after its registers", run(turned)
        many = registers.repeat(count // len(registers) + 1, 1)
        yield "registers from the caption's end", run([torch.cat((one, many))[:count] for one in features])
        yield "registers by place", run([torch.cat((one, many[len(one) : count])) for one in features])
        nothing = torch.zeros_like(many)
        yield "no registers", run([torch.cat((one, nothing))[:count] for one in features])


def _stacked(connector: AudioConnector, features: Sequence[Tensor]) -> Tensor:
    return torch.stack([connector(one) for one in features])


def contrast(probe: Probe, contexts: Tensor) -> float:
    """Return what other clips' contexts (N, S, D) cost, as a share of the loss with a clip's own."""
    contexts = contexts.to(probe.latents.device)
    own = probe.losses(Change(contexts=contexts), _LEVELS).mean()
    others = [probe.losses(Change(contexts=contexts.roll(k, 0)), _LEVELS).mean() for k in _OTHERS]
    return float(torch.stack(others).mean() / own - 1)
