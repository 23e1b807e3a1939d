"""Mixtral in small sizes, on the architecture of transformers: a decoder whose feed-forward parts are experts, two of four for each token.

Jiang et al. 2024, "Mixtral of experts", section 2. Otherwise as the Llama sizes, with experts half as wide: each token meets as many
weights, and the model has nearly twice as many.
"""

from typing import Any

from transformers import MixtralConfig

MEDIA = ("text",)
SIZES: dict[str, dict[str, Any]] = {
    "mixtral-tiny": {"num_hidden_layers": 2, "hidden_size": 128, "num_attention_heads": 4, "intermediate_size": 192},
    "mixtral-mini": {"num_hidden_layers": 4, "hidden_size": 256, "num_attention_heads": 4, "intermediate_size": 352},
}


def config(size: str, facts: dict) -> MixtralConfig:
    """The config of a fresh model for these data; reads `vocab_size`, `pad_token_id`, `eos_token_id`, `max_length`."""
    return MixtralConfig(
        **SIZES[size],
        num_key_value_heads=SIZES[size]["num_attention_heads"] // 2,
        num_local_experts=4,
        num_experts_per_tok=2,
        tie_word_embeddings=True,
        output_router_logits=True,  # of which a training makes how unevenly the experts are used
        vocab_size=facts["vocab_size"],
        max_position_embeddings=facts["max_length"],
        pad_token_id=facts["pad_token_id"],
        bos_token_id=facts["eos_token_id"],
        eos_token_id=facts["eos_token_id"],
    )
