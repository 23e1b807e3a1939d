"""GPT-2 in small sizes, on the architecture of transformers: learned positions, layer norm, embeddings that are the head too.

Radford et al. 2019, "Language models are unsupervised multitask learners"; base is the smallest of the paper. Heads of 64 (tiny: 32),
feed-forward four times as wide.
"""

from typing import Any

from transformers import GPT2Config

MEDIA = ("text",)
SIZES: dict[str, dict[str, Any]] = {
    "gpt-tiny": {"n_layer": 2, "n_embd": 128, "n_head": 4},
    "gpt-mini": {"n_layer": 4, "n_embd": 256, "n_head": 4},
    "gpt-small": {"n_layer": 6, "n_embd": 512, "n_head": 8},
    "gpt-base": {"n_layer": 12, "n_embd": 768, "n_head": 12},
}


def config(size: str, facts: dict) -> GPT2Config:
    """The config of a fresh model for these data; reads `vocab_size`, `pad_token_id`, `eos_token_id`, `max_length`."""
    return GPT2Config(
        **SIZES[size],
        vocab_size=facts["vocab_size"],
        n_positions=facts["max_length"],
        pad_token_id=facts["pad_token_id"],
        bos_token_id=facts["eos_token_id"],
        eos_token_id=facts["eos_token_id"],
    )
