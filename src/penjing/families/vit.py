"""Vision transformers in their small sizes, on the architecture of transformers.

Dosovitskiy et al. 2021, "An image is worth 16x16 words"; tiny and small as in Touvron et al. 2021 (DeiT), table 1; mini
is for images of a few dozen pixels. Heads of 64 (mini: 32), feed-forward four times as wide.
"""

import math
from typing import Any

from transformers import ViTConfig

MEDIA = ("image",)
SIZES: dict[str, dict[str, Any]] = {
    "vit-mini": {"num_hidden_layers": 6, "hidden_size": 96, "num_attention_heads": 3},
    "vit-tiny": {"num_hidden_layers": 12, "hidden_size": 192, "num_attention_heads": 3},
    "vit-small": {"num_hidden_layers": 12, "hidden_size": 384, "num_attention_heads": 6},
}
LARGEST_PATCH = 16  # pixels: the patch of the paper
FEWEST_PATCHES = 8  # along the shorter side: smaller images get smaller patches


def config(size: str, facts: dict) -> ViTConfig:
    """The config of a fresh model for these data; reads `image_size`, `channels`."""
    return ViTConfig(
        **SIZES[size],
        intermediate_size=4 * SIZES[size]["hidden_size"],
        image_size=list(facts["image_size"]),
        patch_size=patch(*facts["image_size"]),
        num_channels=facts["channels"],
    )


def patch(height: int, width: int) -> int:
    """Side in pixels of the largest square patch that divides the image and still leaves enough of them."""
    most = max(1, min(LARGEST_PATCH, min(height, width) // FEWEST_PATCHES))
    return max(side for side in range(1, most + 1) if math.gcd(height, width) % side == 0)
