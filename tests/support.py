"""What several test files need: the tiny base, changed copies of its checkpoint, and sound files."""

from __future__ import annotations

import json
import math
import re
import struct
import wave
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import pytest
import torch
from hypothesis import settings
from parity.cases import checkpoint, manifest, names
from parity.check import shares
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from soundlora.model.config import parse_config
from soundlora.model.transformer import AudioTransformer, Block
from soundlora.model.vocoder import Vocoder
from soundlora.training.trainer import Example
from soundlora.weights.base import Base, open_base
from soundlora.weights.generations import LTX_25

FIXTURES = Path(__file__).parent / "fixtures"
TINY_CHECKPOINT = FIXTURES / "parity" / "checkpoint.safetensors"
TINY_ENCODER = FIXTURES / "parity" / "gemma_tiny"
PARITY_25 = FIXTURES / "parity25"
CPU = torch.device("cpu")
RATE = 16_000

Test = TypeVar("Test", bound=Callable[..., Any])
Tensors = dict[str, Tensor]
Metadata = dict[str, str]


def needs_gpu(test: Test) -> Test:
    """Mark a test as one of those that `scripts/gpu` runs. Where there is no GPU it is skipped."""
    skipped: Test = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")(test)
    marked: Test = pytest.mark.gpu(skipped)
    return marked


def parity_cases(*prefixes: str) -> pytest.MarkDecorator:
    """Parametrise a test by the names of the reference cases that begin so."""
    return pytest.mark.parametrize("case", names(*prefixes))


def assert_matches(case: str) -> None:
    """Every tensor of the reference case is within its tolerance."""
    measured = shares(manifest()[case])
    worst = max(measured, key=measured.__getitem__)
    assert measured[worst] <= 1, f"{worst} of {case} is off by {measured[worst]:.2f} of its tolerance"


def inputs(times: float) -> int:
    """So many times the made-up inputs that a fact is tried with: fewer where slow tests are left out."""
    assert settings.default is not None
    return round(times * settings.default.max_examples)


class Outcome(NamedTuple):
    """What a command came to."""

    code: int
    out: str
    err: str


Cli = Callable[..., Outcome]
Gpu = Callable[..., torch.device]
FrequencyOf = Callable[[np.ndarray, int], float]


SENTENCE = re.compile(r"soundlora: [^\n]+\.\n")


def assert_refused(outcome: Outcome, *words: str) -> None:
    """Exit code 2 and one sentence, nothing else."""
    assert outcome.code == 2
    assert SENTENCE.fullmatch(outcome.err), outcome.err
    for word in words:
        assert word in outcome.err


class MakeTone(Protocol):
    def __call__(
        self, seconds: float, rate: int, *, channels: int = 1, frequency: float = 440.0, peak: float = 0.5
    ) -> np.ndarray: ...


class MakeWav(Protocol):
    def __call__(
        self,
        seconds: float = 0.6,
        rate: int = 16_000,
        *,
        channels: int = 1,
        frequency: float = 440.0,
        peak: float = 0.5,
    ) -> bytes: ...


class WriteAudio(Protocol):
    def __call__(
        self,
        path: Path,
        samples: np.ndarray,
        rate: int,
        *,
        codec: str = "pcm_s16le",
        layout: str | None = None,
        muxer: dict[str, str] | None = None,
    ) -> Path: ...


