"""Transformers that read a text and write another, with positions as sines, on Marian's architecture in transformers.

Vaswani et al. 2017, "Attention is all you need": table 3 has `base`; positions of section 3.5, and one table for what is read, written and
told, as in 3.4. The feed-forward part is four times as wide as the rest.
"""

from typing import Any

from transformers import MarianConfig

MEDIA = ("text",)
SIZES: dict[str, dict[str, Any]] = {
    "marian-tiny": {"d_model": 128, "encoder_layers": 4, "decoder_layers": 4},
    "marian-mini": {"d_model": 256, "encoder_layers": 4, "decoder_layers": 4},
    "marian-base": {"d_model": 512, "encoder_layers": 6, "decoder_layers": 6},
}


def config(size: str, facts: dict) -> MarianConfig:
    """The config of a fresh model; reads `labels`, `vocab_size`, `max_length`, `pad_`, `cls_` (begins what is written), `eos_token_id`."""
    width = SIZES[size]["d_model"]
    sizes = {"ffn_dim": 4 * width, "attention_heads": max(4, width // 64)}
    return MarianConfig(
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
        id2label=dict(enumerate(facts["labels"])),
        label2id={label: number for number, label in enumerate(facts["labels"])},
    )
