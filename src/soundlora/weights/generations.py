"""The generations of LTX: how a checkpoint is told, and what each of them needs.

`GENERATIONS` is the one table of it. A generation that only changes settings is one row more.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal

from soundlora.model.config import ModelConfig, SamplingDefaults
from soundlora.model.gemma_config import Family, GemmaConfig
from soundlora.model.text_encoder import GEMMA
from soundlora.weights.full_size import GEMMA_3_12B, GEMMA_4_12B, LTX_2_3, LTX_2_5
from soundlora.wording import using

Version = tuple[int, ...]
Part = Literal["transformer", "text projection", "audio VAE", "text encoder", "duration head"]
MODEL_FOLDERS = ("diffusion_models", "text_encoders", "vae", "checkpoints", "model_patches")
"""The folders that the hub's repositories and ComfyUI sort files into."""


ENCODER_FOLDER = "text_encoder"
"""The folder of a text encoder beside a checkpoint."""


@dataclass(frozen=True)
class HubFile:
    """A file of a base in its repository on the hub."""

    path: str
    parts: tuple[Part, ...]
    optional: bool = False

    @property
    def name(self) -> str:
        return PurePosixPath(self.path).name


@dataclass(frozen=True)
class Generation:
    """A row of the table.

    name: as in "LTX 2.5", and in a LoRA's metadata.
    before: the first version that belongs to a later generation.
    signs: parts of tensor names that no other generation has; they tell files that don't say their version.
    supported: whether it is trained and run.
    repository, files: on the hub.
    encoder: the family of its text encoder. encoder_source: the repository of it, or its file among `files`.
    declares_encoder: whether its checkpoints say which text encoder they were made with.
    sampling: what it is sampled with when nobody says otherwise.
    config, encoder_config: the sizes of the published weights, for planning without them.
    """

    name: str
    before: Version
    signs: tuple[str, ...] = ()
    supported: bool = True
    repository: str = ""
    files: tuple[HubFile, ...] = ()
    encoder: Family = "Gemma 3"
    encoder_source: str = ""
    declares_encoder: bool = False
    sampling: SamplingDefaults = field(default_factory=SamplingDefaults)
    config: ModelConfig = LTX_2_3
    encoder_config: GemmaConfig = GEMMA_3_12B

    @property
    def title(self) -> str:
        return f"LTX {self.name}"

    @property
    def checkpoint(self) -> str:
        """The name of the file with the transformer, which is the first one."""
        return self.files[0].name

    @property
    def encoder_file(self) -> HubFile | None:
        """The file of the text encoder, or None where it is a repository of its own."""
        return next((file for file in self.files if file.name == self.encoder_source), None)

    def encoder_advice(self) -> str:
        """Return the end of a sentence on a missing or unsuitable text encoder."""
        if self.encoder_file is None:
            return (
                f"{self.title} needs {self.encoder_source}: accept its licence on its Hugging Face page, set HF_TOKEN "
                f"and give that name with {using('text_encoder')}, or give the folder of a download"
            )
        return (
            f"{self.title} needs {self.encoder_source}, of {self.repository}, and no other {self.encoder} will do: "
            f"give its path with {using('text_encoder')}, or take {using('base', self.repository)}"
        )


LTX_20 = Generation("2.0", before=(2, 3), signs=("audio_caption_projection.",), supported=False)
LTX_23 = Generation(
    "2.3",
    before=(2, 4),
    repository="Lightricks/LTX-2.3",
    files=(HubFile("ltx-2.3-22b-dev.safetensors", ("transformer", "text projection", "audio VAE")),),
    encoder_source=GEMMA,
)
LTX_25 = Generation(
    "2.5",
    before=(2, 6),
    signs=("duration_head", "keyframes_"),
    repository="Lightricks/LTX-2.5",
    files=(
        HubFile("diffusion_models/ltx-2.5-22b-dev-transformer-bf16.safetensors", ("transformer",)),
        HubFile("text_encoders/gemma4-12b-with-proj-ltx-2.5-bf16.safetensors", ("text encoder", "text projection")),
        HubFile("vae/ltx-2.5-audio-vae-bf16.safetensors", ("audio VAE",)),
        HubFile("model_patches/ltx-2.5-duration-head-bf16.safetensors", ("duration head",), optional=True),
    ),
    encoder="Gemma 4",
    encoder_source="gemma4-12b-with-proj-ltx-2.5-bf16.safetensors",
    declares_encoder=True,
    config=LTX_2_5,
    encoder_config=GEMMA_4_12B,
)
GENERATIONS = (LTX_20, LTX_23, LTX_25)
SUPPORTED = tuple(generation for generation in GENERATIONS if generation.supported)


def generation_of(version: Version | None, names: Iterable[str]) -> Generation | None:
    """Return the generation of a checkpoint by its version and tensor names; None for a later one than is known.

    A file without version and signs is taken for LTX 2.3, whose repacks drop their version.
    """
    present = list(names)
    for generation in GENERATIONS:
        if any(sign in name for sign in generation.signs for name in present):
            return generation
    if version is None:
        return LTX_23
    return next((generation for generation in GENERATIONS if version < generation.before), None)


def of_repository(name: str) -> Generation | None:
    """Return the generation whose repository on the hub is `name`, or None."""
    return next((generation for generation in SUPPORTED if generation.repository == name), None)


def parse_version(text: str) -> Version | None:
    """Return (2, 10, 0) for '2.10.0', and None for text that is no version."""
    numbers: list[int] = []
    for part in text.strip().strip('"').split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers) if len(numbers) > 1 else None
