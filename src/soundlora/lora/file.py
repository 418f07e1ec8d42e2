"""LoRA files, which are read under all the names they go by, and written under one of them.

A pair of matrices (A, B) changes a weight by B·A. Some files scale it, by alpha/rank: such a scale is folded into B as
it is read. A scale is written only where the naming asks for one, and is 1 then.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from soundlora.errors import InputError
from soundlora.lora.dora import NoMagnitudeError, of_rows, plain_pair
from soundlora.lora.forms import FileForm, Matrices
from soundlora.lora.names import LoraKey, Naming, WrittenNaming, parse_key, written_keys
from soundlora.lora.pair import Pair
from soundlora.lora.products import NoProductError, is_product, kronecker_factors, pair_of
from soundlora.model.tensor_file import json_object
from soundlora.system.whole_files import write_whole

_ADVICE = "give a LoRA .safetensors file that was trained for LTX audio, or for nano"
_PEFT_METADATA = "lora_adapter_metadata"
_ASIDE = ("alpha", "magnitude")  # what stands beside a layer's matrices
_PEFT_FILE = "adapter_model.safetensors"
# These metadata say how to scale. The scale has been folded in, so a reader that heeds them would scale twice.
_SCALES = (_PEFT_METADATA, "ss_network_alpha", "ss_network_dim")


@dataclass(frozen=True)
class Lora:
    """A LoRA file that has been read. Every pair changes a weight by B·A.

    pairs: by the module's name in the checkpoint. warnings: sentences about what could not be taken as it stands.
    matrices: of the modules that are DoRA or LoKr and were asked for as they are; these have no pair.
    """

    path: Path
    pairs: dict[str, Pair]
    metadata: dict[str, str]
    naming: Naming
    dtype: torch.dtype  # to write it in again: bfloat16, float16 or float32
    stored: str  # the file's own type, such as "float8_e4m3fn"
    warnings: list[str] = field(default_factory=list)
    matrices: dict[str, Matrices] = field(default_factory=dict)

    @property
    def updates(self) -> dict[str, Pair | Matrices]:
        """What is added to each module, in whichever form."""
        return {**self.pairs, **self.matrices}

    @property
    def ranks(self) -> list[int]:
        """All ranks that occur, in order."""
        return sorted({a.shape[0] for a, _ in self.pairs.values()})

    @property
    def generation(self) -> str | None:
        """The generation of LTX that it was trained on, such as "2.5"; None where the file doesn't say."""
        return self.metadata.get("generation")

    def doubts(self, base_hash: str) -> list[str]:
        """Return sentences for whoever uses it on a base: the warnings, and one more if that is another base."""
        if self.metadata.get("base_hash", base_hash) == base_hash:
            return self.warnings
        other = self.metadata.get("base", "unknown")
        return [*self.warnings, f"{self.path} was trained on another base ({other}); on this one it may sound wrong."]


