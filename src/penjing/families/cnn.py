"""Plain convolutional networks: 3x3 convolution, batch norm, ReLU, 2x2 max pool, repeated; then one linear layer.

For images, and for sounds, whose log-mel (frames, mel bins) is an image of one channel.

The layout of LeCun, Bottou, Bengio, Haffner 1998, "Gradient-based learning applied to document recognition", with the
batch norm of Ioffe and Szegedy 2015. The pool rounds up, so that a map of one pixel stays one and any image size fits
any number of layers.

Letters   N images, C channels, H W height and width, L labels
"""

from dataclasses import field
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForAudioClassification, AutoModelForImageClassification, PretrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import ImageClassifierOutput

MEDIA = ("image", "sound")
SIZES: dict[str, dict[str, Any]] = {
    "cnn-tiny": {"widths": [8, 16, 32]},
    "cnn-mini": {"widths": [32, 64, 128]},
    "cnn-small": {"widths": [64, 128, 256, 256]},
    "cnn-base": {"widths": [64, 64, 256, 256, 256, 256], "pools": [0, 2, 4, 5]},
}


class CNNConfig(PretrainedConfig):
    """Shape of the network.

    widths        channels of each convolution
    pools         numbers of those behind which a pool halves the map; all where the list is empty
    num_channels  of the image
    image_size    [H, W]; the fully connected layer fits no other
    """

    model_type = "penjing_cnn"

    widths: list[int] = field(default_factory=lambda: [32, 64, 128])
    pools: list[int] = field(default_factory=list)
    num_channels: int = 3
    image_size: list[int] = field(default_factory=lambda: [32, 32])

    def __post_init__(self, **kwargs):
        self.pools = self.pools or list(range(len(self.widths)))
        super().__post_init__(**kwargs)

    def pixels(self) -> int:
        """Pixels of the last map: each pool halves both sides, rounding up."""
        height, width = (-(-side // 2 ** len(self.pools)) for side in self.image_size)
        return height * width


class Layer(nn.Module):
    """A convolution, the batch norm that inference can fold into it, ReLU and a pool."""

    def __init__(self, inputs: int, outputs: int, pooled: bool):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.pool = nn.MaxPool2d(2, ceil_mode=True) if pooled else nn.Identity()

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return self.pool(torch.relu(self.norm(self.conv(maps))))


class CNN(PreTrainedModel):
    """The network, whatever it looks at."""

    config_class = CNNConfig

    def __init__(self, config: CNNConfig):
        super().__init__(config)
        widths = [config.num_channels, *config.widths]
        self.layers = nn.ModuleList(Layer(inputs, outputs, i in config.pools) for i, (inputs, outputs) in enumerate(pairwise(widths)))
        self.head = nn.Linear(widths[-1] * config.pixels(), config.num_labels)  # type: ignore[arg-type]
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, nn.Conv2d):  # the default N(0, 0.02) starves a convolutional network
            init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def look(self, maps: torch.Tensor) -> ImageClassifierOutput:
        """Logits (N, L) of maps (N, C, H, W)."""
        for layer in self.layers:
            maps = layer(maps)
        return ImageClassifierOutput(logits=self.head(maps.flatten(1)))


class CNNForImageClassification(CNN):
    """Logits (N, L) of images (N, C, H, W)."""

    main_input_name = "pixel_values"

    def forward(self, pixel_values: torch.Tensor) -> ImageClassifierOutput:
        return self.look(pixel_values)


class CNNForAudioClassification(CNN):
    """Logits (N, L) of log-mels (N, H frames, W mel bins)."""

    main_input_name = "input_values"

    def forward(self, input_values: torch.Tensor) -> ImageClassifierOutput:
        return self.look(input_values[:, None])


def config(size: str, facts: dict) -> CNNConfig:
    """The config of a fresh network for these data; reads `image_size`, `channels`."""
    return CNNConfig(
        **SIZES[size],
        num_channels=facts["channels"],
        image_size=list(facts["image_size"]),
    )


def register() -> None:
    """Let the Auto classes build and save this family; may be called again."""
    AutoConfig.register(CNNConfig.model_type, CNNConfig, exist_ok=True)
    AutoModelForImageClassification.register(CNNConfig, CNNForImageClassification, exist_ok=True)
    AutoModelForAudioClassification.register(CNNConfig, CNNForAudioClassification, exist_ok=True)
    CNNConfig.register_for_auto_class()
    CNNForImageClassification.register_for_auto_class("AutoModelForImageClassification")
    CNNForAudioClassification.register_for_auto_class("AutoModelForAudioClassification")


def channel_groups(model: CNN) -> list[dict]:
    """One group for each convolution, as keywords of ChannelGroup; the head counts the last one's pixel by pixel."""
    last = len(model.config.widths) - 1
    readers = [f"layers.{number + 1}.conv.weight" for number in range(last)] + ["head.weight"]
    counted = ("conv.weight", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var")
    return [
        {
            "setting": ("widths", number),
            "tensors": (*((f"layers.{number}.{name}", 0) for name in counted), (reader, 1)),
            "scores": (f"layers.{number}.norm.weight",),
            "repeat": {reader: model.config.pixels()} if number == last else {},
        }
        for number, reader in enumerate(readers)
    ]
