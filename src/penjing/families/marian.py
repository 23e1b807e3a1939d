"""Transformers that read a text and write another, with positions as sines, on Marian's architecture in transformers.

Vaswani et al. 2017, "Attention is all you need": table 3 has `base`; positions of section 3.5, and one table for what is read, written and
told, as in 3.4. The feed-forward part is four times as wide as the rest.
With learned positions it is BART (Lewis et al. 2020, section 2.1).
"""

from typing import Any

from transformers import BartConfig, MarianConfig

MEDIA = ("text",)
SIZES: dict[str, dict[str, Any]] = {
    "marian-tiny": {"d_model": 128, "encoder_layers": 4, "decoder_layers": 4},
    "marian-mini": {"d_model": 256, "encoder_layers": 4, "decoder_layers": 4},
    "marian-base": {"d_model": 512, "encoder_layers": 6, "decoder_layers": 6},
}
POSITIONS = {"sinusoidal": MarianConfig, "learned": BartConfig}


def config(size: str, facts: dict) -> MarianConfig | BartConfig:
    """The config of a fresh model; reads `vocab_size`, `max_length`, `positions`, `pad_`, `eos_`, and to begin with `cls_token_id`."""
    width = SIZES[size]["d_model"]
    sizes = {"ffn_dim": 4 * width, "attention_heads": max(4, width // 64)}
    return POSITIONS[facts["positions"]](
        **SIZES[size],
        **{f"{part}_{name}": value for part in ("encoder", "decoder") for name, value in sizes.items()},
        vocab_size=facts["vocab_size"],
        max_position_embeddings=facts["max_length"],
        pad_token_id=facts["pad_token_id"],
        bos_token_id=facts["cls_token_id"],
        eos_token_id=facts["eos_token_id"],
        decoder_start_token_id=facts["cls_token_id"],
        forced_eos_token_id=None,
        scale_embedding=True,
    )