class WriteZip(Protocol):
    def __call__(self, path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path: ...


@dataclass(frozen=True)
class BaseNames:
    """What a user would give as --base and --text-encoder."""

    checkpoint: str
    encoder: Path

    def open(self) -> Base:
        return open_base(self.checkpoint, self.encoder)

    @property
    def arguments(self) -> dict[str, Any]:
        """For `train` and `generate`."""
        return {"base": self.checkpoint, "text_encoder": self.encoder}

    @property
    def flags(self) -> list[str]:
        """For the command line."""
        return ["--base", self.checkpoint, "--text-encoder", str(self.encoder)]


def rewrite(target: Path, change: Callable[[Tensors, Metadata], None], source: Path = TINY_CHECKPOINT) -> Path:
    """A copy of a checkpoint after `change` worked on its tensors and metadata."""
    with safe_open(source, framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        metadata = dict(file.metadata())
    change(tensors, metadata)
    save_file(tensors, target, metadata)
    return target


@contextmanager
def edited_config(metadata: Metadata) -> Iterator[dict[str, Any]]:
    """The checkpoint's config, written back to the metadata afterwards."""
    config = json.loads(metadata["config"])
    yield config
    metadata["config"] = json.dumps(config)


def make_quick(tensors: Tensors, metadata: Metadata) -> None:
    """A vocoder that takes milliseconds, a short context and two sampling steps: for runs from end to end."""
    generator = {
        "upsample_initial_channel": 8,
        "resblock_kernel_sizes": [3],
        "resblock_dilation_sizes": [[1]],
    }
    with edited_config(metadata) as config:
        vocoder = config["vocoder"]
        vocoder["vocoder"] |= generator | {"upsample_rates": [10, 16], "upsample_kernel_sizes": [10, 16]}
        vocoder["bwe"] |= generator | {"upsample_rates": [15, 16], "upsample_kernel_sizes": [15, 16]}
    metadata["soundlora"] = json.dumps(
        {
            "context_length": 128,
            "sampling": {"steps": 2, "cfg": 3.0, "stg": 1.0, "stg_blocks": [1], "negative_prompt": ""},
        }
    )
    for name in [name for name in tensors if name.startswith("vocoder.")]:
        del tensors[name]
    parsed = parse_config(config)
    model = Vocoder(parsed.vocoder, parsed.audio.mel_bins)
    torch_generator = torch.Generator().manual_seed(0)
    for name, tensor in model.state_dict().items():
        if not name.endswith("filter"):
            nn.init.normal_(tensor, std=0.1, generator=torch_generator)
        tensors[f"vocoder.{name}"] = tensor.to(torch.bfloat16)


def is_switched_off(name: str) -> bool:
    """Whether the two switches of a 2.5 config leave this tensor of the transformer out of its file."""
    return ".audio_prompt_adaln_single." in name or (".audio_ff." in name and name.endswith(".bias"))


def write_base_25(folder: Path, quick: Path) -> Path:
    """A tiny LTX 2.5 in the hub's layout, one file a component, with the vocoder and settings of the `quick` base.

    Its transformer is of the kind that modulates no prompt and has no biases in the feed-forward. Its duration head
    says 0.6 s to whatever it hears.
    """
    transformer, encoder, vae, head = (folder / file.path for file in LTX_25.files)
    for path in (transformer, encoder, vae, head):
        path.parent.mkdir(parents=True, exist_ok=True)
    with safe_open(quick, framework="pt") as file:
        sound = {key: file.get_tensor(key) for key in file.keys() if key.startswith(("audio_vae.", "vocoder."))}  # noqa: SIM118
        said = dict(file.metadata())

    def quick_settings(tensors: Tensors, metadata: Metadata) -> None:
        with edited_config(metadata) as config:
            config |= {key: json.loads(said["config"])[key] for key in ("audio_vae", "vocoder")}
            config["transformer"]["caption_channels"] = 20  # the reference's transformer files name another width
        metadata["soundlora"] = said["soundlora"]
        for name in filter(is_switched_off, list(tensors)):
            del tensors[name]

    def always_the_same(tensors: Tensors, metadata: Metadata) -> None:
        tensors["duration_head.mlp_out.weight"].zero_()
        tensors["duration_head.mlp_out.bias"].fill_(math.log(0.6))

    rewrite(transformer, quick_settings, PARITY_25 / "transformer_kv.safetensors")
    encoder.write_bytes((PARITY_25 / "text_encoder_flat.safetensors").read_bytes())
    save_file(sound, vae, {"model_version": "2.5.0"})
    rewrite(head, always_the_same, PARITY_25 / "duration_head.safetensors")
    return folder


def sparse_checkpoint(path: Path, shapes: dict[str, list[int]], config: dict[str, Any]) -> int:
    """A bf16 checkpoint of zeros that takes no room on the disk; returns its size in bytes."""
    header: dict[str, Any] = {"__metadata__": {"config": json.dumps(config), "model_version": "2.3.0"}}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [start, end]}
    raw = json.dumps(header).encode()
    raw += b" " * (-len(raw) % 8)
    size = 8 + len(raw) + end
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(raw)) + raw)
        file.truncate(size)
    return size


def tone(seconds: float, frequency: float = 440.0, rate: int = RATE) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def write_clip(path: Path, samples: np.ndarray, caption: str | None = None, rate: int = RATE) -> Path:
    """A mono 16-bit WAV with its caption beside it."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    if caption is not None:
        path.with_suffix(".txt").write_text(caption, encoding="utf-8")
    return path


def block_of(model: AudioTransformer, number: int) -> Block:
    block = model.transformer_blocks[number]
    assert isinstance(block, Block)
    return block


def gradient_of(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def examples(count: int = 3, frames: int = 6) -> list[Example]:
    """Clips of noise for the tiny transformer, the same ones every time."""
    config = checkpoint().config.transformer
    generator = torch.Generator().manual_seed(5)
    return [
        Example(
            f"clip{i}.wav",
            torch.randn(frames, config.in_channels, generator=generator),
            torch.randn(8, config.context_dim, generator=generator),
        )
        for i in range(count)
    ]


def routes_of(app: Any) -> list[Any]:
    """Every route of an app, those of included routers as their own."""

    def walk(found: list[Any]) -> Iterator[Any]:
        for route in found:
            inner = getattr(route, "original_router", None)
            if inner is None:
                yield route
            else:
                yield from walk(inner.routes)

    return list(walk(app.routes))


def zip_of(path: Path, **files: bytes) -> Path:
    """Write a zip of these files, in whose names an underscore stands for the dot."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("_", "."), content)
    return path
