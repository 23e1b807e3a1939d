"""ModernBERT in small sizes, on the architecture of transformers: an encoder with rotary positions, gated feed-forward, local attention.

Warner et al. 2024, "Smarter, better, faster, longer", section 2.1: every third block sees all tokens, the others 128 around them. Heads of
64, feed-forward one and a half times as wide, twice because of its gate.
"""

from typing import Any

from transformers import ModernBertConfig

MEDIA = ("text",)
SIZES: dict[str, dict[str, Any]] = {
    "modernbert-mini": {"num_hidden_layers": 4, "hidden_size": 256},
    "modernbert-small": {"num_hidden_layers": 6, "hidden_size": 384},
}


def config(size: str, facts: dict) -> ModernBertConfig:
    """The config of a fresh model for these data; reads `vocab_size`, `pad_token_id`, `eos_token_id`, `max_length`."""
    hidden = SIZES[size]["hidden_size"]
    return ModernBertConfig(
        **SIZES[size],
        num_attention_heads=hidden // 64,
        intermediate_size=hidden * 3 // 2,
        classifier_pooling="mean",  # pretraining tells tokens, so the state of [CLS] has learnt nothing of the whole text
        vocab_size=facts["vocab_size"],
        max_position_embeddings=facts["max_length"],
        pad_token_id=facts["pad_token_id"],
        cls_token_id=facts["cls_token_id"],
        bos_token_id=facts["cls_token_id"],
        sep_token_id=facts["eos_token_id"],
        eos_token_id=facts["eos_token_id"],
    )
