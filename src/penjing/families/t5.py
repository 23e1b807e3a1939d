"""Transformers that read a text and write another, with positions as distances, on T5's architecture in transformers.

Raffel et al. 2020, "Exploring the limits of transfer learning", section 2.1; sizes of Tay et al. 2022, "Scale efficiently", table 2.
"""

from typing import Any

from transformers import T5Config

MEDIA = ("text",)
SIZES: dict[str, dict[str, Any]] = {
    "t5-tiny": {"d_model": 256, "d_ff": 1024, "num_layers": 4, "num_heads": 4},
    "t5-mini": {"d_model": 384, "d_ff": 1536, "num_layers": 4, "num_heads": 8},
    "t5-small": {"d_model": 512, "d_ff": 2048, "num_layers": 6, "num_heads": 8},
}


def config(size: str, facts: dict) -> T5Config:
    """The config of a fresh model; reads `vocab_size`, `max_length`, `pad_`, `cls_` (begins what is written), `eos_token_id`."""
    return T5Config(  # type: ignore[call-arg]  # not all that configs of T5 hold is declared
        **SIZES[size],
        d_kv=64,
        vocab_size=facts["vocab_size"],
        n_positions=facts["max_length"],
        pad_token_id=facts["pad_token_id"],
        eos_token_id=facts["eos_token_id"],
        decoder_start_token_id=facts["cls_token_id"],
    )
