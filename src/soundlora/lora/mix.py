"""LoRAs made of others: several added up in one file, and a part of one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from soundlora.errors import InputError
from soundlora.lora.file import Lora
from soundlora.lora.pair import Pair, energy
from soundlora.lora.rank import resize
from soundlora.lora.targets import part_of

_SHARED = ("base", "base_hash", "generation", "modelspec.architecture", "modelspec.implementation")
"""What a mixture says of its base, where all of its LoRAs say the same."""


@dataclass(frozen=True)
class Ingredient:
    """A LoRA of a mixture.

    strength: it works as it would at this strength in a generation. shares: of the strength, by the part of a block.
    """

    lora: Lora
    strength: float = 1.0
    shares: Mapping[str, float] = field(default_factory=dict)

    def scale(self, module: str) -> float:
        """Return what a module's update is multiplied by."""
        part = part_of(module)
        return self.strength * (self.shares.get(part, 1.0) if part is not None else 1.0)


@dataclass(frozen=True)
class Mixture:
    """Pairs in fp32, metadata, and the share of the updates' energy that is kept: 1 unless a rank was asked for."""

    pairs: dict[str, Pair]
    metadata: dict[str, str]
    kept: float


def mix(ingredients: Sequence[Ingredient], rank: int | None = None) -> Mixture:
    """Add LoRAs up: B·A of the result is the sum of strength·B·A.

    The sum is exact, as its A and B are those of the LoRAs side by side, and its rank is the sum of their ranks. With
    `rank` it is the nearest one of that rank. Raises InputError when the LoRAs were trained on different bases, or fit
    no common one.
    """
    _check_bases([each.lora for each in ingredients])
    names = {name: None for each in ingredients for name in each.lora.pairs}  # in order, each once
    pairs: dict[str, Pair] = {}
    whole = left = 0.0
    for name in names:
        scaled = [(each.lora.pairs[name], each.scale(name)) for each in ingredients if name in each.lora.pairs]
        shapes = {(b.shape[0], a.shape[1]) for (a, b), _ in scaled}
        if len(shapes) > 1:
            raise InputError(
                f"{name} has other shapes in {_files(ingredients)}, so that they fit no common base; mix LoRAs of one."
            )
        pair = (
            torch.cat([a.float() for (a, _), scale in scaled if scale] or [scaled[0][0][0][:0].float()]),
            torch.cat([scale * b.float() for (_, b), scale in scaled if scale] or [scaled[0][0][1][:, :0].float()], 1),
        )
        if not len(pair[0]):
            continue  # It works nowhere here.
        if rank is not None:
            size = energy(pair)
            pair, kept = resize(pair, rank)
            whole, left = whole + size, left + kept * size
        pairs[name] = pair
    if not pairs:
        raise InputError("Nothing is left of these LoRAs at these strengths; give one of them another than 0.")
    return Mixture(pairs, _metadata(ingredients, pairs), left / whole if whole else 1.0)


def lost_to_rounding(pairs: Mapping[str, Pair], dtype: torch.dtype) -> float:
    """Return the energy of what is lost where A and B are stored in a type, as a share of the pairs' energy."""
    lost = whole = 0.0
    for a, b in pairs.values():
        stored_a, stored_b = a.to(dtype).float(), b.to(dtype).float()
        if not (torch.equal(a, stored_a) and torch.equal(b, stored_b)):
            lost += energy((torch.cat((a, stored_a)), torch.cat((b, -stored_b), dim=1)))
        whole += energy((a, b))
    return lost / whole if whole else 0.0


def slice_of(lora: Lora, parts: Iterable[str] = (), blocks: Iterable[int] = ()) -> dict[str, Pair]:
    """Return the pairs of some parts of a block, and of some blocks, counted from 0; empty is all.

    Raises InputError when the LoRA has none of them.
    """
    wanted, numbers = set(parts), set(blocks)
    pairs = {
        name: pair
        for name, pair in lora.pairs.items()
        if (not wanted or part_of(name) in wanted) and (not numbers or block_of(name) in numbers)
    }
    if not pairs:
        raise InputError(f"{lora.path} changes nothing there; soundlora lora info says what it changes.")
    return pairs


def slice_metadata(metadata: Mapping[str, str], pairs: Mapping[str, Pair]) -> dict[str, str]:
    """Return what a file says, with no module among its targets that these pairs don't have."""
    named = metadata.get("target_modules")
    if named is None:
        return dict(metadata)
    try:
        targets = [str(target) for target in json.loads(named)]
    except (ValueError, TypeError):
        return dict(metadata)  # written by another program, in a way of its own
    kept = [target for target in targets if any(name.endswith(f".{target}") for name in pairs)]
    return dict(metadata) | {"target_modules": json.dumps(kept)}


def block_of(module: str) -> int | None:
    """Return the number of the block that a module lies in, None for what lies around them."""
    first, _, rest = module.partition(".")
    number = rest.partition(".")[0]
    return int(number) if first == "transformer_blocks" and number.isdecimal() else None


def _check_bases(loras: Sequence[Lora]) -> None:
    for key, what in (("generation", "generation of LTX"), ("base_hash", "base")):
        said = {lora.metadata[key]: lora for lora in loras if key in lora.metadata}
        if len(said) > 1:
            one, other = list(said.values())[:2]
            shown = key if key == "generation" else "base"
            raise InputError(
                f"{one.path} was trained on another {what} ({one.metadata.get(shown, 'unknown')}) than {other.path} "
                f"({other.metadata.get(shown, 'unknown')}); mix LoRAs of one base."
            )


def _metadata(ingredients: Sequence[Ingredient], pairs: Mapping[str, Pair]) -> dict[str, str]:
    loras = [each.lora for each in ingredients]
    metadata = {}
    for key in _SHARED:
        said = {lora.metadata[key] for lora in loras if key in lora.metadata}
        if len(said) == 1:
            metadata[key] = said.pop()
    triggers = dict.fromkeys(lora.metadata["trigger_phrase"] for lora in loras if lora.metadata.get("trigger_phrase"))
    if triggers:
        metadata["trigger_phrase"] = ", ".join(triggers)
    made_of = [{"file": each.lora.path.name, "strength": each.strength, **each.shares} for each in ingredients]
    ranks = sorted({a.shape[0] for a, _ in pairs.values()})
    return metadata | {
        "mixed_from": json.dumps(made_of, ensure_ascii=False),
        "rank": str(ranks[-1]),
        "modelspec.title": " + ".join(lora.metadata.get("modelspec.title", lora.path.stem) for lora in loras),
    }


def _files(ingredients: Sequence[Ingredient]) -> str:
    return " and ".join(str(each.lora.path) for each in ingredients)
