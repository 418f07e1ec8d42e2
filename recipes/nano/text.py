"""This module defines nano's tokenizer and the shape of its tiny Gemma 3."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sizes import TEXT_LAYERS, TEXT_WIDTH, VOCABULARY
from sounds import FAMILIES, caption, draw_attributes
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import Gemma3TextConfig

SPECIAL = ["<pad>", "<eos>", "<bos>", "<unk>"]


def gemma_config() -> Gemma3TextConfig:
    return Gemma3TextConfig(
        vocab_size=VOCABULARY,
        hidden_size=TEXT_WIDTH,
        intermediate_size=2 * TEXT_WIDTH,
        num_hidden_layers=TEXT_LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        query_pre_attn_scalar=32,
        max_position_embeddings=512,
        sliding_window=128,
        layer_types=["sliding_attention", "full_attention"],
        tie_word_embeddings=True,
    )


def make_tokenizer(path: Path) -> Tokenizer:
    """Train a lower-case byte-level BPE on captions. No word is unknown; a made-up trigger word has its own tokens."""
    rng = np.random.default_rng(21)
    corpus = [caption(f, draw_attributes(f, rng), rng) for f in FAMILIES for _ in range(300)]
    tokenizer = Tokenizer(models.BPE(unk_token=None))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    # A word includes the blank before it. Punctuation stands alone, so that "rain," is rain and a comma.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r" ?\w+| ?[^\w\s]+|\s+"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(corpus, trainer)
    bos = SPECIAL.index("<bos>")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A <bos> $B", special_tokens=[("<bos>", bos)]
    )
    tokenizer.save(str(path))
    return tokenizer
