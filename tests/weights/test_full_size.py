from __future__ import annotations

import gzip
import json

from support import FIXTURES

from soundlora.model.config import parse_config
from soundlora.weights.full_size import GEMMA_3_12B, LTX_2_3


def test_the_sizes_are_those_of_the_official_files_config() -> None:
    layout = json.loads(gzip.decompress((FIXTURES / "full_size_layout.json.gz").read_bytes()))
    assert parse_config(layout["config"]) == LTX_2_3


def test_the_text_encoder_fits_the_projection() -> None:
    layout = json.loads(gzip.decompress((FIXTURES / "full_size_layout.json.gz").read_bytes()))
    shape = layout["parts"]["text_proj_audio"]["text_embedding_projection.audio_aggregate_embed.weight"]
    assert shape == [LTX_2_3.text.width, GEMMA_3_12B.width * (GEMMA_3_12B.layers + 1)]
    assert (GEMMA_3_12B.is_local.count(False), GEMMA_3_12B.is_local[5]) == (8, False)
