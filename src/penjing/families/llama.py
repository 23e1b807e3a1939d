"""Llama in small sizes, on the architecture of transformers: rotary positions, RMS norm, gated feed-forward.

Touvron et al. 2023, "LLaMA: open and efficient foundation language models", section 2.2. Heads of 64 (tiny: 32), of which two share keys
and values (Ainslie et al. 2023); feed-forward 8/3 times as wide, to the next multiple of 64; embeddings that are the head too.
What reads in one direction can do without positions (Kazemnejad et al. 2023, "The impact of positional encoding on length
generalization"), as SmolLM3 does.
"""

import functools
from typing import Any

from transformers import LlamaConfig, SmolLM3Config

MEDIA = ("text",)
SIZES: dict[str, dict[str, Any]] = {
    "llama-tiny": {"num_hidden_layers": 2, "hidden_size": 128, "num_attention_heads": 4, "intermediate_size": 384},
    "llama-mini": {"num_hidden_layers": 4, "hidden_size": 256, "num_attention_heads": 4, "intermediate_size": 704},
    "llama-small": {"num_hidden_layers": 6, "hidden_size": 512, "num_attention_heads": 8, "intermediate_size": 1408},
}
POSITIONS: dict[str, Any] = {"rotary": LlamaConfig, "nope": functools.partial(SmolLM3Config, no_rope_layer_interval=1)}  # in no layer


def config(size: str, facts: dict) -> LlamaConfig | SmolLM3Config:
    """The config of a fresh model for these data; reads `vocab_size`, `pad_token_id`, `eos_token_id`, `max_length`, `positions`."""
    return POSITIONS[facts["positions"]](  # type: ignore[no-any-return]
        **SIZES[size],
        num_key_value_heads=SIZES[size]["num_attention_heads"] // 2,
        tie_word_embeddings=True,
        vocab_size=facts["vocab_size"],
        max_position_embeddings=facts["max_length"],
        pad_token_id=facts["pad_token_id"],
        bos_token_id=facts["eos_token_id"],
        eos_token_id=facts["eos_token_id"],
    )
