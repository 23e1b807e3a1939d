"""BERT in its small sizes, on the architecture of transformers; with rotary positions it is RoFormer.

Turc, Chang, Lee, Toutanova 2019, "Well-read students learn better", table 1: heads of 64, feed-forward four times as
wide. Su et al. 2021, "RoFormer: enhanced transformer with rotary position embedding".
"""

from typing import Any

from transformers import BertConfig, RoFormerConfig

MEDIA = ("text",)
SIZES: dict[str, dict[str, Any]] = {
    "bert-tiny": {"num_hidden_layers": 2, "hidden_size": 128},
    "bert-mini": {"num_hidden_layers": 4, "hidden_size": 256},
    "bert-small": {"num_hidden_layers": 4, "hidden_size": 512},
}
POSITIONS = {"learned": BertConfig, "rotary": RoFormerConfig}


def config(size: str, facts: dict) -> BertConfig | RoFormerConfig:
    """The config of a fresh model for these data; reads `vocab_size`, `pad_token_id`, `max_length`, `positions`."""
    hidden = SIZES[size]["hidden_size"]
    return POSITIONS[facts["positions"]](
        **SIZES[size],
        num_attention_heads=hidden // 64,
        intermediate_size=4 * hidden,
        vocab_size=facts["vocab_size"],
        pad_token_id=facts["pad_token_id"],
        max_position_embeddings=facts["max_length"],
    )
