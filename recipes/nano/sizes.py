"""nano has the official config with small numbers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from soundlora.model.config import ModelConfig, parse_config

HERE = Path(__file__).parent
WORK = HERE / "work"
sys.path.insert(0, str(HERE))

HEADS, HEAD_DIM, LAYERS = 6, 32, 4
WIDTH = HEADS * HEAD_DIM
TEXT_WIDTH, TEXT_LAYERS = 128, 2
CONTEXT_LENGTH = 128  # tokens; one round of registers
VOCABULARY = 1024

CONFIG: dict[str, Any] = {
    "transformer": {
        "_class_name": "AVTransformer3DModel",
        "activation_fn": "gelu-approximate",
        "num_layers": LAYERS,
        "num_attention_heads": HEADS,
        "attention_head_dim": HEAD_DIM,
        "audio_num_attention_heads": HEADS,
        "audio_attention_head_dim": HEAD_DIM,
        "audio_cross_attention_dim": WIDTH,
        "audio_in_channels": 128,
        "audio_out_channels": 128,
        "caption_channels": TEXT_WIDTH,
        "norm_elementwise_affine": False,
        "norm_eps": 1e-6,
        "qk_norm": "rms_norm",
        "positional_embedding_type": "rope",
        "positional_embedding_theta": 10000.0,
        "audio_positional_embedding_max_pos": [20],
        "timestep_scale_multiplier": 1000,
        "use_middle_indices_grid": True,
        "apply_gated_attention": True,
        "connector_apply_gated_attention": True,
        "cross_attention_adaln": True,
        "caption_proj_before_connector": True,
        "caption_projection_first_linear": False,
        "caption_projection_second_linear": False,
        "caption_proj_input_norm": False,
        "text_encoder_norm_type": "per_token_rms",
        "audio_connector_num_layers": 1,
        "audio_connector_num_attention_heads": HEADS,
        "audio_connector_attention_head_dim": HEAD_DIM,
        "connector_positional_embedding_max_pos": [4096],
        "connector_num_learnable_registers": 128,
        "rope_type": "split",
        "frequencies_precision": "float64",
    },
    "audio_vae": {
        "model": {
            "params": {
                "sampling_rate": 16000,
                "ddconfig": {
                    "double_z": True,
                    "mel_bins": 64,
                    "z_channels": 8,
                    "resolution": 256,
                    "downsample_time": False,
                    "in_channels": 2,
                    "out_ch": 2,
                    "ch": 24,
                    "ch_mult": [1, 2, 4],
                    "num_res_blocks": 1,
                    "attn_resolutions": [],
                    "dropout": 0.0,
                    "mid_block_add_attention": False,
                    "norm_type": "pixel",
                    "causality_axis": "height",
                },
            }
        },
        "preprocessing": {
            "stft": {"filter_length": 1024, "hop_length": 160, "win_length": 1024, "causal": True},
            "mel": {"n_mel_channels": 64, "mel_fmin": 0, "mel_fmax": 8000},
        },
    },
    "vocoder": {
        "vocoder": {
            # Three stages at the mel's own rate turn logarithms into amplitudes. Wide layers are cheap there.
            "upsample_initial_channel": 1536,
            "resblock": "AMP1",
            "upsample_rates": [1, 1, 1, 5, 4, 4, 2],
            "upsample_kernel_sizes": [1, 1, 1, 11, 8, 8, 4],
            "resblock_kernel_sizes": [3],
            "resblock_dilation_sizes": [[1, 3]],
            "stereo": True,
            "use_tanh_at_final": False,
            "activation": "snakebeta",
            "use_bias_at_final": False,
        },
        "bwe": {
            "upsample_initial_channel": 96,
            "resblock": "AMP1",
            "upsample_rates": [6, 5, 8],
            "upsample_kernel_sizes": [12, 11, 16],
            "resblock_kernel_sizes": [3],
            "resblock_dilation_sizes": [[1, 3]],
            "stereo": True,
            "use_tanh_at_final": False,
            "activation": "snakebeta",
            "use_bias_at_final": False,
            "apply_final_activation": False,
            "input_sampling_rate": 16000,
            "output_sampling_rate": 48000,
            "hop_length": 80,
            "n_fft": 512,
            "win_size": 512,
            "num_mels": 64,
        },
    },
}

MODEL: ModelConfig = parse_config(CONFIG, {"context_length": CONTEXT_LENGTH})
AUDIO = MODEL.audio
AUDIBLE = -9.0  # log-mel; nobody hears a difference below this

# These are nano's defaults; docs/nano.md gives the reasons.
SAMPLING: dict[str, Any] = {
    "steps": 30,
    "cfg": 1.0,
    "stg": 0.4,
    "stg_blocks": [0],
    "rescale": 0.0,
    "negative_prompt": "",
}