def read_lora(
    path: Path, weight_of: Callable[[str], Tensor] | None = None, as_they_are: Collection[FileForm] = ()
) -> Lora:
    """Read the audio stream's pairs of a LoRA file, whichever program wrote it, or of a folder that PEFT wrote.

    weight_of: it returns the base's weight (outputs, inputs) of a module, with which a DoRA becomes pairs.
    as_they_are: forms that don't become pairs. A DoRA is read with one of the two alone.
    Raises InputError when it is no LoRA that can be read, or changes nothing of the audio stream.
    """
    if (path / _PEFT_FILE).is_file():
        path = path / _PEFT_FILE
    if not path.is_file():
        raise InputError(f"There is no LoRA at {path}; {_ADVICE}.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            keys = {key: parse_key(key) for key in file.keys()}  # noqa: SIM118  (not a dict)
            _refuse_others(path, keys, dora=weight_of is not None or "dora" in as_they_are)
            tensors = {key: file.get_tensor(key) for key, parsed in keys.items() if parsed.audio}
    except SafetensorError:
        raise InputError(f"{path} is {what_it_is(path)}; {_ADVICE}.") from None
    _refuse_integers(path, {key: tensor for key, tensor in tensors.items() if keys[key].part != "alpha"})

    modules: dict[str, dict[str, str]] = {}  # the keys of A, B and alpha
    for key in tensors:
        part = keys[key].part
        assert part is not None
        here = modules.setdefault(keys[key].module, {})
        if part in here:
            raise InputError(f"{path} has {here[part]} and {key}, which are the same; remove one of them.")
        here[part] = key
    namings = Counter(parsed.naming for parsed in keys.values() if parsed.audio and parsed.part not in _ASIDE)
    naming = namings.most_common(1)[0][0]
    warnings = _outside_warning(path, keys)
    config = _peft_config(path, naming, metadata)
    if naming == "peft" and config is None and not all("alpha" in here for here in modules.values()):
        warnings.append(
            f"{path} has no adapter_config.json beside it, which says how strong it is; it is taken with alpha = rank."
        )

    pairs: dict[str, Pair] = {}
    matrices: dict[str, Matrices] = {}
    least = 1.0  # the least share of a layer's energy that is kept
    for module, here in modules.items():
        kept_lokr = "lokr" in as_they_are and any(part.startswith("lokr") for part in here) and "magnitude" not in here
        rank: int | None
        if kept_lokr:
            whole, rank = _lokr(path, here, tensors)
        elif is_product(here):
            (a, b), rank, kept = _product(path, here, tensors)
            least = min(least, kept)
        else:
            a, b = _matrices(path, here, tensors)
            rank = a.shape[0]
        scale = 1.0
        if rank is not None and "alpha" in here:
            scale = _alpha_scale(path, here["alpha"], tensors, rank)
        elif rank is not None and config is not None:
            first = next(key for part, key in here.items() if part != "alpha")
            scale = _peft_scale(path, config, keys[first].written, rank)
        if kept_lokr:
            matrices[module] = whole | {"lokr_w1": whole["lokr_w1"].float() * scale}
            continue
        pair = (a, b) if scale == 1 else (a, b.float() * scale)
        if "magnitude" in here and weight_of is not None:
            pair, kept = _plain(path, module, weight_of(module), pair, tensors[here["magnitude"]])
            least = min(least, kept)
        elif "magnitude" in here:
            matrices[module] = _dora(path, here, pair, tensors[here["magnitude"]])
            continue
        pairs[module] = pair
    if pairs and any("magnitude" in here for here in modules.values()):
        warnings.append(_kept_warning(path, "DoRA", pairs, least))
    elif any(is_product(here) for module, here in modules.items() if module in pairs):
        warnings.append(_kept_warning(path, "LoKr or LoHa", pairs, least))
    dtype = next(tensor.dtype for key, tensor in tensors.items() if keys[key].part not in _ASIDE)
    known = dtype in (torch.float32, torch.float16)
    stored = str(dtype).removeprefix("torch.")
    return Lora(path, pairs, metadata, naming, dtype if known else torch.bfloat16, stored, warnings, matrices)


def write_lora(
    path: Path,
    pairs: Mapping[str, Pair],
    metadata: Mapping[str, str],
    *,
    naming: WrittenNaming = "official",
    dtype: torch.dtype = torch.bfloat16,
) -> None:
    """Write pairs by their module, and the metadata without scales. The same input makes the same bytes."""
    tensors = {}
    for module, (a, b) in pairs.items():
        a_key, b_key, alpha_key = written_keys(module, naming)
        tensors[a_key] = a.detach().to("cpu", dtype).contiguous()
        tensors[b_key] = b.detach().to("cpu", dtype).contiguous()
        if alpha_key is not None:
            tensors[alpha_key] = torch.tensor(float(a.shape[0]))
    _write(path, tensors, metadata)


def write_matrices(path: Path, matrices: Mapping[str, Matrices], metadata: Mapping[str, str]) -> None:
    """Write the matrices of a plain LoRA or LoKr under the official names, in bf16 and alpha in fp32.

    Metadata and bytes are as for `write_lora`.
    """
    tensors = {}
    for module, parts in matrices.items():
        for name, tensor in parts.items():
            key = f"diffusion_model.{module}.{name}" + (".weight" if name in ("lora_A", "lora_B") else "")
            dtype = torch.float32 if name == "alpha" else torch.bfloat16
            tensors[key] = tensor.detach().to("cpu", dtype).contiguous()
    _write(path, tensors, metadata)


def _write(path: Path, tensors: dict[str, Tensor], metadata: Mapping[str, str]) -> None:
    kept = {key: value for key, value in metadata.items() if key not in _SCALES}
    write_whole(path, _in_order(save(tensors, kept)))


def _refuse_others(path: Path, keys: Mapping[str, LoraKey], dora: bool) -> None:
    """Raise InputError for no LoRA, for one of another stream, and for one of unknown matrices.

    dora: whether a DoRA is taken.
    """
    lora = [parsed for parsed in keys.values() if parsed.part not in (None, *_ASIDE)]
    if not lora:
        raise InputError(f"{path} holds no lora_A and lora_B tensors; {_ADVICE}.")
    if not any(parsed.audio for parsed in lora):
        raise InputError(
            f"{path} changes nothing in the audio stream, but {_few({p.module for p in lora})}; {_ADVICE}."
        )
    adapters = sorted({parsed.adapter for parsed in lora if parsed.audio})
    if len(adapters) > 1:
        raise InputError(
            f"{path} holds several adapters ({', '.join(name or 'one without a name' for name in adapters)}); save the "
            "one that is meant in a file of its own."
        )
    for key, parsed in keys.items():
        if parsed.audio and parsed.part is None:
            raise InputError(f"{path} holds {key}, so it is no plain LoRA (but an OFT or the like); {_ADVICE}.")
    if not dora and any(parsed.audio and parsed.part == "magnitude" for parsed in keys.values()):
        raise _depends(path)


def _depends(path: Path, kind: str = "a DoRA") -> InputError:
    return InputError(
        f"{path} is {kind}, and what it changes depends on its base; make a plain LoRA of it first: soundlora lora "
        f"convert {path.name} plain.safetensors --to official --base BASE."
    )


def _refuse_integers(path: Path, tensors: Mapping[str, Tensor]) -> None:
    for key, tensor in tensors.items():
        if not tensor.is_floating_point():
            kind = str(tensor.dtype).removeprefix("torch.")
            raise InputError(
                f"{path} holds {key} as {kind} without scales, so how large it is nobody knows; save it as float16 or "
                "bfloat16."
            )


def what_it_is(path: Path) -> str:
    """A clause on a file that is no safetensors file: what it is by its first bytes. A pickle is never opened."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(512)
    text = start.lstrip().lower()
    if not start:
        return "empty"
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page, such as one for logging in, and no safetensors file; download the file itself"
    if start.startswith(b"version https://git-lfs"):
        return "only a pointer of Git LFS, and no safetensors file; fetch the file itself with git lfs pull"
    if start.startswith((b"PK\x03\x04", b"\x80")):
        return "a file of torch.save (a pickle, which can run programs) or a zip, and no safetensors file; convert it"
    length = int.from_bytes(start[:8], "little")
    if start[8:9] == b"{" and length + 8 > size:
        return f"cut off: its header alone takes {length + 8:,} bytes, and {size:,} are there; download it again"
    if start[8:9] == b"{":
        return f"damaged or cut off ({size:,} bytes), and no whole safetensors file; download it again"
    return "not a safetensors file"


def _outside_warning(path: Path, keys: Mapping[str, LoraKey]) -> list[str]:
    outside = {parsed.module for parsed in keys.values() if not parsed.audio}
    if not outside:
        return []
    return [f"{path} also changes what is no linear layer of the audio stream, which is left out: {_few(outside)}."]


def _matrices(path: Path, here: Mapping[str, str], tensors: Mapping[str, Tensor]) -> Pair:
    for part, other in (("A", "B"), ("B", "A")):
        if part not in here:
            present = here.get(other, next(iter(here.values())))
            raise InputError(f"{path} has {present} without its lora_{part}; the file is damaged, {_ADVICE}.")
    a, b = tensors[here["A"]], tensors[here["B"]]
    if a.ndim != 2 or b.ndim != 2 or a.shape[0] != b.shape[1] or 0 in (*a.shape, *b.shape):
        raise InputError(
            f"{path} has {here['A']} of the shape {list(a.shape)} and {here['B']} of the shape {list(b.shape)}, "
            f"which is no pair of matrices; {_ADVICE}."
        )
    for key in (here["A"], here["B"]):
        if not tensors[key].float().isfinite().all():
            raise InputError(f"{key} in {path} holds numbers that are infinite or none at all; {_ADVICE}.")
    return a, b


def _product(path: Path, here: Mapping[str, str], tensors: Mapping[str, Tensor]) -> tuple[Pair, int | None, float]:
    try:
        return pair_of({part: tensors[key] for part, key in here.items() if part not in _ASIDE})
    except NoProductError as error:
        raise _no_product(path, here, error) from None


def _no_product(path: Path, here: Mapping[str, str], error: NoProductError) -> InputError:
    key = next(key for part, key in here.items() if part not in _ASIDE)
    module = key.rpartition(".")[0]
    return InputError(f"{path} has {error} at {module}; the file is damaged, {_ADVICE}.")


def _lokr(path: Path, here: Mapping[str, str], tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], int | None]:
    """Return the matrices of a LoKr as a layer takes them, and the rank of w2's halves, or of w1's."""
    found = {part: tensors[key] for part, key in here.items() if part not in _ASIDE}
    try:
        (first, second), rank = kronecker_factors(found)
    except NoProductError as error:
        raise _no_product(path, here, error) from None
    w1 = first[0] if len(first) == 1 else first[0] @ first[1]
    names = ("lokr_w2",) if len(second) == 1 else ("lokr_w2_a", "lokr_w2_b")
    return {"lokr_w1": w1} | dict(zip(names, second, strict=True)), rank


def _dora(path: Path, here: Mapping[str, str], pair: Pair, lengths: Tensor) -> Matrices:
    """Return the matrices of a DoRA as a layer takes them. Raises InputError for kinds that have to be converted."""
    a, b = pair
    if is_product(here):
        raise _depends(path, "a DoRA whose update is a product")
    if not of_rows(lengths, len(b)):
        raise _depends(path, "a DoRA with the lengths of columns")
    if lengths.numel() != len(b) or not lengths.isfinite().all():
        raise InputError(
            f"{here['magnitude']} in {path} has the shape {list(lengths.shape)}, or numbers that are none, but it must "
            f"be {len(b)} lengths of rows; {_ADVICE}."
        )
    return {"lora_A": a, "lora_B": b, "dora_scale": lengths}


def _plain(path: Path, module: str, weight: Tensor, pair: Pair, magnitude: Tensor) -> tuple[Pair, float]:
    try:
        return plain_pair(weight, pair, magnitude)
    except NoMagnitudeError as error:
        raise InputError(f"The DoRA's {module} in {path} is {error}.") from None


def _kept_warning(path: Path, kind: str, pairs: Mapping[str, Pair], least: float) -> str:
    ranks = [a.shape[0] for a, _ in pairs.values()]
    kept = "all" if least == 1 else f"{math.floor(least * 1e4) / 1e2:g} % or more"
    taken = f"it is taken as a LoRA of rank {max(ranks)}"
    return f"{path} is a {kind}; {taken}, which has {kept} of each layer's energy."


def _alpha_scale(path: Path, key: str, tensors: Mapping[str, Tensor], rank: int) -> float:
    tensor = tensors[key]
    if tensor.numel() != 1 or not math.isfinite(tensor.item()):
        raise InputError(f"{key} in {path} is not one number; {_ADVICE}.")
    return tensor.item() / rank


def _peft_config(path: Path, naming: Naming, metadata: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the LoraConfig that peft keeps beside its files, and diffusers in their metadata; None without one."""
    if naming == "peft":
        beside = path.with_name("adapter_config.json")
        return _json_object(beside, beside.read_text(encoding="utf-8")) if beside.is_file() else None
    if naming == "diffusers" and _PEFT_METADATA in metadata:
        values = _json_object(f"The {_PEFT_METADATA} of {path}", metadata[_PEFT_METADATA])
        prefix = "transformer."
        return {key.removeprefix(prefix): value for key, value in values.items() if key.startswith(prefix)}
    return None


def _peft_scale(path: Path, config: Mapping[str, Any], written: str, rank: int) -> float:
    """Return alpha/rank, or alpha/√rank for rank-stabilised LoRA, by the rules of peft.LoraConfig."""
    try:
        alpha = float(config.get("lora_alpha", config.get("alpha", 8)))
        for pattern, value in config.get("alpha_pattern", {}).items():
            if re.fullmatch(rf"(.*\.)?({pattern})", written):
                alpha = float(value)
                break
    except (TypeError, ValueError, AttributeError, re.error):
        raise InputError(f"The scales of {path}, lora_alpha or alpha_pattern, can't be read; {_ADVICE}.") from None
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _json_object(name: object, text: str) -> dict[str, Any]:
    return json_object(text, f"{name} is no JSON object, so the LoRA's strength is not known; {_ADVICE}.")


def _few(modules: set[str]) -> str:
    names = sorted(modules)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _in_order(file: bytes) -> bytes:
    """Return the safetensors file with its metadata sorted, which the library writes in another order every time."""
    length = int.from_bytes(file[:8], "little")
    header = json.loads(file[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    raw = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    return len(raw).to_bytes(8, "little") + raw + file[8 + length :]
