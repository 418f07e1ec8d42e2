"""Files of LTX 2.3's and 2.5's full size and layout, whose audio tensors are random and all others holes."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from soundlora.model.encoder_files import CONFIG, EMBEDDING, PACKED_CONFIG, PACKED_TOKENIZER, SINGLE_FILE, TOKENIZER
from soundlora.model.gemma import tensor_shapes
from soundlora.model.gemma_config import parse_gemma_config
from soundlora.model.tensor_file import TensorFile, TensorHeader, TensorInfo, pack_header
from soundlora.weights.base import NANO
from soundlora.weights.checkpoint import Layout
from soundlora.weights.full_size import GEMMA_3_12B_CONFIG, GEMMA_4_12B_CONFIG
from soundlora.weights.generations import LTX_23, LTX_25

LAYOUT = Path(__file__).resolve().parents[1] / "tests" / "fixtures" / "full_size_layout.json.gz"
NANO_TOKENIZER = NANO / "text_encoder" / TOKENIZER
GEMMA_4_VERSION = "gemma4-12b-rehearsed"

Shapes = dict[str, list[int]]


def make_23(folder: Path, layers: int) -> tuple[Path, Path]:
    """Write a checkpoint of one file, and Gemma 3 12B's directory. Return both."""
    checkpoint, encoder = folder / LTX_23.checkpoint, folder / "text_encoder"
    shapes, config = official(layers)
    write_sparse(checkpoint, shapes, {"config": json.dumps(config), "model_version": "2.3.0"})
    fill([checkpoint])
    encoder.mkdir()
    gemma = GEMMA_3_12B_CONFIG | {"num_hidden_layers": layers}
    (encoder / CONFIG).write_text(json.dumps(gemma))
    shutil.copy(NANO_TOKENIZER, encoder)
    write_sparse(encoder / SINGLE_FILE, text_model(gemma, 262_208), {})
    return checkpoint, encoder


def make_25(folder: Path, layers: int) -> tuple[Path, Path]:
    """Write the hub's layout, one file a component, Gemma 4 12B packed. Return the folder and the pack."""
    transformer, encoder, vae = (folder / file.path for file in LTX_25.files[:3])
    for path in (transformer, encoder, vae):
        path.parent.mkdir(parents=True, exist_ok=True)
    shapes, config = official(layers)
    switched_off = {"use_prompt_adaln_single": False, "audio_ff_bias": False, "ff_bias": False}
    config["transformer"] |= switched_off

    def some(wanted: Callable[[str], bool]) -> Shapes:
        return {name: shape for name, shape in shapes.items() if wanted(name) and not _left_out(name)}

    declared = json.dumps({"gemma_version": GEMMA_4_VERSION})
    said = {"config": json.dumps(config), "model_version": "2.5.0", "gemma_source_checkpoint": declared}
    write_sparse(transformer, some(lambda name: name.startswith("model.diffusion_model.")), said)
    write_sparse(vae, some(lambda name: name.startswith(("audio_vae.", "vocoder."))), {"model_version": "2.5.0"})
    gemma = GEMMA_4_12B_CONFIG | {"num_hidden_layers": layers, "gemma_version": GEMMA_4_VERSION}
    projections = some(lambda name: name.startswith("text_embedding_projection."))
    content = NANO_TOKENIZER.read_bytes()
    packed = projections | text_model(gemma, 262_144)
    write_sparse(encoder, packed, {PACKED_CONFIG: json.dumps(gemma)}, {PACKED_TOKENIZER: content})
    fill([transformer, encoder, vae])
    return folder, encoder


def official(layers: int) -> tuple[Shapes, dict[str, dict[str, object]]]:
    """Return the shapes of the official file's tensors and its config, with the first `layers` of 48."""
    layout = json.loads(gzip.decompress(LAYOUT.read_bytes()))
    config = layout["config"]
    config["transformer"]["num_layers"] = layers
    shapes: Shapes = {
        name: shape
        for part in layout["parts"].values()
        for name, shape in part.items()
        if not (".transformer_blocks." in name and int(name.split(".transformer_blocks.")[1].split(".")[0]) >= layers)
    }
    for name, shape in shapes.items():
        if name.startswith("text_embedding_projection.") and name.endswith(".weight"):
            shape[1] = config["transformer"]["caption_channels"] * (layers + 1)
    return shapes, config


def text_model(config: dict[str, object], vocabulary: int) -> Shapes:
    """Return the shapes of a Gemma's text model."""
    c, prefix = parse_gemma_config(config), "model."
    shapes = {name: list(shape) for name, shape in tensor_shapes(c, prefix).items()}
    return shapes | {prefix + EMBEDDING: [vocabulary, c.width]}


def fill(paths: list[Path]) -> None:
    """Write small random values into the audio tensors of a base's files."""
    headers = {path: header_of(path) for path in paths}
    audio = Layout({str(path): header for path, header in headers.items()}).audio
    noise = (torch.randn(1 << 25, generator=torch.Generator().manual_seed(0)) * 0.02).bfloat16()
    content = noise.view(torch.uint8).numpy().data
    for path, header in headers.items():
        with path.open("r+b") as file:
            for info in (info for name, info in header.tensors.items() if name in audio):
                for place in range(info.start, info.end, len(content)):
                    file.seek(place)
                    file.write(content[: min(len(content), info.end - place)])


def write_sparse(
    path: Path, shapes: Shapes, metadata: dict[str, str], contents: Mapping[str, bytes] | None = None
) -> None:
    """Write a file that is all holes behind its header, but for tensors of bytes with their contents at its front."""
    infos, end = {}, 0
    for name, content in (contents or {}).items():
        infos[name] = TensorInfo("U8", (len(content),), end, end + len(content))
        end += len(content)
    for name, shape in sorted(shapes.items()):
        start, end = end, end + 2 * torch.Size(shape).numel()
        infos[name] = TensorInfo("BF16", tuple(shape), start, end)
    header = pack_header(infos, metadata)
    with path.open("wb") as file:
        file.write(header + b"".join((contents or {}).values()))
        file.truncate(len(header) + end)


def header_of(path: Path) -> TensorHeader:
    return TensorFile(path, "make it again").header


def _left_out(name: str) -> bool:
    """Say whether the switches of 2.5 leave a tensor out of its file."""
    feed_forward = ".ff." in name or ".audio_ff." in name
    biases = ".transformer_blocks." in name and feed_forward and name.endswith(".bias")
    return "prompt_adaln_single." in name or biases
